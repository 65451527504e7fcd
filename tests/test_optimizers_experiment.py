"""The optimizers' experiment as a user runs it, in its smallest form: what it writes, and that its claims hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.experiment, pytest.mark.slow]
CACHE = str(ROOT / ".pytest_cache")
NAMES = ("gradient_descent", "sgd", "momentum", "rmsprop", "adam")


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "optimizers"
    options = ("--dataset", "digits", "--images", 300, "--steps", 60, "--batch-size", 16, "--hidden", 8)
    process = subprocess.run(
        [sys.executable, "-m", "experiments.optimizers", *map(str, options), "--out", str(folder)],
        cwd=ROOT,
        # A second run of the tests compiles next to nothing, as in conftest.
        env={key: value for key, value in os.environ.items() if key != "JAXNN_DATA_DIR"} | {"XDG_CACHE_HOME": CACHE},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    return folder, process.stdout


def test_everything_is_written(finished):
    folder, output = finished
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "summary.json", "metrics.jsonl", "report.html"),
        *("ill-conditioned-quadratic.png", "rosenbrock-s-valley.png", "digits-by-step-and-by-second.png"),
        *("distance-to-optax.png", "l2-and-decoupled-weight-decay.png"),
    }
    assert "digits: mlp((64, 8, 10)) on 300 images" in output
    page = (folder / "report.html").read_text()
    assert "<h1>Optimizers by hand</h1>" in page
    assert "Environment" in page


def test_the_claims_hold(finished):
    summary = json.loads((finished[0] / "summary.json").read_text())
    assert all(isinstance(value, int | float | str) for value in summary.values())
    # The rules are Optax's to float64's rounding, along the whole of every way.
    distances = {key: value for key, value in summary.items() if "distance" in key and "float32" not in key}
    assert len(distances) == 16
    assert 0 < summary["largest_distance"] == max(distances.values()) < 1e-12
    # Every optimizer goes down: the starts are 96.75 and 12.5 high, and the loss of ten classes by chance is 2.3.
    for name in NAMES:
        assert summary[f"quadratic_height_{name}"] < 1, name
        assert summary[f"rosenbrock_height_{name}"] < 1, name
        assert summary[f"seconds_per_step_{name}"] > 0, name
    assert all(summary[f"loss_{name}"] < 2.3 for name in ("sgd", "momentum", "rmsprop", "adam"))
    # L2 in the loss is decoupled decay under SGD, up to rounding, and another thing under Adam.
    assert summary["l2_against_decoupled_sgd"] < 1e-5
    assert summary["l2_against_decoupled_adam"] > 0.05
