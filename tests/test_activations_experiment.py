"""The experiment on activations: what it measures, against automatic differentiation, and what a user gets."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import activations_measures as measures
from experiments.activations import Config, main
from jaxnn.activations import relu, sigmoid

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.experiment


def run(*options):
    # As in conftest.py, a second run of the tests compiles next to nothing.
    environment = os.environ | {"XDG_CACHE_HOME": str(ROOT / ".pytest_cache")}
    environment.pop("JAXNN_DATA_DIR", None)
    return subprocess.run(
        [sys.executable, "-m", "experiments.activations", *map(str, options)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_gradient_of_every_depth_is_the_automatic_one():
    x, labels = jax.random.normal(jax.random.key(0), (8, measures.WIDTH)), jnp.arange(8)
    network = measures.deep_network("PyTorch's default", jax.random.key(1))

    def loss(first_weight, depth):
        a = x
        for i in range(depth):
            a = sigmoid(a @ (network["weights"][i] if i else first_weight) + network["biases"][i])
        return -jax.nn.log_softmax(a @ network["output"])[jnp.arange(8), labels].mean()

    found = jax.jit(partial(measures.gradient_by_depth, sigmoid))(network, x, labels)
    assert found.shape == (measures.DEPTH,)
    for depth in (1, 2, 4):
        expected = jnp.linalg.norm(jax.jit(jax.grad(loss), static_argnums=1)(network["weights"][0], depth))
        np.testing.assert_allclose(found[depth - 1], expected, rtol=1e-5)


def test_the_variance_is_that_of_each_layer():
    x = jax.random.normal(jax.random.key(0), (8, measures.WIDTH))
    network = measures.deep_network("Kaiming normal", jax.random.key(1))
    assert not network["biases"].any()
    first = np.maximum(np.asarray(x) @ np.asarray(network["weights"][0]), 0)
    second = np.maximum(first @ np.asarray(network["weights"][1]), 0)
    found = measures.variance_by_layer(relu, network, x)
    np.testing.assert_allclose(found[:2], [first.var(), second.var()], rtol=1e-5)


@pytest.fixture(scope="module", name="short_run")
def _short_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "activations"
    return folder, run("--steps", measures.LOOKS, "--out", folder)


@pytest.mark.slow
def test_the_summary_says_what_theory_says(short_run):
    folder, result = short_run
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads((folder / "summary.json").read_text())
    assert all(isinstance(value, int | float | str) for value in found.values())
    assert found["networks_trained"] == 200

    # A layer of sigmoids passes at most 1/4 of the gradient times sqrt(2), the scale of Kaiming's weights.
    ratio = {key.removeprefix("gradient_ratio_50_to_1_"): v for key, v in found.items() if key.startswith("gradient_")}
    assert 0 < ratio["sigmoid_kaiming_normal"] < (2**0.5 / 4) ** 49
    # ReLU halves the squared gradient and Kaiming's weights double it; the rest is chance at a width of 64.
    assert 0.05 < ratio["relu_kaiming_normal"] < 20
    # PyTorch's weights have 1/(3 in), so the squared gradient falls to a sixth with each layer.
    assert np.log(ratio["relu_pytorch_s_default"]) / 49 == pytest.approx(np.log(6**-0.5), rel=0.1)
    # Xavier's weights have 1 / in, half of what ReLU needs.
    assert np.log(found["variance_layer_50_relu_xavier_normal"]) / 50 == pytest.approx(np.log(1 / 2), rel=0.15)
    assert found["mean_activation_tanh"] == pytest.approx(0, abs=0.1)
    assert found["mean_activation_sigmoid"] == pytest.approx(0.5, abs=0.1)
    # Ten steps at rate 0.1 kill more than a third of the ReLU units.
    assert found["dead_share_relu_rate_0.1"] > 0.3 > found["dead_share_relu_rate_0.001"]
    assert found["loss_relu"] < found["loss_sigmoid"] < 2.4
    assert found["nanoseconds_relu"] > 0
    assert "nanoseconds_identity" not in found


@pytest.mark.slow
def test_the_page_and_its_figures_are_there(short_run):
    folder, result = short_run
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "metrics.jsonl", "summary.json", "report.html"),
        *("functions-and-derivatives.png", "the-gradient-that-reaches-layer-1.png", "dead-units.png"),
        *("variance-through-the-layers.png", "zero-centred-trainable-fast.png"),
    }
    assert json.loads((folder / "config.json").read_text())["steps"] == measures.LOOKS
    assert result.stdout.splitlines()[-1].endswith(f"report: {folder / 'report.html'}")


@pytest.mark.parametrize("steps", [0, -20, 35])
def test_wrong_steps_are_said_before_anything_is_written(steps, tmp_path):
    with pytest.raises(ValueError, match="activations expected steps to be a"):
        main(Config(steps=steps, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
