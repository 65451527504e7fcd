"""The loss along one or two directions away from a network: a slice through the loss landscape."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.training.per_example import check_examples
from jaxnn.training.sharpness import over_batches
from jaxnn.types import Layer, Loss, Params, PRNGKey, State


class Landscape(NamedTuple):
    """Where the loss was measured, and what it is there: `losses[i, j]` at `offsets[i]` and `offsets[j]`."""

    offsets: Float[np.ndarray, "points"]
    losses: Float[np.ndarray, "points *second"]


def filter_normalized(direction: Params, params: Params) -> Params:
    """Scale each filter of a direction to the norm of the same filter of params; a tree like params.

    A filter is what leads to one output: a column of a weight [in, out], or [height, width, in, out][..., i] of a
    convolution. Leaves of one axis (biases, scales) get zeros. ReLU networks whose filters are scaled up and down
    compute the same, but a direction of one length would seem sharp to one and flat to the other; after this the slices
    of two networks can be compared. Source: Li, Xu, Taylor, Studer and Goldstein, 2018, Visualizing the Loss Landscape
    of Neural Nets. Raises ValueError for other leaves than those of params.

    >>> params = {"weight": jnp.array([[3.0, 0.0], [4.0, 1.0]]), "bias": jnp.ones(2)}
    >>> filter_normalized({"weight": jnp.array([[2.0, 2.0], [0.0, 0.0]]), "bias": jnp.ones(2)}, params)
    {'bias': Array([0., 0.], dtype=float32), 'weight': Array([[5., 1.], [0., 0.]], dtype=float32)}
    """
    checks.trainable("filter_normalized", params)
    checks.same_leaves("filter_normalized", "direction", direction, params)

    def norms(leaf: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.square(leaf).sum(axis=tuple(range(leaf.ndim - 1)), keepdims=True))

    def scaled(d: Any, p: Any) -> jax.Array:
        d, p = jnp.asarray(d), jnp.asarray(p)
        if p.ndim < 2:
            return jnp.zeros_like(p)
        length = norms(d)
        return (d / jnp.where(length > 0, length, 1) * norms(p)).astype(p.dtype)

    return jax.tree.map(scaled, direction, params)


def random_directions(key: PRNGKey, params: Params, count: int = 2) -> tuple[Params, ...]:
    """Draw directions from a normal distribution, filter-normalised; a tuple of `count` trees like params.

    A function of the key alone. Two of them are nearly at right angles, since there are many parameters.

    >>> one, other = random_directions(jax.random.key(0), {"weight": jnp.ones((50, 2))})
    >>> jnp.linalg.norm(one["weight"], axis=0).round(3)  # √50, as those of the weight
    Array([7.071, 7.071], dtype=float32)
    >>> float(abs(jnp.vdot(one["weight"], other["weight"]))) < 0.1 * 100
    True
    """
    checks.random_key("random_directions", key)
    checks.positive_int("random_directions", "count", count)
    checks.trainable("random_directions", params)
    leaves, structure = jax.tree.flatten(params)
    directions = []
    for own in jax.random.split(key, count):
        keys = jax.random.split(own, len(leaves))
        drawn = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
        directions.append(filter_normalized(jax.tree.unflatten(structure, drawn), params))
    return tuple(directions)


def landscape(
    model: Layer,
    loss: Loss,
    params: Params,
    state: State,
    dataset: Dataset,
    directions: Sequence[Params],
    *,
    span: float = 1.0,
    points: int = 25,
) -> Landscape:
    """Compute the mean loss at params + a d₁ (+ b d₂), a and b in -span..span: losses [points] or [points, points].

    `directions` are one or two trees like params, as from `random_directions`, or `sharpness(...).vector` through
    `filter_normalized`. In evaluation mode, over batches of 1,000 examples, one place after the other in one compiled
    program. `points` is odd, so that the middle is the network itself. A loss may be infinite or NaN far out. Raises
    ValueError for no or three directions, for one unlike params, for even points; and as `evaluate` does.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> params, data = {"weight": jnp.zeros((1, 1))}, Dataset(np.ones((4, 1)), np.ones((4, 1)))
    >>> ahead = {"weight": jnp.ones((1, 1))}
    >>> print(*landscape(linear(1, 1, bias=False), mean_squared_error, params, (), data, [ahead], points=5))  # (a - 1)²
    [-1.  -0.5  0.   0.5  1. ] [4.   2.25 1.   0.25 0.  ]
    """
    checks.finite_positive("landscape", "span", span)
    checks.positive_int("landscape", "points", points)
    if points < 3 or points % 2 == 0:
        raise ValueError(f"landscape expected points to be odd and at least 3, with params in the middle, got {points}")
    _, total_loss = check_examples("landscape", model, loss, params, state, dataset)
    if not isinstance(directions, list | tuple) or len(directions) not in (1, 2):
        got = f"{len(directions)}" if isinstance(directions, list | tuple) else type(directions).__name__
        raise ValueError(f"landscape expected one or two directions, [tree] or [tree, tree], but got {got}")
    for i, direction in enumerate(directions):
        checks.same_leaves("landscape", f"directions[{i}]", direction, params)

    @jax.jit
    def losses(params: Params, state: State, dataset: Dataset, directions: tuple[Params, ...], places: jax.Array):
        count = dataset.size if dataset.weights is None else dataset.weights.sum()

        def at(place: jax.Array) -> jax.Array:
            moved = params
            for offset, direction in zip(place, directions, strict=True):
                moved = jax.tree.map(lambda p, d, a=offset: p + (a * d).astype(p.dtype), moved, direction)
            return over_batches(lambda batch: total_loss(moved, state, batch)[0], dataset) / count

        return jax.lax.map(at, places)

    offsets = np.linspace(-span, span, points, dtype=np.float32)
    grid = np.meshgrid(*[offsets] * len(directions), indexing="ij")
    places = np.stack([axis.ravel() for axis in grid], axis=-1)
    return Landscape(
        offsets, np.asarray(losses(params, state, dataset, tuple(directions), places)).reshape(grid[0].shape)
    )
