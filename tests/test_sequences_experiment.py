"""The experiment with sequences as a user runs it, in its smallest form; and its gradients, taken another way."""

import json
import math

import jax
import numpy as np
import pytest

from experiments import harness, sequences
from experiments.sequences_measures import breaks_at, gradient_by_step, sums
from jaxnn import functional
from jaxnn.data import Dataset
from jaxnn.data.images import load
from jaxnn.data.synthetic import adding_problem
from jaxnn.interop.trained import load_trained, probabilities
from jaxnn.models import lstm_classifier, rnn_classifier

pytestmark = pytest.mark.experiment

SMALL = {"lengths": (4,), "sequences": 64, "adding_epochs": 2, "dataset": "digits", "epochs": 2, "quiet": True}


def read(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return json.loads((folder / "summary.json").read_text()), [json.loads(line) for line in lines]


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sequences"
    assert sequences.main(sequences.Config(**SMALL, seeds=1, out=folder)) == 0
    return folder


@pytest.mark.slow
def test_everything_is_written(finished):
    summary, records = read(finished)
    assert {path.name for path in finished.iterdir()} - {"checkpoints"} == {  # saved after ten seconds
        *("config.json", "summary.json", "metrics.jsonl", "report.html", "adding-problem.png"),
        *("adding-problem-by-update.png", "gradient-by-time-step.png", "digits-row-by-row.png"),
        *("model.stablehlo", "labels.json"),
    }
    done = [(one["task"], one["model"], one["epoch"]) for one in records]
    assert done == [
        *(("adding", model, epoch) for model in ("rnn", "lstm") for epoch in (1, 2)),
        *(("rows", model, epoch) for model in ("rnn", "lstm") for epoch in (1, 2)),
    ]
    assert summary["status"] == "finished"
    assert summary["rows_dataset"] == "digits"
    page = (finished / "report.html").read_text()
    assert "<h1>Recurrent networks and long sequences</h1>" in page
    assert "DIGITS row by row" in page


@pytest.mark.slow
def test_the_numbers_are_those_of_what_was_trained(finished):
    summary, records = read(finished)
    for kind in ("rnn", "lstm"):
        # The test sequences are others than the validation sequences, but as many as make both errors nearly equal.
        last = [one for one in records if one["task"] == "adding" and one["model"] == kind][-1]
        assert summary[f"adding_mse_{kind}_t4"] == pytest.approx(last["validation_loss"], rel=0.1)
        assert summary[f"adding_breaks_at_{kind}"] == (4 if summary[f"adding_mse_{kind}_t4"] > 1 / 12 else None)
        assert summary[f"adding_updates_{kind}_t4"] == 4  # two passes over 64 sequences in batches of 32
        assert 0 < summary[f"gradient_first_to_last_at_start_{kind}_t4"] < 1
        accuracies = summary[f"rows_test_accuracy_{kind}_by_seed"]
        assert accuracies == [summary[f"rows_test_accuracy_{kind}_mean"]]
        assert accuracies[0] > 0.3  # three times chance
        if kind == "lstm":
            images, labels, _ = load("digits").test
            answers = probabilities(load_trained(finished), images).argmax(-1)
            assert (answers == labels).mean() == pytest.approx(accuracies[0])
        assert summary[f"rows_test_accuracy_{kind}_deviation"] is None


def test_an_interrupted_run_keeps_what_was_finished(tmp_path, monkeypatch, capsys):
    first, stopped = [], harness.Stop("Stopped by SIGINT after step 3.", 130)

    def until_stopped(training):
        first.append(training)
        return (training(), None) if len(first) == 1 else (None, stopped)

    monkeypatch.setattr(harness, "until_stopped", until_stopped)
    out = tmp_path / "run"
    assert sequences.main(sequences.Config(**SMALL, task="adding", out=out)) == 130
    summary, _ = read(out)
    assert summary["status"] == stopped.reason
    assert "adding_mse_rnn_t4" in summary
    assert "adding_mse_lstm_t4" not in summary
    assert stopped.reason in (out / "report.html").read_text()
    assert capsys.readouterr().err.strip() == stopped.reason


@pytest.mark.parametrize(
    "options",
    [{"lengths": ()}, {"lengths": (1,)}, {"sequences": 0}, {"epochs": 0}, {"seeds": 0}, {"seed": -1}],
)
def test_wrong_options_touch_no_results(options, tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match=r"sequences|run_keys"):
        sequences.main(sequences.Config(**(SMALL | options), out=tmp_path))
    assert (tmp_path / "summary.json").read_text() == "{}"


def test_gradients_of_the_rnn_are_those_of_the_chain_rule():
    """d L / d h_t = (d L / d h_T) prod of U^T diag(1 - h²), in NumPy's float64."""
    params, _ = rnn_classifier(2, 5, 1, 1).init(jax.random.key(0))
    batch = adding_problem(3, 6, jax.random.key(1))
    (weights,), _, head = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    h, after = np.zeros((3, 5)), []
    for t in range(6):
        x = batch.inputs[:, t] @ weights["input_weight"] + weights["input_bias"]
        h = np.tanh(x + h @ weights["recurrent_weight"] + weights["recurrent_bias"])
        after.append(h)
    error = h @ head["weight"] + head["bias"] - batch.targets
    gradient, norms = 2 * error / 3 @ head["weight"].T, []
    for h in reversed(after):
        norms.append(np.linalg.norm(gradient))
        gradient = (gradient * (1 - h**2)) @ weights["recurrent_weight"].T
    np.testing.assert_allclose(gradient_by_step(params, batch), norms[::-1], rtol=1e-6)  # inputs are float32


@pytest.mark.slow
def test_gradients_of_the_lstm_are_those_of_its_start():
    """Of a sequence cut after step t, the gradient with respect to the carry that the rest starts from."""
    params, _ = lstm_classifier(2, 4, 1, 1).init(jax.random.key(0))
    batch = adding_problem(3, 5, jax.random.key(1))
    found = gradient_by_step(params, batch)
    for t in (1, 3):
        _, carry = functional.lstm(params[0], batch.inputs[:, :t])

        def loss(carry, t=t):
            h, _ = functional.lstm(params[0], batch.inputs[:, t:], carry)
            predictions = functional.linear(h[:, -1], params[2]["weight"], params[2]["bias"])
            return ((predictions - batch.targets) ** 2).mean()

        parts = jax.grad(loss)(carry)
        assert found[t - 1] == pytest.approx(math.sqrt(sum(float((part**2).sum()) for part in parts)), rel=1e-4)


def test_training_validation_and_test_sequences_differ_and_breaking_is_the_first_length():
    one, two, three = sums(10, 50, 0)
    assert not np.array_equal(one.inputs[:50], two.inputs[:50])
    assert not np.array_equal(two.inputs[:50], three.inputs[:50])
    assert isinstance(one, Dataset)
    nothing = np.ones(2)

    def measured(length, error, kind="rnn"):
        return sequences.Sums(kind, length, error, [], 0, 0.0, nothing, nothing)

    done = [measured(10, 0.01), measured(100, 0.17), measured(50, 0.09), measured(10, 0.2, "lstm")]
    assert (breaks_at(done, "rnn"), breaks_at(done, "lstm"), breaks_at(done[:1], "rnn")) == (50, 10, None)
