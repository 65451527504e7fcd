"""Weights of PyTorch in and out: golden/torch_interop.npz, made by the script beside it; files; names.

The models of the guide come in by `from_torch` in the test_torch_*.py, where their outputs are compared. Errors are
relative to the largest entry of an array.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from bits import assert_same_arrays
from regeneration import FOLDER, regenerated

from jaxnn import layers, models
from jaxnn.interop.torch import from_torch, to_torch

GOLDEN = dict(np.load(FOLDER / "torch_interop.npz"))
TOLERANCE = 1e-5

attention = layers.multi_head_attention(8, 2)
MODELS = {
    "flattening": layers.sequential(
        layers.conv2d(2, 4, 3),
        layers.batch_norm(4),
        jax.nn.relu,
        layers.max_pool2d(2),
        layers.conv2d(4, 6, 3, groups=2),
        layers.batch_norm(6),
        jax.nn.relu,
        layers.flatten(),
        layers.linear(36, 6),
        jax.nn.relu,
        layers.linear(6, 6),
        jax.nn.relu,
        layers.dropout(0.5),
        layers.linear(6, 3),
    ),
    "sequence flattened": layers.sequential(
        layers.conv1d(3, 4, 3),
        layers.group_norm(2, 4),
        jax.nn.relu,
        lambda x: x.reshape(len(x), -1),
        layers.linear(20, 2),
    ),
    "colours flattened": models.mlp((60, 5, 2), activation=jnp.tanh),
    "sequences": layers.sequential(
        layers.embedding(9, 6),
        layers.learned_positions(9, 6),
        layers.lstm(6, 4, 2, bidirectional=True),
        layers.layer_norm(8),
        layers.residual(attention),
        layers.transformer_encoder_layer(8, 2, dim_feedforward=12),
        layers.rms_norm(8),
        layers.linear(8, 9, bias=False),
    ),
}
CHANNELS = {"colours flattened": 3}
# Where names differ in more than their numbers, a file does not say which is which.
IN_A_FILE = {"sequences": {"0": "tokens", "1": "positions"}}


def state_dict(case):
    prefix = f"{case}/state_dict/"
    return {key.removeprefix(prefix): array for key, array in GOLDEN.items() if key.startswith(prefix)}


def options(case):
    return {"image_channels": CHANNELS.get(case, 1)}


@pytest.mark.parametrize("case", MODELS)
def test_the_same_outputs_and_back_bit_for_bit(case, tmp_path):
    model, arrays = MODELS[case], state_dict(case)
    params, state = from_torch(arrays, model, **options(case))
    x = GOLDEN[f"{case}/x"]
    y, _ = jax.jit(model.apply)(params, state, x if x.dtype == np.float32 else x.astype(np.int32))
    expected = GOLDEN[f"{case}/y"]
    assert np.abs(y - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert_same_arrays(to_torch(params, state, model, like=arrays, **options(case)), arrays)

    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path)
    names = IN_A_FILE.get(case)
    from_file = from_torch(path, model, names=names, **options(case))
    jax.tree.map(np.testing.assert_array_equal, from_file, (params, state))
    back = to_torch(params, state, model, like=path, names=names, **options(case))
    assert_same_arrays({name: back[name] for name in arrays}, arrays)


@pytest.mark.parametrize("case", MODELS)
def test_the_structure_dtypes_and_shapes_are_those_of_init(case):
    drawn = jax.eval_shape(MODELS[case].init, jax.random.key(0))
    given = from_torch(state_dict(case), MODELS[case], **options(case))
    assert jax.tree.structure(given) == jax.tree.structure(drawn)
    shapes = jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), (given, drawn), is_leaf=lambda leaf: hasattr(leaf, "ndim")
    )
    assert shapes[0] == shapes[1]
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(given))


def test_names_without_a_state_dict_are_those_of_a_sequential():
    model = layers.sequential(models.mlp((4, 3, 2), batch_norm=True), layers.gru(2, 3), models.perceptron(3))
    params, state = model.init(jax.random.key(0))
    arrays = to_torch(params, state, model, names={"1": "recurrent", "0.4": "out"})
    assert {name: array.shape for name, array in arrays.items()} == {
        **{"0.1.weight": (3, 4), "0.1.bias": (3,), "0.2.weight": (3,), "0.2.bias": (3,)},
        **{"0.2.running_mean": (3,), "0.2.running_var": (3,), "0.2.num_batches_tracked": ()},
        **{"out.weight": (2, 3), "out.bias": (2,)},
        **{"recurrent.weight_ih_l0": (9, 2), "recurrent.weight_hh_l0": (9, 3)},
        **{"recurrent.bias_ih_l0": (9,), "recurrent.bias_hh_l0": (9,), "2.weight": (1, 3), "2.bias": (1,)},
    }
    assert all(array.flags.writeable for array in arrays.values())
    back = from_torch(arrays, model)
    jax.tree.map(np.testing.assert_array_equal, back, (params, state))


def test_names_can_be_those_of_the_guide_in_pytorch():
    model = models.transformer_classifier(11, 8, 2, 2, 3, dim_feedforward=12)
    params, state = model.init(jax.random.key(0))
    arrays = to_torch(params, state, model, names={"positions": "pos_encoding", "encoder": "transformer"})
    golden = np.load(FOLDER / "torch_transformer.npz")
    prefix = "classifier/parameters/"
    expected = {key.removeprefix(prefix): golden[key].shape for key in golden.files if key.startswith(prefix)}
    assert {name: array.shape for name, array in arrays.items()} == expected


def test_names_settle_what_order_cannot():
    model = models.mlp((3, 3, 3, 3))
    params, state = model.init(jax.random.key(0))
    names = {"1": "c", "3": "a", "5": "b"}
    arrays = dict(sorted(to_torch(params, state, model, names=names).items()))
    jax.tree.map(np.testing.assert_array_equal, from_torch(arrays, model, names=names), (params, state))
    backwards = {name: arrays[name] for module in "cab" for name in (f"{module}.weight", f"{module}.bias")}
    jax.tree.map(np.testing.assert_array_equal, from_torch(backwards, model), (params, state))


def test_numbers_in_names_count_as_numbers(tmp_path):
    model = models.mlp((2,) * 13)
    params, state = model.init(jax.random.key(0))
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(to_torch(params, state, model), path)  # sorted: 1, 11, 13, ..., 3, 5
    jax.tree.map(np.testing.assert_array_equal, from_torch(path, model), (params, state))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, jnp.bfloat16])
def test_other_floats_become_those_of_the_model(dtype):
    model = layers.linear(3, 2)
    arrays = {"weight": np.arange(6).reshape(2, 3).astype(dtype) / 7, "bias": np.ones(2, dtype)}
    params, state = from_torch(arrays, model)
    assert {leaf.dtype for leaf in params.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(params["weight"], arrays["weight"].T.astype(np.float32))
    back = to_torch(params, state, model, like=arrays)
    if dtype != np.float64:
        assert_same_arrays(back, arrays)
    assert back["weight"].dtype == dtype


def test_arrays_are_copied():
    weight = np.ones((64, 64), np.float32)
    params, _ = from_torch({"weight": weight}, layers.linear(64, 64, bias=False))
    weight[:] = 0
    assert (params["weight"] == 1).all()


def test_a_model_written_by_hand():
    """Its parts are in the order in which init makes them, not sorted as JAX does it."""
    parts = {"trunk": layers.linear(2, 2), "head": layers.linear(2, 2)}

    def init(key, /):
        return {name: layer.init(jax.random.fold_in(key, i))[0] for i, (name, layer) in enumerate(parts.items())}, ()

    model = layers.sequential(jnp.tanh)._replace(init=init, name="by_hand", parts=())
    arrays = {
        f"{name}.{array}": np.full(shape, i, np.float32)
        for i, name in enumerate(("z", "a"))
        for array, shape in (("weight", (2, 2)), ("bias", (2,)))
    }
    params, state = from_torch(arrays, model)
    assert params["trunk"]["bias"].tolist() == [0, 0]
    assert params["head"]["bias"].tolist() == [1, 1]
    assert state == ()
    assert list(to_torch(params, state, model)) == ["trunk.weight", "trunk.bias", "head.weight", "head.bias"]


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    model = layers.sequential(layers.linear(3, 4), jax.nn.relu, layers.batch_norm(4), layers.linear(4, 2))
    params, state = from_torch(module.state_dict(keep_vars=True), model)
    x = torch.randn(5, 3)
    expected = module.eval()(x).detach().numpy()
    assert np.abs(model.apply(params, state, x.numpy())[0] - expected).max() <= TOLERANCE * np.abs(expected).max()
    fresh = {name: torch.from_numpy(array) for name, array in to_torch(params, state, model).items()}
    assert module.load_state_dict(fresh, strict=True)
    np.testing.assert_array_equal(module.eval()(x).detach().numpy(), expected)
    halves = from_torch(module.bfloat16().state_dict(), model)[0]
    np.testing.assert_array_equal(halves[0]["weight"], module[0].weight.detach().float().numpy().T)


def test_the_file_is_what_pytorch_computes_here():
    fresh = regenerated("make_interop_golden", GOLDEN)
    for key in fresh.keys() - {"torch_version"}:
        scale = max(1, np.abs(GOLDEN[key]).max())
        assert np.abs(fresh[key].astype(np.float64) - GOLDEN[key]).max() <= TOLERANCE * scale, key
