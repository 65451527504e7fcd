"""Killed at random moments and resumed each time, a run gives the bits of one that nobody killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "soak_run.py"

pytestmark = [
    pytest.mark.experiment,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows"),
]


@pytest.mark.parametrize(
    ("kills", "kinds"),
    [(3, ["mlp", "cnn"]), pytest.param(40, ["mlp", "cnn", "saving"], marks=pytest.mark.soak)],
    ids=["3", "40"],
)
def test_killed_at_any_moment(tmp_path, kills, kinds):
    # mlp: dropout, accumulation; cnn: batch norm, dropout, augmentation; both with early stopping and a short last
    # batch. saving: checkpoints one after the other; the program fails where one that was saved is lost or damaged,
    # and where something is left over.
    command = [sys.executable, str(PROGRAM), str(tmp_path), str(kills), "0", *kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert list(found) == kinds
    for kind, said in found.items():
        assert not said["differs"], (kind, said)
        assert sum(said["kills"].values()) == kills, (kind, said)
        if kills >= 40 and kind != "saving":
            assert all(said["kills"].values()), f"a phase of {kind} was never hit: {said}"
