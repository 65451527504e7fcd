"""The experiment with common mistakes, small: what it makes, writes and says."""

import json
import shutil

import jax
import numpy as np
import pytest

from experiments import mistakes, mistakes_cases, mistakes_figures, mistakes_measures
from experiments.mistakes_cases import KINDS, prepared
from jaxnn.data.images import load
from jaxnn.report.theme import style
from jaxnn.training.doctor import CHECKS

pytestmark = pytest.mark.experiment

FEW = ("labels of a wrong shape", "train and test overlap", "softmax twice")


def few_mistakes(folder, **options):
    """Run it in this process with three of the mistakes."""
    every = mistakes_cases.mistakes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mistakes_cases, "mistakes", lambda *given: [made for made in every(*given) if made.name in FEW])
        config = mistakes.Config(dataset="digits", images=300, epochs=2, out=folder, quiet=True, **options)
        assert mistakes.main(config) == 0
    return folder, json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory):
    return few_mistakes(tmp_path_factory.mktemp("mistakes"))


def test_the_doctor_finds_them_and_all_is_written(run):
    folder, summary = run
    assert (summary["made"], summary["found"]) == (3, 3)
    assert [summary[f"{name.replace(' ', '_')}_found"] for name in FEW] == [1, 1, 1]
    assert "labels_of_a_wrong_shape_wrong_test_accuracy_mean" not in summary  # training was refused
    assert {path.name for path in folder.glob("*.png")} == {"accuracy-with-the-mistake-and-with-its-cure.png"}
    page = (folder / "report.html").read_text()
    assert "training is refused" not in page  # it stands in the picture; the table says it
    assert "refused" in page
    assert "targets int32 [250, 1] for predictions [250, 10]" in page


def test_the_accuracies_are_those_of_the_trainings(run):
    _, summary = run
    data = prepared(load("digits"), 300, (0.3053, 0.3760), 0)
    made = {mistake.name: mistake for mistake in mistakes_cases.mistakes("mlp", data, 2, 0)}["softmax twice"]
    model, state = made.wrong.model, mistakes_measures.train(made.wrong, 0).result.train_state
    outputs = np.asarray(model.apply(state.params, state.model_state, data.test.inputs)[0])
    right = outputs.argmax(-1) == data.test.targets
    assert summary["softmax_twice_wrong_test_accuracy_mean"] == pytest.approx(right.mean())
    np.testing.assert_allclose(outputs.sum(-1), 1, atol=1e-5)
    surprise = np.log(np.exp(outputs.astype(np.float64)).sum(1)) - outputs[np.arange(360), data.test.targets]
    assert summary["softmax_twice_wrong_test_loss_mean"] == pytest.approx(surprise.mean(), rel=1e-5)
    # The same training is the cure of both.
    cured = summary["softmax_twice_right_test_accuracy_by_seed"]
    assert cured == summary["train_and_test_overlap_right_test_accuracy_by_seed"]


def test_a_line_an_epoch_of_every_training(run):
    folder, _ = run
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tasks = [line["task"] for line in lines if line["epoch"] == 2]
    # Labels of a wrong shape are not trained on; a cure that two mistakes share is trained once.
    assert tasks == ["softmax twice, mistake", "softmax twice, cure", "train and test overlap, mistake"]
    assert all(line["seed"] == 0 for line in lines)


@pytest.mark.slow
def test_it_goes_on_where_it_was_killed(run, tmp_path):
    """As if killed in the second epoch of the last training."""
    whole, summary = run
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-1]))
    shutil.rmtree(folder / "checkpoints" / "seed_0" / "train_and_test_overlap_mistake")
    assert few_mistakes(folder, resume=True)[1] == summary
    told = [(f / "metrics.jsonl").read_text().splitlines() for f in (folder, whole)]
    assert without_times(told[0]) == without_times(told[1])


def without_times(lines):
    times = ("seconds", "examples_per_second")
    return [{name: value for name, value in json.loads(line).items() if name not in times} for line in lines]


def test_every_network_makes_the_same_mistakes():
    data = prepared(load("digits"), 300, (0.3053, 0.3760), 0)
    made = {kind: mistakes_cases.mistakes(kind, data, 1, 0) for kind in KINDS}
    names = [[mistake.name for mistake in made[kind]] for kind in KINDS]
    assert names[0] == names[1] == names[2]
    assert len(set(names[0])) == len(names[0]) == 14
    assert {check for kind in KINDS for mistake in made[kind] for check in mistake.checks} == set(CHECKS)
    for kind in KINDS:
        for mistake in made[kind]:
            for way in (mistake.wrong, mistake.right):
                outputs = jax.eval_shape(
                    way.model.apply, *jax.eval_shape(way.model.init, jax.random.key(0)), way.test[0]
                )
                assert outputs[0].shape == (360, 10)


def test_the_changes_are_what_they_say():
    data = prepared(load("digits"), 1200, (0.3053, 0.3760), 0)
    assert (data.train.size, data.validation.size) == (1000, 200)
    uneven, even = mistakes_cases._outweighed(data.train, 0)
    counts = np.bincount(uneven.targets)
    assert counts[0] == (np.asarray(data.train.targets) == 0).sum()
    assert counts[0] > 0.6 * uneven.size
    assert uneven.size == even.size
    moved = mistakes_cases._moved(data.test, 0)
    assert moved.inputs.shape == (360, 16, 16, 1)
    np.testing.assert_array_equal(moved.inputs.sum((1, 2)), data.test.inputs.sum((1, 2)))
    assert (moved.inputs[:, :8, :8].sum((1, 2, 3)) < data.test.inputs.sum((1, 2, 3))).any()
    by_name = {mistake.name: mistake for mistake in mistakes_cases.mistakes("lstm", data, 1, 0)}
    params, _ = by_name["dead units"].wrong.init(jax.random.key(0))
    own, _ = by_name["dead units"].wrong.model.init(jax.random.key(0))
    np.testing.assert_array_equal(params[2][0]["input_bias"], np.full(128, -10.0, np.float32))
    np.testing.assert_array_equal(params[2][0]["input_weight"], own[2][0]["input_weight"])
    np.testing.assert_array_equal(params[-1]["bias"], own[-1]["bias"])
    large, _ = by_name["first weights too large"].wrong.init(jax.random.key(0))
    np.testing.assert_allclose(large[2][0]["input_weight"], 30 * np.asarray(own[2][0]["input_weight"]), rtol=1e-6)
    zero, _ = by_name["first weights all alike"].wrong.init(jax.random.key(0))
    assert not np.asarray(zero[2][0]["recurrent_weight"]).any()


def test_the_figure_has_a_mark_for_each_number():
    def trained(value, watched):
        return mistakes_measures.Trained(value, 0.5, watched, None)

    rows = [
        ("leak", [(trained(0.8, 0.9), trained(0.7, 0.7)), (trained(0.6, 0.9), trained(0.9, 0.7))]),
        ("labels", [(trained(None, None), trained(0.9, 0.9))]),
    ]
    with style("light"):
        figure = mistakes_figures.accuracies(rows)
    marks = {line.get_label(): line.get_xdata().tolist() for line in figure.axes[0].lines}
    np.testing.assert_allclose(marks["mistake"], [0.7, np.nan])
    np.testing.assert_allclose(marks["cure"], [0.8, 0.9])
    np.testing.assert_allclose(marks["mistake, on its validation set"], [0.9, np.nan])
    assert [text.get_text() for text in figure.axes[0].texts] == ["training is refused"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": 299}, r"images in \[300, 1437\] but got 299"),
        ({"images": 0}, "images to be a positive integer"),
        ({"seeds": 0}, "seeds to be a positive integer"),
        ({"epochs": 0}, "epochs to be a positive integer"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_touched(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        mistakes.main(
            mistakes.Config(dataset="digits", out=tmp_path / "run", quiet=True, **({"images": 300} | options))
        )
    assert not (tmp_path / "run").exists()


def test_an_interrupt_reports_what_was_made(monkeypatch, tmp_path, capsys):
    def interrupted(config, data, seed, out, made):
        sets = prepared(data, 300, (0.3, 0.4), 0)
        label = [one for one in mistakes_cases.mistakes("mlp", sets, 1, 0) if one.name == "labels of a wrong shape"]
        wrong = mistakes_measures.train(label[0].wrong, 0)
        assert wrong == mistakes_measures.Trained(None, None, None, None)
        made.append(mistakes_measures.Made(label[0], wrong, wrong, mistakes_measures.examine(label[0].wrong, wrong, 0)))
        raise KeyboardInterrupt

    monkeypatch.setattr(mistakes, "make_all", interrupted)
    assert mistakes.main(mistakes.Config(dataset="digits", images=300, out=tmp_path, quiet=True)) == 130
    assert capsys.readouterr().err == "Stopped after 1 mistakes.\n"
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "Stopped after 1 mistakes."
