"""Hessian-vector products and the largest eigenvalue against the dense Hessian and NumPy's eigenvalues."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxnn.data import Dataset
from jaxnn.layers import linear
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training.sharpness import hessian_vector_product, lanczos, over_batches, sharpness

RANDOM = np.random.default_rng(0)
N = 100
X = RANDOM.standard_normal((N, 6)).astype(np.float32)
Y = RANDOM.integers(0, 3, N).astype(np.int32)
WEIGHTS = RANDOM.uniform(0, 2, N).astype(np.float32)
NETWORKS = {
    "tanh": (mlp((6, 16, 3), activation=jnp.tanh), Dataset(X, Y)),
    "batch norm, dropout, weights": (mlp((6, 8, 3), batch_norm=True, dropout=0.3), Dataset(X, Y, WEIGHTS)),
}


@pytest.fixture(autouse=True)
def _short_batches(monkeypatch):
    """Let 100 examples be two whole batches and a short one."""
    monkeypatch.setattr(sys.modules[sharpness.__module__], "over_batches", partial(over_batches, batch_size=40))


@pytest.fixture(params=NETWORKS, name="network")
def _network(request):
    model, data = NETWORKS[request.param]
    params, state = model.init(jax.random.key(1))
    params = jax.tree.map(lambda leaf: 1.5 * leaf, params)  # away from the start, where the Hessian is small
    return model, params, state, data


def dense_hessian(model, params, state, data):
    """Return the Hessian [P, P] of the weighted mean loss in evaluation mode, all examples at once."""
    flat, unravel = ravel_pytree(params)
    weights = np.ones(N, np.float32) if data.weights is None else data.weights

    def mean_loss(flat):
        return (softmax_cross_entropy(model.apply(unravel(flat), state, data.inputs)[0], data.targets) * weights).sum()

    return np.asarray(jax.jit(jax.hessian(mean_loss))(flat), np.float64) / weights.sum()


def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(network):
    model, params, state, data = network
    hessian = dense_hessian(model, params, state, data)
    assert len(hessian) <= 500
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    top = sharpness(model, softmax_cross_entropy, params, state, data, key=jax.random.key(0))
    np.testing.assert_allclose(top.eigenvalue, values[-1], rtol=1e-3)
    assert abs(ravel_pytree(top.vector)[0] @ vectors[:, -1]) == pytest.approx(1, abs=1e-3)
    assert top.residual <= 1e-3 * top.eigenvalue
    assert 2 < top.products < 100
    product = jax.jit(lambda p, v: hessian_vector_product(model, softmax_cross_entropy, p, state, data, v))(
        params, top.vector
    )
    expected = hessian @ np.asarray(ravel_pytree(top.vector)[0], np.float64)
    np.testing.assert_allclose(ravel_pytree(product)[0], expected, atol=1e-5 * values[-1])


def test_the_product_is_the_difference_of_gradients():
    """Central differences in float64: error h² and 1e-16 / h, both below 1e-8 at h = 1e-5."""
    model = linear(6, 3)
    data = Dataset(X[:50].astype(np.float64), Y[:50])
    params, vector = ({"weight": RANDOM.standard_normal((6, 3)), "bias": RANDOM.standard_normal(3)} for _ in range(2))

    @jax.grad
    def gradient(params):
        return softmax_cross_entropy(model.apply(params, (), data.inputs)[0], data.targets).mean()

    @jax.jit
    def both(params, vector):
        ahead, behind = (gradient(jax.tree.map(lambda p, v, h=h: p + h * v, params, vector)) for h in (1e-5, -1e-5))
        product = hessian_vector_product(model, softmax_cross_entropy, params, (), data, vector)
        return product, jax.tree.map(lambda a, b: (a - b) / 2e-5, ahead, behind)

    with jax.enable_x64(True):
        product, difference = both(params, vector)
    for name in params:
        assert product[name].dtype == np.float64
        np.testing.assert_allclose(product[name], difference[name], atol=1e-8)


def symmetric(eigenvalues):
    q = np.linalg.qr(np.random.default_rng(3).standard_normal((len(eigenvalues),) * 2))[0]
    return (q * eigenvalues) @ q.T


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [*np.linspace(-50, 5, 29), 7.0],  # the largest is not the largest in magnitude
        [-3.0, -2.0, -1.0],  # all are negative
        [2.0] * 6,  # one product shows the whole space
        [0.0] * 6,
        [4.0, 4.0, 1.0, 1.0, 0.0],
        [5.0],
        [*np.zeros(30), 1e-6, 3e-6],
        [*np.full(30, 1e6), 3e6],
    ],
)
def test_lanczos_finds_the_largest_algebraic_eigenvalue(eigenvalues):
    size = len(eigenvalues)
    matrix = jnp.asarray(symmetric(eigenvalues), jnp.float32)
    start = jnp.asarray(np.random.default_rng(4).standard_normal(size), jnp.float32)
    value, vector, _, products = jax.jit(lambda s: lanczos(lambda v: matrix @ v, s, size, 1e-4))(start)
    scale = np.abs(eigenvalues).max()
    np.testing.assert_allclose(value, max(eigenvalues), atol=1e-5 * scale)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(matrix @ vector, value * vector, atol=2e-4 * scale)
    assert 1 <= products <= size


def test_the_residual_tells_what_too_few_products_have_missed():
    matrix = jnp.asarray(symmetric(np.linspace(0, 1, 40)), jnp.float32)
    value, vector, residual, products = lanczos(lambda v: matrix @ v, jnp.ones(40), 5, 1e-6)
    assert products == 5
    assert residual == pytest.approx(float(jnp.linalg.norm(matrix @ vector - value * vector)), rel=1e-3)
    assert residual > 0.01


def test_under_jit_and_with_parameters_of_low_precision():
    """Mean squared error of a linear model: H = 2 xᵀx / N, whatever the parameters."""
    data = Dataset(X[:40], X[:40, :1])
    expected = np.linalg.eigvalsh(2 * X[:40].T.astype(np.float64) @ X[:40] / 40)[-1]

    @jax.jit
    def traced(weight, data):
        model = linear(6, 1, bias=False)
        return sharpness(model, mean_squared_error, {"weight": weight}, (), data, key=jax.random.key(0))

    for dtype in (jnp.float32, jnp.bfloat16):
        top = traced(jnp.ones((6, 1), dtype), data)
        assert top.vector["weight"].dtype == jnp.float32
        np.testing.assert_allclose(top.eigenvalue, expected, rtol=1e-4)
    assert np.isnan(traced(jnp.ones((6, 1)), data._replace(inputs=np.full((40, 6), np.nan, np.float32))).eigenvalue)


@pytest.mark.parametrize("size", [3, 4, 8, 9])
def test_batches_add_up_each_example_once(size):
    data = Dataset(np.arange(size) + 1.0, np.zeros(size))
    total, squares = over_batches(lambda batch: (batch.inputs.sum(), (batch.inputs**2).sum()), data, batch_size=4)
    assert float(total) == sum(range(1, size + 1))
    assert float(squares) == sum(i * i for i in range(1, size + 1))
