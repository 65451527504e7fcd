"""What the activations' experiment measures: deep networks at initialisation, training, and time."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import initializers, layers
from jaxnn.activations import DERIVATIVES, identity, softmax
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam

WIDTH = 64  # units of every layer, as many as digits has pixels
CLASSES = 10
DEPTH = 50  # hidden layers of the deepest network
BATCH = 64
SEEDS = 5
RATES = (0.001, 0.01, 0.03, 0.1)  # Adam's; the first is the guide's
LOOKS = 10  # at the units during training
ELEMENTS = 2**20  # of the arrays that are timed
INITIALISATIONS: dict[str, Callable[..., Any]] = {
    "Kaiming normal": initializers.kaiming_normal,  # the guide's network, which calls it Xavier's
    "Xavier normal": initializers.xavier_normal,
    "PyTorch's default": initializers.fan_in_uniform,
    "0.01 N(0, 1)": lambda key, shape: 0.01 * jax.random.normal(key, shape),  # the guide's perceptron
    "Kaiming uniform": initializers.kaiming_uniform,
    "Xavier uniform": initializers.xavier_uniform,
}


def deep_network(initialisation: str, key: Any) -> dict[str, jax.Array]:
    """Draw DEPTH hidden layers and the output's weight; the biases are 0 but for PyTorch's default."""
    weight_key, bias_key, output_key = jax.random.split(key, 3)
    draw = INITIALISATIONS[initialisation]
    weights = jax.vmap(lambda key: draw(key, (WIDTH, WIDTH)))(jax.random.split(weight_key, DEPTH))
    biases = initializers.uniform(bias_key, (DEPTH, WIDTH), WIDTH**-0.5 * (initialisation == "PyTorch's default"))
    return {"weights": weights, "biases": biases, "output": draw(output_key, (WIDTH, CLASSES))}


def forward(activation: Callable, network: Any, x: jax.Array) -> jax.Array:
    """Compute the pre-activations of all hidden layers, [B, WIDTH] -> [DEPTH, B, WIDTH]."""

    def layer(a, parameters):
        weight, bias = parameters
        z = a @ weight + bias
        return activation(z), z

    return jax.lax.scan(layer, x, (network["weights"], network["biases"]))[1]


def variance_by_layer(activation: Callable, network: Any, x: jax.Array) -> jax.Array:
    """Compute the variance of each layer's activations over units and images, [DEPTH]."""
    return activation(forward(activation, network, x)).var((1, 2))


def gradient_by_depth(activation: Callable, network: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Compute |dL/dW1| of the networks with 1, 2, ... DEPTH hidden layers and a softmax output, [DEPTH].

    They share their layers and the output layer, so one pass forwards serves all. One pass backwards carries their
    deltas side by side, [DEPTH, B, WIDTH]: that of the network with d layers starts at layer d.
    """
    z = forward(activation, network, x)  # [DEPTH, B, WIDTH]
    slopes = DERIVATIVES[activation](z)
    errors = (softmax(activation(z) @ network["output"]) - jax.nn.one_hot(labels, CLASSES)) / len(x)
    starts = (errors @ network["output"].T) * slopes

    def layer_back(deltas, layer):
        number, weight_above, slope, start = layer
        return ((deltas @ weight_above.T) * slope).at[number].set(start), None

    above = jnp.roll(network["weights"], -1, 0)  # the topmost has none above it, and its deltas are still 0
    deltas, _ = jax.lax.scan(layer_back, jnp.zeros_like(z), (jnp.arange(DEPTH), above, slopes, starts), reverse=True)
    return jnp.linalg.norm(jnp.einsum("bi,dbo->dio", x, deltas), axis=(1, 2))


def over_seeds(measure: Callable, activation: Callable, initialisation: str, key: Any, *batch: Any) -> np.ndarray:
    """Compute the geometric mean over SEEDS networks, in float64: the smallest gradients are 0 in float32."""
    networks = jax.vmap(partial(deep_network, initialisation))(jax.random.split(key, SEEDS))
    with jax.enable_x64(True):
        x, *rest = batch
        networks = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), networks)
        found = _measured(measure, activation, networks, x.astype(jnp.float64), *rest)
        return np.exp(np.log(np.asarray(found)).mean(0))


@partial(jax.jit, static_argnums=(0, 1))
def _measured(measure, activation, networks, *batch):
    return jax.lax.map(lambda network: measure(activation, network, *batch), networks)


def train(
    activation: Callable, rate: jax.Array, key: Any, images: jax.Array, labels: jax.Array, steps: int
) -> dict[str, jax.Array]:
    """Train 64-64-64-10 with Adam on batches drawn at random, and look at it LOOKS + 1 times, [LOOKS + 1]."""
    model = mlp((WIDTH, WIDTH, WIDTH, CLASSES), activation=activation)
    init_key, batch_key = jax.random.split(key)
    params, state = model.init(init_key)
    optimizer = adam(rate)
    every = steps // LOOKS

    def loss(params, x, y):
        return softmax_cross_entropy(model.apply(params, state, x)[0], y).mean()

    def adam_step(carry, number):
        params, opt_state = carry
        rows = jax.random.randint(jax.random.fold_in(batch_key, number), (BATCH,), 0, len(images))
        gradients = jax.grad(loss)(params, images[rows], labels[rows])
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def look(params):
        _, z1, a1, z2, a2, logits = (y for _, y in layers.activations(model, params, state, images))
        a = jnp.concatenate([a1, a2], -1)
        return {
            "dead": ~(jnp.concatenate([z1, z2], -1) > 0).any(0),  # [units]: positive for no image
            "mean": a.mean(),
            "sd": a.std(),
            "loss": softmax_cross_entropy(logits, labels).mean(),
        }

    def look_and_go_on(carry, first):
        return jax.lax.scan(adam_step, carry, first + jnp.arange(every))[0], look(carry[0])

    # The steps after the last look are for nothing; looking in one place alone compiles in half the time.
    return jax.lax.scan(look_and_go_on, (params, optimizer.init(params)), every * jnp.arange(LOOKS + 1))[1]


def train_all(key: Any, images: jax.Array, labels: jax.Array, steps: int) -> dict[str, np.ndarray]:
    """Train every activation at every rate from SEEDS keys in one compiled program.

    The results are [activations, rates, seeds, LOOKS + 1], and `dead` has the units behind.
    """
    keys, rates = jax.random.split(key, SEEDS), jnp.array(RATES)

    def train_one_kind(number):
        def activation(x):
            return jax.lax.switch(number, tuple(DERIVATIVES), x)

        return jax.vmap(lambda rate: jax.vmap(lambda key: train(activation, rate, key, images, labels, steps))(keys))(
            rates
        )

    return jax.tree.map(np.asarray, jax.jit(lambda: jax.lax.map(train_one_kind, jnp.arange(len(DERIVATIVES))))())


def nanoseconds_per_element(key: Any, rounds: int = 30) -> dict[str, dict[str, float]]:
    """Time each compiled activation and its derivative on a large array: medians of interleaved rounds."""
    x = jax.random.normal(key, (ELEMENTS,))
    programs = {
        (f.__name__, what): jax.jit(program)
        for f, derivative in DERIVATIVES.items()
        for what, program in (("value", f), ("derivative", derivative))
        if f is not identity  # compiled, it is nothing
    }
    seconds: dict[Any, list[float]] = {key: [] for key in programs}
    for _ in range(rounds):
        for key, program in programs.items():
            start = time.perf_counter()
            program(x).block_until_ready()
            seconds[key].append(time.perf_counter() - start)
    found: dict[str, dict[str, float]] = {}
    for (name, what), all_seconds in seconds.items():
        found.setdefault(name, {})[what] = 1e9 * float(np.median(all_seconds[1:])) / ELEMENTS  # the first compiles
    return found
