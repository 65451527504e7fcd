"""The experiment with gates as a user runs it, small: what it prints, writes and refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import numpy_network
from experiments import gates, gates_figures
from jaxnn.initializers import kaiming
from jaxnn.models import mlp

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.experiment
X, Y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([[0], [1], [1], [0]], np.float32)


def run(*options):
    command = [sys.executable, "-m", "experiments.gates", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_it_prints_the_guides_lines_and_writes_the_report(tmp_path):
    code, output, errors = run("--networks", 25, "--out", tmp_path)
    assert (code, errors) == (0, "")
    summary = json.loads((tmp_path / "summary.json").read_text())

    parts = dict(re.findall(r"^(\w+) by the perceptron\n((?:.+\n)*)", output, re.MULTILINE))
    assert list(parts) == ["AND", "OR", "NAND", "NOR", "XOR"]
    for gate in ("AND", "OR", "NAND", "NOR"):
        end = summary[f"{gate.lower()}_converged_at"]
        assert f"Converged at epoch {end}\n" in parts[gate]
        assert re.match(r"Epoch 0: Accuracy = \d+\.00%\n", parts[gate])
        assert summary[f"{gate.lower()}_converged_share"] == 1
    assert re.findall(r"Epoch (\d+)", parts["XOR"]) == [str(epoch) for epoch in range(0, 100, 10)]
    assert "Converged" not in parts["XOR"]
    assert (summary["xor_converged_at"], summary["xor_converged_share"]) == (-1, 0)

    answers = re.findall(r"^Input: (\[\d \d\]) -> Prediction: (\d)$", output, re.MULTILINE)
    assert answers == [("[0 0]", "0"), ("[0 1]", "0"), ("[1 0]", "0"), ("[1 1]", "1")]
    line = r"^Input: \[\d \d\] -> Prediction: ([01]\.\d{4}) -> Class: (\d)$"
    answers = re.findall(line, output, re.MULTILINE)
    assert [int(float(p) > 0.5) for p, _ in answers] == [int(label) for _, label in answers]
    right = [int(label) for _, label in answers] == Y.ravel().tolist()
    assert right == summary["xor_first_network_solved"]

    assert 0.3 < summary["xor_solved_share"] < 0.95  # 0.66 of a thousand; 25 stay within this with 0.999
    assert summary["xor_solved_blind"] == 0
    assert summary["xor_failed_blind"] + summary["xor_failed_linear"] == pytest.approx(1)
    assert summary["xor_failed_at_levels"] == 1
    assert summary["xor_seconds"] > 0
    assert summary["xor_compile_seconds"] > 0
    assert all(isinstance(value, int | float) for value in summary.values())
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("decision-lines.png", "what-the-networks-answer.png", "how-many-solve-xor.png", "why-the-others-fail.png")
    }
    assert "Gates: from the threshold unit to XOR" in (tmp_path / "report.html").read_text()


def test_wrong_options_end_in_one_message(tmp_path):
    for options, words in ((("--networks", 0), "networks to be a positive integer"), (("--seed", -1), "seed")):
        code, _, errors = run(*options, "--out", tmp_path / "run")
        assert code == 2
        assert words in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module", name="trained")
def _trained():
    keys = jax.random.split(jax.random.key(3), 20)
    return keys, gates.train_many("relu", 4, keys, np.full(20, 4))[0]


def test_each_network_ends_as_the_one_in_numpy(trained):
    """From the same weights, NumPy's network with hand-written gradients ends at the same loss."""
    keys, together = trained
    for i in range(4):
        params, _ = kaiming(mlp((2, 4, 1)))(keys[i])
        network = numpy_network.empty((2, 4, 1))
        for (weight, bias), part in zip(network.layers, (params[1], params[3]), strict=True):
            weight[...], bias[...] = part["weight"], part["bias"]
        numpy_network.train(network, X, Y, numpy_network.gradient_descent(0.5), epochs=5000)
        theirs = numpy_network.predict(network.layers, X, numpy_network.sigmoid)[:, 0]
        ours = gates.probabilities(jax.tree.map(lambda leaf, i=i: leaf[i], together.params), X)
        # 5,000 steps enlarge float32's rounding to a few times 1e-4 of a weight.
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.slow
def test_a_width_in_a_wider_program_is_that_width(trained):
    keys, _ = trained
    wide = gates.train_many("relu", 16, keys, np.full(20, 4))[0]
    second = np.asarray(wide.params[3]["weight"])[..., 0]
    assert not wide.active[:, :, 4:].any()
    drawn = jax.vmap(lambda key: kaiming(mlp((2, 16, 1)))(key)[0])(keys)[3]["weight"][..., 0]
    np.testing.assert_allclose(second[:, 4:], 2 * drawn[:, 4:], rtol=1e-6)  # sqrt(16 / 4) times, and never trained
    alone = jax.tree.map(
        lambda leaf: leaf[..., :4] if leaf.shape[-1] == 16 else leaf, gates.draw(16, keys, np.full(20, 4))
    )
    alone[3]["weight"] = alone[3]["weight"][:, :4]
    narrow = jax.vmap(lambda params: gates.train(gates.activations.relu, params, 4))(alone)
    np.testing.assert_array_equal(narrow.solved, wide.solved)
    np.testing.assert_allclose(narrow.loss, wide.loss, atol=1e-3)


def test_losses_of_failed_networks_lie_at_the_levels(trained):
    _, together = trained
    kinds = gates_figures.ending(together.loss, together.solved)
    assert 0 < (kinds == 0).sum() < 20
    for loss, kind in zip(together.loss, kinds, strict=True):
        assert abs(loss - (gates_figures.LEVELS[kind] if kind else 0)) < 0.01


@pytest.mark.parametrize(("corners", "labels"), [(2, [0, 1]), (3, [0, 1, 1]), (3, [0, 0, 1]), (4, [0, 1, 1, 0])])
def test_levels_are_the_smallest_losses_of_one_answer(corners, labels):
    answers = np.linspace(0.001, 0.999, 9981)[:, None]
    losses = -np.where(labels, np.log(answers), np.log(1 - answers)).sum(1) / 4
    np.testing.assert_allclose(gates_figures.LEVELS[corners], losses.min(), rtol=1e-6)
