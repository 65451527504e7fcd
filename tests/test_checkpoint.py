"""Checkpoints: what was saved comes back bit for bit, and what cannot be saved or restored says why."""

import asyncio
import errno
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.training.checkpoint import (
    CheckpointError,
    checkpoints,
    read_manifest,
    restore_checkpoint,
    save_checkpoint,
)


class Pair(NamedTuple):
    """A tuple with names, as Optax's states are."""

    first: object
    second: object


def everything():
    params = {"weight": jnp.arange(6.0).reshape(2, 3) / 7, "bias": jnp.array([-0.0, jnp.nan, jnp.inf])}
    return {
        "params": (params, (), {"name with spaces/é": jnp.ones(3, jnp.bfloat16) / 3}),
        "optimizer": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(params),
        "pair": Pair(jnp.array([True, False]), [jnp.int32(-7), jnp.uint8(255)]),
        "nothing": (jnp.zeros((0, 3)), {}, None),
        "key": jax.random.key_data(jax.random.key(3)),
        "host": np.float32(0.1),
    }


def zeros_like(values):
    return jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), leaf.dtype), values)


def test_every_bit_dtype_and_structure_comes_back(tmp_path):
    values = everything()
    path = save_checkpoint(tmp_path, 12, values, {})
    found = restore_checkpoint(tmp_path, zeros_like(values))
    assert (found.path, found.step) == (path, 12)
    assert jax.tree.structure(found.tree) == jax.tree.structure(values)
    assert tree.sha256(found.tree) == tree.sha256(values)  # paths, dtypes, shapes, bits
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found.tree) if leaf.size)


def test_a_tree_of_nothing(tmp_path):
    save_checkpoint(tmp_path, 0, {"a": (), "b": jnp.zeros((0, 2))}, {"only": "notes"})
    assert restore_checkpoint(tmp_path, {"a": (), "b": jnp.zeros((0, 2))}).notes == {"only": "notes"}


def test_notes_are_what_json_can_say_and_numbers_of_numpy(tmp_path):
    notes = {"nan": float("nan"), "inf": -float("inf"), "list": [1, [0.1, "é", None]], "dict": {"a": True}, "0": ""}
    save_checkpoint(tmp_path, 1, {"a": jnp.ones(1)}, notes | {"int": np.int64(3), "float": jnp.float32(0.5)})
    found = restore_checkpoint(tmp_path, {"a": jnp.ones(1)}).notes
    assert np.isnan(found.pop("nan"))
    del notes["nan"]
    assert found == notes | {"int": 3, "float": 0.5}


def test_the_two_newest_are_kept_by_number(tmp_path):
    for step in (9, 10, 99_999_999, 100_000_000):  # the names of the last two have different lengths
        save_checkpoint(tmp_path, step, {"a": jnp.full(1, step % 7)}, {})
    assert [path.name for path in checkpoints(tmp_path)] == ["step_100000000", "step_99999999"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_100000000", "step_99999999"]
    assert restore_checkpoint(tmp_path, {"a": jnp.ones(1, int)}).step == 100_000_000


def test_the_one_just_saved_is_never_removed(tmp_path):
    for step in (300, 200, 100):
        save_checkpoint(tmp_path, step, {"a": jnp.ones(1)}, {})
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000300", "step_00000100"]


def test_saved_twice_at_the_same_step_the_second_counts(tmp_path):
    save_checkpoint(tmp_path, 4, {"a": jnp.zeros(1)}, {"save": 0})
    for i in (1, 2):
        save_checkpoint(tmp_path, 5, {"a": jnp.full(1, i, jnp.float32)}, {"save": i})
    found = restore_checkpoint(tmp_path, {"a": jnp.ones(1)})
    assert (found.tree["a"].item(), found.notes) == (2.0, {"save": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000004", "step_00000005"]


def test_killed_between_the_two_renames_the_one_before_is_found(tmp_path):
    # What a process leaves that is killed after the old checkpoint of a step was moved and before the new one was.
    save_checkpoint(tmp_path, 5, {"a": jnp.full(1, 5.0)}, {}).rename(tmp_path / "step_00000005.before")
    (tmp_path / "step_00000005.part" / "arrays").mkdir(parents=True)
    found = restore_checkpoint(tmp_path, {"a": jnp.ones(1)})
    assert (found.step, found.tree["a"].item()) == (5, 5.0)
    save_checkpoint(tmp_path, 5, {"a": jnp.full(1, 6.0)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000005"]
    assert restore_checkpoint(tmp_path, {"a": jnp.ones(1)}).tree["a"].item() == 6.0


def test_leftovers_of_a_killed_run_are_no_checkpoints_and_are_removed(tmp_path):
    left = tmp_path / "step_00000007.part"
    (left / "arrays").mkdir(parents=True)
    (left / "arrays" / "data").write_bytes(b"half")
    (tmp_path / "step_notes.txt").write_text("mine")
    assert checkpoints(tmp_path) == []
    save_checkpoint(tmp_path, 8, {"a": jnp.ones(1)}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000008", "step_notes.txt"]


def test_another_model_is_refused_with_every_difference_at_once(tmp_path):
    save_checkpoint(tmp_path, 1, {"same": jnp.ones(2), "extra": jnp.ones(2), "shape": jnp.ones((2, 3))}, {})
    like = {"same": jnp.ones(2, jnp.bfloat16), "missing": jnp.ones(2), "shape": jnp.ones((3, 2))}
    with pytest.raises(ValueError, match="another model") as caught:
        restore_checkpoint(tmp_path, like)
    for words in (
        str(tmp_path / "step_00000001"),
        "missing missing",
        "extra extra",
        "shape is float32 (2, 3) where float32 (3, 2) is expected",
        "same is float32 (2,) where bfloat16 (2,) is expected",
    ):
        assert words in str(caught.value)


def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"a": jnp.full(1, step, jnp.float32)}, {})
    (tmp_path / "step_00000002" / "manifest.json").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step_00000002 is damaged: manifest.json .* Using step_00000001 before it"):
        found = restore_checkpoint(tmp_path, {"a": jnp.ones(1)})
    assert (found.step, found.tree["a"].item()) == (1, 1.0)
    (tmp_path / "step_00000001" / "manifest.sha256").unlink()
    with pytest.raises(CheckpointError, match=r"step_00000002 is damaged.*; .*step_00000001 is damaged: manifest.sha"):
        restore_checkpoint(tmp_path, {"a": jnp.ones(1)})


def test_an_undamaged_one_is_restored_without_a_word_and_without_pickle(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, {"a": jnp.ones(3)}, {})

    def refuse(*args, **options):
        raise AssertionError("a pickle was loaded")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        restore_checkpoint(tmp_path, {"a": jnp.ones(3)})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # from threads of Orbax
@pytest.mark.parametrize("limit", [10, 1000, 100_000], ids=["at the first byte", "in the manifest", "in the arrays"])
def test_a_full_disk_is_an_os_error_and_the_older_one_stays(tmp_path, limit, caplog):
    values = {"weight": jax.random.normal(jax.random.key(0), (100_000,))}
    values = values if limit == 100_000 else {"weight": values["weight"][:3]}
    like = zeros_like(values)
    save_checkpoint(tmp_path, 1, values, {"long": "x" * 2000})
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    resource = pytest.importorskip("resource")  # there is none on Windows
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard[1]))
    try:
        with pytest.raises(OSError, match="cannot save the checkpoint") as caught:
            save_checkpoint(tmp_path, 2, values, {"long": "x" * 2000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, hard)
    assert caught.value.errno == errno.EFBIG
    assert str(tmp_path / "step_00000002") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not caplog.records  # Orbax would log a thousand lines
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert os.listdir(tmp_path) == ["step_00000001"]
    assert tree.sha256(restore_checkpoint(tmp_path, like).tree) == tree.sha256(values)


def test_what_cannot_be_said_is_refused_before_anything_is_written(tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(TypeError, match=r"notes of a checkpoint .* but got function"):
        save_checkpoint(folder, 1, {"a": jnp.ones(1)}, {"callback": zeros_like})
    with pytest.raises(ValueError, match=r"a\.b is the path of two"):
        save_checkpoint(folder, 1, {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, {})
    assert not folder.exists()


def test_saved_and_restored_in_a_notebook_and_in_a_thread(tmp_path):
    def there_and_back(folder):
        save_checkpoint(folder, 1, {"a": jnp.full(2, 3.0)}, {})
        return restore_checkpoint(folder, {"a": jnp.zeros(2)}).tree["a"].tolist()

    async def cell():  # runs inside of an event loop, as Jupyter's cells do
        return there_and_back(tmp_path / "notebook")

    with ThreadPoolExecutor() as pool:
        assert asyncio.run(cell()) == pool.submit(there_and_back, tmp_path / "thread").result() == [3.0, 3.0]


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot save the checkpoint"):
        save_checkpoint(tmp_path / "file", 1, {"a": jnp.ones(1)}, {})
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        restore_checkpoint(tmp_path / "file", {"a": jnp.ones(1)})


def test_the_manifest_names_every_file_and_what_wrote_it(tmp_path):
    path = save_checkpoint(tmp_path, 3, {"a": jnp.ones((2, 1), jnp.bfloat16)}, {})
    manifest = read_manifest(path)
    files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json", "manifest.sha256"}
    assert manifest["leaves"] == {"a": ["bfloat16", [2, 1]]}
    assert manifest["versions"]["jax"] == jax.__version__
