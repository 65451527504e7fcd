"""The comparison of runs, on folders written here: what differs, whose numbers stand where, and what is refused."""

import json

import numpy as np
import pytest

from experiments import compare, compare_figures, compare_measures, harness
from experiments.compare_measures import metrics, read_run, verdict

pytestmark = pytest.mark.experiment

SETTINGS = {"dataset": "auto", "epochs": None, "learning_rate": 0.1, "seed": 0, "seeds": 3, "out": "?", "quiet": True}
ACCURACIES = (0.90, 0.92, 0.94)


def write(folder, *, accuracies=ACCURACIES, settings=None, summary=None, epochs=3):
    """Write what an experiment leaves, a training for each accuracy."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SETTINGS | (settings or {}) | {"out": str(folder)}))
    found = {"dataset": "digits", "epochs": epochs, "seconds": 2.5, "status": "finished", "seed": 0}
    found |= harness.over_seeds("test_accuracy", accuracies) | (summary or {})
    (folder / "summary.json").write_text(json.dumps(found))
    records = [
        {"seed": seed, "epoch": epoch, "step": 10 * epoch, "loss": 1 / epoch + seed, "validation_accuracy": accuracy}
        for seed, accuracy in enumerate(accuracies)
        for epoch in range(1, epochs + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def compared(*folders, out):
    return compare.main(compare.Config(folders, out=out, quiet=False))


def test_two_runs(tmp_path, capsys, monkeypatch):
    first = write(tmp_path / "one")
    second = write(tmp_path / "two", accuracies=(0.93, 0.95), settings={"learning_rate": 0.2, "seeds": 2})
    monkeypatch.setattr("sys.argv", ["compare", str(first), str(second), "--out", str(tmp_path / "both")])
    monkeypatch.setattr(harness, "_set_up_jax", lambda: None)
    with pytest.raises(SystemExit) as end:
        harness.main(compare.Config, compare.main)
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}
    assert rows["learning_rate"] == ["0.1", "0.2"]
    error = 2 * np.sqrt(np.var(ACCURACIES, ddof=1) / 3 + np.var((0.93, 0.95), ddof=1) / 2)
    assert rows["test_accuracy"] == ["0.92", "±", "0.02", "0.94", "±", "0.014", "+0.02", "±", f"{error:.2g}"]
    assert rows["seconds"] == ["2.5", "2.5", "+0"]
    assert "epochs" not in rows  # 3 of both, though both left it open
    assert "One setting differs, learning_rate" in shown

    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert summary["differing"] == ["learning_rate", "seeds"]
    assert summary["test_accuracy"] == [pytest.approx(0.92), pytest.approx(0.94)]
    assert (tmp_path / "both" / "curves.png").stat().st_size > 10_000
    page = (tmp_path / "both" / "report.html").read_text()
    assert "Settings that differ" in page
    assert "Change one thing" not in page


def notices(*folders):
    runs = [read_run(folder) for folder in folders]
    return compare.page(compare.Config(folders), runs, metrics(runs), metrics(runs)).notices


def test_more_than_one_setting_is_said_first(tmp_path):
    one, two = write(tmp_path / "a"), write(tmp_path / "b", settings={"seed": 3, "learning_rate": 0.3})
    (notice,) = notices(one, two)
    assert notice.startswith("2 settings differ (learning_rate, seed): no difference")
    assert notices(one, write(tmp_path / "c", settings={"seed": 3})) == []


def test_a_run_that_diverged_has_ended_and_is_said_to(tmp_path):
    stopped = write(tmp_path / "b", summary={"status": "Stopped: loss is nan in epoch 2."})
    assert notices(write(tmp_path / "a"), stopped) == [f"{stopped}: Stopped: loss is nan in epoch 2."]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([{}, {}], "settings are the same"),
        ([{}, {"seed": 3}], "Only the seed differs"),
        ([{}, {"seeds": 9}], "settings are the same"),
        ([{}, {"learning_rate": 1}, {"learning_rate": 1}], "One setting differs, learning_rate"),
        ([{}, {"batch_norm": True, "seed": 1}], "Options that not all of the runs have: batch_norm."),
        ([{}, {"data_dir": "elsewhere"}], "settings are the same"),
        ([{}, {"dataset": "digits"}], "settings are the same"),  # what auto was
    ],
)
def test_the_verdict(tmp_path, settings, words):
    assert words in verdict([read_run(write(tmp_path / str(i), settings=own)) for i, own in enumerate(settings)])


def test_curves_are_means_and_ends_over_seeds_of_each_epoch(tmp_path):
    run = read_run(write(tmp_path / "a"))
    epochs, values = compare_figures.curve(run.history, "loss")
    np.testing.assert_array_equal(epochs, [1, 2, 3])
    np.testing.assert_allclose(values, [[1 / e + 1, 1 / e, 1 / e + 2] for e in (1, 2, 3)])
    np.testing.assert_allclose(compare_figures.curve(run.history, "validation_accuracy")[1][:, 0], 0.92)


def test_each_kind_of_training_has_its_own_curves(tmp_path):
    runs = []
    for name, models in (("a", ("rnn", "lstm")), ("b", ("rnn", "gru"))):
        folder = write(tmp_path / name, settings={"learning_rate": len(runs)})
        records = [{"model": model, "length": 50, "epoch": 1, "loss": 0.5} for model in models]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        runs.append(read_run(folder))
    assert list(compare_measures.histories(runs)) == ["rnn, length 50"]
    assert list(compare_measures.histories(runs)["rnn, length 50"]) == ["A: learning_rate 0", "B: learning_rate 1"]


def test_runs_without_epochs_have_no_curves(tmp_path, capsys):
    runs = [write(tmp_path / name) for name in "ab"]
    for run in runs:
        (run / "metrics.jsonl").write_text("")
    assert compared(*runs, out=tmp_path / "out") == 0
    assert list((tmp_path / "out").glob("*.png")) == []
    capsys.readouterr()


def test_only_metrics_of_all_runs_are_compared(tmp_path):
    runs = [read_run(write(tmp_path / n, summary=s)) for n, s in (("a", {"x": 1, "y": 2.0}), ("b", {"y": None}))]
    assert [row[0] for row in metrics(runs).rows] == ["test_accuracy", "seconds"]


def broken(folder, kind):
    """Write a run and break it; return its folder."""
    if kind == "no folder":
        return folder
    write(folder, summary={"status": "Stopped by SIGINT after step 3."} if kind == "interrupted" else None)
    if kind in ("no config", "no summary"):
        (folder / f"{kind[3:]}.json").unlink()
    if kind == "damaged":
        (folder / "summary.json").write_text('{"a": ')
    if kind == "a list":
        (folder / "config.json").write_text("[]")
    if kind == "damaged line":
        (folder / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    if kind == "other data":
        (folder / "summary.json").write_text('{"dataset": "mnist", "test_accuracy": 0.5}')
    if kind == "nothing in common":
        (folder / "summary.json").write_text('{"dataset": "digits", "xor_solved": 0.5}')
    return folder


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("no folder", FileNotFoundError, "there is no folder"),
        ("no config", FileNotFoundError, "no output folder of an experiment"),
        ("no summary", ValueError, "has not ended"),
        ("interrupted", ValueError, "was not finished (Stopped by SIGINT after step 3)"),
        ("damaged", ValueError, "summary.json is damaged"),
        ("a list", ValueError, "it holds a list"),
        ("damaged line", ValueError, "metrics.jsonl is damaged"),
        ("other data", ValueError, "digits in"),
        ("nothing in common", ValueError, "no metric in common"),
    ],
)
def test_what_is_refused(tmp_path, kind, error, words):
    folders = write(tmp_path / "good"), broken(tmp_path / "bad", kind)
    with pytest.raises(error) as caught:
        compared(*folders, out=tmp_path / "out")
    assert words in str(caught.value)
    assert str(tmp_path / "bad") in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_too_few_the_same_and_a_run_as_output_are_refused(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    for folders, out, words in (
        ((one,), tmp_path / "out", "two to 6 folders of runs but got 1"),
        ((one, two, tmp_path / "one" / ".." / "one"), tmp_path / "out", "same one twice"),
        ((one, two), two, "would write over the run"),
    ):
        with pytest.raises(ValueError, match=words):
            compared(*folders, out=out)
    assert json.loads((two / "config.json").read_text())["out"] == str(two)
