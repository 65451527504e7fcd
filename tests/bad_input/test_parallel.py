"""What a user gets for meshes, rules, devices and processes that cannot be."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec
from refusal import refused

from jaxnn.data import Dataset
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import fit
from jaxnn.training.parallel import data_mesh, initialize
from jaxnn.training.placement import Placement, place_state, placement
from jaxnn.training.state import init_train_state

DATA = Dataset(np.eye(16, 4, dtype=np.float32), np.arange(16, dtype=np.int32) % 3)
MESH = Mesh(np.array(jax.devices()[:1]), ("data",))


def four_ways(**options):
    """Ask for a placement on a mesh of four devices, which need not be there for its sizes to be checked."""
    four = Mesh(np.array(jax.devices()[:1] * 4), ("data",))
    return placement(four, None, **{"batch_size": 64, "accumulate": 1} | options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mesh": 4}, TypeError, ["fit expected mesh", "data_mesh(4)"]),
        ({"mesh": Mesh(np.array(jax.devices()[:1]), ("x",))}, ValueError, ["axis 'data'", "('x',)"]),
        (
            {"sharding": lambda mesh, path, leaf: PartitionSpec()},
            ValueError,
            ["sharding without a mesh", "data_mesh()"],
        ),
        ({"mesh": MESH, "sharding": "all"}, TypeError, ["sharding", "'all'"]),
        ({"mesh": MESH, "sharding": lambda *_: "data"}, TypeError, ["PartitionSpec", "params.1.bias", "'data'"]),
        ({"mesh": MESH, "sharding": lambda *_: PartitionSpec("model")}, ValueError, ["params.1.bias", "'model'"]),
    ],
)
def test_fit(options, error, words):
    train = lambda: fit(mlp((4, 5, 3)), softmax_cross_entropy, optax.sgd(0.1), DATA, epochs=1, **options)  # noqa: E731
    refused(error, train, *words)


def test_batches_that_cannot_be_split():
    refused(ValueError, lambda: four_ways(batch_size=3), "batch_size=3", "4 devices", "take batch_size=4")
    refused(ValueError, lambda: four_ways(batch_size=66), "batch_size=66", "batch_size=64 or batch_size=68")
    refused(ValueError, lambda: four_ways(batch_size=60, accumulate=10), "10 parts of 6", "batch_size=40", "80")
    assert four_ways(batch_size=64, accumulate=4).ways == 4


def test_a_rule_that_does_not_divide_names_the_array():
    state = init_train_state(mlp((4, 5, 3)).init, optax.sgd(0.1), jax.random.key(0))
    place = Placement(four_ways().mesh, lambda mesh, path, leaf: PartitionSpec("data"))
    refused(ValueError, lambda: place_state(place, state), "params.1.bias", "(5,)", "{'data': 4}")


@pytest.mark.parametrize(("devices", "error"), [(0, ValueError), (1.5, TypeError), (10**6, ValueError)])
def test_devices(devices, error):
    refused(error, lambda: data_mesh(devices), "data_mesh", str(devices))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("localhost", 2, 1), ["host:port", "'localhost'"]),
        (("localhost:http", 2, 1), ["host:port", "'localhost:http'"]),
        (("localhost:1", None, 1), ["no processes", "coordinator, processes, process_id"]),
        ((None, 2, None), ["no coordinator and no process_id"]),
        (("localhost:1", 0, 0), ["processes", "0"]),
        (("localhost:1", 2, 2), ["process_id below processes=2", "2"]),
    ],
)
def test_processes(given, words):
    refused(ValueError, lambda: initialize(*given), "initialize", *words)


def test_no_coordinator():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        refused(TimeoutError, lambda: initialize(address, 2, 1, timeout=1), "no coordinator", address, "process 0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--devices", "0"], "--devices"),
        (["--devices", "3"], "batch_size=64"),
        (["--processes", "2"], "--distributed"),
        (["--distributed"], "recognised no cluster"),
    ],
)
def test_on_the_command_line(tmp_path, options, words):
    command = [
        sys.executable,
        "-m",
        "experiments.mnist",
        "--dataset",
        "digits",
        "--out",
        str(tmp_path / "run"),
        *options,
    ]
    root = Path(__file__).parents[2]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
    assert ended.stderr.startswith("error: ")
    assert words in ended.stderr
