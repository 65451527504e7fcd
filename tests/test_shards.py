"""Recurrent layers and convolutions on a mesh: each device computes its own part of the batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxnn.functional.shards import by_shard
from jaxnn.training.machine import cores

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "found.json"
    more = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    more["TEST_XLA_CACHE"] = str(ROOT / ".pytest_cache" / "xla-parallel")
    subprocess.run([sys.executable, "tests/shards_run.py", str(out)], check=True, cwd=ROOT, env=os.environ | more)
    return json.loads(out.read_text())


@pytest.mark.parametrize("network", ["lstm", "rnn", "gru with padding", "cnn", "cnn by tiles"])
@pytest.mark.parametrize("part", ["history", "loss", "logits"])
def test_four_devices_train_what_one_trains(found, network, part):
    one, four = (run[part] for run in found[network])
    np.testing.assert_allclose(four, one, rtol=1e-10)  # float64; the sums are taken in another order


@pytest.mark.parametrize(
    ("network", "arrays"),
    [
        ("lstm", [(8 + 16 + 2) * 64 + (16 + 16 + 2) * 64]),  # input, recurrent weight and two biases of two layers
        ("rnn with head", [(8 + 16 + 2) * 16 + (16 + 16 + 2) * 16, (16 + 1) * 3]),
    ],
)
def test_devices_send_the_gradient_in_few_arrays_and_no_examples(found, network, arrays):
    sent = found["collectives"][network]
    assert sent["sums"] == 1  # XLA joins them
    assert sent["other"] == 0
    assert sorted(sent["arrays"]) == sorted(map(str, arrays))


def test_device_per_core_says_that_it_comes_too_late(found):
    assert found["too late"] == (
        "device_per_core came too late: JAX has made its devices; call it before anything is computed"
    )


def test_device_per_core_makes_a_device_a_core():
    program = "import jax; from jaxnn.training.parallel import *; device_per_core(); print(jax.device_count())"
    printed = subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True)
    assert int(printed.stdout) == cores()


def test_one_device_computes_the_function_as_it_stands():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        jaxpr = jax.make_jaxpr(lambda x: by_shard(lambda _, x: (x + 1,), (0,), (0,), (), x))(np.ones(4))
    assert "shard_map" not in str(jaxpr)
