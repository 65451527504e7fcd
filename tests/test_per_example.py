"""Gradients of single examples against NumPy in float64, and what is computed from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.data import Dataset
from jaxnn.layers import linear, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import per_example
from jaxnn.training.per_example import (
    gradient_noise_scale,
    gradient_norms,
    influence,
    per_example_gradients,
    self_influence,
)

N, FEATURES, CLASSES = 23, 5, 4  # no multiple of the 8 gradients side by side
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((N, FEATURES)).astype(np.float32)
Y = RANDOM.integers(0, CLASSES, N).astype(np.int32)
WEIGHTS = RANDOM.uniform(0.5, 2, N).astype(np.float32)
DATA = Dataset(X, Y)
MODEL = linear(FEATURES, CLASSES)
PARAMS = {
    "weight": RANDOM.standard_normal((FEATURES, CLASSES)).astype(np.float32),
    "bias": RANDOM.standard_normal(CLASSES).astype(np.float32),
}
ARGUMENTS = (MODEL, softmax_cross_entropy, PARAMS, ())


@pytest.fixture(autouse=True)
def _short_batches(monkeypatch):
    """Let 23 examples be two whole batches and a short one."""
    monkeypatch.setattr(per_example, "BATCH", 10)


def by_hand(params=PARAMS, weights=1.0):
    """Return the gradients of softmax regression, [N, bias and weight], in NumPy's float64: x (p - t)."""
    logits = X.astype(np.float64) @ params["weight"].astype(np.float64) + params["bias"]
    p = np.exp(logits - logits.max(-1, keepdims=True))
    error = (p / p.sum(-1, keepdims=True) - np.eye(CLASSES)[Y]) * np.broadcast_to(weights, N)[:, None]
    return np.concatenate([error, np.einsum("nf,nc->nfc", X, error).reshape(N, -1)], axis=1)


def rows(gradients):
    return np.concatenate([np.asarray(leaf).reshape(N, -1) for leaf in jax.tree.leaves(gradients)], axis=1)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradients_are_those_of_the_formula(weights):
    data = DATA._replace(weights=weights)
    expected = by_hand(weights=1.0 if weights is None else weights)
    gradients = jax.jit(lambda params, batch: per_example_gradients(MODEL, softmax_cross_entropy, params, (), batch))
    np.testing.assert_allclose(rows(gradients(PARAMS, data)), expected, atol=1e-5)
    norms = gradient_norms(*ARGUMENTS, data)
    assert norms.shape == (N,)
    np.testing.assert_allclose(norms, np.linalg.norm(expected, axis=1), rtol=1e-5)


def test_evaluation_mode_keeps_examples_apart():
    """With dropout and batch norm: the mean is the gradient of the mean loss, and no example changes another's."""
    model = mlp((FEATURES, 6, CLASSES), batch_norm=True, dropout=0.5)
    params, state = model.init(jax.random.key(0))
    state = jax.tree.map(lambda leaf: leaf + 0.5 if leaf.ndim else leaf, state)
    compute = jax.jit(lambda batch: per_example_gradients(model, softmax_cross_entropy, params, state, batch))
    gradients = compute(DATA)

    def mean_loss(params):
        return softmax_cross_entropy(model.apply(params, state, X)[0], Y).mean()

    expected = jax.jit(jax.grad(mean_loss))(params)
    for mean, leaf in zip(jax.tree.leaves(expected), jax.tree.leaves(gradients), strict=True):
        assert leaf.shape == (N, *mean.shape)
        np.testing.assert_allclose(leaf.mean(0), mean, atol=1e-6)
    other = DATA._replace(inputs=np.concatenate([X[:1], 9 * X[1:]]))
    changed = compute(other)
    for before, after in zip(jax.tree.leaves(gradients), jax.tree.leaves(changed), strict=True):
        np.testing.assert_allclose(before[0], after[0], atol=1e-6)
        assert not np.allclose(before[1:], after[1:], atol=1e-3)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_noise_scale_is_the_sample_variance_over_the_squared_gradient(weights):
    gradients = by_hand(weights=1.0 if weights is None else weights)
    variance = gradients.var(axis=0, ddof=1).sum()
    squared = np.square(gradients.mean(0)).sum() - variance / N
    measured = gradient_noise_scale(*ARGUMENTS, DATA._replace(weights=weights))
    np.testing.assert_allclose(measured, (variance / squared, variance, squared), rtol=1e-5)


def test_the_squared_gradient_has_no_bias_of_few_examples():
    """Gradients of mean 0.5 and variance 1: |Ḡ|² of two examples would be 0.25 + 1 / 2; the mean of many is 0.25."""
    targets = np.random.default_rng(1).normal(0.5, 1, (400, 2, 1))

    def half_square(predictions, targets):
        return 0.5 * jnp.square(targets - predictions)[:, 0]

    model = linear(1, 1, bias=False)
    zero = {"weight": jnp.zeros((1, 1))}
    gradients = per_example_gradients(
        model, half_square, zero, (), Dataset(np.ones((800, 1)), targets.reshape(800, 1))
    )["weight"].reshape(400, 2)
    np.testing.assert_allclose(gradients, -targets[..., 0], rtol=1e-6)
    one = gradient_noise_scale(model, half_square, zero, (), Dataset(np.ones((2, 1)), targets[0]))
    estimates = np.square(gradients.mean(1)) - gradients.var(1, ddof=1) / 2
    np.testing.assert_allclose(one.squared_gradient, estimates[0], rtol=1e-4, atol=1e-6)
    assert abs(estimates.mean() - 0.25) < 4 * estimates.std() / 20


def test_without_a_gradient_in_common_the_noise_scale_is_infinite():
    data = Dataset(np.ones((2, FEATURES), np.float32), np.array([0, 1], np.int32))
    zero = jax.tree.map(np.zeros_like, PARAMS)
    opposed = gradient_noise_scale(
        sequential(MODEL, lambda x: x[:, :2]), softmax_cross_entropy, (zero, ()), ((), ()), data
    )
    assert opposed.noise_scale == np.inf
    assert opposed.variance > 0


def test_self_influence_adds_up_the_squared_norms_of_the_checkpoints():
    later = jax.tree.map(lambda leaf: 0.5 * leaf, PARAMS)
    ranked = self_influence(MODEL, softmax_cross_entropy, [(PARAMS, ()), (later, ())], [0.1, 0.3], DATA)
    expected = 0.1 * np.square(by_hand()).sum(1) + 0.3 * np.square(by_hand(later)).sum(1)
    np.testing.assert_allclose(ranked.scores, expected, rtol=1e-5)
    assert ranked.order.tolist() == np.argsort(-expected).tolist()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_influence_is_the_product_of_gradients(weights):
    on = Dataset(X[:4], Y[:4], None if weights is None else weights[:4])
    later = jax.tree.map(lambda leaf: 0.5 * leaf, PARAMS)
    checkpoints = [(PARAMS, ()), (later, ())]
    ranked = influence(MODEL, softmax_cross_entropy, checkpoints, [0.1, 0.3], DATA._replace(weights=weights), on)
    expected = np.zeros(N)
    for rate, params in ((0.1, PARAMS), (0.3, later)):
        gradients = by_hand(params, 1.0 if weights is None else weights)
        mean = gradients[:4].sum(0) / (4 if weights is None else weights[:4].sum())
        expected += rate * gradients @ mean
    np.testing.assert_allclose(ranked.scores, expected, atol=1e-5)
    assert ranked.order[0] == np.argmax(expected)


def test_wrong_labels_of_real_digits_rank_first():
    digits = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    x, truth = (digits.data / 16).astype(np.float32), digits.target.astype(np.int32)
    random = np.random.default_rng(0)
    wrong = random.choice(len(x), round(0.02 * len(x)), replace=False)
    labels = truth.copy()
    labels[wrong] = (labels[wrong] + random.integers(1, 10, len(wrong))) % 10
    model = linear(64, 10)

    @jax.jit
    def trained(params):
        def mean_loss(params):
            return softmax_cross_entropy(model.apply(params, (), x)[0], labels).mean()

        def step(_, params):
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(mean_loss)(params))

        return jax.lax.fori_loop(0, 100, step, params)

    checkpoint = (trained({"weight": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}), ())
    ranked = self_influence(model, softmax_cross_entropy, [checkpoint], [0.5], Dataset(x, labels))
    assert np.isin(wrong, ranked.order[: round(0.04 * len(x))]).mean() >= 0.8
