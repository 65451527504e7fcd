"""The perceptron and Rosenblatt's rule, and the threshold unit that came before them, with weights set by hand."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Integer, Real

from jaxnn import checks
from jaxnn.activations import step
from jaxnn.types import Array, Layer, Params


def perceptron(in_features: int) -> Layer:
    """Make the perceptron step(x w + b) over the last axis, [..., in] -> [...]: 1 where x w + b >= 0, else 0.

    params: weight [in], drawn from 0.01 N(0, 1), and bias [], zero. The output has the dtype of x; its gradient is zero
    everywhere, so it is trained by `perceptron_rule` and not by gradient descent. Raises ValueError when the last axis
    of x is not `in`, TypeError for integers.
    Rosenblatt, 1958, The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain.

    >>> model = perceptron(2)
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jnp.ones((4, 2)))[0].shape, float(params["bias"])
    (perceptron(2), (4,), 0.0)
    """
    checks.positive_int("perceptron", "in_features", in_features)
    name = f"perceptron({in_features})"
    shapes = {"weight": (in_features,), "bias": ()}

    def init(key, /):
        checks.random_key(name, key)
        return {"weight": 0.01 * jax.random.normal(key, (in_features,)), "bias": jnp.zeros(())}, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.last_axis(name, x, in_features)
        checks.own_entries(name, "params", params, shapes)
        return step(_score(params, x)), state

    return Layer(init, apply, name)


def _score(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["weight"].astype(x.dtype) + params["bias"].astype(x.dtype)


def predict(params: Params, x: Real[Array, "*batch in"] | Bool[Array, "*batch in"]) -> Integer[Array, "*batch"]:
    """Compute the class of one sample, [in] -> [], or of a batch, [B, in] -> [B]: 1 where x w + b >= 0, else 0.

    Raises ValueError for params that are not a perceptron's, an x of another last axis, or one that is not finite.

    >>> params = {"weight": jnp.array([1.0, 1.0]), "bias": jnp.array(-1.5)}
    >>> predict(params, np.array([0, 1])), predict(params, np.array([[0, 1], [1, 1]])).tolist()
    (Array(0, dtype=int32), [0, 1])
    """
    x = _samples("predict", x, _own_size("predict", params))
    return step(_score(params, x)).astype(jnp.int32)


class PerceptronResult(NamedTuple):
    """What Rosenblatt's rule reached.

    `errors` [epochs] counts the wrong samples of each epoch, from epoch 0, and is -1 after the last epoch that was run.
    `converged_at` is the first epoch without an error, or -1 when there was none within the limit.
    """

    params: Params
    errors: Integer[Array, " epochs"]
    converged_at: Integer[Array, ""]


def perceptron_rule(
    params: Params,
    x: Real[Array, "samples in"] | Bool[Array, "samples in"],
    labels: Integer[Array, " samples"] | Bool[Array, " samples"],
    *,
    learning_rate: float | Array = 0.01,
    epochs: int = 100,
) -> PerceptronResult:
    """Train a perceptron sample by sample until an epoch has no error or the limit is reached, [N, in] and [N] -> [in].

    For each sample, in the order given: error = label - step(x w + b); w += learning_rate * error * x;
    b += learning_rate * error. If a line (a hyperplane) parts the classes with margin gamma, and R is the largest norm
    of a sample (both with a 1 appended for the bias), zero weights make at most (R / gamma)**2 errors in all. Otherwise
    the rule never stops by itself. One compiled program; `jax.vmap` maps it over params, labels and learning rates.
    Raises ValueError for labels other than 0 and 1, other shapes, no samples, values that are not finite, a learning
    rate that is not above 0, or epochs below 0.
    Rosenblatt, 1958, The Perceptron; Novikoff, 1962, On Convergence Proofs on Perceptrons (the bound).

    >>> params, _ = perceptron(2).init(jax.random.key(0))
    >>> result = perceptron_rule(params, CORNERS, TRUTH_TABLES["OR"])
    >>> predict(result.params, CORNERS).tolist(), result.errors[int(result.converged_at)].tolist()
    ([0, 1, 1, 1], 0)
    """
    name = "perceptron_rule"
    checks.non_negative_int(name, "epochs", epochs)
    checks.finite_positive(name, "learning_rate", learning_rate)
    samples = _samples(name, x, _own_size(name, params))
    if samples.ndim != 2 or len(samples) == 0:
        hint = ": add the batch axis with x[None]" if samples.ndim == 1 else ""
        raise ValueError(f"{name} expected x of shape [N, in] with at least one sample but got {samples.shape}{hint}")
    checks.binary_labels(name, labels, len(samples))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, samples.dtype), params)
    return _rule(params, samples, jnp.asarray(labels, samples.dtype), learning_rate, epochs=int(epochs))


@partial(jax.jit, static_argnames="epochs")
def _rule(params: Params, x: jax.Array, labels: jax.Array, rate: jax.Array, *, epochs: int) -> PerceptronResult:
    rate = jnp.asarray(rate, x.dtype)

    def one_sample(params, sample):
        xi, yi = sample
        error = yi - step(_score(params, xi))
        params = {"weight": params["weight"] + rate * error * xi, "bias": params["bias"] + rate * error}
        return params, error != 0

    def one_epoch(carry):
        params, errors, epoch, _ = carry
        params, wrong = jax.lax.scan(one_sample, params, (x, labels))
        count = wrong.sum(dtype=jnp.int32)
        return params, jnp.where(jnp.arange(epochs) == epoch, count, errors), epoch + 1, count

    def goes_on(carry):
        _, _, epoch, count = carry
        return (epoch < epochs) & (count != 0)

    start = (params, jnp.full(epochs, -1, jnp.int32), jnp.int32(0), jnp.int32(-1))
    params, errors, epoch, count = jax.lax.while_loop(goes_on, one_epoch, start)
    return PerceptronResult(params, errors, jnp.where(count == 0, epoch - 1, -1))


def _own_size(function: str, params: Any) -> int:
    """Return the number of inputs of a perceptron's params; refuse those of another model."""
    weight = params.get("weight") if isinstance(params, dict) else None
    if not isinstance(weight, Array) or weight.ndim != 1 or set(params) != {"weight", "bias"}:
        raise ValueError(
            f"{function} expected params of a perceptron, weight [in] and bias []: use perceptron(in).init"
        )
    checks.own_entries(function, "params", params, {"weight": weight.shape, "bias": ()})
    return weight.shape[0]


def _samples(function: str, x: Any, size: int) -> jax.Array:
    """Return x as floats (the corners of a truth table are integers); refuse another last axis, NaN and infinity."""
    checks.array(function, "x", x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        if jnp.iscomplexobj(x):
            raise TypeError(f"{function} expected real numbers but got {x.dtype} of shape {x.shape}")
        x = jnp.asarray(x, float)
    checks.last_axis(function, x, size)
    if checks.is_concrete(x) and not np.isfinite(np.asarray(x)).all():
        raise ValueError(f"{function} expected finite x but it holds NaN or infinity: remove these samples first")
    return jnp.asarray(x)


def threshold_unit(
    x: Real[Array, "*batch in"] | Bool[Array, "*batch in"],
    weights: Real[Array, " in"],
    threshold: float | Array,
) -> Integer[Array, "*batch"]:
    """Compute whether a unit fires, [..., in] -> [...]: 1 where the weighted sum reaches the threshold, else 0.

    Nothing is learned: the weights are set by hand. In the paper an active inhibitory input forbids firing altogether;
    a negative weight, as here, is the later and wider form, and NAND in one unit needs it. Raises ValueError when the
    last axis of x is not `in`, or x is not finite.
    McCulloch and Pitts, 1943, A Logical Calculus of the Ideas Immanent in Nervous Activity.

    >>> threshold_unit(CORNERS, np.array([1, 1]), 2).tolist()  # AND
    [0, 0, 0, 1]
    """
    checks.array("threshold_unit", "weights", weights)
    checks.in_range("threshold_unit", "threshold", threshold, -np.inf, np.inf)
    if weights.ndim != 1:
        raise ValueError(f"threshold_unit expected weights of shape [in] but got {weights.shape}")
    x = _samples("threshold_unit", x, len(weights))
    return (x @ jnp.asarray(weights, x.dtype) >= threshold).astype(jnp.int32)


CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)
"""The four inputs of a gate of two inputs, in the guide's order."""

TRUTH_TABLES = {
    name: np.array(outputs, np.int32)
    for name, outputs in {
        "AND": (0, 0, 0, 1),
        "OR": (0, 1, 1, 1),
        "NAND": (1, 1, 1, 0),
        "NOR": (1, 0, 0, 0),
        "XOR": (0, 1, 1, 0),
    }.items()
}
"""What each gate answers at the four corners."""

HAND_SET = {
    "AND": ((1, 1), 1.5),
    "OR": ((1, 1), 0.5),
    "NAND": ((-1, -1), -1.5),
    "NOR": ((-1, -1), -0.5),
    "NOT": ((-1,), -0.5),
}
"""Weights and threshold of the unit that is each gate, halfway between the sums it parts. No single unit is XOR."""


def threshold_gate(gate: str, x: Real[Array, "*batch in"] | Bool[Array, "*batch in"]) -> Integer[Array, "*batch"]:
    """Compute a gate by threshold units with weights set by hand, [..., 2] -> [...] ([..., 1] for NOT), on 0 and 1.

    AND, OR, NAND, NOR and NOT are one unit each, those of `HAND_SET`. XOR takes two layers, AND(OR(x), NAND(x)), since
    no line parts its classes. Raises ValueError for another gate or another last axis.
    Minsky and Papert, 1969, Perceptrons (that one layer is not enough).

    >>> threshold_gate("XOR", CORNERS).tolist()
    [0, 1, 1, 0]
    """
    checks.one_of("threshold_gate", "gate", gate, (*HAND_SET, "XOR"))
    if gate == "XOR":
        return threshold_gate("AND", jnp.stack([threshold_gate("OR", x), threshold_gate("NAND", x)], -1))
    weights, threshold = HAND_SET[gate]
    return threshold_unit(x, np.array(weights), threshold)
