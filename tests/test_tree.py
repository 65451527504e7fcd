"""Questions about trees: paths, sizes, norms against Optax, fingerprints, masks, and a choice between two."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.models import mlp

PARAMS = mlp((4, 8, 3)).init(jax.random.key(0))[0]


def test_paths_are_in_the_order_of_the_tree():
    assert list(tree.paths(PARAMS)) == ["1.bias", "1.weight", "3.bias", "3.weight"]
    for leaf, expected in zip(tree.paths(PARAMS).values(), jax.tree.leaves(PARAMS), strict=True):
        assert leaf is expected
    assert tree.paths(()) == {}
    assert tree.paths(3.0) == {"": 3.0}


def test_size_and_bytes():
    mixed = {"a": jnp.zeros((3, 4), jnp.bfloat16), "b": (np.zeros(5, np.uint8), jnp.float32(1))}
    assert tree.size(mixed) == 12 + 5 + 1
    assert tree.nbytes(mixed) == 24 + 5 + 4
    shapes = jax.eval_shape(lambda: mixed)
    assert (tree.size(shapes), tree.nbytes(shapes)) == (18, 33)
    assert (tree.size(()), tree.nbytes(())) == (0, 0)
    assert tree.size(PARAMS) == 4 * 8 + 8 + 8 * 3 + 3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_norm_equals_optax_of_the_widened_tree(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    expected = optax.tree.norm(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    for norm in (tree.norm(params), jax.jit(tree.norm)(params)):
        assert norm.dtype == jnp.float32
        np.testing.assert_allclose(norm, expected, rtol=1e-6)


def test_norm_of_low_precision_neither_overflows_nor_stalls():
    assert float(tree.norm({"a": jnp.full(4, 300, jnp.float16)})) == 600  # 300**2 is no float16
    assert float(tree.norm({"a": jnp.ones(2**16, jnp.bfloat16)})) == 256  # 256 + 1 is 256 in bfloat16
    assert float(tree.norm(())) == 0


def test_norm_is_not_finite_when_a_leaf_is_not():
    for value in (jnp.nan, jnp.inf):
        assert not np.isfinite(tree.norm((PARAMS, {"a": jnp.array([0.0, value])})))


def test_sha256_is_equal_for_equal_trees():
    copy = jax.tree.map(lambda leaf: np.array(leaf), PARAMS)
    assert tree.sha256(copy) == tree.sha256(PARAMS)
    transposed = {"a": np.arange(6.0).reshape(2, 3).T}
    assert tree.sha256(transposed) == tree.sha256({"a": np.ascontiguousarray(transposed["a"])})


@pytest.mark.parametrize("byte", range(12))
def test_sha256_changes_with_every_bit(byte):
    values = np.arange(3, dtype=np.float32)
    digests = {tree.sha256({"a": values})}
    for bit in range(8):
        raw = bytearray(values.tobytes())
        raw[byte] ^= 1 << bit
        digests.add(tree.sha256({"a": np.frombuffer(bytes(raw), np.float32)}))
    assert len(digests) == 9


def test_sha256_changes_with_shape_dtype_and_path():
    zeros = np.zeros(4, np.float32)
    trees = [
        {"a": zeros},
        {"b": zeros},
        (zeros,),
        {"a": {"a": zeros}},
        {"a": zeros.reshape(2, 2)},
        {"a": zeros.reshape(4, 1)},
        {"a": zeros.astype(np.int32)},
        {"a": zeros[:2], "b": zeros[2:]},
        {"a": zeros[:3], "b": zeros[3:]},
        {"a": zeros, "b": zeros[:0]},
        {},
    ]
    assert len({tree.sha256(t) for t in trees}) == len(trees)


def test_mask():
    assert tree.paths(tree.mask(PARAMS, r".*weight")) == {
        "1.bias": False, "1.weight": True, "3.bias": False, "3.weight": True,
    }  # fmt: skip
    assert tree.paths(tree.mask(PARAMS, r"3\..*")) == {
        "1.bias": False, "1.weight": False, "3.bias": True, "3.weight": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"no path matches 'weight'; the paths are 1\.bias"):
        tree.mask(PARAMS, "weight")  # the whole path must match


def test_mask_decays_weights_alone():
    optimizer = optax.adamw(1.0, weight_decay=0.5, mask=lambda params: tree.mask(params, ".*weight"))
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(zero, optimizer.init(PARAMS), PARAMS)
    for path, update in tree.paths(updates).items():
        expected = -0.5 * tree.paths(PARAMS)[path] if path.endswith("weight") else np.zeros(update.shape)
        np.testing.assert_allclose(update, expected, rtol=1e-6)


def test_where():
    other = jax.tree.map(lambda leaf: -leaf, PARAMS)
    for condition, expected in ((True, PARAMS), (False, other)):
        assert tree.sha256(tree.where(jnp.array(condition), PARAMS, other)) == tree.sha256(expected)
        assert tree.sha256(jax.jit(tree.where)(condition, PARAMS, other)) == tree.sha256(expected)


def test_where_keeps_out_what_is_not_chosen():
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS)
    assert tree.sha256(tree.where(jnp.array(True), PARAMS, bad)) == tree.sha256(PARAMS)
