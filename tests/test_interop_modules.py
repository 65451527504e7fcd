"""Modules of linen, nnx and Equinox as layers: the contract, their own training loops, and a run that is killed.

Equinox's tests are skipped where it is not installed, and say so.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import flax.linen as nn
import foreign
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_contract import (  # noqa: F401  (they run here too, with the cases below)
    test_evaluation_needs_no_key_and_leaves_the_state_alone,
    test_evaluation_treats_each_example_alone,
    test_init_takes_one_key_and_maps_over_an_ensemble,
    test_jvp_of_grad_and_grad_of_grad,
    test_per_example_gradients_add_up_to_the_gradient_of_the_sum,
    test_random_bits_do_not_depend_on_vmap,
    test_same_key_same_bits_and_jit_agrees,
    test_trains_inside_a_loop,
)

from jaxnn.interop.equinox import from_equinox
from jaxnn.interop.flax import from_linen, from_nnx
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import doctor, fit, fit_many, grid, lr_finder, run_keys, stack_members

TOLERANCE = 1e-5
needs_equinox = pytest.mark.skipif(importlib.util.find_spec("equinox") is None, reason="Equinox is not installed")
KINDS = [pytest.param("equinox", marks=needs_equinox), "linen", "nnx"]
# make test takes one through the contract; they are alike, and each compiles for ten seconds.
CASES = [
    pytest.param("equinox", marks=[needs_equinox, pytest.mark.slow]),
    pytest.param("linen", marks=pytest.mark.slow),
    "nnx",
]


@pytest.fixture(params=CASES, name="case")
def _case(request):
    layer = foreign.layer(request.param, 0.2)
    params, state = layer.init(jax.random.key(0))
    return layer, params, state, jax.random.normal(jax.random.key(1), (6, *foreign.SHAPE))


def linen_losses(data, optimizer, steps):
    """Train as Flax's own examples do."""
    model = foreign.linen_cnn(0.0)
    variables = model.init(run_keys(0).init, data.inputs[:1], train=False)
    params, statistics = variables["params"], variables["batch_stats"]
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, statistics, opt_state):
        def loss_of(params):
            variables = {"params": params, "batch_stats": statistics}
            logits, changed = model.apply(variables, data.inputs, train=True, mutable=["batch_stats"])
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, data.targets).mean()
            return loss, changed["batch_stats"]

        (loss, changed), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, new_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), changed, new_state, loss

    losses = []
    for _ in range(steps):
        params, statistics, opt_state, loss = step(params, statistics, opt_state)
        losses.append(float(loss))
    variables = {"params": params, "batch_stats": statistics}
    return losses, model.apply(variables, data.inputs, train=False)


def nnx_losses(data, optimizer, steps):
    model = foreign.nnx_cnn(0.0)(rngs=nnx.Rngs(run_keys(0).init))
    optimizer = nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        def loss_of(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(data.inputs), data.targets).mean()

        loss, gradients = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradients)
        return loss

    model.train()
    losses = [float(step(model, optimizer)) for _ in range(steps)]
    model.eval()
    return losses, model(data.inputs)


def equinox_losses(data, optimizer, steps):
    import equinox as eqx

    model, state = eqx.nn.make_with_state(foreign.equinox_cnn(0.0))(run_keys(0).init)
    opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    def outputs(model, state):
        return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(data.inputs, state)

    @eqx.filter_jit
    def step(model, state, opt_state):
        def loss_of(model):
            logits, changed = outputs(model, state)
            return optax.softmax_cross_entropy_with_integer_labels(logits, data.targets).mean(), changed

        (loss, changed), gradients = eqx.filter_value_and_grad(loss_of, has_aux=True)(model)
        updates, new_state = optimizer.update(gradients, opt_state)
        return eqx.apply_updates(model, updates), changed, new_state, loss

    losses = []
    for _ in range(steps):
        model, state, opt_state, loss = step(model, state, opt_state)
        losses.append(float(loss))
    return losses, outputs(eqx.nn.inference_mode(model), state)[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_losses_are_those_of_its_own_training_loop(kind):
    """Each epoch is one batch, whose order `fit` changes: sums of 48 terms in another order.

    SGD, since the gradient of a bias before a batch norm is rounding error, which Adam would make steps of.
    """
    data, optimizer = foreign.images(48), optax.sgd(0.1, momentum=0.9)
    own = {"linen": linen_losses, "nnx": nnx_losses, "equinox": equinox_losses}[kind]
    expected, outputs = own(data, optimizer, 100)
    model = foreign.layer(kind, 0.0)
    result = fit(model, softmax_cross_entropy, optimizer, data, epochs=100, batch_size=48, verbose=False)
    losses = [record["loss"] for record in result.history]
    assert losses[-1] < 0.5 * losses[0]
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE, atol=TOLERANCE)
    y, _ = model.apply(result.train_state.params, result.train_state.model_state, data.inputs)
    np.testing.assert_allclose(y, outputs, rtol=1e-4, atol=1e-4)  # logits, after a hundred steps of rounding


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_a_search_and_the_doctor_take_them(kind):
    data = foreign.images(48)
    options = {"epochs": 2, "batch_size": 16, "verbose": False}
    make = lambda h: (foreign.layer(kind, 0.2), optax.sgd(h["rate"]))  # noqa: E731
    sweep = fit_many(make, softmax_cross_entropy, data, grid(rate=[0.1]), seeds=range(2), **options)
    single = fit(foreign.layer(kind, 0.2), softmax_cross_entropy, optax.sgd(0.1), data, seed=1, **options)
    params, state = stack_members(sweep.members)
    pairs = zip(*map(jax.tree.leaves, ((params, state), single.train_state[:2])), strict=True)
    for many, one in pairs:
        np.testing.assert_allclose(many[1], one, rtol=1e-5, atol=1e-5)
        assert (many[0] != many[1]).any() or np.issubdtype(one.dtype, np.integer)
    found = lr_finder(foreign.layer(kind, 0.2), softmax_cross_entropy, optax.sgd, data, batch_size=16)
    assert 1e-5 < found.suggestion < 1
    diagnosis = doctor(foreign.layer(kind, 0.2), data, learning_rate=1e-2, trained=single)
    assert {finding.check: finding.outcome for finding in diagnosis.findings}["one batch"] == "healthy"


def test_an_nnx_module_that_is_there_already_is_started_from_and_not_changed():
    module = foreign.nnx_cnn(0.2)(rngs=nnx.Rngs(3))
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    layer = from_nnx(module)
    params, state = layer.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, params, before)
    x = jax.random.normal(jax.random.key(1), (6, *foreign.SHAPE))
    trained = jax.tree.map(lambda leaf: leaf + 1, params)
    _, state = jax.jit(partial(layer.apply, key=jax.random.key(2), train=True))(trained, state, x)
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(module, nnx.Param)), before)
    assert not module.dropout.deterministic  # its mode is its own, too
    nnx.update(module, trained)  # and back
    nnx.update(module, state)
    module.eval()
    np.testing.assert_allclose(module(x), layer.apply(trained, state, x)[0], rtol=1e-5, atol=1e-6)


def test_random_streams_are_those_of_the_key():
    """Two calls with one key drop the same, whatever came between; nothing of a stream is in params or state."""

    class Dropping(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5)

        def __call__(self, x, rngs=None):
            return jnp.stack([self.first(x), self.first(x), self.second(x, rngs=rngs)])

    layer = from_nnx(Dropping)
    assert layer.init(jax.random.key(0)) == ((), ())
    x = jnp.ones((4, 16))
    one, _ = layer.apply((), (), x, key=jax.random.key(1), train=True)
    other, _ = layer.apply((), (), x, key=jax.random.key(2), train=True)
    again, _ = layer.apply((), (), x, key=jax.random.key(1), train=True)
    np.testing.assert_array_equal(one, again)
    draws = [*one, *other]
    assert all((a != b).any() for i, a in enumerate(draws) for b in draws[:i])
    np.testing.assert_array_equal(layer.apply((), (), x)[0], jnp.stack([x] * 3))


def test_linen_is_told_its_mode_by_the_names_that_flax_uses():
    x = jnp.ones((4, 16))
    for layer in (from_linen(nn.Dropout(0.5), x), from_linen(nn.Sequential([nn.Dropout(0.5, deterministic=False)]), x)):
        y, _ = layer.apply((), (), x, key=jax.random.key(0), train=True)
        assert 0 < (y == 0).mean() < 1
    np.testing.assert_array_equal(from_linen(nn.Dropout(0.5), x).apply((), (), x)[0], x)
    dense = nn.Dense(3, bias_init=nn.initializers.ones)  # a function is written by its name, in every process alike
    assert from_linen(nn.Sequential([dense, jnp.tanh]), x).name == (
        "from_linen(Sequential(layers=(Dense(features=3, bias_init=ones), tanh)))"
    )


@needs_equinox
def test_modules_of_equinox_that_are_there_already():
    import equinox as eqx

    module, first = eqx.nn.make_with_state(foreign.equinox_cnn(0.2))(jax.random.key(3))
    layer = from_equinox(module, first)
    params, state = layer.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (6, *foreign.SHAPE))
    _, state = jax.jit(partial(layer.apply, key=jax.random.key(2), train=True))(params, state, x)
    trained = eqx.nn.inference_mode(eqx.combine(jax.tree.map(lambda leaf: 2 * leaf, params), module))
    values = {name: state[name] for name in first.tree_flatten()[1]}
    their_state = eqx.nn.State.tree_unflatten(tuple(values), tuple(values.values()))
    expected, _ = jax.vmap(trained, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, their_state)
    y, _ = layer.apply(jax.tree.map(lambda leaf: 2 * leaf, params), state, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)

    plain = from_equinox(eqx.nn.MLP(36, 3, 8, 1, key=jax.random.key(0)))
    params, state = plain.init(jax.random.key(0))
    assert state == ()
    assert plain.apply(params, state, x.reshape(6, -1), train=True)[0].shape == (6, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ended_and_resumed_to_the_same_bits(kind, tmp_path):
    def die(record, state):
        if record["epoch"] == 5:
            signal.raise_signal(signal.SIGINT)

    expected = foreign.train(kind)
    with pytest.raises(KeyboardInterrupt):
        foreign.train(kind, checkpoints=tmp_path, callback=die)
    assert foreign.fingerprint(foreign.train(kind, checkpoints=tmp_path, resume=True)) == foreign.fingerprint(expected)
    assert expected.history[-1]["validation_accuracy"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_to_the_same_bits(kind, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "JAX_PLATFORMS": "cpu"}

    def start(folder):
        command = [sys.executable, str(Path(__file__).with_name("foreign.py")), kind, str(folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    whole = start(tmp_path / "whole").communicate(timeout=300)[0]
    assert whole
    killed = start(tmp_path / "killed")
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob("step_*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.kill()
    assert killed.communicate()[0] == ""
    assert killed.returncode == -signal.SIGKILL
    assert start(tmp_path / "killed").communicate(timeout=300)[0] == whole
