"""Weights as safetensors: every bit comes back, other libraries read the file, and another model is refused."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxnn import tree
from jaxnn.layers import batch_norm, linear, sequential
from jaxnn.training.weights import load_weights, save_weights

MODEL = sequential(linear(2, 3), batch_norm(3), jax.nn.relu, linear(3, 1))


def everything():
    params = {
        "weight": jnp.arange(6.0).reshape(2, 3) / 7,
        "odd": (jnp.array([-0.0, jnp.nan, jnp.inf]), (), [jnp.ones(3, jnp.bfloat16) / 3, None]),
        "columns first": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "name with spaces/é": jnp.ones((2, 1), jnp.float16),
        "small": jnp.ones(2, jnp.float8_e4m3fn),
    }
    state = (jnp.int32(-7), jnp.uint8(255), jnp.array([True, False]), jnp.zeros((0, 3)), 0.1, np.float64(0.2))
    return params, state


def test_every_bit_dtype_and_structure_comes_back(tmp_path):
    values = everything()
    path = save_weights(tmp_path / "all.safetensors", *values)
    loaded = load_weights(path, like=jax.tree.map(lambda leaf: np.zeros_like(np.asarray(leaf)), values))
    assert jax.tree.structure(loaded) == jax.tree.structure(values)
    # What JAX makes of Python's and NumPy's 64 bits is float32.
    assert tree.sha256(loaded) == tree.sha256(jax.tree.map(jnp.asarray, values))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_go_on_with_the_same_numbers(tmp_path, impl):
    state = {"key": jax.random.key(3, impl=impl), "keys": jax.random.split(jax.random.key(4, impl=impl), (2, 3))}
    path = save_weights(tmp_path / "keys.safetensors", (), state)
    for like in (state, jax.eval_shape(lambda: state)):
        _, loaded = load_weights(path, like=((), like))
        assert jax.tree.map(lambda leaf: leaf.dtype, loaded) == jax.tree.map(lambda leaf: leaf.dtype, state)
        np.testing.assert_array_equal(jax.random.bits(loaded["keys"][1, 2]), jax.random.bits(state["keys"][1, 2]))
        np.testing.assert_array_equal(jax.random.bits(loaded["key"]), jax.random.bits(state["key"]))


def test_another_library_reads_names_shapes_and_numbers(tmp_path):
    params, state = MODEL.init(jax.random.key(0))
    path = save_weights(tmp_path / "model.safetensors", params, state, model=MODEL)
    found = safetensors.numpy.load_file(path)
    assert set(found) == {
        *("params.0.weight", "params.0.bias", "params.1.scale", "params.1.bias", "params.3.weight", "params.3.bias"),
        *("state.1.mean", "state.1.variance"),
    }
    np.testing.assert_array_equal(found["params.3.weight"], params[3]["weight"])
    np.testing.assert_array_equal(found["state.1.variance"], state[1]["variance"])


def test_a_file_of_another_library_is_read(tmp_path):
    params, state = MODEL.init(jax.random.key(0))
    arrays = {f"params.{name}": np.asarray(leaf) + 1 for name, leaf in tree.paths(params).items()}
    arrays |= {f"state.{name}": np.asarray(leaf) for name, leaf in tree.paths(state).items()}
    safetensors.numpy.save_file(arrays, tmp_path / "other.safetensors", metadata={"format": "np"})
    loaded, _ = load_weights(tmp_path / "other.safetensors", like=jax.eval_shape(MODEL.init, jax.random.key(0)))
    np.testing.assert_array_equal(loaded[0]["weight"], params[0]["weight"] + 1)


def test_a_loaded_model_gives_the_same_outputs(tmp_path):
    params, state = MODEL.init(jax.random.key(1))
    path = save_weights(tmp_path / "model.safetensors", params, state)
    loaded = load_weights(path, like=MODEL.init(jax.random.key(2)))
    x = jnp.array([[0.5, -1.0]])
    np.testing.assert_array_equal(MODEL.apply(*loaded, x)[0], MODEL.apply(params, state, x)[0])


def test_the_same_weights_give_the_same_bytes_and_take_the_old_files_place(tmp_path):
    params, state = MODEL.init(jax.random.key(0))
    path = save_weights(tmp_path / "a", params, state, model=MODEL)
    first = path.read_bytes()
    save_weights(path, *MODEL.init(jax.random.key(1)), model=MODEL)
    assert path.read_bytes() != first
    save_weights(path, params, state, model=MODEL)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_nothing_is_saved_and_loaded_too(tmp_path):
    assert load_weights(save_weights(tmp_path / "nothing", ()), like=((), ())) == ((), ())


def test_another_model_is_refused_with_every_difference_at_once(tmp_path):
    path = save_weights(tmp_path / "model", *MODEL.init(jax.random.key(0)), model=MODEL)
    other = sequential(linear(2, 4), jax.nn.relu, linear(4, 1), linear(1, 1))
    with pytest.raises(ValueError, match="of another model") as caught:
        load_weights(path, like=other.init(jax.random.key(0)))
    assert type(caught.value) is ValueError
    for words in (
        str(path),
        MODEL.name,
        "missing params.2.weight",
        "extra params.1.scale",
        "extra state.1.mean",
        "params.0.weight is float32 (2, 3) where float32 (2, 4) is expected",
        "params.3.weight is float32 (3, 1) where float32 (1, 1) is expected",
    ):
        assert words in str(caught.value)


def test_another_dtype_is_refused(tmp_path):
    path = save_weights(tmp_path / "model", {"w": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"params\.w is float32 \(3,\) where bfloat16 \(3,\) is expected"):
        load_weights(path, like=({"w": jnp.ones(3, jnp.bfloat16)}, ()))


def test_no_bit_can_change_unseen(tmp_path):
    params = {"w": jnp.arange(3.0), "b": jnp.ones(2, jnp.bfloat16)}
    path = save_weights(tmp_path / "model", params, (), model=linear(2, 3))
    whole = path.read_bytes()
    accepted = 0
    for bit in range(0, 8 * len(whole), 5):  # five and eight share no factor: all places in a byte
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            loaded, _ = load_weights(path, like=(params, ()))
        except ValueError:  # damaged (CheckpointError), or a name, a dtype or a shape is another now
            pass
        else:  # the key of the metadata is no longer ours: without the SHA-256, but then the arrays are whole
            accepted += 1
            assert tree.sha256(loaded) == tree.sha256(params)
    assert 0 < accepted <= 8 * len('__metadata__""jaxnn""')


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    path = save_weights(tmp_path / "model", {"w": jnp.ones(3)})
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"cannot write {path}: No space left") as caught:
        save_weights(path, {"w": jnp.zeros(3)})
    assert caught.value.errno == 28
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
