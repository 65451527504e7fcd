"""The gradient of each example: how noisy a batch is, and which examples pull hardest and may carry a wrong label."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jaxnn import checks, tree
from jaxnn.data import Dataset, check_dataset
from jaxnn.data.dataset import check_form
from jaxnn.training.evaluation import batches, check_labels, evaluation_step
from jaxnn.types import Layer, Loss, Params, State

BATCH = 1000  # examples a call of a compiled program, as in `evaluate`
# Gradients in memory at once. For the guide's MNIST network one at a time is fastest on a CPU: 8 take 1.5 and 200 take
# 5 times as long an example, since they leave the cache. Small networks want them side by side.
SIDE_BY_SIDE = 8


class NoiseScale(NamedTuple):
    """The noise scale, and what it is the quotient of."""

    noise_scale: float
    variance: float
    """tr(Σ): the sample variance of the per-example gradients, summed over all parameters."""
    squared_gradient: float
    """|G|²: the squared norm of the true gradient, estimated without bias."""


class Influence(NamedTuple):
    """A score for each example, and the examples from the highest score to the lowest."""

    scores: Float[np.ndarray, "N"]
    order: Integer[np.ndarray, "N"]


def check_examples(
    function: str, model: Any, loss: Any, params: Params, state: State, dataset: Dataset
) -> tuple[Layer, Callable[..., Any]]:
    """Refuse what has no gradient; return the model and `(params, state, batch) -> (sum of losses, sum of weights)`.

    In evaluation mode. The values of traced data are not looked at.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> data = Dataset(np.ones((2, 3), np.float32), np.array([0, 2]))
    >>> check_examples("sharpness", linear(3, 2), softmax_cross_entropy, *linear(3, 2).init(jax.random.key(0)), data)
    Traceback (most recent call last):
    ValueError: sharpness expected labels in 0..1 (2 classes) but targets[1] is 2 ...
    """
    model = checks.as_layer(function, model)
    checks.callables(function, loss=loss)
    checks.trainable(function, params)
    check_form(function, dataset)
    if all(checks.is_concrete(field) for field in dataset):
        check_dataset(function, dataset)
        check_labels(function, model, params, state, dataset)
    step = evaluation_step(model, loss, {})
    return model, lambda params, state, batch: step(params, state, batch)["loss"]


def per_example_gradients(model: Layer, loss: Loss, params: Params, state: State, batch: Dataset) -> Params:
    """Compute the gradient of each example's own loss: a tree like params whose leaves have a leading axis [B].

    By `vmap(grad)` in evaluation mode: no dropout, and the statistics of batch norm stay as they are, so no example
    meets another; the mean over [B] is the gradient of the mean loss. Weights scale their example's loss. A pure
    function; it holds B times as many numbers as the model has parameters. Raises ValueError for an empty batch,
    labels without an output or nothing to train, TypeError for what is no Dataset.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> params = {"weight": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}
    >>> batch = Dataset(jnp.array([[1.0], [3.0]]), jnp.array([[2.0], [2.0]]))
    >>> per_example_gradients(linear(1, 1), mean_squared_error, params, (), batch)["weight"].ravel()  # 2 (0 - 2) x
    Array([ -4., -12.], dtype=float32)
    """
    _, total_loss = check_examples("per_example_gradients", model, loss, params, state, batch)
    return jax.vmap(lambda example: _gradient(total_loss, params, state, example))(batch)


def _gradient(total_loss: Callable[..., Any], params: Params, state: State, example: Dataset) -> Params:
    """Compute the gradient of one example, given without its batch axis."""
    alone = jax.tree.map(lambda field: field[None], example)
    return jax.grad(lambda params: total_loss(params, state, alone)[0])(params)


def _norms_program(total_loss: Callable[..., Any]) -> Callable[..., jax.Array]:
    """Compile `(params, state, batch) -> [B]`, the norm of each example's gradient."""

    def norms(params: Params, state: State, batch: Dataset) -> jax.Array:
        def one(example: Dataset) -> jax.Array:
            return tree.norm(_gradient(total_loss, params, state, example))

        return jax.lax.map(one, batch, batch_size=SIDE_BY_SIDE)

    return jax.jit(norms)


def gradient_norms(model: Layer, loss: Loss, params: Params, state: State, dataset: Dataset) -> Float[np.ndarray, "N"]:
    """Compute the Euclidean norm of each example's gradient over all parameters together, N examples -> [N].

    Right after initialisation, or averaged over a few of them, this is the GraNd score (Paul, Ganguli and Dziugaite,
    2021, Deep Learning on a Data Diet). At no time more than eight gradients are held. Raises as
    `per_example_gradients` does.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> params = {"weight": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}
    >>> data = Dataset(np.array([[0.0], [0.75]]), np.array([[2.0], [2.0]]))
    >>> gradient_norms(linear(1, 1), mean_squared_error, params, (), data)  # 4 sqrt(x² + 1)
    array([4., 5.], dtype=float32)
    """
    _, total_loss = check_examples("gradient_norms", model, loss, params, state, dataset)
    return _all(_norms_program(total_loss), params, state, dataset)


def _all(program: Callable[..., jax.Array], params: Params, state: State, dataset: Dataset) -> np.ndarray:
    return np.concatenate([np.asarray(program(params, state, batch)) for batch in batches(dataset, BATCH)])


def _sum_of_gradients(total_loss: Callable[..., Any], params: Params, state: State, dataset: Dataset) -> Params:
    """Add up the gradients of all examples, batch by batch, in float64 on the host."""
    gradient = jax.jit(jax.grad(lambda params, batch: total_loss(params, state, batch)[0]))
    parts: Iterator[Params] = (jax.device_get(gradient(params, batch)) for batch in batches(dataset, BATCH))
    total = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), np.float64), params)
    for part in parts:
        total = jax.tree.map(np.add, total, part)
    return total


def gradient_noise_scale(model: Layer, loss: Loss, params: Params, state: State, dataset: Dataset) -> NoiseScale:
    """Compute the gradient noise scale tr(Σ) / |G|², in examples, with Σ the covariance of per-example gradients.

    Batches much smaller than it give steps of almost pure noise, much larger ones waste examples. With the mean
    gradient Ḡ of N examples, tr(Σ) = Σ |gᵢ - Ḡ|² / (N - 1), the sample variance, and |G|² = |Ḡ|² - tr(Σ) / N, without
    the noise that Ḡ still has. Where this is not positive, N is too small to tell, and the noise scale is infinite.
    Source: "simple noise scale" of McCandlish, Kaplan, Amodei et al., 2018, An Empirical Model of Large-Batch Training.
    Raises as `per_example_gradients` does, and ValueError for a single example.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> data = Dataset(np.ones((2, 1)), np.array([[1.0], [2.0]]))  # gradients -2 and -4
    >>> gradient_noise_scale(linear(1, 1, bias=False), mean_squared_error, {"weight": jnp.zeros((1, 1))}, (), data)
    NoiseScale(noise_scale=0.25, variance=2.0, squared_gradient=8.0)
    """
    function = "gradient_noise_scale"
    _, total_loss = check_examples(function, model, loss, params, state, dataset)
    if dataset.size < 2:
        raise ValueError(f"{function} expected at least two examples, whose gradients can differ, but got 1")
    norms = _all(_norms_program(total_loss), params, state, dataset).astype(np.float64)
    leaves = jax.tree.leaves(_sum_of_gradients(total_loss, params, state, dataset))
    mean = sum(float(np.square(leaf / dataset.size).sum()) for leaf in leaves)
    variance = max(float(np.square(norms).mean()) - mean, 0.0) * dataset.size / (dataset.size - 1)
    squared = mean - variance / dataset.size
    scale = np.nan if np.isnan(squared) else variance / squared if squared > 0 else np.inf
    return NoiseScale(float(scale), variance, squared)


def self_influence(
    model: Layer,
    loss: Loss,
    checkpoints: Sequence[tuple[Params, State]],
    learning_rates: Sequence[float],
    dataset: Dataset,
) -> Influence:
    """Compute how much each example's own steps lower its own loss, N examples -> scores [N], and rank them.

    The score is Σ ηₜ |gᵢ(θₜ)|² over the checkpoints (params, state) with their learning rates: TracInCP of an example
    on itself. What the network learns from no other example ranks first: wrong labels, then rare and ambiguous ones.
    Checkpoints from early in training tell best, before the network has memorised the wrong labels. For optimizers
    other than plain gradient descent it is an approximation. Source: Pruthi, Liu, Kale and Sundararajan, 2020,
    Estimating Training Data Influence by Tracing Gradient Descent.

    Raises as `per_example_gradients` does, and ValueError for no checkpoints or not one learning rate each.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> params = {"weight": jnp.eye(2), "bias": jnp.zeros(2)}
    >>> data = Dataset(np.float32([[5, 0], [0, 5], [5, 0]]), np.array([0, 1, 1]))
    >>> self_influence(linear(2, 2), softmax_cross_entropy, [(params, ())], [0.1], data).order  # the last is wrong
    array([2, 0, 1])
    """
    _check_checkpoints("self_influence", checkpoints, learning_rates)
    _, total_loss = check_examples("self_influence", model, loss, *checkpoints[0], dataset)
    program = _norms_program(total_loss)
    scores = np.zeros(dataset.size)
    for (params, state), rate in zip(checkpoints, learning_rates, strict=True):
        scores += rate * np.square(_all(program, params, state, dataset).astype(np.float64))
    return Influence(scores, np.argsort(-scores, kind="stable"))


def influence(
    model: Layer,
    loss: Loss,
    checkpoints: Sequence[tuple[Params, State]],
    learning_rates: Sequence[float],
    dataset: Dataset,
    on: Dataset,
) -> Influence:
    """Compute how much a step on each example lowers the mean loss of the examples `on`, N examples -> scores [N].

    The score is Σ ηₜ gᵢ(θₜ)·g(θₜ) over the checkpoints (params, state) with their learning rates, g the gradient of the
    mean loss of `on`; positive helps, negative harms. TracInCP (source: see `self_influence`). The products are
    derivatives along g (forward mode), so no example's gradient is ever held, and it costs about two evaluations.
    Raises as `self_influence` does.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> data = Dataset(np.ones((2, 1)), np.array([[1.0], [-2.0]]))  # gradients -2 and 4
    >>> one = Dataset(np.ones((1, 1)), np.ones((1, 1)))
    >>> start = ({"weight": jnp.zeros((1, 1))}, ())
    >>> influence(linear(1, 1, bias=False), mean_squared_error, [start], [0.5], data, one).scores
    array([ 2., -4.])
    """
    _check_checkpoints("influence", checkpoints, learning_rates)
    model, _ = check_examples("influence", model, loss, *checkpoints[0], dataset)
    _, total_loss = check_examples("influence, on,", model, loss, *checkpoints[0], on)

    @jax.jit
    def along(params: Params, state: State, direction: Params, batch: Dataset) -> jax.Array:
        def losses(params: Params) -> jax.Array:
            values = loss(model.apply(params, state, batch.inputs)[0], batch.targets)
            return values if batch.weights is None else values * batch.weights

        return jax.jvp(losses, (params,), (direction,))[1]

    scores = np.zeros(dataset.size)
    count = on.size if on.weights is None else float(np.sum(on.weights))
    for (params, state), rate in zip(checkpoints, learning_rates, strict=True):
        total = _sum_of_gradients(total_loss, params, state, on)
        direction = jax.tree.map(lambda leaf, p: jnp.asarray(leaf / count, p.dtype), total, params)
        parts = [np.asarray(along(params, state, direction, batch), np.float64) for batch in batches(dataset, BATCH)]
        scores += rate * np.concatenate(parts)
    return Influence(scores, np.argsort(-scores, kind="stable"))


def _check_checkpoints(function: str, checkpoints: Any, learning_rates: Any) -> None:
    pairs = isinstance(checkpoints, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in checkpoints
    )
    if not pairs:
        raise TypeError(
            f"{function} expected checkpoints such as [(params, state), ...] but got {type(checkpoints).__name__}"
        )
    if not isinstance(learning_rates, list | tuple | np.ndarray):
        raise TypeError(f"{function} expected learning_rates such as [0.1, ...] but got {learning_rates!r}")
    if not checkpoints or len(checkpoints) != len(learning_rates):
        raise ValueError(
            f"{function} expected at least one checkpoint and a learning rate for each but got {len(checkpoints)} "
            f"checkpoints and {len(learning_rates)} learning rates"
        )
    for rate in learning_rates:
        checks.finite_positive(function, "each of learning_rates", rate)
