"""Interrupted and resumed, a run of `fit` gives the bits of the one that was not; another run is refused."""

import importlib
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.layers import batch_norm, linear, sequential
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import FitInterrupted, NotSavedError, early_stopping, fit, loop
from jaxnn.training.checkpoint import checkpoints

MODULE = importlib.import_module("jaxnn.training.fit")  # the name in the package is the function
MODEL = mlp((4, 8, 3), dropout=0.3, batch_norm=True)


def blobs(size=43, seed=1):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, size).astype(np.int32)
    centres = np.random.default_rng(0).standard_normal((3, 4))
    return Dataset((centres[labels] + generator.standard_normal((size, 4))).astype(np.float32), labels)


def noisy(key, inputs):
    return inputs + 0.1 * jax.random.normal(key, inputs.shape)


FULL = {  # 6 steps an epoch, the last of 3 examples; everything whose state or randomness has to go on
    "epochs": 4,
    "batch_size": 8,
    "validation": blobs(20, seed=2),
    "augment": noisy,
    "early_stopping": early_stopping(patience=50),
    "verbose": False,
}


def train(folder=None, **options):
    model, loss = options.pop("model", MODEL), options.pop("loss", softmax_cross_entropy)
    data, optimizer = options.pop("data", blobs()), options.pop("optimizer", optax.adam(1e-2))
    return fit(model, loss, optimizer, data, checkpoints=folder, **FULL | options)


@pytest.fixture(scope="module")
def uninterrupted():
    return train()


@pytest.fixture
def eager(monkeypatch):
    """Save after every piece; the first one has three steps, whatever the machine."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "FIRST_PIECE_STEPS", 3)


def timeless(history):
    return [{name: record[name] for name in record.keys() - {"seconds", "examples_per_second"}} for record in history]


def assert_same(found, expected):
    for name, part in expected.train_state._asdict().items():
        assert tree.sha256(getattr(found.train_state, name)) == tree.sha256(part), name
    assert timeless(found.history) == timeless(expected.history)
    assert found.best_epoch == expected.best_epoch


@pytest.fixture(scope="module")
def finished(tmp_path_factory, uninterrupted):
    """Return the folder of a finished run, which no test may change, and its result."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    result = train(folder, resume=True)  # there is nothing yet
    assert_same(result, uninterrupted)
    return folder, result


class CompilationError(Exception):
    """Raised in the place of the compiler, where no test should come or where it need not go on."""


@pytest.fixture
def uncompiled(monkeypatch):
    def refuse(*args, **options):
        raise CompilationError

    monkeypatch.setattr(MODULE, "compile_programs", refuse)
    return refuse


def test_interrupted_by_a_signal(tmp_path, uninterrupted):
    def interrupt(record, state):
        if record["epoch"] == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(FitInterrupted) as caught:
        train(tmp_path, callback=interrupt)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000012"]
    found = train(tmp_path, resume=True)
    assert_same(found, uninterrupted)
    assert found.train_seconds > caught.value.result.train_seconds


def test_ended_right_after_a_checkpoint(tmp_path, uninterrupted, eager, monkeypatch):
    class Killed(BaseException):
        pass

    def save_and_die(*args, **options):
        save_reached(*args, **options)
        raise Killed

    save_reached = MODULE.save_reached
    monkeypatch.setattr(MODULE, "save_reached", save_and_die)
    # In the middle of an epoch, before its short last batch, and at its end.
    for step in (3, 5, 6):
        with pytest.raises(Killed):
            train(tmp_path, resume=True)
        assert checkpoints(tmp_path)[0].name == f"step_{step:08d}"
    monkeypatch.setattr(MODULE, "save_reached", save_reached)
    assert_same(train(tmp_path, resume=True), uninterrupted)


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_only_its_steps(tmp_path, uninterrupted, eager):
    def interrupt(record, state):
        if record["epoch"] == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(FitInterrupted):
        train(tmp_path, callback=interrupt)
    newest, before = checkpoints(tmp_path)
    (newest / "manifest.json").write_bytes(b"{}")
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged.*Using {before.name} before it"):
        found = train(tmp_path, resume=True)
    assert_same(found, uninterrupted)
    assert newest not in checkpoints(tmp_path)


ENDS = {
    "epochs": {},
    "callback": {"callback": lambda record, state: record["epoch"] == 2},
    "early stopping": {"early_stopping": early_stopping("accuracy", patience=1)},  # less accurate it does not become
}


@pytest.mark.parametrize("ends", ENDS)
def test_a_finished_run_returns_at_once(tmp_path, finished, ends, monkeypatch, capsys):
    folder, expected = finished if ends == "epochs" else (tmp_path, train(tmp_path, **ENDS[ends]))
    assert len(expected.history) == 4 if ends == "epochs" else len(expected.history) < 4
    monkeypatch.setattr(MODULE, "compile_programs", None)  # a call would fail
    found = train(folder, resume=True, verbose=True, **ENDS[ends])
    assert_same(found, expected)
    assert (found.compile_seconds, found.train_seconds) == (0, expected.train_seconds)
    assert f"already finished at step {int(expected.train_state.step)} of {folder}" in capsys.readouterr().out
    if ends == "early stopping":  # more epochs are no reason to go on
        assert_same(train(folder, resume=True, epochs=9, **ENDS[ends]), expected)


def test_epochs_may_grow(tmp_path, uninterrupted, capsys):
    assert len(train(tmp_path, epochs=2).history) == 2
    found = train(tmp_path, resume=True, verbose=True)
    assert f"going on at step 12 of {tmp_path}" in capsys.readouterr().out
    assert_same(found, uninterrupted)


def test_nothing_to_resume_starts_anew_and_says_so(tmp_path, uncompiled, capsys):
    with pytest.raises(CompilationError):
        train(tmp_path / "new", resume=True, verbose=True)
    assert f"nothing to resume in {tmp_path / 'new'}: starting anew" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1}, ["seed was 0 and is 1"]),
        ({"epochs": 3}, ["epochs was 4 and is 3"]),
        (
            {"seed": 1, "batch_size": 9, "accumulate": 2, "augment": None, "data": blobs(44)},
            [
                "seed was 0 and is 1",
                "batch_size was 8",
                "accumulate was 1",
                "augment was True and is False",
                "data was",
            ],
        ),
        ({"validation": blobs(20, seed=3)}, ["validation was"]),
        ({"class_weights": [1.0, 2.0, 1.0]}, ["data was"]),
        ({"early_stopping": early_stopping(patience=51)}, ["early_stopping was", "50", "51"]),
        ({"loss": lambda p, t: softmax_cross_entropy(p, t)}, ["loss was 'softmax_cross_entropy' and is"]),
        ({"model": mlp((4, 8, 3), dropout=0.2, batch_norm=True)}, ["model was", "dropout=0.3", "dropout=0.2"]),
        (
            {"model": sequential(batch_norm(4), linear(4, 3))},
            [
                *("missing train_state.params.0.scale", "extra train_state.params.5.weight"),
                "train_state.params.1.weight is float32 (4, 8) where float32 (4, 3) is expected",
            ],
        ),
        ({"optimizer": optax.sgd(0.1)}, ["extra train_state.opt_state.0.mu"]),
        ({"early_stopping": None}, ["extra best.0"]),
    ],
)
def test_another_run_is_refused_with_all_that_differs(finished, options, words):
    folder, _ = finished
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    with pytest.raises(ValueError, match="another") as caught:
        train(folder, resume=True, **options)
    for word in words:
        assert word in str(caught.value)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_finished_run_is_overwritten(tmp_path, finished, uncompiled):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run" / "mine.txt").write_text("stays")
    with pytest.raises(CompilationError):
        train(tmp_path / "run")
    assert os.listdir(tmp_path / "run") == ["mine.txt"]


def test_an_unfinished_run_is_not(tmp_path):
    with pytest.raises(FitInterrupted):
        train(tmp_path, callback=lambda record, state: signal.raise_signal(signal.SIGTERM))
    kept = checkpoints(tmp_path)
    with pytest.raises(FileExistsError, match=r"not finished \(step_00000006\): go on with resume=True \(--resume\)"):
        train(tmp_path)
    (kept[0] / "manifest.json").write_bytes(b"")  # damaged: nobody knows whether it was finished
    with pytest.raises(FileExistsError, match="not finished"):
        train(tmp_path)
    assert checkpoints(tmp_path) == kept


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_said_before_the_first_step(tmp_path, resume, uncompiled):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="checkpoints cannot be saved in") as caught:
        train(tmp_path / "file", resume=resume)
    assert str(tmp_path / "file") in str(caught.value)
    with pytest.raises(OSError, match="checkpoints cannot be saved in"):
        train(tmp_path / "file" / "below", resume=resume)
    assert (tmp_path / "file").read_text() == "mine"
    if os.path.isdir("/proc/self/fdinfo"):  # which even root cannot write
        with pytest.raises(OSError, match="checkpoints cannot be saved in /proc/self/fdinfo"):
            train("/proc/self/fdinfo", resume=resume)


@pytest.mark.slow
def test_a_regression_without_state_or_metrics_goes_on_too(tmp_path):
    generator = np.random.default_rng(0)
    data = Dataset(generator.standard_normal((20, 4)).astype(np.float32), jnp.ones((20, 1)))
    bare = {
        "model": linear(4, 1),
        "loss": mean_squared_error,
        "data": data,
        "optimizer": optax.sgd(0.1),
        "validation": None,
    }
    bare |= {"augment": None, "early_stopping": None}
    train(tmp_path, epochs=2, **bare)
    assert_same(train(tmp_path, epochs=4, resume=True, **bare), train(epochs=4, **bare))


def test_a_save_that_fails_loses_nothing_that_was_trained(tmp_path, monkeypatch, uninterrupted):
    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MODULE, "save_reached", full_disk)
    with pytest.raises(NotSavedError, match="No space left") as caught:
        train(tmp_path)
    assert timeless(caught.value.result.history) == timeless(uninterrupted.history)
    assert tree.sha256(caught.value.result.train_state.opt_state) == tree.sha256(uninterrupted.train_state.opt_state)
