"""The schedules against PyTorch's and Optax's over whole trajectories, over a million steps, and in training.

PyTorch's side is golden/torch_schedules.npz, made by golden/make_schedules_golden.py in float64: 100 rates a case.
"""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regeneration import regenerated

from jaxnn.data import Dataset
from jaxnn.losses import mean_squared_error
from jaxnn.models import mlp
from jaxnn.optimizers import adam, adamw, momentum
from jaxnn.schedules import (
    cosine_annealing,
    cosine_restarts,
    exponential_decay,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    piecewise,
    polynomial_decay,
    step_decay,
    warm_up,
)
from jaxnn.training import fit

GOLDEN = dict(np.load(Path(__file__).with_name("golden") / "torch_schedules.npz"))
TOLERANCE = 1e-6  # relative to each rate: 8 units of 2**-23
# The sums that PyTorch makes from rate to rate, and (1 + cos) / 2 near its end, leave 1e-17 of a rate of 0.1.
FLOOR = 1e-15

ODD = 0.237  # puts the top between two updates
TORCH = {
    "step": step_decay(0.1, 7, 0.5),
    "multi_step": multi_step(0.1, [10, 11, 60], 0.3),
    "exponential": exponential_decay(0.1, 0.83),
    "linear": polynomial_decay(0.1, 80, final=1e-3),
    "polynomial": polynomial_decay(0.1, 80),
    "square": polynomial_decay(0.1, 80, 2.0),
    "root": polynomial_decay(0.1, 80, 0.5),
    "cosine": cosine_annealing(0.1, 99),
    "cosine_final": cosine_annealing(0.1, 99, final=1e-4),
    "restarts": cosine_restarts(0.1, 13, final=1e-5),
    "restarts_growing": cosine_restarts(0.1, 6, 2),
    "one_cycle": one_cycle(0.1, 100),
    "one_cycle_odd": one_cycle(0.1, 100, rise=ODD, divide_first=5.0, divide_last=10.0),
    "one_cycle_linear": one_cycle(0.1, 100, rise=ODD, linear=True),
    "warm_cosine": warm_up(9, cosine_annealing(0.1, 90, final=1e-4), start=1e-3),
    "joined": piecewise([0.1, exponential_decay(0.1, 0.9), polynomial_decay(0.1, 20, 2.0)], [5, 40]),
    "one_cycle_beta1": one_cycle_momentum(100),
    "one_cycle_odd_beta1": one_cycle_momentum(100, rise=ODD),
    "one_cycle_linear_momentum": one_cycle_momentum(100, rise=ODD, linear=True),
}


def assert_close(actual, expected, tolerance=TOLERANCE):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected) / np.maximum(np.abs(expected), FLOOR / tolerance)
    assert error.max() <= tolerance, (error.max(), int(error.argmax()))


def all_of(schedules):
    """Compile them all as one program: that is most of the time of this file."""
    return jax.jit(lambda steps: {name: schedule(steps) for name, schedule in schedules.items()})


def test_every_case_of_the_golden_file_is_compared():
    beside = {"torch_version", "gradients", "one_cycle/weights", "one_cycle_odd/weights"}
    assert TORCH.keys() == GOLDEN.keys() - beside


@cache
def rates_at_once():
    return all_of(TORCH)(jnp.arange(100))


@cache
def rates_one_by_one():
    return jax.lax.scan(lambda step, _: (step + 1, all_of(TORCH)(step)), jnp.int32(0), length=100)[1]


@pytest.mark.parametrize("name", TORCH)
def test_equal_to_pytorch(name):
    assert rates_at_once()[name].dtype == jnp.float32
    assert_close(rates_at_once()[name], GOLDEN[name])
    assert_close(rates_one_by_one()[name], GOLDEN[name])


def test_the_golden_file_is_what_pytorch_computes():
    for name, fresh in regenerated("make_schedules_golden", GOLDEN).items():
        if name != "torch_version":
            np.testing.assert_allclose(fresh, GOLDEN[name], rtol=1e-12, atol=1e-17, err_msg=name)


# PyTorch's 100 updates end at step 99, Optax's n at step n: the same top and end are at other shares of it.
OPTAX = {
    "step": (step_decay(0.1, 7, 0.5), lambda: optax.exponential_decay(0.1, 7, 0.5, staircase=True)),
    "multi_step": (
        multi_step(0.1, [10, 11, 60], 0.3),
        lambda: optax.piecewise_constant_schedule(0.1, {10: 0.3, 11: 0.3, 60: 0.3}),
    ),
    "exponential": (exponential_decay(0.1, 0.3, steps=20), lambda: optax.exponential_decay(0.1, 20, 0.3)),
    # 64, since over 80 steps Optax's 1 - n / 80 comes out below 0 at the end when compiled: NaN
    "polynomial": (polynomial_decay(0.1, 64, 1.7, final=1e-3), lambda: optax.polynomial_schedule(0.1, 1e-3, 1.7, 64)),
    "rising": (polynomial_decay(0.0, 80, final=0.1), lambda: optax.linear_schedule(0.0, 0.1, 80)),
    "cosine": (cosine_annealing(0.1, 80, final=1e-3), lambda: optax.cosine_decay_schedule(0.1, 80, 1e-2)),
    "warm_cosine": (
        warm_up(9, cosine_annealing(0.1, 80, final=1e-3)),
        lambda: optax.warmup_cosine_decay_schedule(0.0, 0.1, 9, 89, 1e-3),
    ),
    "sgdr": (
        piecewise([warm_up(3, cosine_annealing(rate, 20)) for rate in (0.1, 0.05, 0.02)], [23, 46]),
        lambda: optax.sgdr_schedule(
            [
                {"init_value": 0.0, "peak_value": rate, "warmup_steps": 3, "decay_steps": 23}
                for rate in (0.1, 0.05, 0.02)
            ]
        ),
    ),
    "restarts": (
        cosine_restarts(0.1, 10, 3),
        lambda: optax.join_schedules([optax.cosine_decay_schedule(0.1, n) for n in (10, 30, 90)], [10, 40]),
    ),
    "one_cycle": (
        one_cycle(0.1, 101, rise=31 / 101),
        lambda: optax.cosine_onecycle_schedule(100, 0.1, 0.3),
    ),
    "one_cycle_linear": (
        one_cycle(0.1, 101, rise=31 / 101, divide_last=40.0, linear=True),
        # with pct_final=1 the second of its three phases ends where the third does, at peak / final_div_factor
        lambda: optax.linear_onecycle_schedule(100, 0.1, 0.3, 1.0, final_div_factor=1000.0),
    ),
    "join": (
        piecewise([0.1, exponential_decay(0.2, 0.9), 0.01], [30, 70]),
        lambda: optax.join_schedules(
            [optax.constant_schedule(0.1), optax.exponential_decay(0.2, 1, 0.9), optax.constant_schedule(0.01)],
            [30, 70],
        ),
    ),
}


@cache
def ours_and_optax():
    """Both where arrays are float64: Optax's (1 + cos) / 2 in float32 would be 1e-4 off near the end."""
    with jax.enable_x64():
        ours = all_of({name: schedule for name, (schedule, _) in OPTAX.items()})(jnp.arange(110))
        theirs = all_of({name: jax.vmap(make()) for name, (_, make) in OPTAX.items()})(jnp.arange(110))
    return ours, theirs


@pytest.mark.parametrize("name", OPTAX)
def test_equal_to_optax(name):
    ours, theirs = ours_and_optax()
    assert ours[name].dtype == jnp.float32
    assert theirs[name].dtype == jnp.float64
    assert_close(ours[name], theirs[name])


def many_steps():
    rng = np.random.default_rng(0)
    return np.unique(np.concatenate([rng.integers(0, 1_100_003, 2000), np.arange(40), 1_000_003 - np.arange(-40, 40)]))


def cycle_in_float64(n):
    total, top = MILLION, 0.3 * MILLION - 1
    low, end = 0.1 / 25, 0.1 / 25e4
    n = np.minimum(n, total - 1)
    up, down = np.sin(np.pi / 2 * n / top) ** 2, np.sin(np.pi / 2 * (total - 1 - n) / (total - 1 - top)) ** 2
    return np.where(n <= top, low + (0.1 - low) * up, end + (0.1 - end) * down)


MILLION = 1_000_003
LONG = {
    "cosine": (cosine_annealing(0.1, MILLION), lambda n: 0.1 * np.sin(np.pi / 2 * np.maximum(1 - n / MILLION, 0)) ** 2),
    "exponential": (exponential_decay(0.1, 0.99993), lambda n: 0.1 * 0.99993**n),
    "growing": (exponential_decay(1e-8, 1e8, steps=MILLION), lambda n: 1e-8 * 1e8 ** (n / MILLION)),
    "step": (step_decay(0.1, 7, 0.9997), lambda n: 0.1 * 0.9997 ** (n // 7)),
    "linear": (polynomial_decay(0.1, MILLION), lambda n: 0.1 * np.maximum(MILLION - n, 0) / MILLION),
    "rising": (
        polynomial_decay(1e-9, MILLION, 2.0, final=1.0),
        lambda n: 1e-9 + (1 - 1e-9) * -np.expm1(2 * np.log1p(-np.minimum(n / MILLION, 1 - 1e-16))),
    ),
    "restarts": (cosine_restarts(0.1, 997), lambda n: 0.1 * np.cos(np.pi / 2 * (n % 997) / 997) ** 2),
    "one_cycle": (one_cycle(0.1, MILLION), cycle_in_float64),
    "warm_up": (warm_up(500_000, 0.1), lambda n: 0.1 * np.minimum(n / 500_000, 1)),
}


@cache
def long_rates():
    return all_of({name: schedule for name, (schedule, _) in LONG.items()})(many_steps())


@pytest.mark.parametrize("name", LONG)
def test_a_million_steps_in_float32(name):
    """The exponent 70 of a rate of 1e-31 in float32 would be 4e-6 off by itself, and 0.99993 in float32 3 %."""
    expected = LONG[name][1](many_steps().astype(np.float64))
    kept = expected > 1e-36  # below is the end of float32
    assert kept.sum() > 1800
    np.testing.assert_allclose(
        np.asarray(long_rates()[name], np.float64)[kept], expected[kept], rtol=TOLERANCE, atol=1e-20
    )


def test_kinds_of_steps():
    schedule = warm_up(3, multi_step(0.1, [5]))
    expected = schedule(jnp.arange(12))
    for kind in (int, np.int64, np.uint8, jnp.uint32):
        one = schedule(kind(9))
        assert one.shape == ()
        assert one.dtype == jnp.float32
        assert float(one) == float(expected[9])
    np.testing.assert_array_equal(schedule(np.arange(12).reshape(3, 4)), expected.reshape(3, 4))
    np.testing.assert_array_equal(jax.vmap(schedule)(jnp.arange(12)), expected)


def test_the_end_stays():
    """PyTorch's cosine would rise again after its T_max, its OneCycleLR raise an error."""
    later = all_of(TORCH)(jnp.array([100, 101, 150, 198, 10**9]))
    ends = ["polynomial", "square", "root", "linear", "cosine", "cosine_final", "warm_cosine", "joined", "one_cycle"]
    for name in ends:
        np.testing.assert_array_equal(later[name], np.full(5, rates_at_once()[name][99]), err_msg=name)


def test_rates_as_tracers():
    """A sweep maps over the numbers of a schedule."""

    def course(rate, factor):
        return piecewise([warm_up(2, one_cycle(rate, 9)), exponential_decay(rate, factor, 3)], [4])(jnp.arange(9))

    rates, factors = jnp.array([0.1, 0.02]), jnp.array([0.5, 0.9])
    expected = [course(float(rate), float(factor)) for rate, factor in zip(rates, factors, strict=True)]
    assert_close(jax.vmap(course)(rates, factors), expected)


def walk(optimizer, gradients):
    def step(carry, gradient):
        weights, state = carry
        updates, state = optimizer.update(gradient, state, weights)
        weights = optax.apply_updates(weights, updates)
        return (weights, state), weights

    start = jnp.linspace(-1, 1, gradients.shape[1])
    return jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1]


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("one_cycle", adam(TORCH["one_cycle"], beta1=TORCH["one_cycle_beta1"])),
        ("one_cycle_odd", adamw(TORCH["one_cycle_odd"], beta1=TORCH["one_cycle_odd_beta1"], weight_decay=0.1)),
    ],
)
def test_one_cycle_of_rate_and_beta1_in_adam(name, optimizer):
    """PyTorch in float64; 100 sums in float32 leave 2e-6 of the largest weight."""
    expected = GOLDEN[f"{name}/weights"]
    places = walk(optimizer, jnp.array(GOLDEN["gradients"]))
    assert np.abs(places - expected).max() <= 2e-6 * np.abs(expected).max()
    without = walk(adam(TORCH["one_cycle"]), jnp.array(GOLDEN["gradients"]))
    assert np.abs(without - expected).max() > 1e-2  # the cycle of beta1 is seen


@pytest.mark.parametrize("nesterov", [False, True])
def test_one_cycle_of_rate_and_momentum(nesterov):
    rates, momenta = GOLDEN["one_cycle_linear"], GOLDEN["one_cycle_linear_momentum"]
    w, v, expected = np.linspace(-1, 1, 3), np.zeros(3), []
    for rate, m, g in zip(rates, momenta, GOLDEN["gradients"].astype(np.float64), strict=True):
        v = m * v - rate * g
        w = w + (m * v - rate * g if nesterov else v)
        expected.append(w)
    optimizer = momentum(TORCH["one_cycle_linear"], TORCH["one_cycle_linear_momentum"], nesterov)
    places = walk(optimizer, jnp.array(GOLDEN["gradients"]))
    assert np.abs(places - np.array(expected)).max() <= 2e-6 * np.abs(expected).max()


def test_fit_records_the_rate_of_each_epoch():
    x = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
    schedule = warm_up(2, cosine_annealing(0.1, 7))
    result = fit(
        mlp((2, 1)), mean_squared_error, adam(schedule), Dataset(x, x[:, :1]), epochs=3, batch_size=4, verbose=False
    )
    expected = schedule(jnp.array([2, 5, 8]))  # the last of the 3 updates of each epoch
    assert_close([entry["learning_rate"] for entry in result.history], expected, 2e-7)
