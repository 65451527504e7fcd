"""Damaged checkpoints: no byte can change without one CheckpointError that names the path."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn import tree
from jaxnn.training.checkpoint import CheckpointError, restore_checkpoint, save_checkpoint

VALUES = {"weight": jnp.arange(12.0).reshape(3, 4), "bias": jnp.ones(4, jnp.bfloat16), "step": jnp.int32(7)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save two; return the folder and the files of the newest one."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2):
        path = save_checkpoint(folder, step, VALUES | {"step": jnp.int32(step)}, {"history": [{"loss": 0.5}] * 3})
    files = sorted(file for file in path.rglob("*") if file.is_file())
    assert len(files) > 5  # manifest, its SHA-256, and Orbax's own
    return folder, files


@pytest.fixture
def alone(saved, tmp_path):
    """Return a folder with the newest checkpoint alone, and its files by name."""
    folder, files = saved
    newest = shutil.copytree(folder / "step_00000002", tmp_path / "step_00000002")
    return tmp_path, {str(file.relative_to(folder / "step_00000002")): newest for file in files}


def damaged(folder, path, content: bytes | None, *words: str) -> None:
    """Put the content in the file's place, which must be refused; put the file back, which must be fine again."""
    whole = path.read_bytes()
    assert content != whole
    try:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        refused(CheckpointError, lambda: restore_checkpoint(folder, VALUES), str(folder / "step_00000002"), *words)
    finally:
        path.write_bytes(whole)


def in_files(alone, change, *words: str) -> None:
    """Damage every file, one after the other."""
    folder, files = alone
    for name, checkpoint in files.items():
        for content in change((checkpoint / name).read_bytes()):
            damaged(folder, checkpoint / name, content, *words)


def test_truncated_at_every_tenth(alone):
    def tenths(whole: bytes):
        return (whole[:length] for length in {len(whole) * tenth // 10 for tenth in range(10)} if whole)

    in_files(alone, tenths)


def test_replaced_by_garbage(alone):
    generator = np.random.default_rng(0)
    in_files(alone, lambda whole: [generator.bytes(len(whole) or 9), generator.bytes(50)])


def test_bytes_after_the_end(alone):
    in_files(alone, lambda whole: [whole + b"\0", whole + whole + b"x"])


def test_missing(alone):
    in_files(alone, lambda whole: [None], "No such file")


def test_a_bit_flipped_in_200_places(alone):
    folder, files = alone
    paths = [checkpoint / name for name, checkpoint in files.items()]
    ends = np.cumsum([path.stat().st_size for path in paths])
    for place in np.random.default_rng(0).choice(ends[-1] * 8, 200, replace=False):
        i = int(np.searchsorted(ends, place // 8, side="right"))
        content = bytearray(paths[i].read_bytes())
        content[place // 8 - ends[i]] ^= 1 << place % 8  # counted from the file's end
        damaged(folder, paths[i], bytes(content))


def test_a_folder_or_a_link_to_nothing_in_a_files_place(alone):
    folder, files = alone
    path = files["manifest.json"] / "manifest.json"
    whole = path.read_bytes()
    path.unlink()
    path.mkdir()
    refused(CheckpointError, lambda: restore_checkpoint(folder, VALUES), "manifest.json", "directory")
    path.rmdir()
    path.symlink_to("nothing")
    refused(CheckpointError, lambda: restore_checkpoint(folder, VALUES), "manifest.json")
    path.unlink()
    path.write_bytes(whole)
    assert restore_checkpoint(folder, VALUES).step == 2


def test_a_file_in_the_checkpoints_place(tmp_path):
    (tmp_path / "step_00000002").write_bytes(b"x")
    refused(CheckpointError, lambda: restore_checkpoint(tmp_path, VALUES), str(tmp_path / "step_00000002"))


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "arrays/_METADATA"])
def test_the_one_before_is_used_with_a_warning(saved, tmp_path, name):
    folder = shutil.copytree(saved[0], tmp_path / "both")
    path = folder / "step_00000002" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"step_00000002 is damaged: .* Using step_00000001 before it"):
        found = restore_checkpoint(folder, VALUES)
    assert found.step == 1
    assert tree.sha256(found.tree) == tree.sha256(VALUES | {"step": jnp.int32(1)})


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "step_00000002"
    path.mkdir()
    for name in ("manifest.json", "manifest.sha256"):
        (path / name).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    refused(CheckpointError, lambda: restore_checkpoint(tmp_path, VALUES), "SHA-256")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", [-1, 1.5, True, "3"])
def test_steps_that_are_none(tmp_path, step):
    error = ValueError if step == -1 else TypeError
    refused(error, lambda: save_checkpoint(tmp_path, step, VALUES, {}), "save_checkpoint expected step")
