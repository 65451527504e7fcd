"""Modules of linen, nnx and Equinox as layers: the contract, their own training loops, and a run that is killed.

Equinox's tests are skipped where it is not installed, and say so.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import foreign
import jax
import numpy as np
import optax
import pytest
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

from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import fit, run_keys

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
    from flax import nnx

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


class Killed(BaseException):
    pass


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
