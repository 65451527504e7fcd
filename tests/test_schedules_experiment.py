"""The experiment with schedules in its smallest form: what it writes, and its numbers computed another way."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import schedules

pytestmark = pytest.mark.experiment


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "schedules"
    config = schedules.Config(
        dataset="digits", rates=(1e-5, 0.01), images=200, epochs=2, hidden=(8,), seeds=2, out=folder, quiet=True
    )
    assert schedules.main(config) == 0
    return folder


@pytest.mark.slow
def test_everything_is_written(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "summary.json", "metrics.jsonl", "report.html", "checkpoints"),
        *("rate-and-loss.png", "accuracy.png"),
    }
    page = (folder / "report.html").read_text()
    assert "<h1>Learning-rate schedules</h1>" in page
    assert "16 networks, 2 epochs of 200 images each." in page


@pytest.mark.slow
def test_the_rate_is_chosen_on_validation_images_and_follows_the_schedule(folder):
    summary = json.loads((folder / "summary.json").read_text())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 4 * 2 * 2 * 2
    for name in schedules.SCHEDULES:
        own = [record for record in records if record["schedule"] == name and record["epoch"] == 2]
        by_rate = {
            rate: np.mean([record["validation_accuracy"] for record in own if record["rate"] == rate])
            for rate in (1e-5, 0.01)
        }
        key = name.replace(" ", "_")
        assert summary[f"{key}_rate"] == max(by_rate, key=lambda rate: by_rate[rate])
        accuracies = summary[f"{key}_test_accuracy_by_seed"]
        assert len(accuracies) == 2
        assert summary[f"{key}_test_accuracy_mean"] == pytest.approx(np.mean(accuracies))
        assert summary[f"{key}_test_accuracy_deviation"] == pytest.approx(np.std(accuracies, ddof=1))
        last = float(schedules.schedule(name, 0.01, summary["steps"])(summary["steps"] - 1))
        assert [r["learning_rate"] for r in own if r["rate"] == 0.01] == pytest.approx([last] * 2, rel=1e-5)


def test_the_schedules_by_hand():
    """100 steps: the guide's StepLR(30, 0.1), half a cosine, PyTorch's OneCycleLR (its top at step 29)."""
    t = jnp.arange(100)
    courses = {name: np.asarray(schedules.schedule(name, 2.0, 100)(t), np.float64) for name in schedules.SCHEDULES}
    assert (courses["constant"] == 2).all()
    np.testing.assert_allclose(courses["step"], 2.0 * 0.1 ** (np.arange(100) // 30), rtol=1e-6)
    np.testing.assert_allclose(courses["cosine"], 1 + np.cos(np.pi * np.arange(100) / 100), atol=1e-6)
    cycle = courses["one cycle"]
    assert (int(cycle.argmax()), float(cycle.max())) == (29, 2.0)
    np.testing.assert_allclose(cycle[[0, 99]], [2 / 25, 2 / 25e4], rtol=1e-4)


def test_bad_options_leave_the_results_of_an_earlier_run(tmp_path):
    (tmp_path / "report.html").touch()
    config = schedules.Config(dataset="digits", out=tmp_path)
    for options, word in (({"rates": (0.0,)}, "rates"), ({"epochs": 0}, "epochs"), ({"seeds": 0}, "seeds")):
        with pytest.raises(ValueError, match=word):
            schedules.main(replace(config, **options))
    assert (tmp_path / "report.html").is_file()
