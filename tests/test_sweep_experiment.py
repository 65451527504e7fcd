"""The sweep's experiment in its smallest form: what it writes, its numbers computed another way, what it refuses."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from experiments import sweep
from experiments.sweep_measures import scores
from jaxnn.data.images import load

pytestmark = pytest.mark.experiment


CONFIG = sweep.Config(
    dataset="digits",
    learning_rates=(0.003, 0.01),
    dropouts=(0.2,),
    images=300,
    epochs=2,
    hidden=(16,),
    seeds=2,
    ensemble=3,
    quiet=True,
)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    assert sweep.main(replace(CONFIG, out=folder)) == 0
    return folder


def test_everything_is_written(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "summary.json", "metrics.jsonl", "report.html", "checkpoints"),
        *("validation-accuracy-by-setting.png", "best-network.png", "ensemble-against-its-members.png"),
        *("best-network-can-its-confidence-be-believed.png", "ensemble-can-its-confidence-be-believed.png"),
    }
    page = (folder / "report.html").read_text()
    assert "<h1>8 networks on Digits</h1>" in page
    assert "8 networks" in page
    assert "4 networks side by side (vmap): of 1,210 parameters each" in page


def test_it_goes_on_where_it_was_killed(folder, tmp_path):
    """As if killed before the second program."""
    whole, folder = folder, tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "metrics.jsonl").write_text("")
    shutil.rmtree(folder / "checkpoints" / "program_2_from_network_1")
    assert sweep.main(replace(CONFIG, out=folder, resume=True)) == 0
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    told = [json.loads((f / "summary.json").read_text()) for f in (folder, whole)]
    for summary in told:
        summary["train_seconds"] = summary["compile_seconds"] = None
    assert told[0] == told[1]


def test_the_best_is_the_best_on_validation_images(folder):
    summary = json.loads((folder / "summary.json").read_text())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 8 * 2
    last = [record for record in records if record["epoch"] == 2]
    best = max(last, key=lambda record: record["validation_accuracy"])
    assert summary["best"] == f"{best['model']}, seed {best['seed']}"
    assert summary["best_validation_accuracy"] == best["validation_accuracy"]
    assert (summary["networks"], summary["programs"], summary["diverged"]) == (8, 2, 0)
    assert summary["steps"] == 8 * 2 * 5
    alone = summary["ensemble_members_test_accuracy"]
    assert len(alone) == summary["ensemble_size"] == 3
    assert summary["test_accuracy"] == alone[0]
    assert 360 * summary["ensemble_test_accuracy"] == pytest.approx(round(360 * summary["ensemble_test_accuracy"]))
    assert summary["ensemble_test_accuracy"] > 0.5  # chance is a tenth
    # -log is convex: the loss of the mean is at most the mean of the losses.
    assert summary["ensemble_test_loss"] <= summary["ensemble_members_test_loss_mean"]


def test_no_network_trains_on_validation_images():
    data = load("digits").train
    train, validation = sweep.parted(data, 10_000, seed=3)
    assert (train.size, validation.size) == (1150, 287)
    rows = np.concatenate([train.inputs, validation.inputs]).reshape(1437, -1)
    assert (np.sort(rows, axis=0) == np.sort(data.inputs.reshape(1437, -1), axis=0)).all()
    assert not (train.targets[:100] == train.targets[0]).all()  # digits are sorted by class


def test_scores():
    probabilities = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], np.float32)
    found = scores(probabilities, [0, 1, 1])
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.loss == pytest.approx(-np.log([0.75, 0.5, 0.75]).mean())


def test_bad_options_leave_the_results_of_an_earlier_run(tmp_path):
    (tmp_path / "report.html").touch()
    config = sweep.Config(dataset="digits", out=tmp_path)
    for options, word in (
        ({"dropouts": (1.5,)}, "dropout"),
        ({"learning_rates": (-1.0,)}, "adam"),
        ({"seeds": 0}, "seeds"),
        ({"images": 0}, "images"),
    ):
        with pytest.raises(ValueError, match=word):
            sweep.main(replace(config, **options))
    assert (tmp_path / "report.html").is_file()
