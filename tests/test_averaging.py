"""The moving average of the parameters against PyTorch, Optax and a sum in float64, and inside `fit`.

PyTorch's side is golden/torch_averaging.npz, made by golden/make_averaging_golden.py: 60 steps of momentum.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regeneration import regenerated

from jaxnn.data import from_arrays
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import OptimizerState, adam, averaged_params, clip_by_global_norm, ema, momentum, sgd
from jaxnn.training import fit

FOLDER = Path(__file__).with_name("golden")
GOLDEN, GIVEN = dict(np.load(FOLDER / "torch_averaging.npz")), dict(np.load(FOLDER / "torch_optimizers.npz"))
STEPS = 60


def leaves(arrays, prefix):
    return {key.removeprefix(prefix): jnp.array(v) for key, v in arrays.items() if key.startswith(prefix)}


START, GRADIENTS = leaves(GIVEN, "start/"), leaves(GIVEN, "gradients/")


def walk(optimizer, start=START, gradients=GRADIENTS):
    """Return the parameters and the averages after each step, [steps, ...] in each leaf, and the last state."""

    @jax.jit
    def walked(start, gradients):
        def step(carry, gradient):
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, averaged_params(state))

        (_, state), places = jax.lax.scan(step, (start, optimizer.init(start)), gradients)
        return *places, state

    return walked(start, gradients)


def assert_close(actual, expected, tolerance=1e-6):
    """Compare to the tolerance of the leaf's largest entry, 8 units of 2**-23."""
    assert actual.keys() == expected.keys()
    for name, leaf in actual.items():
        a, e = np.asarray(leaf, np.float64), np.asarray(expected[name], np.float64)
        assert a.shape == e.shape, name
        assert np.abs(a - e).max() <= tolerance * np.abs(e).max(), name


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_pytorchs_averaged_model(decay):
    params, averages, _ = walk(ema(momentum(0.05), decay))
    assert_close(averages, leaves(GOLDEN, f"{decay}/"))
    assert_close(params, leaves(GIVEN, "momentum/"))
    if decay:
        assert np.abs(averages["0.weight"] - params["0.weight"]).max() > 0.01


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_debiased_it_is_optaxs_average_of_the_parameters(decay):
    """And the sum that the docstring names, in float64."""
    params, averages, _ = walk(ema(momentum(0.05), decay, debias=True))
    theirs = optax.ema(decay, debias=True)

    def step(state, place):
        average, state = theirs.update(place, state)
        return state, average

    # Optax's 1 - decay^t in float32 errs by up to 1.3e-5 at 0.999.
    optaxs = jax.jit(lambda places: jax.lax.scan(step, theirs.init(START), places)[1])(params)
    assert_close(averages, optaxs, 1e-6 if decay < 0.999 else 3e-5)
    shares = (1 - decay) * decay ** np.arange(STEPS - 1, -1.0, -1)
    expected = {name: np.tensordot(shares / shares.sum(), np.asarray(p, np.float64), 1) for name, p in params.items()}
    assert_close({name: leaf[-1] for name, leaf in averages.items()}, expected)


def test_it_is_found_through_other_wrappers_and_changes_no_step():
    plain = optax.chain(clip_by_global_norm(5.0), adam(0.01))
    alone = jax.jit(plain.update)(jax.tree.map(lambda g: g[0], GRADIENTS), plain.init(START), START)[0]
    inside = optax.chain(clip_by_global_norm(5.0), ema(adam(0.01), 0.9))
    first = jax.tree.map(lambda g: g[0], GRADIENTS)
    for optimizer in (inside, ema(plain, 0.9), optax.apply_if_finite(inside, 3)):
        state = optimizer.init(START)
        jax.tree.map(np.testing.assert_array_equal, averaged_params(state), START)
        updates, state = jax.jit(optimizer.update)(first, state, START)
        jax.tree.map(np.testing.assert_array_equal, updates, alone)
        # The first update copies.
        assert_close(averaged_params(state), optax.apply_updates(START, updates))


def test_dtypes():
    """A step of 2^-9 from 1 rounds away in bfloat16; the average is of what the parameters are, in float32."""
    start = {"w": jnp.array([1.0, 2.0], jnp.bfloat16)}
    gradients = {"w": jnp.full((4, 2), -0.0625, jnp.bfloat16)}
    params, averages, state = walk(ema(sgd(1.0), 0.75), start, gradients)
    assert (params["w"].dtype, averages["w"].dtype) == (jnp.bfloat16, jnp.float32)
    expected = np.asarray(params["w"][0], np.float32)
    for place in np.asarray(params["w"][1:], np.float32):
        expected = 0.75 * expected + 0.25 * place
    np.testing.assert_allclose(averages["w"][-1], expected, rtol=1e-6)
    assert int(state.step) == 4


def test_decay_may_be_traced_and_mapped_over():
    def last(decay):
        return walk(ema(sgd(0.1), decay))[1]["1.scale"][-1]

    both = jax.jit(jax.vmap(last))(jnp.array([0.5, 0.9]))
    np.testing.assert_allclose(both[1], last(0.9), rtol=1e-6)


@pytest.mark.slow
def test_fit_records_the_rate_and_keeps_the_average():
    """The average of the parameters that the callback sees, one step an epoch; the training itself is the same."""
    rng = np.random.default_rng(0)
    data = from_arrays(rng.standard_normal((60, 6)), np.arange(60) % 3)
    seen = []

    def trained(optimizer, **options):
        model = mlp((6, 8, 3))
        return fit(model, softmax_cross_entropy, optimizer, data, epochs=4, batch_size=60, verbose=False, **options)

    found = trained(ema(adam(lambda step: 0.01 / (1 + step)), 0.5), callback=lambda r, s: seen.append(s.params))
    plain = trained(adam(lambda step: 0.01 / (1 + step)))
    assert [record["learning_rate"] for record in found.history] == pytest.approx([0.01, 0.005, 0.01 / 3, 0.0025])
    jax.tree.map(np.testing.assert_array_equal, found.train_state.params, plain.train_state.params)
    expected = seen[0]
    for params in seen[1:]:
        expected = jax.tree.map(lambda a, w: 0.5 * a + 0.5 * w, expected, params)
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-7),
        averaged_params(found.train_state.opt_state),
        expected,
    )
    assert isinstance(found.train_state.opt_state.inner, OptimizerState)


def test_golden_file_is_what_pytorch_computes():
    for key, fresh in regenerated("make_averaging_golden", GOLDEN).items():
        if key != "torch_version":
            np.testing.assert_allclose(fresh, GOLDEN[key], rtol=1e-6, atol=1e-7, err_msg=key)
