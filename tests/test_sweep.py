"""Many networks in one program: each is the run of `fit`; what shares a program; divergence, table, ensemble."""

import signal
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxnn.data import Dataset
from jaxnn.layers import conv1d, flatten, linear, sequential
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.metrics import calibration_bins, expected_calibration_error
from jaxnn.models import mlp
from jaxnn.optimizers import adam, momentum
from jaxnn.training import NotFiniteError, epoch_order, fit, predict, run_keys
from jaxnn.training.ensemble import ensemble_predict, stack_members
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_results import Member, SweepInterrupted, best_of, half_interval, table_of
from jaxnn.training.sweep_settings import Recipe, checked_settings, grid, structures

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((22, 6)).astype(np.float32)
Y = RANDOM.integers(0, 3, 22).astype(np.int32)
DATA = Dataset(X, Y, RANDOM.uniform(0, 2, 22).astype(np.float32))
LINE = Dataset(X, X[:, :1] - X[:, 1:2])
PROGRAMS = sys.modules["jaxnn.training.sweep_programs"]


def make(h):
    """Make a network; not with Adam, which makes whole steps of the rounding in the bias before a batch norm."""
    return mlp((6, 8, 3), batch_norm=h["batch_norm"], dropout=h["dropout"]), momentum(h["rate"])


def make_double(h):
    """Make it in float64, where rounding does not grow into something that is seen within 52 steps."""
    model, optimizer = make(h)
    double = lambda key: jax.tree.map(lambda leaf: leaf.astype(jnp.float64), model.init(key))  # noqa: E731
    return model._replace(init=double), optimizer


def make_line(h):
    return linear(6, 1, bias=False), optax.sgd(h["rate"])


def close(tree, other, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10), tree, other)


def assert_runs_of_fit(members, make, data, rtol=1e-5, **options):
    """Train each member by `fit` too: parameters, states and every number of the history."""
    for member in members:
        model, optimizer = make(member.hyperparameters)
        alone = fit(model, softmax_cross_entropy, optimizer, data, seed=member.seed, verbose=False, **options)
        close((member.params, member.model_state), alone.train_state[:2], rtol)
        assert member.steps == int(alone.train_state.step)
        assert not member.diverged
        for record, expected in zip(member.history, alone.history, strict=True):
            assert record.keys() == expected.keys() - {"seconds", "examples_per_second"}
            close(record, {name: expected[name] for name in record})


def test_each_member_is_the_run_of_fit_side_by_side():
    """Split by seed, weights, batch norm, dropout and none, a short last batch; 52 steps.

    The program is given numbers in float32, so they are chosen to be exact in it.
    """
    settings = [
        {"batch_norm": False, "dropout": 0.0, "rate": 2**-6},
        {"batch_norm": True, "dropout": 0.25, "rate": 2**-4},
        {"batch_norm": True, "dropout": 0.125, "rate": 2**-6},
    ]
    options: dict[str, Any] = {"epochs": 13, "batch_size": 5, "validation_split": 0.2}
    with jax.enable_x64(True):
        data = DATA._replace(inputs=X.astype(np.float64))
        sweep = fit_many(make_double, softmax_cross_entropy, data, settings, seeds=(3, 7), verbose=False, **options)
        assert_runs_of_fit([sweep.members[i] for i in (1, 5)], make_double, data, rtol=1e-9, **options)
    assert [(m.hyperparameters, m.seed) for m in sweep.members] == [(h, s) for h in settings for s in (3, 7)]
    assert sweep.how == [
        "batch_norm=False, dropout=0.0, rate=0.015625: 2 networks side by side (vmap): of 83 parameters each",
        "batch_norm=True: 4 networks side by side (vmap): of 99 parameters each",
    ]
    assert sweep.members[0].steps == 52
    assert sweep.train_seconds > 0 < sweep.compile_seconds
    # The members are not each other's.
    assert len({float(member.history[-1]["loss"]) for member in sweep.members}) == 6


def test_one_after_the_other_and_in_chunks_it_is_the_run_of_fit(monkeypatch):
    monkeypatch.setattr(PROGRAMS, "SIDE_BY_SIDE", 10)
    monkeypatch.setattr(PROGRAMS, "device_memory", lambda: 1.0)  # a byte: one network at a time

    def augment(key, inputs):
        return inputs + 0.1 * jax.random.normal(key, inputs.shape)

    settings = grid(batch_norm=[True], dropout=[0.3], rate=[0.01, 0.05])
    options: dict[str, Any] = {"epochs": 2, "batch_size": 5, "validation": Dataset(X[:7], Y[:7]), "augment": augment}
    sweep = fit_many(make, softmax_cross_entropy, DATA, settings, seeds=[3], verbose=False, **options)
    assert sweep.how == [
        "2 networks one after the other (lax.map) in chunks of 1, as memory is short: "
        "of 99 parameters each, which vmap does not make clearly faster on a CPU"
    ]
    assert_runs_of_fit(sweep.members[1:], make, DATA, **options)


def test_members_are_gradient_descent_by_hand():
    """Linear regression, by NumPy in float64 from the same start and in the same order."""
    rates, seeds = (0.01, 0.1), (0, 5)
    sweep = fit_many(
        make_line, mean_squared_error, LINE, grid(rate=rates), epochs=3, batch_size=8, seeds=seeds, verbose=False
    )
    assert len(sweep.how) == 1
    for member, (rate, seed) in zip(sweep.members, [(r, s) for r in rates for s in seeds], strict=True):
        keys = run_keys(seed)
        w = np.asarray(linear(6, 1, bias=False).init(keys.init)[0]["weight"], np.float64)
        losses = []
        for epoch in range(3):
            full, short = epoch_order(keys.order, epoch, size=22, batch_size=8)
            batches, total = [*np.asarray(full), np.asarray(short)[0]], 0.0
            assert sorted(np.concatenate(batches)) == list(range(22))
            for rows in batches:
                x, error = X[rows].astype(np.float64), X[rows] @ w - LINE.targets[rows]
                total += (error**2).sum()
                w -= rate * 2 * x.T @ error / len(rows)
            losses.append(total / 22)
        np.testing.assert_allclose(member.params["weight"], w, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose([record["loss"] for record in member.history], losses, rtol=1e-5)


def test_a_member_that_diverges_is_frozen_where_fit_stops_and_stops_no_other():
    options: dict[str, Any] = {"epochs": 12, "batch_size": 8}
    sweep = fit_many(
        make_line, mean_squared_error, LINE, grid(rate=[0.01, 3.0, 3.4e38, 0.05]), verbose=False, **options
    )
    small, diverging, exploding, other = sweep.members
    with pytest.raises(NotFiniteError) as caught:
        fit(*make_line({"rate": 3.0})[:1], mean_squared_error, optax.sgd(3.0), LINE, verbose=False, **options)
    alone = caught.value.result
    assert diverging.steps == int(alone.train_state.step)
    assert diverging.diverged == f"epoch {diverging.steps // 3 + 1}, step {diverging.steps + 1}"
    close(diverging.params, alone.train_state.params, 1e-3)  # rounding grows with every step, as everything else
    assert len(diverging.history) == diverging.steps // 3 == len(alone.history)
    # The first update of a rate of 3.4e38 is not finite, though the gradient is: the start stays.
    assert (exploding.steps, exploding.diverged, exploding.history) == (0, "epoch 1, step 1", [])
    close(exploding.params, linear(6, 1, bias=False).init(run_keys(0).init)[0])
    sound = fit_many(make_line, mean_squared_error, LINE, grid(rate=[0.01, 0.05]), verbose=False, **options)
    close([small.params, other.params], [member.params for member in sound.members])
    assert [row["diverged"] for row in sweep.table] == [0, 1, 1, 0]
    assert ["loss" in row for row in sweep.table] == [True, False, False, True]
    assert sweep.best is None  # nothing was validated


def names_of(make, settings):
    """Return what is mapped in each structure, and the places of its settings."""
    recipe = Recipe(make, softmax_cross_entropy, {}, None)
    batch = Dataset(X[:4], Y[:4])
    return [
        (structure.mapped, structure.settings) for structure in structures(recipe, checked_settings(settings), batch)
    ]


def test_what_shares_a_program():
    rates = grid(batch_norm=[False, True], dropout=[0.1, 0.2], rate=[0.1, 0.2])
    both = ("dropout", "rate")
    assert names_of(make, rates) == [(both, (0, 1, 2, 3)), (both, (4, 5, 6, 7))]
    # Without dropout there is no layer of it, and no number to map.
    none = grid(batch_norm=[False], dropout=[0.0, 0.1], rate=[0.1, 0.2])
    assert names_of(make, none) == [(("rate",), (0, 1)), (("rate",), (2, 3))]
    # Integers are structure; among floats they are numbers, as NumPy's are.
    wide = grid(width=[4, 8], rate=[1, np.float32(0.5)])
    assert names_of(lambda h: (mlp((6, h["width"], 3)), adam(h["rate"])), wide) == [
        (("rate",), (0, 1)),
        (("rate",), (2, 3)),
    ]

    assert grid(sizes=[(6, 3), (6, 4, 3)]) == [{"sizes": (6, 3)}, {"sizes": (6, 4, 3)}]

    def asks(h):
        return mlp((6, 4, 3), activation=jnp.tanh if h["slope"] > 0.5 else jax.nn.relu), adam(h["rate"])

    asked = grid(slope=[0.1, 0.9], rate=[0.1, 0.2])
    assert names_of(asks, asked) == [(("rate",), (0, 1)), (("rate",), (2, 3))]


def test_how_networks_share_a_program():
    image = Dataset(X[:, :, None], X[:, :2, None])

    def small(h):
        return conv1d(1, 1, 3), optax.sgd(h["rate"])

    def large(h):
        return sequential(flatten(), linear(6, 500)), optax.sgd(h["rate"])

    data = [image._replace(targets=X[:, :4, None]), image._replace(targets=np.zeros((22, 500), np.float32))]
    for make_one, dataset, words in zip((small, large), data, ("convolutions", "3,500 parameters"), strict=True):
        sweep = fit_many(make_one, mean_squared_error, dataset, grid(rate=[0.1, 0.2]), epochs=0, verbose=False)
        assert sweep.how[0].startswith("2 networks one after the other (lax.map): ")
        assert words in sweep.how[0]
        assert [member.history for member in sweep.members] == [[], []]


def test_a_signal_loses_nothing():
    """Ctrl-C while the second structure is compiled: the first is finished, the second at its start."""
    asked = []

    def interrupted(h):
        asked.append(h["bias"])
        if asked[-2:] == [False, True] and len(asked) > 6:  # six times on the host, before the first program
            signal.raise_signal(signal.SIGINT)
        return linear(6, 3, bias=h["bias"]), optax.sgd(0.1)

    settings = grid(bias=[False, True])
    with pytest.raises(SweepInterrupted) as caught:
        fit_many(interrupted, softmax_cross_entropy, DATA, settings, epochs=2, batch_size=11, verbose=False)
    assert caught.value.signal_number == signal.SIGINT
    assert str(caught.value) == "SIGINT after 4 steps of 2 networks"
    first, second = caught.value.result.members
    assert (first.steps, second.steps, second.history) == (4, 0, [])
    assert len(first.history) == 2
    close(second.params, linear(6, 3).init(run_keys(0).init)[0])


def member(seed, accuracy, diverged=""):
    return Member({"rate": 0.1}, seed, (), (), 9, [{"epoch": 3, "step": 9, "validation_accuracy": accuracy}], diverged)


def test_the_table_has_students_intervals():
    values = [0.91, 0.93, 0.96, 0.9]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert half_interval(values) == pytest.approx((high - low) / 2, rel=1e-12)
    assert half_interval([1.0]) is None
    members = [*map(member, range(4), values), member(4, 0.99, "epoch 3, step 10")]
    assert table_of([({"rate": 0.1}, members)]) == [
        {
            "rate": 0.1,
            "networks": 5,
            "diverged": 1,
            "validation_accuracy": pytest.approx(0.925),
            "validation_accuracy_interval": pytest.approx((high - low) / 2),
        }
    ]
    assert best_of(members) is members[2]


@pytest.mark.parametrize("limit", [10, 1000])
def test_the_ensemble_is_the_mean_of_softmax(monkeypatch, limit):
    """One after the other (above 10 parameters) and side by side, by NumPy; batches of 10 leave one of 2."""
    monkeypatch.setattr(PROGRAMS, "SIDE_BY_SIDE", limit)
    model = mlp((6, 8, 3), batch_norm=True)
    members = [
        Member({}, seed, *model.init(jax.random.key(seed)), steps=0, history=[], diverged="") for seed in range(3)
    ]
    logits = [np.asarray(predict(model, m.params, m.model_state, X), np.float64) for m in members]
    expected = np.mean([np.exp(part) / np.exp(part).sum(-1, keepdims=True) for part in logits], axis=0)
    answers = ensemble_predict(model, *stack_members(members), X, batch_size=10)
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    confidence, right = expected.max(-1), expected.argmax(-1) == Y
    places = np.ceil(confidence * 15)
    error = sum(abs((right - confidence)[places == place].sum()) for place in set(places)) / len(Y)
    assert float(expected_calibration_error(calibration_bins(answers, Y))) == pytest.approx(error, abs=1e-6)
