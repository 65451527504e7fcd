"""A model's weights as variables of Flax linen. Flax itself is not needed."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.interop.names import checked_names, unknown_names
from jaxnn.interop.parts import directions, drawn_shapes, kind_of, known_parts, refuse_other_shapes
from jaxnn.types import Layer, Params, State

# The gates of a recurrent layer, in our order, by their names in linen's cells.
GATES = {1: ("",), 3: ("r", "z", "n"), 4: ("i", "f", "g", "o")}


def to_linen(params: Params, state: State, model: Layer, *, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Write a model's weights as variables of linen: {"params": ..., "batch_stats": ...}, dicts of our arrays.

    The names are those of an `nn.Sequential` of the same parts: `layers_0`, `layers_2`; a dict of layers keeps its
    names. `names` maps our paths to others, `{"0": "Conv_0", "13": "Dense_0"}`. Layers become what they are in linen:

    - linear and convolution: Dense and Conv, {kernel, bias}; the orders of axes are the same;
    - norms: {scale, bias}, and {mean, var} in batch_stats (Flax's variance is biased; ours is copied);
    - embedding: Embed, {embedding}; learned positions: the array itself;
    - attention: query, key, value and out as Dense. MultiHeadDotProductAttention has them cut by heads:
      kernel.reshape(D, H, D // H), for out kernel.reshape(H, D // H, D);
    - rnn, lstm, gru: the params of SimpleCell, OptimizedLSTMCell and GRUCell, `layers_0` a layer (in it `forward` and
      `backward` for both directions). These have one bias where both of ours are added: their sum.

    Raises ValueError for params and state of another model, and for a model with layers that linen does not have.

    >>> from jaxnn.layers import linear, sequential
    >>> model = sequential(linear(4, 3), jax.nn.relu, linear(3, 2, bias=False))
    >>> variables = to_linen(*model.init(jax.random.key(0)), model, names={"2": "out"})
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'layers_0': {'bias': (3,), 'kernel': (4, 3)}, 'out': {'kernel': (3, 2)}}}
    """
    model = checks.as_layer("to_linen", model)
    shapes = drawn_shapes(model)
    refuse_other_shapes("to_linen", model, {"params": params, "state": state}, shapes)
    names = checked_names("to_linen", names)
    parts = list(known_parts("to_linen", model, params, state))
    if problems := unknown_names([path for path, _, _ in parts], names):
        raise ValueError(f"to_linen: {'; '.join(problems)}")
    variables: dict[str, Any] = {"params": {}}
    for path, part, part_state in parts:
        place = _place(path, names)
        _put(variables, ["params", *place], _as_linen(part, part_state))
        if part_state:
            _put(variables, ["batch_stats", *place], {"mean": part_state["mean"], "var": part_state["variance"]})
    return variables


def _place(path: str, names: Mapping[str, str]) -> list[str]:
    """Return the names on the way to a part: those that `names` gives, and `layers_i` for the numbers that are left."""
    known, left = "", path
    for start in sorted(names, key=len):
        if not start or f"{path}.".startswith(f"{start}."):
            known, left = names[start], path[len(start) :]
    words = [word for word in left.split(".") if word]
    return [*filter(None, known.split(".")), *(f"layers_{word}" if word.isdigit() else word for word in words)]


def _put(variables: dict[str, Any], place: list[str], values: Any) -> None:
    for name in place[:-1]:
        variables = variables.setdefault(name, {})
    if jax.tree.leaves(variables.get(place[-1])):
        raise ValueError(f"to_linen: names gives {'.'.join(place[1:])} to more than one layer")
    variables[place[-1]] = values


def _as_linen(params: Any, state: Any) -> Any:
    kind = kind_of(params, state)
    if kind == "recurrent":
        cells = {}
        for i, layer in enumerate(params):
            both = [_cell(part) for part in directions(layer)]
            cells[f"layers_{i}"] = dict(zip(("forward", "backward"), both, strict=True)) if len(both) == 2 else both[0]
        return cells
    if kind == "transformer_encoder_layer":
        return {name: _as_linen(part, ()) for name, part in params.items()}
    if kind == "multi_head_attention":
        weights, biases = (jnp.split(params[name], 3, -1) for name in ("in_weight", "in_bias"))
        parts = zip(("query", "key", "value"), weights, biases, strict=True)
        attention = {name: {"kernel": kernel, "bias": bias} for name, kernel, bias in parts}
        return attention | {"out": _as_linen(params["out"], ())}
    if kind == "learned_positions":
        return params["positions"]
    if kind == "perceptron":
        return {"kernel": params["weight"][:, None], "bias": params["bias"][None]}
    return {"kernel" if name == "weight" else name: array for name, array in params.items()}


def _cell(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of linen's cell: a Dense for each gate, of the input (i) and of the carry (h)."""
    gates = GATES[params["input_weight"].shape[-1] // params["recurrent_weight"].shape[0]]
    split = {name: jnp.split(array, len(gates), -1) for name, array in params.items()}
    cell: dict[str, Any] = {}
    for k, gate in enumerate(gates):
        ours = {name: arrays[k] for name, arrays in split.items()}
        of_input, of_carry = {"kernel": ours["input_weight"]}, {"kernel": ours["recurrent_weight"]}
        if gate == "n":  # the reset gate acts on the second bias alone
            of_input["bias"], of_carry["bias"] = ours["input_bias"], ours["recurrent_bias"]
        else:  # one bias, which the LSTM has beside the carry's kernel and the others beside the input's
            where = of_carry if len(gates) == 4 else of_input
            where["bias"] = ours["input_bias"] + ours["recurrent_bias"]
        cell |= {f"i{gate}": of_input, f"h{gate}": of_carry}
    return cell
