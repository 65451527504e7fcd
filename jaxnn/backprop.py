"""Backpropagation by hand: the forward pass that keeps everything, and the chain rule back through it.

With layers z = a W + b and a = f(z), and delta the derivative of an example's loss with respect to z:

    last layer    delta = (a - y) * constant             one of three pairs of output function and loss
    before it     delta = (delta_next W_next^T) * f'(z)
    gradients     dW = a_before^T delta / B,   db = the mean of delta over the batch

Rumelhart, Hinton, Williams, 1986, Learning representations by back-propagating errors.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxnn import checks
from jaxnn.activations import DERIVATIVES, identity, relu, sigmoid, softmax
from jaxnn.functional import linear, wide
from jaxnn.losses import binary_cross_entropy, categorical_cross_entropy, mean_squared_error
from jaxnn.losses.per_example import class_rows, in_unit_interval, nan_unless
from jaxnn.types import Array, Loss, Params

Activation = Callable[[Any], Any]


class Forward(NamedTuple):
    """What the forward pass keeps: z of every layer, and the activations, whose first is x itself, [B, in]."""

    pre_activations: tuple[jax.Array, ...]
    activations: tuple[jax.Array, ...]


class LayerTrace(NamedTuple):
    """One layer in both directions: inputs [B, in]; z, a and delta [B, out]; dW [in, out]; db [out]."""

    inputs: jax.Array
    z: jax.Array
    a: jax.Array
    delta: jax.Array
    dW: jax.Array
    db: jax.Array


def forward(
    params: Params, x: Float[Array, "batch *features"], *, hidden: Activation = relu, output: Activation = sigmoid
) -> Forward:
    """Compute every z = a W + b and a = f(z) of a multi-layer perceptron, x [B, ...] flattened to [B, in].

    `params` is the tree of `jaxnn.models.mlp`, or a tuple of {"weight": [in, out], "bias": [out]}. `hidden` follows
    every layer but the last, `output` the last. Raises ValueError for params that are no such tree or do not fit x,
    TypeError for an x that is not floats.

    >>> params = tuple({"weight": jnp.ones(s), "bias": jnp.zeros(s[1])} for s in ((2, 3), (3, 1)))
    >>> kept = forward(params, jnp.array([[1.0, -1.0]]))
    >>> [z.shape for z in kept.pre_activations], [a.shape for a in kept.activations]
    ([(1, 3), (1, 1)], [(1, 2), (1, 3), (1, 1)])
    """
    return _forward("forward", params, x, hidden, output)


def backward(
    params: Params,
    x: Float[Array, "batch *features"],
    targets: Array,
    *,
    hidden: Activation = relu,
    hidden_derivative: Activation | None = None,
    output: Activation = sigmoid,
    loss: Loss = binary_cross_entropy,
) -> Params:
    """Compute the gradient of the mean loss over the batch by the chain rule, in the tree and dtypes of `params`.

    It is what `jax.grad` gives for the same network. The derivative of `hidden` is looked up in
    `jaxnn.activations.DERIVATIVES`; for another function give `hidden_derivative`, a function of z. The output function
    and the loss are one of three pairs, in which the derivative of one cancels against that of the other:

    - sigmoid, binary_cross_entropy: delta = (a - y) / outputs. The guide drops 1/outputs, right for one output only.
    - softmax, categorical_cross_entropy: delta = a - y.
    - identity, mean_squared_error: delta = 2 (a - y) / outputs.

    So nothing is clipped, as in the losses from logits: delta is a - y also where a is 0 or 1 to the last digit.
    Raises ValueError for another pair, for an activation whose derivative is not known, for params that are no tree of
    linear layers, and for targets that the loss refuses.

    >>> params = ({"weight": jnp.zeros((2, 1)), "bias": jnp.zeros(1)},)
    >>> x, y = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[1.0], [1.0]])
    >>> grads = backward(params, x, y)  # delta is 1/2 - 1 in both examples
    >>> grads[0]["weight"].tolist(), grads[0]["bias"].tolist()
    ([[-1.0], [-1.5]], [-0.5])
    """
    traces = iter(_trace("backward", params, x, targets, hidden, hidden_derivative, output, loss))
    return tuple(part if _is_empty(part) else _entries(part, next(traces)) for part in params)


def trace(
    params: Params,
    x: Float[Array, "batch *features"],
    targets: Array,
    *,
    hidden: Activation = relu,
    hidden_derivative: Activation | None = None,
    output: Activation = sigmoid,
    loss: Loss = binary_cross_entropy,
) -> tuple[LayerTrace, ...]:
    """Compute everything that `backward` computes, layer by layer from first to last: inputs, z, a, delta, dW and db.

    delta [B, out] is the derivative of each example's own loss; dW and db are those of the mean over the batch. Takes
    and raises what `backward` does.

    >>> params = tuple({"weight": jnp.ones(s), "bias": jnp.zeros(s[1])} for s in ((2, 3), (3, 1)))
    >>> first, last = trace(params, jnp.array([[1.0, -1.0]]), jnp.array([[0.0]]))
    >>> last.delta.tolist(), first.delta.tolist(), last.dW.shape  # ReLU at 0 has the derivative 0
    ([[0.5]], [[0.0, 0.0, 0.0]], (3, 1))
    """
    return _trace("trace", params, x, targets, hidden, hidden_derivative, output, loss)


def _forward(function: str, params: Params, x: Array, hidden: Activation, output: Activation) -> Forward:
    checks.callables(function, hidden=hidden, output=output)
    x = checks.float_input(function, x)
    checks.has_batch(function, x)
    a = x.reshape(x.shape[0], math.prod(x.shape[1:]))  # [B, in]
    layers = _layers(function, params, a.shape[-1])
    pre_activations, activations = [], [a]
    for layer, f in zip(layers, [hidden] * (len(layers) - 1) + [output], strict=True):
        z = linear(a, layer["weight"], layer["bias"])  # [B, out]
        a = f(z)
        checks.keeps_shape(function, f, z, a)
        pre_activations.append(z)
        activations.append(a)
    return Forward(tuple(pre_activations), tuple(activations))


def _trace(
    function: str,
    params: Params,
    x: Array,
    targets: Array,
    hidden: Activation,
    hidden_derivative: Activation | None,
    output: Activation,
    loss: Loss,
) -> tuple[LayerTrace, ...]:
    _check_pair(function, output, loss)
    derivative = _derivative(function, hidden, hidden_derivative)
    pre_activations, activations = _forward(function, params, x, hidden, output)
    layers = _layers(function, params, activations[0].shape[-1])
    size = activations[0].shape[0]
    if size == 0:
        raise ValueError(f"{function} got an empty batch (x has shape {x.shape})")
    delta = _output_delta(function, loss, activations[-1], targets)
    traces = []
    for i in reversed(range(len(layers))):
        z, inputs = pre_activations[i], activations[i]
        if i < len(layers) - 1:
            slope = derivative(z)
            checks.keeps_shape(function, derivative, z, slope)
            delta = delta @ layers[i + 1]["weight"].T.astype(z.dtype) * slope.astype(z.dtype)  # [B, out]
        dW = inputs.T @ delta / size  # [in, out]
        db = delta.mean(0)  # [out]
        traces.append(LayerTrace(inputs, z, activations[i + 1], delta, dW, db))
    return tuple(reversed(traces))


def _output_delta(function: str, loss: Loss, a: jax.Array, targets: Any) -> jax.Array:
    """Compute the derivative of each example's loss with respect to the last z, [B, out], in the dtype of a."""
    outputs = a.shape[-1]
    if loss is categorical_cross_entropy:
        y = class_rows(function, "outputs", a, targets)
        delta = wide(a) * y.sum(-1, keepdims=True) - y  # a - y, since the targets of an example add up to 1
    elif loss is binary_cross_entropy:
        checks.same_predictions(function, "outputs", a, targets, classes=True)
        checks.unit_interval(function, "targets", targets, "for targets of -1 and 1 take (targets + 1) / 2")
        y = jnp.asarray(targets)
        y = y if jnp.issubdtype(y.dtype, jnp.floating) else y.astype(jnp.float32)
        delta = (wide(a) - wide(nan_unless(in_unit_interval(y), y))) / outputs
    else:
        checks.same_predictions(function, "outputs", a, targets)
        delta = 2 * (wide(a) - wide(jnp.asarray(targets))) / outputs
    return delta.astype(a.dtype)


PAIRS = (
    (sigmoid, binary_cross_entropy),
    (softmax, categorical_cross_entropy),
    (identity, mean_squared_error),
)


def _check_pair(function: str, output: Any, loss: Any) -> None:
    checks.callables(function, output=output, loss=loss)
    if not any(output is known and loss is partner for known, partner in PAIRS):
        pairs = ", ".join(f"({known.__name__}, {partner.__name__})" for known, partner in PAIRS)
        raise ValueError(
            f"{function} knows the pairs {pairs} but got ({checks.name_of(output)}, {checks.name_of(loss)}): only in "
            "these does the derivative of the output cancel against that of the loss and leave (a - y); for others "
            "take jax.grad"
        )


def _derivative(function: str, hidden: Any, hidden_derivative: Any) -> Activation:
    if hidden_derivative is not None:
        checks.callables(function, hidden_derivative=hidden_derivative)
        return hidden_derivative
    try:
        return DERIVATIVES[hidden]
    except (KeyError, TypeError):  # TypeError: what cannot be hashed is no key either
        known = ", ".join(activation.__name__ for activation in DERIVATIVES)
        raise ValueError(
            f"{function} knows the derivatives of jaxnn.activations ({known}) but not that of "
            f"{checks.name_of(hidden)}: give it as hidden_derivative"
        ) from None


def _is_empty(part: Any) -> bool:
    return isinstance(part, tuple) and len(part) == 0


def _layers(function: str, params: Params, inputs: int) -> list[dict[str, Array]]:
    """Return the linear layers of the tree in order; refuse any other tree, and sizes that do not fit each other."""
    if not isinstance(params, tuple):
        raise ValueError(f"{function} expected params to be a tuple such as mlp's but got {type(params).__name__}")
    layers = [part for part in params if not _is_empty(part)]
    if not layers:
        raise ValueError(f"{function} expected params with at least one linear layer but got {params}")
    for i, layer in enumerate(layers):
        if not isinstance(layer, dict) or set(layer) != {"weight", "bias"} or jnp.ndim(layer["weight"]) != 2:
            got = sorted(layer) if isinstance(layer, dict) else type(layer).__name__
            raise ValueError(
                f"{function} expected layer {i} to be {{'weight': [in, out], 'bias': [out]}} but got {got}: it goes "
                "back through linear layers alone, as mlp makes them without batch_norm"
            )
        outputs = layer["weight"].shape[-1]
        checks.own_entries(
            f"{function}, layer {i},", "params", layer, {"weight": (inputs, outputs), "bias": (outputs,)}
        )
        inputs = outputs
    return layers


def _entries(layer: dict[str, Array], trace: LayerTrace) -> dict[str, jax.Array]:
    gradients = {"weight": trace.dW, "bias": trace.db}
    return {name: gradients[name].astype(leaf.dtype) for name, leaf in layer.items()}
