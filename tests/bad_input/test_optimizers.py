"""What a user gets for an optimizer whose options, parameters, gradients or mask cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adagrad, adam, adamw, clip_by_global_norm, gradient_descent, momentum, rmsprop, sgd
from jaxnn.training import NotFiniteError, fit, init_train_state

NAN, INF = float("nan"), float("inf")
PARAMS = ({"weight": jnp.ones((3, 2)), "bias": jnp.zeros(2)}, ())
OPTIMIZERS = [gradient_descent, sgd, momentum, rmsprop, adagrad, adam, adamw]
EVERY = pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: make.__name__)


@EVERY
@pytest.mark.parametrize("rate", [-1, -1e-9, NAN, INF, np.float32(-1), jnp.float32(NAN)])
def test_learning_rate(make, rate):
    refused(ValueError, lambda: make(rate), f"{make.__name__} expected learning_rate in [0, inf)", f"got {rate}")


@EVERY
def test_learning_rate_of_another_kind(make):
    refused(TypeError, lambda: make("0.1"), f"{make.__name__} expected learning_rate to be a number", "'0.1'")
    refused(TypeError, lambda: make(True), "learning_rate to be a number")
    refused(TypeError, lambda: make(None), "learning_rate to be a number")
    refused(ValueError, lambda: make(jnp.ones(2)), "learning_rate to be one number", "(2,)")


@EVERY
def test_schedules_that_give_no_rate(make):
    refused(ValueError, lambda: make(lambda step: -0.1).init(PARAMS), f"{make.__name__} expected learning_rate in")
    refused(ValueError, lambda: make(lambda step: jnp.ones(2)).init(PARAMS), "to be one number", "(2,)")
    falling = make(lambda step: -0.1 * (step + 1))
    start = lambda: init_train_state(lambda key: (PARAMS, ()), falling, jax.random.key(0))  # noqa: E731
    refused(ValueError, start, f"{make.__name__} expected learning_rate in")
    compiled = jax.jit(lambda: make(lambda step: jnp.ones(3) * step).init(PARAMS))
    refused(ValueError, compiled, "to be one number", "(3,)")


@pytest.mark.parametrize("make", [adam, adamw])
@pytest.mark.parametrize("beta", [1.0, 1.5, -0.1, NAN])
def test_betas(make, beta):
    name = make.__name__
    refused(ValueError, lambda: make(beta1=beta), f"{name} expected beta1 in [0, 1)", f"got {beta}")
    refused(ValueError, lambda: make(beta2=beta), f"{name} expected beta2 in [0, 1)", f"got {beta}")


@pytest.mark.parametrize("epsilon", [-1, 0, 0.0, NAN, INF])
def test_epsilon(epsilon):
    """Zero too: a parameter whose gradient was never anything but zero would become 0/0."""
    for make in (
        adam,
        adamw,
        lambda epsilon: rmsprop(0.1, epsilon=epsilon),
        lambda epsilon: adagrad(0.1, epsilon=epsilon),
    ):
        refused(ValueError, lambda make=make: make(epsilon=epsilon), "expected epsilon in (0, inf)", f"got {epsilon}")


def test_other_options():
    for value in (-1, NAN, INF):
        refused(ValueError, lambda v=value: adamw(weight_decay=v), "adamw expected weight_decay in [0, inf)")
        refused(ValueError, lambda v=value: adagrad(0.1, v), "adagrad expected initial_accumulator in [0, inf)")
        refused(ValueError, lambda v=value: clip_by_global_norm(v), "clip_by_global_norm expected max_norm in (0, inf)")
    refused(ValueError, lambda: clip_by_global_norm(0), "max_norm in (0, inf)", "got 0")
    for value in (1, -0.1, NAN):
        refused(ValueError, lambda v=value: momentum(0.1, v), "momentum expected momentum in [0, 1)")
        refused(ValueError, lambda v=value: rmsprop(0.1, v), "rmsprop expected decay in [0, 1)")
    refused(TypeError, lambda: clip_by_global_norm("1"), "max_norm to be a number")


def test_nesterov_without_momentum():
    refused(ValueError, lambda: momentum(0.1, 0.0, nesterov=True), "positive momentum with nesterov=True", "0.9")
    momentum(0.1, 0.0)  # without it this is gradient descent


def test_tracers_pass():
    """A sweep maps over the options; whoever made the values has checked them."""

    def bad(x):
        for make in (sgd, lambda x: momentum(x, x, nesterov=True), lambda x: adamw(x, x, x, x, x), clip_by_global_norm):
            make(x).init(PARAMS)
        return x

    jax.vmap(bad)(jnp.array([-1.0, 1.0]))


@EVERY
@pytest.mark.parametrize("empty", [(), {}, [], {"a": ()}, None])
def test_no_parameters(make, empty):
    refused(
        ValueError, lambda: make(0.1).init(empty), f"{make.__name__} expected parameters but got", "nothing to train"
    )


@EVERY
def test_parameters_that_are_not_floats(make):
    words = (f"{make.__name__} expected parameters of floats but a is int32", "belongs to the state")
    refused(TypeError, lambda: make(0.1).init({"a": jnp.ones(2, jnp.int32)}), *words)


@EVERY
def test_gradients_unlike_the_parameters(make):
    """A gradient of one number would be added to every weight without a word."""
    optimizer = make(0.1)
    state = optimizer.init(PARAMS)
    short = ({"weight": jnp.ones((3, 2)), "bias": jnp.zeros(1)}, ())
    other = ({"weight": jnp.ones((3, 2))}, ())
    name = f"{make.__name__} expected gradients"
    for update in (optimizer.update, jax.jit(optimizer.update)):
        refused(ValueError, lambda u=update: u(short, state, PARAMS), f"{name} of shape (2,) at 0.bias but got (1,)")
        refused(ValueError, lambda u=update: u(other, state, PARAMS), f"{name} with the leaves 0.bias, 0.weight")


def test_adamw_needs_the_parameters():
    state = adamw().init(PARAMS)
    refused(
        ValueError,
        lambda: adamw().update(PARAMS, state),
        "adamw needs the parameters",
        "update(gradients, state, params)",
    )


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (({"weight": True}, ()), ValueError, ("mask to be a tree like the parameters",)),
        ({"weight": True}, ValueError, ("mask to be a tree like the parameters",)),
        (({"weight": 1, "bias": 0}, ()), TypeError, ("True or False at 0.bias", "got 0")),
        ("weight", TypeError, ("True or False", "'weight'")),
        (lambda params: None, ValueError, ("mask",)),
        (lambda params: tree.mask(params, "kernel"), ValueError, ("no path matches 'kernel'", "0.weight")),
    ],
)
def test_masks(mask, error, words):
    optimizer = adamw(mask=mask)
    refused(error, lambda: optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS), *words)


def test_a_gradient_that_is_not_finite_stops_fit_before_the_optimizer():
    """The clipping has not seen it: the parameters are those before the step, and no moment is NaN."""
    import optax

    x = np.ones((8, 2), np.float32)
    x[5] = np.nan
    optimizer = optax.chain(clip_by_global_norm(1.0), adam(1e-2))
    with pytest.raises(NotFiniteError) as caught:
        fit(
            mlp((2, 2)),
            softmax_cross_entropy,
            optimizer,
            Dataset(x, np.zeros(8, np.int32)),
            epochs=2,
            batch_size=2,
            verbose=False,
        )
    for leaf in jax.tree.leaves(caught.value.result.train_state):
        assert np.isfinite(leaf).all()
