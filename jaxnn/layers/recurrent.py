"""Recurrent layers over sequences, and the choice of the last time step.

Each of the three keeps PyTorch's two biases a layer, `input_bias` and `recurrent_bias`. In the RNN and the LSTM their
sum would do for the output. But both get the gradient of that sum, so with two of them the sum starts with twice the
variance and moves twice as fast; to train as PyTorch does, both must be there. The GRU's reset gate acts on the second
one alone. All parameters are drawn from U(-1/sqrt(H), 1/sqrt(H)), PyTorch's default.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks, functional
from jaxnn.initializers import uniform
from jaxnn.types import Array, Layer


def rnn(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    activation: Callable[[Any], Any] = jnp.tanh,
    dropout: float | Array = 0.0,
    bidirectional: bool = False,
) -> Layer:
    """Make a simple recurrent network, [B, T, D] -> the last layer's outputs [B, T, H] ([B, T, 2 H] if bidirectional).

    h_t = activation(x_t W + b + h_{t-1} U + b'), from h_0 = 0; the next layer reads h. The activation is `jnp.tanh` or
    `jax.nn.relu`. `dropout` is the rate between the layers in training, so with one layer it does nothing.

    apply takes one more keyword, `lengths` [B]: row b ends after lengths[b] steps and its outputs from there on are
    zero. `functional.rnn` runs the same params from a given carry and returns the final one, `functional.rnn_step` runs
    one time step. params: a tuple with one dict a layer, `input_weight` [D, H], `recurrent_weight` [H, H], `input_bias`
    and `recurrent_bias` [H] (or two such dicts, `forward` and `backward`), drawn from U(-1/sqrt(H), 1/sqrt(H)). Both
    biases are PyTorch's: their sum would do, but would train more slowly. No steps, T = 0, give no outputs. Raises
    ValueError for another shape of x, lengths outside 0..T, and dropout in training without a key.

    >>> layer = rnn(28, 128, 2)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.ones((32, 28, 28)))[0].shape
    (rnn(28, 128, 2), (32, 28, 128))
    """
    checks.callables("rnn", activation=activation)

    def run(*args, **options):
        return functional.rnn(*args, activation=activation, **options)

    options = "" if activation is jnp.tanh else f", activation={checks.name_of(activation)}"
    return _recurrent("rnn", 1, run, input_size, hidden_size, num_layers, dropout, bidirectional, options)


def lstm(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    dropout: float | Array = 0.0,
    bidirectional: bool = False,
) -> Layer:
    """Make an LSTM, [B, T, D] -> the last layer's outputs h [B, T, H] ([B, T, 2 H] if bidirectional).

    The equations are at `functional.lstm`, which also takes and returns the carry (h, c); `functional.lstm_step` runs
    one time step. Gates stand in the order i, f, g, o, so weights have 4 H columns; the forget gate's bias is drawn
    like all others. Everything else is as in `rnn`.

    >>> layer = lstm(28, 128, 2, dropout=0.2)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.ones((32, 28, 28)))[0].shape
    (lstm(28, 128, 2, dropout=0.2), (32, 28, 128))
    """
    return _recurrent("lstm", 4, functional.lstm, input_size, hidden_size, num_layers, dropout, bidirectional)


def gru(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    dropout: float | Array = 0.0,
    bidirectional: bool = False,
) -> Layer:
    """Make a GRU, [B, T, D] -> the last layer's outputs h [B, T, H] ([B, T, 2 H] if bidirectional).

    The equations are at `functional.gru`, which also takes and returns the carry; `functional.gru_step` runs one time
    step. Gates stand in the order r, z, n, so weights have 3 H columns, and the reset gate acts after the product.
    Everything else is as in `rnn`.

    >>> layer = gru(28, 64, bidirectional=True)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.ones((32, 28, 28)))[0].shape
    (gru(28, 64, bidirectional=True), (32, 28, 128))
    """
    return _recurrent("gru", 3, functional.gru, input_size, hidden_size, num_layers, dropout, bidirectional)


def last_step() -> Layer:
    """Make the layer that takes the last time step, [B, T, D] -> [B, D]. apply takes `lengths` [B] as `rnn` does.

    Raises ValueError for a sequence of no steps.

    >>> last_step().apply((), (), jnp.arange(6.0).reshape(1, 3, 2))[0].tolist()
    [[4.0, 5.0]]
    """

    def apply(params, state, x, /, *, key=None, train=False, lengths=None):
        return functional.last_step(x, lengths), state

    return Layer(lambda key: ((), ()), apply, "last_step()")


def _recurrent(
    kind: str,
    gates: int,
    run: Callable[..., Any],
    input_size: int,
    hidden_size: int,
    num_layers: int,
    dropout: float | Array,
    bidirectional: bool,
    options: str = "",
) -> Layer:
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for what, size in sizes.items():
        checks.positive_int(kind, what, size)
    checks.in_range(kind, "dropout", dropout, 0, 1)
    with_dropout = not checks.is_concrete(dropout) or dropout != 0
    several = f", {num_layers}" if num_layers != 1 else ""
    options += f", dropout={checks.number(dropout)}" if with_dropout else ""
    name = f"{kind}({input_size}, {hidden_size}{several}{options}{', bidirectional=True' if bidirectional else ''})"
    directions = ("forward", "backward") if bidirectional else ("forward",)
    bound, width = 1 / math.sqrt(hidden_size), gates * hidden_size

    def draw(key, inputs):
        shapes = {
            "input_weight": (inputs, width),
            "recurrent_weight": (hidden_size, width),
            "input_bias": (width,),
            "recurrent_bias": (width,),
        }
        keys = jax.random.split(key, len(shapes))
        return {what: uniform(key, shape, bound) for key, (what, shape) in zip(keys, shapes.items(), strict=True)}

    def init(key, /):
        checks.random_key(name, key)
        params = []
        for i in range(num_layers):
            inputs = input_size if i == 0 else len(directions) * hidden_size
            keys = jax.random.split(jax.random.fold_in(key, i), len(directions))
            layer = {d: draw(k, inputs) for d, k in zip(directions, keys, strict=True)}
            params.append(layer if bidirectional else layer["forward"])
        return tuple(params), ()

    def apply(params, state, x, /, *, key=None, train=False, lengths=None):
        x = checks.float_input(name, x)
        checks.time_steps(name, x, input_size)
        checks.recurrent_params(name, params, gates, (input_size, num_layers, len(directions), hidden_size))
        key = checks.given_key(name, key) if train and with_dropout and num_layers > 1 else None
        return run(params, x, lengths=lengths, dropout=dropout, key=key)[0], state

    return Layer(init, apply, name)
