"""What the recurrent networks share: the cells, a layer over all time steps, and one step of all layers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.functional.dense import linear
from jaxnn.functional.randomness import dropout
from jaxnn.types import Array, Params, Size

Carry = tuple[Array, ...]
"""What one layer remembers: (h,), or (h, c) for the LSTM, each [B, H]."""

Cell = Callable[[Array, Array, Carry], Carry]
"""`cell(x W + b, h U + b', carry) -> carry`: elementwise, with the gates side by side on the last axis."""

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def rnn_cell(activation: Callable[[Any], Any]) -> Cell:
    """Make the cell h = activation(x + h') of the simple recurrent network.

    >>> [h.tolist() for h in rnn_cell(jax.nn.relu)(jnp.array([1.0, -2.0]), jnp.array([2.0, 1.0]), ())]
    [[3.0, 0.0]]
    """
    checks.callables("rnn", activation=activation)
    return lambda x, h, carry: (activation(x + h),)


def lstm_cell(x: Array, h: Array, carry: Carry) -> Carry:
    """Compute the new (h, c) of an LSTM from both products [..., 4 H] and the carry.

    >>> [part.tolist() for part in lstm_cell(jnp.zeros(4), jnp.zeros(4), (jnp.zeros(1), jnp.zeros(1)))]
    [[0.0], [0.0]]
    """
    # σ(v) = (1 + tanh(v / 2)) / 2: one tanh over all gates is one vector loop, on CPU far faster than gate by gate.
    slope = jnp.repeat(jnp.array([0.5, 0.5, 1, 0.5], x.dtype), carry[1].shape[-1])  # 1/2 for σ, 1 for tanh
    i, f, g, o = jnp.split(jnp.tanh((x + h) * slope) * slope + (1 - slope), 4, axis=-1)
    c = f * carry[1] + i * g
    return o * jnp.tanh(c), c


def gru_cell(x: Array, h: Array, carry: Carry) -> Carry:
    """Compute the new (h,) of a GRU from both products [..., 3 H] and the carry.

    >>> [part.tolist() for part in gru_cell(jnp.zeros(3), jnp.zeros(3), (jnp.ones(1),))]
    [[0.5]]
    """
    # As in `lstm_cell`. A tanh of a slice is slow on CPU, so n = tanh(x + r h') is taken in all three places.
    r, z, _ = jnp.split(jnp.tanh((x + h) / 2) / 2 + 0.5, 3, axis=-1)
    n = jnp.split(jnp.tanh(x + jnp.concatenate([r, r, r], axis=-1) * h), 3, axis=-1)[2]
    return ((1 - z) * n + z * carry[0],)


def directions(layer: Params) -> tuple[Params, ...]:
    """Return a layer's params by direction: forward, and backward if there is one.

    >>> directions({"forward": {}, "backward": {}}), directions({"input_weight": 1})
    (({}, {}), ({'input_weight': 1},))
    """
    return (layer["forward"], layer["backward"]) if "forward" in layer else (layer,)


def over_time(
    cell: Cell, weights: Params, x: Array, start: Carry, valid: Array | None, *, reverse: bool = False
) -> tuple[Array, Carry]:
    """Run one layer in one direction, [T, B, D] -> h of every step [T, B, H] and the final carry.

    A step that is not `valid` [T, B, 1] changes nothing, and its output is zero. So the backward direction keeps its
    start until it comes to the last valid step of a row, and no row has to be turned round.

    >>> weights = {"input_weight": jnp.ones((1, 1)), "recurrent_weight": jnp.ones((1, 1)),
    ...            "input_bias": jnp.zeros(1), "recurrent_bias": jnp.zeros(1)}
    >>> outputs, _ = over_time(rnn_cell(jax.nn.relu), weights, jnp.ones((3, 1, 1)), (jnp.zeros((1, 1)),), None)
    >>> outputs[:, 0, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    products = linear(x, weights["input_weight"], weights["input_bias"])  # of all steps at once, [T, B, gates * H]

    # The backward pass computes a step's gates again: cheaper than to store a dozen arrays a step and read them back.
    cell = jax.checkpoint(cell, prevent_cse=False)

    def step(carry, at):
        product, ok = at
        new = cell(product, linear(carry[0], weights["recurrent_weight"], weights["recurrent_bias"]), carry)
        if ok is None:
            return new, new[0]
        new = tuple(jnp.where(ok, after, before) for after, before in zip(new, carry, strict=True))
        return new, jnp.where(ok, new[0], jnp.zeros_like(new[0]))  # jax2onnx makes a bare 0 in a loop a float64

    final, outputs = jax.lax.scan(step, start, (products, valid), reverse=reverse)
    return outputs, final


def network(
    name: str, cell: Cell, params: Params, x: Any, carry: Any, lengths: Any, rate: Any, key: Any
) -> tuple[Array, Carry]:
    """Check the arguments of `rnn`, `lstm` or `gru` and run all layers, [B, T, D] -> [B, T, H] and the final carry.

    >>> from jaxnn import layers
    >>> params, _ = layers.gru(3, 5).init(jax.random.key(0))
    >>> network("gru", gru_cell, params, jnp.ones((4, 7, 3)), None, None, 0.0, None)[0].shape
    (4, 7, 5)
    """
    x = checks.float_input(name, x)
    features, layers, ways, hidden = checks.recurrent_params(name, params, GATES[name])
    checks.time_steps(name, x, features)
    checks.in_range(name, "dropout", rate, 0, 1)
    batch, time, _ = x.shape
    starts = _initial(name, carry, (layers * ways, batch, hidden), x.dtype)
    valid = None
    if lengths is not None:
        checks.sequence_lengths(name, lengths, batch, time)
        valid = jnp.arange(time)[:, None, None] < jnp.asarray(lengths)[:, None]  # [T, B, 1]
    y, finals = jnp.moveaxis(x, 1, 0), []  # [T, B, D]
    for i, layer in enumerate(params):
        if i > 0 and key is not None and not (checks.is_concrete(rate) and rate == 0):
            y = dropout(y, jax.random.fold_in(checks.random_key(name, key), i), rate)
        outputs = []
        for weights, reverse in zip(directions(layer), (False, True), strict=False):
            start = tuple(part[len(finals)] for part in starts)
            output, final = over_time(cell, weights, y, start, valid, reverse=reverse)
            outputs.append(output)
            finals.append(final)
        y = jnp.concatenate(outputs, -1) if len(outputs) > 1 else outputs[0]
    return jnp.moveaxis(y, 0, 1), _stacked(finals)


def one_step(name: str, cell: Cell, params: Params, carry: Any, x: Any) -> tuple[Carry, Array]:
    """Check the arguments of `rnn_step`, `lstm_step` or `gru_step` and run all layers for one time step, [B, D].

    >>> from jaxnn import layers
    >>> params, _ = layers.gru(3, 5).init(jax.random.key(0))
    >>> one_step("gru_step", gru_cell, params, (jnp.zeros((1, 4, 5)),), jnp.ones((4, 3)))[1].shape
    (4, 5)
    """
    x = checks.float_input(name, x)
    features, layers, ways, hidden = checks.recurrent_params(name, params, GATES[name.removesuffix("_step")])
    checks.time_steps(name, x, features, one=True)
    if ways > 1:
        raise ValueError(f"{name} cannot run a bidirectional network: its backward part starts at the end")
    starts, finals = _initial(name, carry, (layers, len(x), hidden), x.dtype), []
    for i, weights in enumerate(params):
        start = tuple(part[i] for part in starts)
        recurrent = linear(start[0], weights["recurrent_weight"], weights["recurrent_bias"])
        finals.append(cell(linear(x, weights["input_weight"], weights["input_bias"]), recurrent, start))
        x = finals[-1][0]
    return _stacked(finals), x


def _initial(name: str, carry: Any, shape: tuple[Size, ...], dtype: Any) -> Carry:
    """Return the parts of the initial carry in the dtype of x; zeros where none is given."""
    parts = 2 if name.startswith("lstm") else 1
    if carry is None:
        return (jnp.zeros(shape, dtype),) * parts
    checks.recurrent_carry(name, carry, parts, shape)
    return tuple(jnp.asarray(part, dtype) for part in carry)


def _stacked(finals: list[Carry]) -> Carry:
    return tuple(jnp.stack(parts) for parts in zip(*finals, strict=True))
