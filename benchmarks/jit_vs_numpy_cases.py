"""The work that NumPy, eager JAX and compiled JAX do in `jit_vs_numpy`: the same mathematics on the same numbers.

Each rival gets its arrays ready-made, NumPy's on the host and JAX's on the device; the parameters are equal. Eager
JAX is the function that is compiled, called op by op. Where training changes the parameters, each goes on with its own.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import numpy_network
from benchmarks.jit_vs_numpy_programs import (
    Sizes,
    compile_ahead,
    hand_written,
    hand_written_with_loss,
    jax_programs,
    mean_loss,
    name_of,
    problem,
    repeated,
    tree_of,
)
from benchmarks.jit_vs_numpy_timing import Case
from jaxnn import activations, backprop, optimizers

XOR: Sizes = (2, 4, 1)
MNIST: Sizes = (784, 512, 256, 10)
NETWORKS = (XOR, (64, 128, 10), MNIST, (784, 2048, 2048, 10))
XOR_INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR_TARGETS = np.array([[0], [1], [1], [0]], np.float32)
SOFTMAX_CLASSES = 16  # the activations work on arrays [elements / 16, 16]


class Plan(NamedTuple):
    """Which work of which sizes is measured."""

    networks: Sequence[Sizes]
    batches: Sequence[int]
    activations: Sequence[str]
    elements: Sequence[int]
    epochs: Sequence[tuple[Sizes, int, int]]  # network, batch, steps
    small_networks: int
    small_epochs: int


FULL = Plan(
    networks=NETWORKS,
    batches=(1, 4, 16, 64, 256, 1024, 4096),
    activations=("sigmoid", "tanh", "relu", "leaky_relu", "softmax"),
    elements=(16, 256, 4096, 65_536, 1_048_576),
    epochs=(
        (XOR, 4, 200),
        ((64, 128, 10), 64, 28),
        (MNIST, 1, 200),
        (MNIST, 64, 200),
        (MNIST, 1024, 12),
        (NETWORKS[-1], 256, 16),
    ),
    small_networks=1000,
    small_epochs=5000,
)
QUICK = FULL._replace(
    networks=(XOR, MNIST),
    batches=(1, 64, 1024),
    activations=("sigmoid", "relu"),
    elements=(16, 4096, 1_048_576),
    epochs=((XOR, 4, 200), (MNIST, 64, 50)),
)


def cases(plan: Plan) -> Iterator[Case]:
    """Make the cases of a plan one by one, so that only one holds its arrays at a time."""
    for name in plan.activations:
        for elements in plan.elements:
            yield activation(name, elements)
    for sizes in plan.networks:
        for batch in plan.batches:
            yield forward(sizes, batch)
    for sizes in plan.networks:
        for batch in plan.batches:
            yield backward(sizes, batch)
    for sizes in plan.networks:
        yield adam(sizes)
    for sizes, batch, steps in plan.epochs:
        yield epoch(sizes, batch, steps)
    yield small_networks(plan.small_networks, plan.small_epochs)


def activation(name: str, elements: int) -> Case:
    """Compute one activation function of an array [elements / 16, 16]."""
    x = np.random.default_rng(0).standard_normal((elements // SOFTMAX_CLASSES, SOFTMAX_CLASSES), np.float32)
    theirs = {"tanh": np.tanh}.get(name) or getattr(numpy_network, name)
    function, on_device = getattr(activations, name), jnp.asarray(x)
    compiled, seconds = compile_ahead(function, on_device)
    programs = {"numpy": lambda: theirs(x), **jax_programs("", function, compiled, on_device)}
    return Case(name, "", elements, programs, seconds)


def forward(sizes: Sizes, batch: int) -> Case:
    """Compute the output of a network for a batch."""
    network, x, _, output, _ = problem(sizes, batch)
    our_output = getattr(activations, output.__name__)

    def predict(params, x):
        return backprop.forward(params, x, output=our_output).activations[-1]

    arguments = tree_of(network.layers), jnp.asarray(x)
    compiled, seconds = compile_ahead(predict, *arguments)
    programs = {
        "numpy": lambda: numpy_network.predict(network.layers, x, output),
        **jax_programs("", predict, compiled, *arguments),
    }
    return Case("forward pass", name_of(sizes), batch, programs, seconds)


def backward(sizes: Sizes, batch: int) -> Case:
    """Compute the gradient of the mean loss of a batch: by hand in NumPy and in JAX, and by `jax.grad`."""
    network, x, targets, output, _ = problem(sizes, batch)
    by_hand, by_grad = hand_written(output.__name__), jax.grad(mean_loss(output.__name__))
    arguments = tree_of(network.layers), jnp.asarray(x), jnp.asarray(targets)

    def numpy_program():
        kept = numpy_network.forward(network.layers, x, output)
        numpy_network.backward(network.layers, network.layer_gradients, *kept, targets)
        return network.layer_gradients

    compiled, seconds = compile_ahead(by_hand, *arguments)
    compiled_grad, _ = compile_ahead(by_grad, *arguments)
    programs = {
        "numpy": numpy_program,
        **jax_programs("", by_hand, compiled, *arguments),
        **jax_programs(" jax.grad", by_grad, compiled_grad, *arguments),
    }
    return Case("backward pass", name_of(sizes), batch, programs, seconds)


def adam(sizes: Sizes) -> Case:
    """Update all parameters of a network by Adam; the size is their number. Each rival works in place where it can."""
    network, *_ = problem(sizes, 1)
    network.gradients[...] = np.random.default_rng(1).standard_normal(network.gradients.shape, np.float32)
    gradients = tree_of(network.layer_gradients)
    update, optimizer = numpy_network.adam(), optimizers.adam()

    def step(params, opt_state, gradients):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return jax.tree.map(jnp.add, params, updates), opt_state

    def state():
        params = tree_of(network.layers)
        return params, optimizer.init(params)

    def numpy_program():
        # The update uses the gradients up: from the second call on it gets the last step in their place.
        update(network.parameters, network.gradients)
        return network.layers

    compiled, seconds = compile_ahead(step, *state(), gradients, donate_argnums=(0, 1))
    programs = {
        "numpy": numpy_program,
        "eager": repeated(step, state(), gradients),
        "compiled": repeated(compiled, state(), gradients),
    }
    return Case("Adam update", name_of(sizes), network.parameters.size, programs, seconds)


def epoch(sizes: Sizes, batch: int, steps: int) -> Case:
    """Train for an epoch of `steps` batches by Adam, in one order for all; the times are those of one step."""
    network, x, targets, output, loss = problem(sizes, batch * steps)
    order = np.random.default_rng(1).permutation(batch * steps).reshape(steps, batch)
    update, optimizer = numpy_network.adam(), optimizers.adam()
    by_hand, by_grad = hand_written_with_loss(output.__name__), jax.value_and_grad(mean_loss(output.__name__))

    def step(gradient, state, rows, x, targets):
        params, opt_state = state
        value, gradients = gradient(params, x[rows], targets[rows])
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (jax.tree.map(jnp.add, params, updates), opt_state), value

    def one_program(gradient, params, opt_state, x, targets, order):
        one_step = partial(step, gradient, x=x, targets=targets)
        state, values = jax.lax.scan(one_step, (params, opt_state), order)
        return *state, values.mean()

    def op_by_op(params, opt_state, x, targets, order):
        state, total = (params, opt_state), 0.0
        for rows in order:
            state, value = step(by_hand, state, rows, x, targets)
            total += value
        return *state, total / len(order)

    def state():
        params = tree_of(network.layers)
        return params, optimizer.init(params)

    data = tuple(map(jnp.asarray, (x, targets, order)))
    compiled, seconds = compile_ahead(partial(one_program, by_hand), *state(), *data, donate_argnums=(0, 1))
    compiled_grad, _ = compile_ahead(partial(one_program, by_grad), *state(), *data, donate_argnums=(0, 1))
    programs = {
        "numpy": lambda: numpy_network.train_epoch(network, x, targets, order, update, output, loss),
        "eager": repeated(op_by_op, state(), *data),
        "compiled": repeated(compiled, state(), *data),
        "compiled jax.grad": repeated(compiled_grad, state(), *data),
    }
    return Case("training step", name_of(sizes), batch, programs, seconds, dict.fromkeys(programs, steps))


def small_networks(count: int, epochs: int) -> Case:
    """Train networks 2-4-1 on XOR by gradient descent at rate 0.5, keeping the loss of each epoch.

    A call trains three in NumPy, one after another, and `count` in one compiled program by `vmap`. Eager JAX takes all
    `count` through an epoch at once, op by op; as an epoch costs what the one before it did, a fiftieth of the epochs
    is measured. The times are those of one network's whole training.
    """
    rng = np.random.default_rng(0)
    networks = [numpy_network.make(XOR, rng) for _ in range(count)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree_of(network.layers) for network in networks))
    gradient = jax.vmap(jax.value_and_grad(mean_loss("sigmoid")), in_axes=(0, None, None))
    few, part = networks[:3], max(1, epochs // 50)

    def one_epoch(params, _=None):
        values, gradients = gradient(params, XOR_INPUTS, XOR_TARGETS)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients), values

    def all_at_once(params):
        return jax.lax.scan(one_epoch, params, length=epochs)

    def op_by_op():
        now, values = params, []
        for _ in range(part):
            now, value = one_epoch(now)
            values.append(value)
        return jax.block_until_ready((now, values))

    def one_after_another():
        update, trained = numpy_network.gradient_descent(0.5), []
        for network in few:
            own = numpy_network.empty(XOR)
            own.parameters[...] = network.parameters
            values = numpy_network.train(own, XOR_INPUTS, XOR_TARGETS, update, epochs=epochs)
            trained.append((own.layers, values))
        return trained

    compiled, seconds = compile_ahead(all_at_once, params)
    programs = {
        "numpy": one_after_another,
        "eager": op_by_op,
        "compiled": lambda: jax.block_until_ready(compiled(params)),
    }
    units = {"numpy": len(few), "eager": count * part / epochs, "compiled": count}
    return Case("thousand networks", name_of(XOR), count, programs, seconds, units)
