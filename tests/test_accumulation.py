"""Accumulation: the parts of a batch add up to the step of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.data import Dataset
from jaxnn.layers import batch_norm, dropout, linear, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.training import fit, init_train_state, train_step

MODEL = mlp((5, 8, 3))


def examples(size, *, weighted=False, seed=0):
    generator = np.random.default_rng(seed)
    inputs, labels = generator.standard_normal((size, 5)), generator.integers(0, 3, size)
    weights = generator.uniform(0, 2, size).astype(np.float32) if weighted else None
    return Dataset(inputs.astype(np.float32), labels.astype(np.int32), weights)


def one_step(model, batch, accumulate, optimizer=None):
    optimizer = optimizer or optax.sgd(1.0)
    state = init_train_state(model.init, optimizer, jax.random.key(0))
    step = train_step(model, softmax_cross_entropy, optimizer, {"accuracy": accuracy}, accumulate=accumulate)
    return jax.jit(step)(state, batch, jax.random.key(1))


def close(found, expected, tolerance=1e-6):
    """Compare to 1e-6: the sums of float32 are taken in another order."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("accumulate", [2, 4, 5, 7, 12, 50])  # 12 examples: equal parts, a smaller last one, one each
def test_the_step_is_that_of_the_whole_batch(accumulate, weighted):
    batch = examples(12, weighted=weighted)
    whole, parts = one_step(MODEL, batch, 1), one_step(MODEL, batch, accumulate)
    close(parts[0], whole[0])
    close(parts[1], whole[1])  # loss, accuracy and norm of the gradient as (sum, count)
    assert int(parts[0].step) == 1


def test_a_part_whose_weights_are_all_zero_counts_nothing():
    batch = examples(12, weighted=True)
    batch = batch._replace(weights=batch.weights * (np.arange(12) >= 4))
    close(one_step(MODEL, batch, 3)[0], one_step(MODEL, batch, 1)[0])
    nothing = batch._replace(weights=np.zeros(12, np.float32))
    close(one_step(MODEL, nothing, 3)[0], one_step(MODEL, nothing, 1)[0])


def test_the_parts_are_computed_one_after_the_other():
    # The largest array of the program is that of a part: nothing [64, ...] remains of the hidden layer.
    batch, model = examples(64), mlp((5, 700, 3))
    state = init_train_state(model.init, optax.sgd(1.0), jax.random.key(0))

    def shapes(accumulate):
        step = train_step(model, softmax_cross_entropy, optax.sgd(1.0), accumulate=accumulate)
        return jax.jit(step).lower(state, batch, jax.random.key(1)).as_text()

    assert "64x700x" in shapes(1)
    assert "64x700x" not in shapes(4)
    assert "16x700x" in shapes(4)


def test_fit_takes_the_same_steps_in_the_same_order():
    # A schedule by steps, Adam's moments, example and class weights, and a short last batch of 3.
    seen = {}
    for accumulate in (1, 3):
        seen[accumulate] = fit(
            *(MODEL, softmax_cross_entropy, optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.5, 0.1, 9))),
            *(examples(19, weighted=True),),
            **{"epochs": 3, "batch_size": 8, "class_weights": [1.0, 0.5, 2.0], "verbose": False},
            accumulate=accumulate,
        )
    whole, parts = seen[1], seen[3]
    assert int(parts.train_state.step) == int(whole.train_state.step) == 9
    close(parts.train_state, whole.train_state, 5e-6)  # nine steps
    for name in ("epoch", "step", "learning_rate"):
        # The rate is Optax's arithmetic, which two programs may round differently.
        close([record[name] for record in parts.history], [record[name] for record in whole.history], 5e-7)
    for name in ("loss", "accuracy", "gradient_norm"):
        close([record[name] for record in parts.history], [record[name] for record in whole.history], 5e-6)


def test_batch_norm_sees_the_parts():
    model = sequential(batch_norm(5), linear(5, 3))
    batch = examples(12)
    parts, whole = (one_step(model, batch, accumulate)[0] for accumulate in (3, 1))
    # Running mean and variance (momentum 0.1, unbiased) after the three parts, in NumPy.
    mean, variance = np.zeros(5), np.ones(5)
    for rows in np.split(batch.inputs.astype(np.float64), 3):
        mean, variance = 0.9 * mean + 0.1 * rows.mean(0), 0.9 * variance + 0.1 * rows.var(0, ddof=1)
    found = parts.model_state[0]
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["variance"], variance, rtol=1e-5)
    assert float(jnp.abs(parts.params[1]["weight"] - whole.params[1]["weight"]).max()) > 1e-3


def test_dropout_differs_between_the_parts():
    # The same example in both parts. An input dropped in both leaves its weights alone: a quarter of them, not half.
    model = sequential(dropout(0.5), linear(1000, 3))
    batch = Dataset(np.ones((2, 1000), np.float32), np.zeros(2, np.int32))
    gradient = one_step(model, batch, 2)[0].params[1]["weight"] - model.init(jax.random.key(0))[0][1]["weight"]
    share = float((jnp.abs(gradient).max(axis=1) > 0).mean())
    assert 0.7 < share < 0.8  # five standard deviations to either side


@pytest.mark.parametrize("accumulate", [0, -1])
def test_numbers_of_parts_that_are_none(accumulate):
    with pytest.raises(ValueError, match="accumulate"):
        train_step(MODEL, softmax_cross_entropy, optax.sgd(1.0), accumulate=accumulate)
