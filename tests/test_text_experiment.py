"""The experiment with texts, small: its report, and its measures beside numbers from elsewhere."""

import json
import signal
from collections import Counter

import jax
import numpy as np
import pytest

from experiments import text, text_figures, text_networks
from experiments.text_measures import bag_of_words, changed_answers, contributions, telling_words
from experiments.text_networks import network
from experiments.text_parts import Parts, as_tokens, load_parts
from jaxnn.data.text import Texts, encode, pad
from jaxnn.interop.trained import load_trained, probabilities
from jaxnn.training import FitInterrupted
from jaxnn.types import Layer

pytestmark = pytest.mark.experiment
OPENINGS = ("who", "where", "when")


@pytest.fixture(autouse=True, name="small")
def _small(monkeypatch):
    for name, size in {"VECTORS": 8, "HIDDEN": 4, "HEADS": 2, "BLOCKS": 1, "FEED_FORWARD": 8}.items():
        monkeypatch.setattr(text_networks, name, size)


@pytest.fixture(scope="module", name="file")
def _file(tmp_path_factory):
    """A file whose labels can be read off one word, in its first or second place."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(90):
        others = [f"w{j}" for j in rng.integers(0, 9, 2 + i % 4)]
        others.insert(i % 2, OPENINGS[i % 3])
        lines.append(f"{OPENINGS[i % 3].upper()}\t{' '.join(others)}\n")
    path = tmp_path_factory.mktemp("text") / "mine.tsv"
    path.write_text("".join(lines))
    return path


@pytest.mark.slow
def test_a_run_that_is_stopped_at_its_third_seed_reports_the_first_two(file, tmp_path, monkeypatch, capsys):
    real, results = text.fit, []

    def fit(*args, **options):
        if len(results) == 2:
            raise FitInterrupted(results[0], signal.SIGINT)
        results.append(real(*args, **options))
        return results[-1]

    monkeypatch.setattr(text, "fit", fit)
    options = {"epochs": 3, "batch_size": 24, "learning_rate": 0.03, "seeds": 3}
    config = text.Config(dataset="tsv", file=file, model="transformer", **options, out=tmp_path, quiet=True)
    assert text.main(config) == 130
    assert capsys.readouterr().err.startswith("Stopped by SIGINT")

    summary = json.loads((tmp_path / "summary.json").read_text())
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    accuracies = summary["test_accuracy_by_seed"]
    assert [(record["seed"], record["epoch"]) for record in metrics] == [(s, e) for s in (0, 1) for e in (1, 2, 3)]
    assert len(accuracies) == 2
    assert all(round(9 * value, 6) in range(10) for value in accuracies)  # shares of nine test texts
    assert summary["difference"] == pytest.approx(np.mean(accuracies) - summary["bag_of_words_test_accuracy"])
    assert summary["bag_of_words_test_accuracy"] == 1
    for seed, best in enumerate(summary["validation_accuracy_by_seed"]):
        course = [record["validation_accuracy"] for record in metrics if record["seed"] == seed]
        assert best == max(course)
        if seed == 0:
            assert summary["best_epoch"] == max(e for e, value in enumerate(course, start=1) if value == best)
    assert summary["status"].startswith("Stopped by SIGINT")
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("attention.png", "confusion-matrix.png", "learning-curves.png", "tokens-that-mattered.png")
    }
    parts, trained = load_parts("tsv", file, None, 0), load_trained(tmp_path)
    answers = probabilities(trained, pad(encode(parts.test.texts, trained.vocabulary), *trained.shape)).argmax(-1)
    assert (answers == parts.test.labels).mean() == pytest.approx(accuracies[0])
    page = (tmp_path / "report.html").read_text()
    assert page.index("Stopped by SIGINT") < page.index("What the network adds")  # as a notice
    assert "10% set aside for test and validation by seed 0" in page
    assert "73 texts for training, 8 for validation, 9 for the test" in page


def test_the_parts_of_a_file_are_disjoint_and_a_function_of_the_seed(file):
    first, again, other = (load_parts("tsv", file, None, seed) for seed in (0, 0, 1))
    assert first.test.texts == again.test.texts != other.test.texts
    together = [line for part in first[:3] for line in part.texts]
    assert sorted(together) == sorted(line.split("\t")[1] for line in file.read_text().splitlines())
    counts = Counter(word for line in first.train.texts for word in line.split())
    assert set(as_tokens(first).vocabulary[2:]) == {word for word, count in counts.items() if count > 1}


@pytest.mark.slow
def test_with_all_texts_network_and_bag_learn_words_that_only_the_validation_texts_have(tmp_path):
    classes = ("first", "second")
    known = Texts(("a b", "c d") * 6, np.array([0, 1] * 6, np.int32), classes)
    other = Texts(("e", "f") * 3, np.array([0, 1] * 3, np.int32), classes)
    parts = Parts(known, other, other, "here")
    tokens = as_tokens(parts, all_texts=True)
    assert tokens.validation is None
    assert tokens.train.size == 18
    assert set(tokens.vocabulary[2:]) == set("abcdef")
    assert set(as_tokens(parts).vocabulary[2:]) == set("abcd")

    model = network("rnn", len(tokens.vocabulary), 2, 2)
    (tmp_path / "metrics.jsonl").touch()
    config = text.Config(model="rnn", all_texts=True, epochs=2, batch_size=9, learning_rate=0.01, quiet=True)
    trained = text.train(config, model, tokens, 0, tmp_path)
    assert trained.best.step == 2 * 18 / 9  # the last epoch, none chosen
    assert trained.validation_accuracy is None
    assert trained.logits.shape == (6, 2)

    bag, without = bag_of_words(*parts[:3], all_texts=True), bag_of_words(*parts[:3])
    assert (bag.answers == other.labels).all()
    assert not (without.answers == other.labels).all()


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.slow
def test_padding_changes_nothing(kind):
    model = network(kind, 12, 3, 9)
    params, state = model.init(jax.random.key(0))
    rows = np.array([[5, 3, 7, 2], [4, 0, 0, 0]], np.int32)
    short, long = (model.apply(params, state, np.pad(rows, ((0, 0), (0, n))))[0] for n in (0, 5))
    np.testing.assert_allclose(short, long, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_contributions_are_slopes_of_the_score_as_a_word_fades_in(kind):
    """Central differences in the scale of one word's vector; a word that stands twice gets both its places' numbers."""
    model = network(kind, 12, 3, 6)
    params, _ = model.init(jax.random.key(1))
    params["embedding"]["embedding"] *= 5  # away from the origin, where all is linear
    rows, answers = np.array([[5, 3, 7, 3, 0, 0], [4, 9, 2, 8, 10, 11]], np.int32), np.array([2, 0])
    scores = contributions(kind, params, rows, answers, 3)
    assert scores.shape == rows.shape
    assert not scores[rows == 0].any()

    @jax.jit
    def scored(table):
        logits, _ = model.apply({**params, "embedding": {"embedding": table}}, (), rows)
        return logits[np.arange(2), answers] - logits.mean(-1)

    table, step = params["embedding"]["embedding"], 1e-2
    for word in (3, 5, 9, 11):
        up, down = (np.asarray(scored(table.at[word].multiply(1 + s)), np.float64) for s in (step, -step))
        ours = np.where(rows == word, scores, 0).sum(1)
        # float32 leaves 1e-7 of the score over a step of 2e-2, the differences an error of step squared
        np.testing.assert_allclose(ours, (up - down) / (2 * step), rtol=2e-3, atol=5e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_bag_of_words_finds_the_words_that_tell(classes):
    names = OPENINGS[:classes]
    texts = [f"{names[i % classes]} w{i % 5} w{i % 7}" for i in range(60)]
    labels = np.arange(60, dtype=np.int32) % classes
    parts = [Texts(tuple(texts[i:j]), labels[i:j], names) for i, j in ((0, 40), (40, 50), (50, 60))]
    bag = bag_of_words(*parts)
    np.testing.assert_array_equal(bag.answers, labels[50:])
    assert bag.validation_accuracy == 1
    assert [bag.words[i] for i in bag.weights.argmax(1)] == list(names)
    assert bag.choice == "counts, C = 0.1"  # all are right, so the first, most regularised one is kept


def test_the_words_of_a_class_are_ordered_by_their_mean():
    rows = np.array([[2, 3, 0], [2, 3, 4], [2, 5, 1], [5, 2, 0]])
    scores = np.array([[1.0, 3, 9], [2, 5, 99], [3, -1, 99], [1, 7, 9]])
    words = ("<pad>", "<unk>", "two", "three", "four", "five")
    # class 0 has rows 0, 1, 2: two 2.0, three 4.0, four once, five negative; class 1 has row 3
    found = telling_words(rows, scores, np.array([0, 0, 0, 1]), words, 2, seen=2)
    assert found == [["three", "two"], []]


def test_the_answer_changes_without_the_word_that_mattered():
    """A model that counts one token: without it every answer changes, without any other none."""

    def apply(params, state, x, /, *, key=None, train=False):
        told = (x == 7).any(1)
        return jax.numpy.stack([~told, told], 1).astype(float), state

    rows = np.array([[7, 3, 4, 5], [2, 7, 0, 0], [2, 4, 7, 3]] * 20)
    scores = np.where(rows == 7, 1.0, np.where(rows == 0, 5.0, 0.0))  # a number at padding counts for nothing
    model = Layer(lambda key: ((), ()), apply, "counts")
    top, some = changed_answers(model, (), rows, np.ones(60, int), scores, 0)
    assert top == 1
    assert 0.15 < some < 0.6  # one in four, one in two and one in four tokens: a third


def test_shown_texts_are_right_ones_of_each_class_and_the_surest_mistakes():
    labels = np.array([0, 0, 1, 1, 1, 0])
    logits = np.array([[2.0, 0], [0, 1], [0, 3], [5, 0], [1, 0], [1, 0]])
    assert text_figures.chosen(labels, logits) == [0, 5, 2, 3, 1, 4]  # 1 and 4 are equally sure: in their order


def test_lines_of_tokens_stay_within_the_page():
    tokens = ["word", "incomprehensibilities", ",", "w" * 60] * 6
    places = text_figures._lines(tokens, 10.5)
    by_line = {}
    for x, width, line in places:
        assert x >= by_line.get(line, 0.0)
        by_line[line] = x + width
        assert x + width <= text_figures.WIDTH or x == 0
    assert len(by_line) > 3
