"""The experiment as a user runs it: every gradient within its limits, and an exit code that says when one is not."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import backpropagation
from experiments.backpropagation_figures import COMPARISONS, FLOOR, data_flow, errors_by_leaf

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.experiment


@pytest.mark.slow
def test_everything_is_within_its_limits_and_written(tmp_path):
    command = [sys.executable, "-m", "experiments.backpropagation", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for name, limit in backpropagation.LIMITS.items():
        assert 0 < summary[f"max_relative_error_{name}"] <= limit
        assert summary[f"limit_{name}"] == limit
    assert summary["limits_broken"] == 0
    assert summary["parameters"] == 64 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10
    written = {path.name for path in (tmp_path / "run").iterdir()}
    figures = {"data-flow.png", "errors-by-layer.png", "gradient-sizes.png"}
    assert written == figures | {"config.json", "metrics.jsonl", "summary.json", "report.html"}
    assert "6 networks, all within their limits" in done.stdout


@pytest.mark.slow
def test_a_broken_limit_is_said_and_ends_in_exit_code_1(tmp_path, monkeypatch, capsys):
    leaves = {f"{kind}{i}": 1e-12 for i in (1, 2, 3) for kind in "Wb"}

    def compare(hidden, pair, *_):
        errors = {name: dict(leaves) for name in backpropagation.LIMITS}
        if (hidden, pair) == ("tanh", "linear_mse"):
            errors["jax_grad_float64"]["b2"] = 2e-10
        return errors, 0

    monkeypatch.setattr(backpropagation, "compare", compare)
    assert backpropagation.main(backpropagation.Config(out=tmp_path, quiet=True)) == 1
    assert "jax_grad_float64: an error of 2e-10, the limit is 1e-10" in capsys.readouterr().err
    assert json.loads((tmp_path / "summary.json").read_text())["limits_broken"] == 1
    assert "Above its limit: jax_grad_float64" in (tmp_path / "report.html").read_text()


def test_nan_breaks_a_limit():
    good = dict.fromkeys(backpropagation.LIMITS, 1e-12)
    assert backpropagation.broken_limits(good) == []
    assert len(backpropagation.broken_limits(good | {"jax_grad_float32": math.nan})) == 1


def test_relative_error_is_that_of_the_leaf():
    a = ((), {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0, 100.0])})
    b = ((), {"weight": np.array([[1.5, 4.0]]), "bias": np.array([3.0, 4.0])})
    keep = ((), {"weight": np.array([[1.0, 1.0]]), "bias": np.array([1.0, 0.0])})
    assert backpropagation.relative_errors(a, b, keep) == {"W1": 0.5, "b1": 0.0}


def test_central_differences_find_the_kinks():
    """At w = 0.5 h the unit switches on between w - h and w + h; at w = 1 it does not."""
    with jax.enable_x64(True):
        params = {"w": np.array([backpropagation.STEP / 2, 1.0])}
        slopes, smooth = backpropagation.central_differences(
            lambda p: jnp.square(jax.nn.relu(p["w"])).sum() + jax.nn.relu(p["w"]).sum(), lambda p: [p["w"] > 0], params
        )
    assert smooth["w"].tolist() == [0, 1]
    assert float(slopes["w"][1]) == pytest.approx(3, rel=1e-9)
    assert 0.7 < float(slopes["w"][0]) < 0.8  # neither 0 nor 1: three quarters of the way lie above the kink


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_batch_that_there_is_not(size):
    with pytest.raises(ValueError, match=r"backpropagation expected batch_size"):
        backpropagation.main(backpropagation.Config(batch_size=size, quiet=True))


def test_figures_show_shapes_and_limits():
    x, labels = backpropagation.draw_batch(5, 0)
    params = tuple(
        {"weight": np.zeros(shape, np.float32), "bias": np.zeros(shape[1], np.float32)} for shape in ((64, 7), (7, 10))
    )
    figure = data_flow(backpropagation.layers_of("relu", params, x, labels))
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    for shape in ("[5, 64]", "[64, 7], [7]", "[5, 7]", "[7, 10], [10]", "[5, 10]"):
        assert shape in words
    errors = {name: {"W1": 0.0, "b1": 1e-3} for name in COMPARISONS}
    figure = errors_by_leaf({("relu", "linear_mse"): errors}, backpropagation.LIMITS)
    low, high = figure.axes[0].get_ylim()
    assert low < FLOOR
    assert high > 1e-3
    drawn = {tuple(line.get_ydata()) for line in figure.axes[0].lines}
    assert {(limit, limit) for limit in backpropagation.LIMITS.values()} <= drawn
