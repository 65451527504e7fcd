"""Embedding and positions: against NumPy, and what happens to indices out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import functional, layers

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-6, 9), min_size=1, max_size=5))
def test_under_jit_each_row_is_the_tables_or_nan(indices):
    rows = np.asarray(jax.jit(functional.embed)(np.array(indices, np.int32), TABLE))
    for index, row in zip(indices, rows, strict=True):
        expected = TABLE[index] if 0 <= index < 4 else np.full(3, np.nan)
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int32])
def test_every_kind_of_integer(dtype):
    table = np.arange(300, dtype=np.float32)[:, None]  # more rows than a byte can count
    indices = np.array([0, 5, 127], dtype)
    assert jax.jit(functional.embed)(indices, table)[:, 0].tolist() == [0, 5, 127]
    assert functional.embed(indices, table)[:, 0].tolist() == [0, 5, 127]
    if dtype == np.uint32:
        assert np.isnan(jax.jit(functional.embed)(np.array([2**32 - 1], dtype), table)).all()


@pytest.mark.parametrize("pad_id", [None, 0, 3])
def test_gradient_counts_each_use_but_those_of_padding(pad_id):
    x = np.array([[0, 3, 3], [1, 0, 9]], np.int32)
    gradient = jax.grad(lambda table: jax.jit(functional.embed, static_argnums=2)(x, table, pad_id).sum())(TABLE)
    expected = np.array([2, 1, 0, 2])  # 9 is out of range, and counts for no row
    if pad_id is not None:
        expected[pad_id] = 0
    np.testing.assert_array_equal(gradient, np.tile(expected[:, None], 3))


def test_the_padding_row_is_zero_at_first_and_the_others_are_normal():
    params, _ = layers.embedding(2000, 50, pad_id=7).init(jax.random.key(0))
    assert not params["embedding"][7].any()
    assert np.delete(params["embedding"], 7, 0).all()
    assert abs(float(params["embedding"].mean())) < 0.02
    assert abs(float(params["embedding"].std()) - 1) < 0.01


def test_the_output_has_the_dtype_of_the_table():
    assert functional.embed(np.array([1]), jnp.asarray(TABLE, jnp.bfloat16)).dtype == jnp.bfloat16


def test_sinusoids_against_the_formula_in_float64():
    table = functional.sinusoids(600, 6)
    for t in (0, 1, 599):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(
                table[t, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], rtol=1e-6, atol=1e-7
            )


def test_positions_are_added_step_by_step():
    x = np.ones((2, 4, 6), np.float32)
    y, _ = layers.sinusoidal_positions(6).apply((), (), x)
    np.testing.assert_allclose(y - x, np.broadcast_to(functional.sinusoids(4, 6), x.shape), atol=1e-6)
    layer = layers.learned_positions(9, 6)
    params, state = layer.init(jax.random.key(0))
    y, _ = layer.apply(params, state, x)
    np.testing.assert_array_equal(y, x + params["positions"][:4])
