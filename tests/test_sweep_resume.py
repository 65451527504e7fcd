"""Many networks trained together, stopped at any checkpoint and resumed, give the bits of an uninterrupted sweep."""

import errno
import itertools
import sys

import jax
import numpy as np
import pytest

from jaxnn.data import Dataset
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.training import NotSavedError
from jaxnn.training.checkpoint import checkpoints
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_settings import grid

RANDOM = np.random.default_rng(0)
DATA = Dataset(RANDOM.standard_normal((22, 6)).astype(np.float32), RANDOM.integers(0, 3, 22).astype(np.int32))
LOOP, RESUME = sys.modules["jaxnn.training.sweep_loop"], sys.modules["jaxnn.training.sweep_resume"]
PROGRAMS = sys.modules["jaxnn.training.sweep_programs"]


class KilledError(Exception):
    """The end of a run that nobody asked for."""


def make(h):
    return mlp((6, 8, 3), dropout=0.2, batch_norm=True), adam(h["rate"])


# At a rate of 1e30 a network is frozen after its first steps; the others go on.
SETTINGS = grid(rate=[0.01, 1e30])


def sweep(folder=None, *, epochs=2, resume=False, settings=SETTINGS, **options):
    return fit_many(
        make,
        softmax_cross_entropy,
        DATA,
        settings,
        epochs=epochs,
        batch_size=6,
        validation_split=0.25,
        seeds=(3, 5, 8),
        checkpoints=folder,
        resume=resume,
        verbose=False,
        **options,
    )


def assert_same(found, expected):
    for one, other in zip(found.members, expected.members, strict=True):
        assert one._replace(params=(), model_state=()) == other._replace(params=(), model_state=())
        jax.tree.map(np.testing.assert_array_equal, one[2:4], other[2:4])
    assert found.table == expected.table


@pytest.fixture
def small_pieces(monkeypatch):
    """Save after every step, and let no chunk be larger than three networks."""
    monkeypatch.setattr(LOOP, "FIRST_PIECE_STEPS", 1)
    monkeypatch.setattr(LOOP, "PIECE_SECONDS", 0.0)
    monkeypatch.setattr(LOOP, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(PROGRAMS, "SIDE_BY_SIDE", 0)
    monkeypatch.setattr(PROGRAMS, "MOST_IN_TURN", 3)


def test_killed_after_every_fourth_checkpoint_and_resumed(tmp_path, monkeypatch, small_pieces):
    whole = sweep()
    save, count = RESUME.save_reached, itertools.count(1)
    lives = 0

    def save_and_die(*given):
        save(*given)
        if next(count) % 4 == 0:
            raise KilledError

    monkeypatch.setattr(RESUME, "save_reached", save_and_die)
    while True:
        lives += 1
        try:
            resumed = sweep(tmp_path, resume=True)
            break
        except KilledError:
            assert lives < 9
    assert lives == 3
    assert_same(resumed, whole)
    assert any(member.diverged for member in whole.members)
    assert [len(checkpoints(folder)) for folder in sorted(tmp_path.iterdir())] == [1, 1]


def test_more_epochs_are_the_same_run(tmp_path):
    sweep(tmp_path, epochs=1)
    assert_same(sweep(tmp_path, epochs=3, resume=True), sweep(epochs=3))


def test_another_sweep_is_refused(tmp_path):
    sweep(tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"is another one: hyperparameters was .*1e\+30.* and is .*0\.2"):
        sweep(tmp_path, epochs=1, settings=grid(rate=[0.01, 0.2]), resume=True)


def test_a_full_disk_loses_no_network(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RESUME, "save_reached", full)
    with pytest.raises(NotSavedError, match="No space left on device") as caught:
        sweep(tmp_path)
    assert_same(caught.value.result, sweep())
