"""The learning-rate finder against the same trainings one by one, and its edge against the Hessian's eigenvalue."""

import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.data import Dataset, take
from jaxnn.data.images import load
from jaxnn.layers import conv1d, conv2d, flatten, linear, sequential
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam, momentum, sgd
from jaxnn.training import epoch_order, evaluate, fit, init_train_state, run_keys, train_step
from jaxnn.training.lr_finder import lr_finder, ramp, smooth
from jaxnn.training.short_training import side_by_side

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((20, 6)).astype(np.float32)
Y = RANDOM.integers(0, 3, 20).astype(np.int32)
DATA = Dataset(X, Y, RANDOM.uniform(0, 2, 20).astype(np.float32))
RATES = [1e-3, 1e-2, 0.1]
EVERYTHING = mlp((6, 8, 3), batch_norm=True, dropout=0.3)


@cache
def compiled_step(model, make_optimizer):
    def step(state, batch, key, rate):
        return train_step(model, softmax_cross_entropy, make_optimizer(rate))(state, batch, key)

    return jax.jit(step)


def one_by_one(rates, data, seed=0):
    """Train by a Python loop over `train_step` and whole batches of 8: the loss of each batch."""
    keys, losses = run_keys(seed), []
    state = init_train_state(EVERYTHING.init, adam(0.1), keys.init)
    for t, rate in enumerate(rates):
        epoch, i = divmod(t, data.size // 8)
        rows = np.asarray(epoch_order(keys.order, epoch, size=data.size, batch_size=8)[0][i])
        batch = Dataset(*(None if field is None else field[rows] for field in data))
        step = compiled_step(EVERYTHING, adam)
        state, totals = step(state, batch, jax.random.fold_in(keys.step, t), rate)
        losses.append(float(totals["loss"][0] / totals["loss"][1]))
    return losses


@pytest.mark.parametrize("mapped_by", ["vmap", "lax.map"])
def test_each_curve_is_the_training_at_its_rate(monkeypatch, mapped_by):
    if mapped_by == "lax.map":
        monkeypatch.setattr(sys.modules[side_by_side.__module__], "SIDE_BY_SIDE", 10)
    found = lr_finder(EVERYTHING, softmax_cross_entropy, adam, DATA, rates=RATES, steps=7, batch_size=8, seed=3)
    assert found.mapped_by == mapped_by
    assert found.losses.shape == (3, 7)
    for rate, curve in zip(RATES, found.losses, strict=True):
        expected = one_by_one([rate] * 7, DATA, seed=3)
        np.testing.assert_allclose(curve, expected, rtol=1e-5)
    assert not np.allclose(found.losses[0], found.losses[2], rtol=1e-2)
    still = one_by_one([0.0] * 7, DATA, seed=3)
    np.testing.assert_allclose(found.start, smooth(np.array(still))[-1], rtol=1e-5)
    np.testing.assert_allclose(found.final, smooth(found.losses)[:, -1])


def test_convolutions_and_large_networks_are_trained_one_after_the_other():
    models = {mlp((2, 4, 1)): True, mlp((64, 32, 10)): False, conv1d(1, 2, 3): False, conv2d(1, 2, 3): False}
    for model, expected in models.items():
        assert side_by_side(jax.eval_shape(model.init, jax.random.key(0))[0]) is expected


def test_given_parameters_are_the_start_and_stay_as_they_are():
    params, state = EVERYTHING.init(jax.random.key(7))
    before = jax.tree.map(np.array, (params, state))

    def found(seed):
        return lr_finder(
            EVERYTHING,
            softmax_cross_entropy,
            sgd,
            DATA,
            rates=RATES,
            steps=2,
            init=lambda key: (params, state),
            seed=seed,
        )

    one, other = found(0).losses, found(1).losses
    jax.tree.map(np.testing.assert_array_equal, (params, state), before)
    # Twenty examples in a batch of 20: what is left of the seed is the order in a batch, and dropout.
    assert (one[:, 0] == one[0, 0]).all()
    assert (one[:, 0] != other[:, 0]).all()


def test_the_edge_is_two_by_the_largest_eigenvalue():
    """Gradient descent on a quadratic diverges from 2 / λ on, with λ of H = 2 xᵀx / N by NumPy in float64."""
    data = Dataset(X, X[:, :1])
    limit = 2 / np.linalg.eigvalsh(2 * X.T.astype(np.float64) @ X / len(X))[-1]
    rates = limit * np.array([0.01, 0.5, 0.95, 1.1, 2.0])
    model = linear(6, 1, bias=False)
    found = lr_finder(model, mean_squared_error, optax.sgd, data, rates=rates)
    assert found.edge == rates[3]
    assert found.suggestion == rates[1]
    low = lr_finder(model, mean_squared_error, optax.sgd, data, rates=rates[:3])
    assert low.edge is None
    assert low.suggestion == rates[1]
    high = lr_finder(model, mean_squared_error, optax.sgd, data, rates=rates[3:])
    assert (high.edge, high.suggestion) == (rates[3], None)


def test_a_training_that_is_not_finite_is_infinite_from_there_and_stops_no_other():
    data = Dataset(X, X[:, :1])
    found = lr_finder(linear(6, 1), mean_squared_error, momentum, data, rates=[0.01, 0.05, 1e15], steps=30)
    assert found.edge == 1e15
    bad = found.losses[2]
    first = int(np.isinf(bad).argmax())
    assert 0 < first < 29
    assert np.isfinite(bad[:first]).all()
    assert np.isposinf(bad[first:]).all()
    assert np.isposinf(found.final[2])
    alone = lr_finder(linear(6, 1), mean_squared_error, momentum, data, rates=[0.01, 0.05], steps=30)
    np.testing.assert_allclose(found.losses[:2], alone.losses, rtol=1e-6, atol=1e-6)  # of losses that start at 3


@pytest.mark.slow
def test_the_suggestion_for_digits_trains():
    data = load("digits")
    model = sequential(flatten(), mlp((64, 32, 10)))
    train, test = (Dataset(part.inputs.astype(np.float32) / 255, part.targets) for part in (data.train, data.test))
    train = take(train, RANDOM.permutation(1437)[: 22 * 64])  # `fit` has no short batch then
    found = lr_finder(model, softmax_cross_entropy, adam, train, rates=np.geomspace(1e-6, 10, 15))
    assert found.mapped_by == "lax.map"
    assert found.edge is not None
    assert found.suggestion is not None
    drops = found.start - found.final
    enough = drops >= 0.98 * drops[found.rates < found.edge].max()
    assert found.suggestion == found.rates[enough & (found.rates < found.edge)].min()
    tried = ramp(model, softmax_cross_entropy, adam, train)
    assert tried.suggestion is not None
    for rate in (found.suggestion, tried.suggestion):
        assert 1e-3 < rate < 0.1
    result = fit(model, softmax_cross_entropy, adam(found.suggestion), train, epochs=8, verbose=False)
    curve = found.losses[found.rates == found.suggestion][0]
    assert curve[:22].mean() == pytest.approx(result.history[0]["loss"], rel=1e-5)  # these are the first steps of fit
    state = result.train_state
    correct = {"accuracy": lambda p, t: (p.argmax(-1) == t).astype(jnp.float32)}
    measured = evaluate(model, state.params, state.model_state, test, softmax_cross_entropy, correct)
    assert measured["accuracy"] >= 0.92


def test_the_ramp_is_a_training_whose_rate_grows():
    tried = ramp(EVERYTHING, softmax_cross_entropy, adam, DATA, low=1e-4, high=10.0, steps=9, batch_size=8)
    rates = 1e-4 * 1e5 ** (np.arange(9) / 8)
    np.testing.assert_allclose(tried.rates, rates)
    np.testing.assert_allclose(tried.losses, one_by_one(rates, DATA), rtol=1e-5)
    np.testing.assert_allclose(tried.smoothed, smooth(tried.losses))


def test_the_running_mean_written_out():
    losses = RANDOM.uniform(size=(2, 5))
    for t in range(5):
        weights = 0.7 ** np.arange(t, -1, -1)
        np.testing.assert_allclose(smooth(losses, 0.7)[:, t], losses[:, : t + 1] @ weights / weights.sum())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_marks_what_was_found(theme):
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from jaxnn.report import learning_rates, style
    from jaxnn.report.theme import png

    losses = [2.3, 1.0, 0.5, 9.0, np.inf]
    with style(theme):
        figure = learning_rates([1e-3, 1e-2, 0.1, 1, 10], losses, start=2.3, edge=1.0, suggestion=0.1)
        assert png(figure)[:4] == b"\x89PNG"
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    assert [text.get_text() for text in panel.texts] == ["untrained", "suggestion 0.1", "diverges from 1"]
    curve, above = panel.lines[:2]
    np.testing.assert_array_equal(np.isfinite(np.asarray(curve.get_ydata())), [True, True, True, False, False])
    assert np.asarray(above.get_xdata()).tolist() == [1, 10]
    assert (np.asarray(above.get_ydata()) < panel.get_ylim()[1]).all()
    for given, words in (
        (([1, 2], [1.0]), "shapes"),
        (([0, 2], [1, 1]), "positive"),
        (([1, 2], [np.inf] * 2), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            learning_rates(*given)
