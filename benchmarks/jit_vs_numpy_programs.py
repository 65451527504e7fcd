"""What the cases of `jit_vs_numpy` are made of: one problem for all rivals, and their programs without arguments."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import numpy_network
from jaxnn import activations, backprop, losses

Sizes = tuple[int, ...]


def problem(sizes: Sizes, batch: int) -> tuple[numpy_network.Network, np.ndarray, np.ndarray, Any, Any]:
    """Make a network, random inputs, targets, and the output function and loss that go with them, in NumPy."""
    rng = np.random.default_rng(0)
    network, x = numpy_network.make(sizes, rng), rng.standard_normal((batch, sizes[0]), np.float32)
    if sizes[-1] == 1:
        targets = rng.integers(0, 2, (batch, 1)).astype(np.float32)
        return network, x, targets, numpy_network.sigmoid, numpy_network.binary_cross_entropy
    labels = rng.integers(0, sizes[-1], batch, np.int32)
    return network, x, labels, numpy_network.softmax, numpy_network.categorical_cross_entropy


def hand_written(output: str) -> Callable[..., Any]:
    """Return the hand-written backward pass that ends in softmax or in sigmoid."""
    loss = losses.categorical_cross_entropy if output == "softmax" else losses.binary_cross_entropy

    def gradient(params, x, targets):
        return backprop.backward(params, x, targets, output=getattr(activations, output), loss=loss)

    return gradient


def hand_written_with_loss(output: str) -> Callable[..., Any]:
    """Return the mean loss over probabilities beside the gradient; compiled, the two share one forward pass."""
    loss = losses.categorical_cross_entropy if output == "softmax" else losses.binary_cross_entropy
    gradient = hand_written(output)

    def value_and_gradient(params, x, targets):
        predictions = backprop.forward(params, x, output=getattr(activations, output)).activations[-1]
        return loss(predictions, targets).mean(), gradient(params, x, targets)

    return value_and_gradient


def mean_loss(output: str) -> Callable[..., Any]:
    """Return the mean loss from logits that goes with softmax or sigmoid."""
    loss = losses.softmax_cross_entropy if output == "softmax" else losses.sigmoid_binary_cross_entropy

    def mean(params, x, targets):
        return loss(backprop.forward(params, x, output=activations.identity).activations[-1], targets).mean()

    return mean


def tree_of(layers: numpy_network.Layers) -> Any:
    """Copy the parameters of a NumPy network to the device."""
    return tuple({"weight": jnp.array(weight), "bias": jnp.array(bias)} for weight, bias in layers)


def name_of(sizes: Sizes) -> str:
    """Write (2, 4, 1) as 2-4-1."""
    return "-".join(map(str, sizes))


def compile_ahead(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Callable[..., Any], float]:
    """Compile for these arguments; return the program and the seconds of tracing and compiling."""
    start = time.perf_counter()
    program = jax.jit(function, **options).lower(*arguments).compile()
    return program, time.perf_counter() - start


def jax_programs(
    suffix: str, function: Callable[..., Any], compiled: Callable[..., Any], *arguments: Any
) -> dict[str, Callable[[], Any]]:
    """Return the eager and the compiled program on the same arguments, each waiting for its result."""
    return {
        f"eager{suffix}": lambda: jax.block_until_ready(function(*arguments)),
        f"compiled{suffix}": lambda: jax.block_until_ready(compiled(*arguments)),
    }


def repeated(function: Callable[..., Any], state: tuple[Any, Any], *arguments: Any) -> Callable[[], Any]:
    """Make a program that gives its parameters and optimizer state to the next call, so that they can be donated."""
    box = [*state]

    def program():
        out = jax.block_until_ready(function(*box, *arguments))
        box[:] = out[:2]
        return out

    return program
