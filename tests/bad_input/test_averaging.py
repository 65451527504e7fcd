"""What a user gets for averages of no optimizer, of another decay, or of no parameters."""

import jax
import jax.numpy as jnp
import optax
import pytest
from refusal import refused

from jaxnn.optimizers import adam, averaged_params, ema, sgd

W = {"weight": jnp.ones((3, 2))}


def test_what_is_no_optimizer():
    for wrong in (adam, 0.999, None, adam(0.1).init(W)):
        refused(TypeError, lambda wrong=wrong: ema(wrong, 0.9), "ema expected an optimizer such as adam(1e-3)")


@pytest.mark.parametrize("decay", [1.0, 1.5, -0.1, float("nan")])
def test_decay(decay):
    refused(ValueError, lambda: ema(sgd(0.1), decay), "ema expected decay in [0, 1)", f"got {decay}")


def test_decay_of_another_kind():
    for wrong in ("0.9", True, None):
        refused(TypeError, lambda wrong=wrong: ema(sgd(0.1), wrong), "ema expected decay to be a number")
    refused(ValueError, lambda: ema(sgd(0.1), jnp.ones(2)), "ema expected decay to be one number", "(2,)")


def test_parameters_that_are_missing_or_others():
    optimizer = ema(sgd(0.1))
    state = optimizer.init(W)
    refused(
        ValueError, lambda: optimizer.update(W, state), "ema needs the parameters", "update(gradients, state, params)"
    )
    refused(ValueError, lambda: jax.jit(optimizer.update)(W, state), "ema needs the parameters")
    other = {"weight": jnp.ones((1, 2))}
    refused(ValueError, lambda: optimizer.update(other, state, other), "parameters of shape (3, 2) at weight", "(1, 2)")
    refused(ValueError, lambda: optimizer.init(()), "there is nothing to train")
    refused(TypeError, lambda: optimizer.init({"steps": jnp.arange(3)}), "ema expected parameters of floats", "int32")


def test_states_without_an_average_or_with_two():
    refused(
        ValueError, lambda: averaged_params(adam(0.1).init(W)), "averaged_params", "found 0", "ema(optimizer, decay)"
    )
    refused(ValueError, lambda: averaged_params(W), "averaged_params expected the state of one ema(...)", "found 0")
    two = optax.chain(ema(sgd(0.1)), ema(sgd(0.1)))
    refused(ValueError, lambda: averaged_params(two.init(W)), "found 2")
