"""No accelerator is needed to see that a training step lowers for one."""

import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxnn.data import Dataset
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import cnn, lstm_classifier, mlp, transformer_classifier
from jaxnn.training import epoch_program, init_train_state, no_progress, run_keys, train_step
from jaxnn.training.parallel import fully_sharded
from jaxnn.training.placement import Placement, split_inputs, split_step

MODELS = {
    "mlp": sequential(normalize(0.1307, 0.3081), mlp((784, 32, 10), dropout=0.2)),
    "mlp with batch norm": sequential(normalize(0.1307, 0.3081), mlp((784, 32, 10), batch_norm=True)),
    "cnn": sequential(normalize(0.1307, 0.3081), cnn(10)),
    "lstm": lstm_classifier(8, 16, 2, 10, vocabulary_size=50, pad_id=0),
    "transformer": transformer_classifier(50, 16, 4, 2, 10, pad_id=0),
}
IMAGES, TOKENS = jnp.zeros((64, 28, 28, 1), jnp.uint8), jnp.zeros((64, 12), jnp.int32)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("platform", ["cuda", pytest.param("tpu", marks=pytest.mark.slow)])
def test_the_epoch_program_lowers(name, platform):
    optimizer = optax.adam(1e-3)
    step = train_step(MODELS[name], softmax_cross_entropy, optimizer, {"accuracy": accuracy})
    state = init_train_state(MODELS[name].init, optimizer, jax.random.key(0))
    data = Dataset(TOKENS if name in ("lstm", "transformer") else IMAGES, jnp.zeros(64, jnp.int32))
    batch = jax.tree.map(lambda field: field[:16], data)
    progress = no_progress(step, state, batch, jax.random.key(1))
    order = jnp.zeros((4, 16), jnp.int32)
    bounds = jnp.int32(0), jnp.int32(4)
    run = jax.jit(epoch_program(step))
    exported = jax.export.export(run, platforms=[platform])(state, progress, data, order, run_keys(1), *bounds)
    assert exported.platforms == (platform,)
    assert "while" in exported.mlir_module()
    assert "callback" not in exported.mlir_module()


@pytest.mark.parametrize("name", ["mlp with batch norm", pytest.param("cnn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("platform", ["cuda", pytest.param("tpu", marks=pytest.mark.slow)])
def test_the_epoch_program_lowers_for_eight_devices(name, platform):
    optimizer = optax.adam(1e-3)
    mesh = AbstractMesh((8,), ("data",), axis_types=(AxisType.Auto,))  # as a Mesh's are
    place = Placement(mesh, fully_sharded)  # type: ignore[arg-type]  # devices are not needed to lower
    step = split_step(place, train_step(split_inputs(place, MODELS[name]), softmax_cross_entropy, optimizer))
    state = init_train_state(MODELS[name].init, optimizer, jax.random.key(0))
    batch = Dataset(IMAGES[:16], jnp.zeros(16, jnp.int32))
    progress = no_progress(step, state, batch, jax.random.key(1))
    data = Dataset(IMAGES, jnp.zeros(64, jnp.int32))
    whole = NamedSharding(mesh, PartitionSpec())
    arguments = state, progress, data, jnp.zeros((4, 16), jnp.int32), run_keys(1), jnp.int32(0), jnp.int32(4)
    placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), arguments)
    exported = jax.export.export(jax.jit(epoch_program(step)), platforms=[platform])(*placed)
    assert (exported.platforms, exported.nr_devices) == ((platform,), 8)
    assert exported.mlir_module().count("sharding_constraint") > len(jax.tree.leaves(state))
    assert "callback" not in exported.mlir_module()
