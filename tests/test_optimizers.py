"""The optimizers against Optax and against PyTorch over 60 steps, in every transformation, and inside `fit`.

PyTorch's side is golden/torch_optimizers.npz, made by golden/make_optimizer_golden.py: a nested tree with a leaf that
starts at zero, one with gradients of 1e-3, a scalar, and one whose gradients are all zero.
"""

import math
from functools import cache
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.data import from_arrays
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import (
    OptimizerState,
    adagrad,
    adam,
    adamw,
    clip_by_global_norm,
    gradient_descent,
    momentum,
    rmsprop,
    sgd,
)
from jaxnn.training import fit

GOLDEN = dict(np.load(Path(__file__).with_name("golden") / "torch_optimizers.npz"))
STEPS = 60
TOLERANCE = 1e-6  # of the leaf's largest entry: 8 units of 2**-23


def nested(prefix):
    """Arrange the arrays under a prefix, `0.weight` and so on, as a tree like that of a model."""
    flat = {key.removeprefix(f"{prefix}/"): jnp.array(v) for key, v in GOLDEN.items() if key.startswith(f"{prefix}/")}
    parts = [{k[2:]: v for k, v in flat.items() if k.startswith(f"{i}.")} for i in (0, 1)]
    return (parts[0], (), parts[1])


START, GRADIENTS = nested("start"), nested("gradients")
SCHEDULE = jnp.array(GOLDEN["schedule"])


def schedule(step):
    return SCHEDULE[step]


def in_float64(leaves):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), leaves)


def low(leaves):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), leaves)


def weights_only(params):
    return tree.mask(params, r".*weight")


# The same optimizer here, in Optax, and as a case of the golden arrays; each takes the learning rate.
CASES = {
    "gradient_descent": (gradient_descent, optax.sgd, "sgd", 0.1),
    "sgd": (sgd, optax.sgd, "sgd", 0.1),
    "momentum": (momentum, lambda lr: optax.sgd(lr, 0.9), "momentum", 0.05),
    "nesterov": (
        lambda lr: momentum(lr, nesterov=True),
        lambda lr: optax.sgd(lr, 0.9, nesterov=True),
        "nesterov",
        0.05,
    ),
    "rmsprop": (rmsprop, lambda lr: optax.rmsprop(lr, eps_in_sqrt=False), "rmsprop", 0.01),
    # Optax has the epsilon under the root. Zero there and 1e-10 here are the same but for the last bits.
    "adagrad": (adagrad, lambda lr: optax.adagrad(lr, initial_accumulator_value=0, eps=0), "adagrad", 0.1),
    "adagrad_from_a_tenth": (
        lambda lr: adagrad(lr, initial_accumulator=0.1),
        lambda lr: optax.adagrad(lr, eps=0),
        "adagrad_from_a_tenth",
        0.1,
    ),
    "adam": (adam, optax.adam, "adam", 0.01),
    "adam_other_options": (
        lambda lr: adam(lr, 0.5, 0.9, 1e-3),
        lambda lr: optax.adam(lr, 0.5, 0.9, 1e-3),
        "adam_other_options",
        0.01,
    ),
    "adamw": (lambda lr: adamw(lr, weight_decay=0.1), lambda lr: optax.adamw(lr, weight_decay=0.1), "adamw", 0.01),
    "adamw_weights_only": (
        lambda lr: adamw(lr, weight_decay=0.1, mask=weights_only),
        lambda lr: optax.adamw(lr, weight_decay=0.1, mask=weights_only),
        "adamw_weights_only",
        0.01,
    ),
}
BY_NAME = pytest.mark.parametrize("name", CASES)
# Without those that differ from another by an option alone.
EACH = pytest.mark.parametrize(
    "name", ["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw_weights_only"]
)
# Where rate and sum of gradients are multiplied late, a changing rate makes another path: see the tests below.
SCHEDULED = pytest.mark.parametrize("name", [n for n in CASES if f"{CASES[n][2]}_scheduled/0.bias" in GOLDEN])
LATE_RATE = ("momentum", "nesterov")


def walk(optimizer, start=START, gradients=GRADIENTS, apply=optax.apply_updates):
    """Return the parameters after each step, [steps, ...] in each leaf, and the last state."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        params = apply(params, updates)
        return (params, state), params

    (_, state), places = jax.lax.scan(step, (start, optimizer.init(start)), gradients)
    return places, state


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(tree.paths(actual).items(), jax.tree.leaves(expected), strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert a.shape == e.shape, path
        assert np.abs(a - e).max() <= tolerance * np.abs(e).max(), (path, np.abs(a - e).max() / np.abs(e).max())


@cache
def ours_walked(name, scheduled=False):
    make, _, _, rate = CASES[name]
    return walk(make(schedule if scheduled else rate))


@cache
def optax_walked(name, scheduled=False):
    """Optax in float64: its bias correction in float32 is up to 1.3e-5 off in the first steps, see below."""
    _, make, _, rate = CASES[name]
    with jax.enable_x64():
        return walk(make(schedule if scheduled else rate), in_float64(START), in_float64(GRADIENTS))[0]


@BY_NAME
def test_equal_to_optax_and_to_pytorch(name):
    places, state = ours_walked(name)
    assert int(state.step) == STEPS
    assert_close(places, optax_walked(name))
    assert_close(places, nested(CASES[name][2]))


@SCHEDULED
def test_equal_to_optax_and_to_pytorch_under_a_changing_rate(name):
    places, state = ours_walked(name, scheduled=True)
    theirs, golden = optax_walked(name, scheduled=True), nested(f"{CASES[name][2]}_scheduled")
    assert state.learning_rate == SCHEDULE[STEPS - 1]
    if name not in LATE_RATE:
        assert_close(places, theirs)
        assert_close(places, golden)
    else:
        assert_close(golden, theirs)  # Optax and PyTorch agree, but the guide's form is another one
        assert np.abs(places[0]["weight"] - golden[0]["weight"]).max() > 0.05


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_guides_momentum_under_a_changing_rate(nesterov):
    """By a loop in float64: v <- m v - lr g, w <- w + v, as the guide has it."""
    places, _ = walk(momentum(schedule, nesterov=nesterov))
    w, gradients = np.asarray(START[0]["weight"], np.float64), np.asarray(GRADIENTS[0]["weight"], np.float64)
    velocity, expected = np.zeros_like(w), []
    for rate, g in zip(GOLDEN["schedule"].astype(np.float64), gradients, strict=True):
        velocity = 0.9 * velocity - rate * g
        w = w + (0.9 * velocity - rate * g if nesterov else velocity)
        expected.append(w)
    assert_close(places[0]["weight"], np.stack(expected))


def test_momentum_agrees_with_optax_until_the_rate_changes():
    """After a fall of the rate to a tenth theirs moves at once by a tenth of the velocity; the guide's rolls on."""
    falls = optax.piecewise_constant_schedule(0.1, {30: 0.1})
    ours, theirs = (walk(make)[0][0]["weight"] for make in (momentum(falls), optax.sgd(falls, 0.9)))
    assert_close(ours[:30], theirs[:30])
    moved = [np.linalg.norm(path[30] - path[29]) / np.linalg.norm(path[29] - path[28]) for path in (ours, theirs)]
    assert moved[0] > 5 * moved[1]


@EACH
def test_bfloat16(name):
    """In bfloat16 the moments are float32: the sum of all updates stays with PyTorch's path in float32."""
    ours, _, case, rate = CASES[name]

    def add(params, updates):
        assert jax.tree.leaves(jax.tree.map(lambda u: u.dtype, updates)) == [jnp.bfloat16] * 5
        return jax.tree.map(lambda p, u: p + u.astype(jnp.float32), params, updates)

    optimizer = ours(rate)
    in_low = optax.GradientTransformation(
        lambda params: optimizer.init(low(params)), lambda g, state, params: optimizer.update(g, state, low(params))
    )
    places, state = walk(in_low, gradients=low(GRADIENTS), apply=add)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.moments)} <= {jnp.dtype(jnp.float32)}
    assert_close(places, nested(case), 2e-2)


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adagrad", "adam"])
def test_an_update_in_bfloat16_is_that_of_float32_rounded_once(name):
    optimizer = CASES[name][0](0.03)
    for g in (GRADIENTS[0]["weight"][0], GRADIENTS[0]["weight"][1]):
        full, _ = optimizer.update(g, optimizer.init(g))
        rounded, _ = optimizer.update(low(g), optimizer.init(low(g)))
        np.testing.assert_array_equal(rounded, full.astype(jnp.bfloat16))


def test_moments_in_bfloat16_would_stand_still():
    """Optax keeps them in the parameters' dtype: 0.999 v + 0.001 g² rounds back to v long before v is g²."""
    w, g = jnp.zeros(1, jnp.bfloat16), jnp.ones(1, jnp.bfloat16)

    def second_moment(optimizer, read):
        state = jax.lax.fori_loop(0, 3000, lambda _, state: optimizer.update(g, state, w)[1], optimizer.init(w))
        return float(read(state)[0])

    expected = 1 - 0.999**3000  # 0.95
    assert abs(second_moment(adam(), lambda state: state.moments["v"]) - expected) < 1e-4
    assert second_moment(optax.adam(1e-3), lambda state: state[0].nu) < 0.6


@BY_NAME
def test_the_dtype_of_every_leaf_stays(name):
    params = {"half": jnp.ones(2, jnp.float16), "brain": jnp.ones(2, jnp.bfloat16), "single": jnp.ones(2)}
    optimizer = (
        CASES[name][0](1e-2)
        if name != "adamw_weights_only"
        else adamw(1e-2, mask={"half": True, "brain": False, "single": True})
    )
    state = optimizer.init(params)
    updates, after = optimizer.update(params, state, params)
    for before_tree, after_tree in ((params, updates), (state, after)):
        dtypes = [jax.tree.map(lambda leaf: leaf.dtype, t) for t in (before_tree, after_tree)]
        assert dtypes[0] == dtypes[1]


@BY_NAME
def test_float64(name):
    """With jax_enable_x64 all is computed in float64, the bias correction too; the path is that of Optax to 1e-12."""
    with jax.enable_x64():
        places, state = walk(CASES[name][0](CASES[name][3]), in_float64(START), in_float64(GRADIENTS))
    assert {leaf.dtype for leaf in jax.tree.leaves(places)} == {jnp.dtype(jnp.float64)}
    assert state.learning_rate.dtype == jnp.float32
    # Adagrad's epsilon of 1e-10 beside a gradient of 1e-4, where Optax has zero.
    assert_close(places, optax_walked(name), 1e-6 if "adagrad" in name else 1e-12)


@EACH
def test_zero_gradients(name):
    """Nothing moves but by decoupled decay, and nothing is NaN."""
    make, _, _, rate = CASES[name]
    optimizer = make(rate)
    zeros, params, state = jax.tree.map(jnp.zeros_like, START), START, optimizer.init(START)
    for _ in range(3):
        updates, state = optimizer.update(zeros, state, params)
        params = optax.apply_updates(params, updates)
    if "adamw" in name:
        np.testing.assert_allclose(params[0]["weight"], START[0]["weight"] * (1 - rate * 0.1) ** 3, rtol=1e-6)
    else:
        jax.tree.map(np.testing.assert_array_equal, params, START)


@EACH
def test_the_same_in_jit_and_step_by_step(name):
    optimizer = CASES[name][0](CASES[name][3])
    params, state = START, optimizer.init(START)
    for i in range(3):
        updates, state = optimizer.update(jax.tree.map(lambda g, i=i: g[i], GRADIENTS), state, params)
        params = optax.apply_updates(params, updates)
    assert_close(params, jax.tree.map(lambda path: path[2], ours_walked(name)[0]))
    assert isinstance(state, OptimizerState)


@EACH
def test_vmap_over_learning_rates(name):
    """Each member of the batch is the run with its own rate; the rate in the state is each member's."""
    make, _, case, rate = CASES[name]
    rates = jnp.array([0.0, rate, 2 * rate])
    places, state = jax.vmap(lambda rate: walk(make(rate)))(rates)
    np.testing.assert_array_equal(state.learning_rate, rates)
    still, member, further = (jax.tree.map(lambda path, i=i: path[i], places) for i in range(3))
    assert_close(member, nested(case))
    jax.tree.map(lambda path, start: np.testing.assert_array_equal(path[-1], start), still, START)
    assert np.abs(further[0]["weight"] - member[0]["weight"]).max() > 0.01


@pytest.mark.parametrize(
    "make",
    [
        lambda x: momentum(0.1, x),
        lambda x: momentum(0.1, x, nesterov=True),
        lambda x: rmsprop(0.1, x, x),
        lambda x: adagrad(0.1, x, x),
        lambda x: adamw(0.1, x, x, x, x),
        lambda x: optax.chain(clip_by_global_norm(x), sgd(0.1)),
    ],
)
def test_vmap_over_every_option(make):
    start, gradients = START[2]["scale"], GRADIENTS[0]["bias"][:8, :3]
    values = jnp.array([0.5, 0.9])
    places, _ = jax.vmap(lambda x: walk(make(x), start, gradients))(values)
    for path, x in zip(places, values.tolist(), strict=True):
        assert_close(path, walk(make(x), start, gradients)[0])


def test_the_derivative_with_respect_to_the_learning_rate():
    """By central differences, in float64."""
    with jax.enable_x64():
        start, gradients = (
            jax.tree.map(lambda a: jnp.asarray(a[..., :3], jnp.float64), t[0]) for t in (START, GRADIENTS)
        )
        end = lambda rate: walk(adam(rate), start, gradients)[0]["weight"][-1].sum()  # noqa: E731
        numeric = (end(0.01 + 1e-6) - end(0.01 - 1e-6)) / 2e-6
        assert abs(jax.grad(end)(0.01) - numeric) < 1e-6 * abs(numeric)


@hypothesis.given(beta1=st.floats(0, 0.99), beta2=st.floats(0, 0.9999), scale=st.floats(-6, 6), seed=st.integers(0, 99))
@hypothesis.settings(max_examples=25, deadline=None)
def test_adams_updates_by_a_loop_in_float64(beta1, beta2, scale, seed):
    """Each update, not the place, to 2e-6; Optax's first one is off by up to 6e-6 at beta2 = 0.999."""
    gradients = (10**scale * np.random.default_rng(seed).standard_normal((6, 4))).astype(np.float32)
    optimizer = adam(1.0, beta1, beta2)
    state, m, v = optimizer.init(jnp.zeros(4)), np.zeros(4), np.zeros(4)
    for t, g in enumerate(gradients.astype(np.float64), 1):
        updates, state = optimizer.update(jnp.asarray(gradients[t - 1]), state)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        expected = -m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        # m is a sum of terms of both signs: the error is relative to the largest of them.
        bound = 2e-6 * np.abs(gradients[:t]).max(0) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        assert (np.abs(updates - expected) <= bound).all()


def test_the_bias_correction_keeps_its_digits():
    """1 - 0.999^t as float32 reads it is 1.3e-5 off at t = 1, and so is Optax's first step by half of that."""
    g = jnp.array([0.5])
    ours, theirs = (float(o.update(g, o.init(g))[0][0]) for o in (adam(1.0), optax.adam(1.0)))
    assert abs(ours + 1) < 2e-7
    assert abs(theirs + 1) > 4e-6


# The place of the epsilon, and the start of the sum


def test_rmsprops_epsilon_stands_outside_of_the_root():
    under_the_root = walk(optax.rmsprop(0.01))[0][2]["scale"]
    assert np.abs(ours_walked("rmsprop")[0][2]["scale"] - under_the_root).max() > 1e-3 * np.abs(under_the_root).max()


def test_adagrads_defaults_are_pytorchs_and_not_optaxs():
    optaxs = walk(optax.adagrad(0.1))[0][2]["scale"]
    assert np.abs(ours_walked("adagrad")[0][2]["scale"] - optaxs).max() > 0.1 * np.abs(optaxs).max()
    close = ours_walked("adagrad_from_a_tenth")[0][2]["scale"]  # Optax's 1e-7 under the root is all that is left
    assert np.abs(close - optaxs).max() < 1e-6 * np.abs(optaxs).max()


# Weight decay


@pytest.mark.parametrize(
    ("mask", "same_as"),
    [
        (True, "adamw"),
        (False, "adam"),
        (({"weight": True, "bias": False}, (), False), "adamw_weights_only"),
        (lambda params: jax.tree.map(lambda leaf: leaf.ndim == 2, params), "adamw_weights_only"),
    ],
)
def test_masks(mask, same_as):
    """A mask may stop above the leaves; all of them are held against PyTorch's parameter groups."""
    assert_close(walk(adamw(0.01, weight_decay=0.1, mask=mask))[0], nested(same_as))


def test_without_decay_adamw_is_adam():
    jax.tree.map(np.testing.assert_array_equal, walk(adamw(0.01, weight_decay=0.0))[0], ours_walked("adam")[0])


# Clipping


def test_clipping_is_optaxs_exactly_and_pytorchs_to_its_1e_6():
    clipped = optax.chain(clip_by_global_norm(5.5), sgd(0.1))
    assert_close(walk(clipped)[0], walk(optax.chain(optax.clip_by_global_norm(5.5), optax.sgd(0.1)))[0])
    assert_close(walk(clipped)[0], nested("sgd_clipped"))


@hypothesis.given(scale=st.floats(-15, 15), limit=st.floats(-3, 3), seed=st.integers(0, 99))
@hypothesis.settings(max_examples=40, deadline=None)
def test_clipping_meets_the_limit_and_keeps_the_direction(scale, limit, seed):
    limit = 10.0**limit
    draw = np.random.default_rng(seed).standard_normal(7).astype(np.float32) * np.float32(10**scale)
    gradient = {"a": jnp.asarray(draw[:3]), "b": (jnp.asarray(draw[3:]),)}
    optimizer = clip_by_global_norm(limit)
    clipped, _ = optimizer.update(gradient, optimizer.init(gradient))
    flat = np.concatenate([np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(clipped)])
    length = np.linalg.norm(draw.astype(np.float64))
    if length < limit * (1 - 1e-6):
        np.testing.assert_array_equal(flat, draw)
    else:
        np.testing.assert_allclose(flat, draw * (limit / length), rtol=1e-6)


def test_pytorchs_formula_stays_below_the_limit():
    """Of a gradient of 1e-6, clipped to 1e-7: Optax and we give 1e-7, PyTorch's 1e-7 / (1e-6 + 1e-6) gives half."""
    optimizer = clip_by_global_norm(1e-7)
    clipped, _ = optimizer.update(jnp.array([1e-6]), optimizer.init(()))
    assert abs(float(clipped[0]) / 1e-7 - 1) < 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clipping_does_not_spread_what_is_not_finite(bad):
    gradient = {"good": jnp.array([3.0, 4.0]), "bad": jnp.array([bad, 1.0])}
    optimizer = clip_by_global_norm(1.0)
    clipped, _ = optimizer.update(gradient, optimizer.init(gradient))
    jax.tree.map(np.testing.assert_array_equal, clipped, gradient)


def test_clipping_in_float16_does_not_overflow():
    optimizer = clip_by_global_norm(1.0)
    clipped, _ = optimizer.update(jnp.array([3e4, 4e4], jnp.float16), optimizer.init(()))
    assert clipped.dtype == jnp.float16
    np.testing.assert_allclose(clipped, [0.6, 0.8], rtol=1e-3)


# Among Optax's own, and inside `fit`


def test_optax_takes_them_for_its_own():
    optimizers = {name: make(0.1) for name, (make, *_) in CASES.items()} | {"clip": clip_by_global_norm(1.0)}
    for optimizer in optimizers.values():
        assert isinstance(optimizer, optax.GradientTransformation)
    labels = ({"weight": "fast", "bias": "slow"}, (), "slow")
    parts = optax.partition({"fast": momentum(0.05), "slow": adam(0.01)}, labels)
    places, _ = walk(parts)
    assert_close(places[0]["weight"], nested("momentum")[0]["weight"])
    assert_close(places[2], nested("adam")[2])
    skipping, _ = walk(optax.apply_if_finite(adam(0.01), 3))
    assert_close(skipping, nested("adam"))
    doubled = optax.tree.map_params(adam(0.01), lambda leaf: leaf + 1, adam(0.01).init(START))
    assert {float(leaf.ravel()[0]) for leaf in jax.tree.leaves(doubled.moments)} == {1.0}
    assert int(doubled.step) == 0


def test_the_learning_rate_in_the_state_is_that_of_the_latest_update():
    """As in optax.inject_hyperparams, whose records `fit` reads too."""
    rate = lambda step: 0.1 / (1 + step)  # noqa: E731
    ours, theirs = sgd(rate), optax.inject_hyperparams(optax.sgd)(rate)
    w = jnp.ones(1)
    state, their_state = ours.init(w), theirs.init(w)
    for _ in range(4):
        assert state.learning_rate.dtype == jnp.float32
        np.testing.assert_allclose(state.learning_rate, their_state.hyperparams["learning_rate"], rtol=1e-6)
        _, state = ours.update(w, state, w)
        _, their_state = theirs.update(w, their_state, w)
    assert abs(float(state.learning_rate) - 0.1 / 4) < 1e-8


DATA = from_arrays(np.random.default_rng(0).standard_normal((60, 6)), np.arange(60) % 3)


def trained(optimizer):
    return fit(mlp((6, 8, 3)), softmax_cross_entropy, optimizer, DATA, epochs=2, batch_size=6, verbose=False)


def test_inside_fit():
    ours = trained(optax.chain(clip_by_global_norm(1.0), adam(1e-2)))
    theirs = trained(optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)))
    assert [record["learning_rate"] for record in ours.history] == [0.01, 0.01]
    # Optax's bias correction is 1e-5 off at the start, and the gradients of 20 steps answer to it.
    assert_close(ours.train_state.params, theirs.train_state.params, 1e-4)


def test_fit_records_the_rate_of_a_schedule():
    """The record of an epoch names the rate of its last step."""
    result = trained(momentum(optax.cosine_decay_schedule(1e-2, 20)))
    expected = 0.005 * (1 + np.cos(np.pi * np.array([9, 19]) / 20))
    np.testing.assert_allclose([record["learning_rate"] for record in result.history], expected, rtol=1e-5)
