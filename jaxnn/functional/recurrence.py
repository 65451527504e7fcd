"""What the recurrent networks share: a layer over all time steps and its derivative, and one step of all layers."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.functional.cells import Carry, Cell
from jaxnn.functional.dense import linear
from jaxnn.functional.randomness import dropout
from jaxnn.functional.shards import by_shard
from jaxnn.types import Array, Params, Size

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


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

    >>> from jaxnn.functional.cells import rnn_cell
    >>> weights = {"input_weight": jnp.ones((1, 1)), "recurrent_weight": jnp.ones((1, 1)),
    ...            "input_bias": jnp.zeros(1), "recurrent_bias": jnp.zeros(1)}
    >>> outputs, _ = over_time(rnn_cell(jax.nn.relu), weights, jnp.ones((3, 1, 1)), (jnp.zeros((1, 1)),), None)
    >>> outputs[:, 0, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    run = _loop if cell.with_slopes is None else _steps

    def layer(weights, x, start, valid):
        input_bias, bias = weights["input_bias"], weights["recurrent_bias"]
        if cell.by_sum:  # in the loop, where a product is in the caches: one pass less over those of all steps
            input_bias, bias = None, input_bias + bias
        products = linear(x, weights["input_weight"], input_bias)  # of all steps at once, [T, B, gates * H]
        return run(cell, reverse, products, weights["recurrent_weight"], bias, start, valid)

    final, outputs = by_shard(layer, (1, 0, 1), (0, 1), weights, x, start, valid)
    return (outputs if valid is None else jnp.where(valid, outputs, jnp.zeros_like(outputs))), final


def _loop(cell, reverse, products, weight, bias, start, valid):
    """Run the cell over the products x W + b [T, B, gates * H]; return the final carry and every step's h [T, B, H]."""
    final, (outputs, _) = _scan(lambda *at: (cell.step(*at), ()), reverse, products, weight, bias, start, valid)
    return final, outputs


_steps = jax.custom_jvp(_loop, nondiff_argnums=(0, 1))


def _scan(step, reverse, products, weight, bias, start, valid):
    """Run `step(product, h U + b', carry) -> carry, kept`; return the final carry, every step's h and what it keeps."""

    def body(carry, at):
        product, ok = at
        new, kept = step(product, linear(carry[0], weight, bias), carry)
        new = _where(ok, new, carry)
        return new, (new[0], kept)

    return jax.lax.scan(body, start, (products, valid), reverse=reverse)


@_steps.defjvp
def _steps_jvp(cell, reverse, primals, tangents):
    """Run the steps, then their tangents, in which the weights are out of the loop.

    Autodiff of the loop would sum up the gradient of U from small products, one a step; here h dU is one product over
    all steps, and so is its transpose. The loop that is left is one product and a few multiplications a step.
    """
    products, weight, bias, start, valid = primals
    dproducts, dweight, dbias, dstart, _ = tangents
    final, (outputs, slopes) = _scan(cell.with_slopes, reverse, products, weight, bias, start, valid)
    first = start[0][None]
    before = jnp.concatenate([outputs, first])[1:] if reverse else jnp.concatenate([first, outputs])[:-1]
    dhidden = linear(before, dweight, dbias)
    if cell.by_sum:  # one array to write at each step of the transposed loop, not two that are alike
        dproducts, dhidden = dproducts + dhidden, jnp.zeros((len(outputs), 1, 1), dhidden.dtype)

    # Once; else every product of the transposed loop does it.
    turned = jax.lax.optimization_barrier(weight.astype(start[0].dtype).T)

    def step(dcarry, at):
        slopes, dx, dh, ok = at
        dproduct = jax.lax.dot_general(dcarry[0], turned, (((1,), (1,)), ((), ())))
        dnew = _where(ok, cell.tangent(slopes, dx, dh + dproduct, dcarry), dcarry)
        return dnew, dnew[0]

    return (final, outputs), jax.lax.scan(step, dstart, (slopes, dproducts, dhidden, valid), reverse=reverse)


def _where(ok: Array | None, new: Carry, old: Carry) -> Carry:
    """Take the new carry where the step is valid."""
    return new if ok is None else tuple(jnp.where(ok, a, b) for a, b in zip(new, old, strict=True))


def network(
    name: str, cell: Cell, params: Params, x: Any, carry: Any, lengths: Any, rate: Any, key: Any
) -> tuple[Array, Carry]:
    """Check the arguments of `rnn`, `lstm` or `gru` and run all layers, [B, T, D] -> [B, T, H] and the final carry.

    >>> from jaxnn import layers
    >>> from jaxnn.functional.cells import gru_cell
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
    drops = key is not None and len(params) > 1 and not (checks.is_concrete(rate) and rate == 0)
    key = checks.random_key(name, key) if drops else None

    def run(params, x, starts, valid):
        return _all_layers(cell, params, x, starts, valid, rate, key)

    args = params, jnp.moveaxis(x, 1, 0), starts, valid
    # Dropout needs the place in the whole batch; without it all weights are one array, and their gradient is one sum.
    finals, y = run(*args) if drops else by_shard(run, (1, 1, 1), (1, 1), *args)
    return jnp.moveaxis(y, 0, 1), finals


def _all_layers(cell, params, x, starts, valid, rate, key):
    """Run the layers one after another, [T, B, D]; return the final carry and the last layer's h [T, B, ways * H]."""
    y, finals = x, []
    for i, layer in enumerate(params):
        if i > 0 and key is not None:
            y = dropout(y, jax.random.fold_in(key, i), rate)
        outputs = []
        for weights, reverse in zip(directions(layer), (False, True), strict=False):
            start = tuple(part[len(finals)] for part in starts)
            output, final = over_time(cell, weights, y, start, valid, reverse=reverse)
            outputs.append(output)
            finals.append(final)
        y = jnp.concatenate(outputs, -1) if len(outputs) > 1 else outputs[0]
    return _stacked(finals), y


def one_step(name: str, cell: Cell, params: Params, carry: Any, x: Any) -> tuple[Carry, Array]:
    """Check the arguments of `rnn_step`, `lstm_step` or `gru_step` and run all layers for one time step, [B, D].

    >>> from jaxnn import layers
    >>> from jaxnn.functional.cells import gru_cell
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
        finals.append(cell.step(linear(x, weights["input_weight"], weights["input_bias"]), recurrent, start))
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
