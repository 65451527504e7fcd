"""The alternatives: how settings are chosen, what is measured and said, and the experiment as a user runs it, small."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import make_friedman1
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from experiments import alternatives
from experiments import alternatives_measures as measures
from experiments.alternatives_measures import Contender, Task, divide, grid, part, score
from experiments.alternatives_verdicts import claims, difference, not_told_apart, rules, standard_error

pytestmark = pytest.mark.experiment


def numbers(count=40):
    x, y = make_friedman1(count, n_features=5, random_state=0)
    return Task("rule", x.astype(np.float32), y.astype(np.float32), list("abcde"), ())


def labels(count=60):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 6, (count, 3)).astype(np.float32)
    y = ((x[:, 0] > 2) ^ (x[:, 1] > 3)).astype(np.int32)
    return Task("classes", x, y, ["a", "b", "c"], ["no", "yes"])


def trees(**settings):
    return Contender("decision tree", grid(**settings), measures._tree)


def test_a_quarter_is_drawn_with_the_classes_in_proportion():
    task = labels(80)
    examples = np.arange(10, 80)
    known, new = divide(task, examples, 3)
    assert sorted([*known, *new]) == examples.tolist()
    assert len(new) == round(70 / 4 + 0.01)
    assert abs(task.targets[new].mean() - task.targets[examples].mean()) < 1 / len(new)
    assert divide(task, examples, 4)[1].tolist() != new.tolist()


@pytest.mark.parametrize("one_scale", [False, True])
def test_features_are_standardised_by_the_known_examples(one_scale):
    task = numbers()._replace(one_scale=one_scale)
    known, new = np.arange(30), np.arange(30, 40)
    data = part(task, known, new)
    if one_scale:
        expected = (task.inputs[new] - task.inputs[known].mean()) / task.inputs[known].std()
    else:
        expected = StandardScaler().fit(task.inputs[known]).transform(task.inputs[new])
    np.testing.assert_allclose(data.inputs, expected, rtol=1e-4, atol=1e-5)
    assert data.targets.shape == (10, 1)
    np.testing.assert_allclose(part(task, known, known).targets.std(), 1, rtol=1e-5)


def test_a_constant_feature_is_no_division_by_zero():
    task = numbers()
    task.inputs[:, 2] = 7
    assert np.isfinite(part(task, np.arange(30), np.arange(40)).inputs).all()


def test_scores_are_scikit_learns():
    task, known, new = numbers(), np.arange(30), np.arange(30, 40)
    data = part(task, known, new)
    answers = np.random.default_rng(0).normal(size=10)
    right = task.targets[new]
    unscaled = answers * task.targets[known].std() + task.targets[known].mean()
    # R2 knows no scale: that of standardised numbers is that of the numbers.
    np.testing.assert_allclose(score(task, answers, data.targets), r2_score(right, unscaled), rtol=1e-4)
    assert score(labels(), np.array([0, 1, 1]), np.array([0, 1, 0])) == pytest.approx(2 / 3)


def test_settings_are_chosen_on_a_quarter_of_the_training_part_alone():
    task, contender = labels(), trees(max_depth=(1, 2, 4))
    known, new = divide(task, np.arange(60), 0)
    chosen = measures.choose(contender, task, known, 0)
    inner, validation = divide(task, known, 0)
    accuracies = [
        DecisionTreeClassifier(max_depth=depth, random_state=0)
        .fit(task.inputs[inner], task.targets[inner])
        .score(task.inputs[validation], task.targets[validation])
        for depth in (1, 2, 4)
    ]
    assert chosen == {"max_depth": (1, 2, 4)[int(np.argmax(accuracies))]}
    assert len(set(accuracies)) > 1
    poisoned = task._replace(inputs=task.inputs.copy(), targets=task.targets.copy())
    poisoned.inputs[new], poisoned.targets[new] = 99, 1 - poisoned.targets[new]
    assert measures.choose(contender, poisoned, known, 0) == chosen


def test_the_model_that_is_tested_has_seen_all_of_the_training_part():
    task = labels()
    (record,) = measures.compare_on_table(task, 1, [trees(max_depth=(3,))])
    known, new = divide(task, np.arange(60), 1)
    theirs = DecisionTreeClassifier(max_depth=3, random_state=1).fit(task.inputs[known], task.targets[known])
    assert record["score"] == theirs.score(task.inputs[new], task.targets[new])
    assert (record["length"], record["settings"], record["classes"]) == (45, {"max_depth": 3}, True)


def test_a_subset_is_tested_on_every_test_image():
    task, test = labels(60), labels(40)
    (record,) = measures.compare_on_subset(task, test, 30, 0, [trees(max_depth=(3,))])
    assert record["length"] == 30
    assert record["score"] * 40 == pytest.approx(round(record["score"] * 40))
    (whole,) = measures.compare_on_subset(task, test, 60, 0, [trees(max_depth=(3,))])
    theirs = DecisionTreeClassifier(max_depth=3, random_state=0).fit(task.inputs, task.targets)
    assert whole["score"] == theirs.score(test.inputs, test.targets)


def test_the_networks_epochs_are_those_of_the_smallest_validation_loss(monkeypatch):
    histories = {0.0: [3.0, 1.0, 2.0, 5.0], 0.5: [2.0, 1.5, 1.2, 1.1]}

    def stub(contender, task, data, settings, seed, **options):
        history = [{"validation_loss": loss} for loss in histories[settings["dropout"]]]
        return measures.Fitted(lambda x: x, settings, 0.0, history=history)

    monkeypatch.setattr(measures, "train", stub)
    network = Contender("network", grid(dropout=(0.0, 0.5)))
    assert measures.choose(network, labels(), np.arange(60), 0) == {"dropout": 0.0, "epochs": 2}


def test_the_standard_error_counts_the_overlap_of_splits():
    values = np.array([0.1, 0.2, 0.4])
    assert standard_error(values) == pytest.approx(np.sqrt(np.var(values, ddof=1) * (1 / 3 + 1 / 3)))
    lead, error = difference(values, np.zeros(3))
    assert (lead, error) == (pytest.approx(values.mean()), pytest.approx(2 * standard_error(values)))
    assert np.isnan(difference(values[:1], values[:1])[1])


def test_models_that_cannot_be_told_apart_from_the_best():
    scores = {
        "low": np.array([0.5, 0.5, 0.52]),
        "best": np.array([0.9, 0.8, 0.85]),
        "near": np.array([0.8, 0.85, 0.8]),
        "just below": np.array([0.89, 0.79, 0.84]),  # by 0.01 on every split: that is no chance
    }
    assert not_told_apart(scores) == ["best", "near"]
    assert not_told_apart({name: values[:1] for name, values in scores.items()}) == ["best"]


def test_the_rules_are_the_tree():
    task = labels()
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(task.inputs, task.targets)
    written = rules(tree, task)
    assert sum(count for _, _, count, _ in written) == 60
    applied = np.full(60, -1)
    for conditions, answer, count, right in written:
        fulfilled = np.ones(60, bool)
        for condition in conditions.split(" and "):
            feature, sign, threshold = condition.split()  # the features are whole numbers: thresholds are n + 0.5
            values = task.inputs[:, task.features.index(feature)]
            fulfilled &= values <= float(threshold) if sign == "≤" else values > float(threshold)
        assert fulfilled.sum() == count
        assert (task.targets[fulfilled] == task.classes.index(answer)).mean() == pytest.approx(right)
        applied[fulfilled] = task.classes.index(answer)
    np.testing.assert_array_equal(applied, tree.predict(task.inputs))


def records(task, classes, **scores):
    return [
        {"task": task, "model": model.replace("_", " "), "classes": classes, "score": value, "seconds": len(model)}
        for model, values in scores.items()
        for value in values
    ]


def test_what_is_said_of_the_guides_sentences_follows_the_numbers():
    classes = records(
        "t", True, network=[0.6, 0.7], linear=[0.5, 0.5], decision_tree=[0.4, 0.5], gradient_boosting=[0.8, 0.9]
    )
    numbers = records(
        "r", False, network=[0.9, 0.9], linear=[0.5, 0.5], decision_tree=[0.2, 0.2], gradient_boosting=[0.3, 0.3]
    )
    images = {100: classes, 300: numbers}
    said = [measured for _, measured in claims({"t": classes, "r": numbers}, images, "digits")]
    assert said[0] == (
        "100 images of digits: best is gradient boosting, 85.0 %, network -20.0 ± 0.0 points. "
        "300 images of digits: best is network, 90.0 %."
    )
    assert "on 1 (t), behind it on 1 (r), of 2 tables" in said[1]
    assert said[2] == "r: network less linear +0.400 ± 0.000 of R²."
    assert "linear 6 s, network 7 s" in said[3]
    assert "0.400 to 0.700" in said[4]


@pytest.mark.slow
def test_it_runs_and_writes_the_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measures, "tables", lambda: [labels()._replace(name="breast cancer"), numbers()])
    monkeypatch.setattr(measures, "MOST_EPOCHS", 3)
    few = [contender._replace(settings=contender.settings[:1]) for contender in measures.TABLES]
    monkeypatch.setattr(measures, "TABLES", few)
    monkeypatch.setattr(measures, "IMAGES", [few[0], *measures.IMAGES[1:]])
    config = alternatives.Config(
        dataset="digits", images=(100, 10**6), seeds=2, image_seeds=1, out=tmp_path, quiet=True
    )
    assert alternatives.main(config) == 0
    assert capsys.readouterr().out == ""
    summary = json.loads((tmp_path / "summary.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 5 + 5
    for name in ("network", "linear", "decision tree", "random forest", "gradient boosting"):
        scores = [line["score"] for line in lines if (line["task"], line["model"]) == ("rule", name)]
        key = f"test_score_rule_{name.replace(' ', '_')}"
        assert summary[f"{key}_by_seed"] == scores
        assert summary[f"{key}_mean"] == pytest.approx(np.mean(scores))
    assert summary["test_score_digits_100_network_deviation"] is None
    assert {path.name for path in tmp_path.glob("*.png")} == {"tables.png", "digits-by-number-of-images.png"}
    assert "worst" not in (tmp_path / "report.html").read_text()  # the tree is of the table that was given
    # Killed while it wrote the lines of the second split, it measures that split and what follows again.
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:5]))
    assert alternatives.main(replace(config, resume=True)) == 0
    again = json.loads((tmp_path / "summary.json").read_text())
    assert {name: value for name, value in again.items() if "seconds" not in name} == {
        name: value for name, value in summary.items() if "seconds" not in name
    }
    resumed = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["score"] for line in resumed] == [line["score"] for line in lines]
    assert resumed[:5] == lines[:5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 0}, "seeds to be a positive integer"),
        ({"image_seeds": 0}, "image_seeds to be a positive integer"),
        ({"images": (50, 100)}, "100 or more"),
        ({"images": ()}, "100 or more"),
        ({"images": (10**6,)}, "at most 1437"),
        ({"seed": 2**32 - 1}, "seed"),
    ],
)
def test_wrong_options_touch_no_results(tmp_path, options, words):
    (tmp_path / "summary.json").write_text("mine")
    with pytest.raises(ValueError, match=words):
        alternatives.main(alternatives.Config(**{"dataset": "digits", "out": tmp_path, "quiet": True} | options))
    assert (tmp_path / "summary.json").read_text() == "mine"
