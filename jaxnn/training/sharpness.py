"""How sharply the loss bends: Hessian-vector products, and the Hessian's largest eigenvalue by Lanczos' method."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.training.per_example import BATCH, check_examples
from jaxnn.types import Array, Layer, Loss, Params, PRNGKey, State

Product: TypeAlias = Callable[[jax.Array], jax.Array]


class Sharpness(NamedTuple):
    """The Hessian's largest eigenvalue, its eigenvector, and how exact they are."""

    eigenvalue: Float[Array, ""]
    vector: Params
    """Of length 1, a tree like params."""
    residual: Float[Array, ""]
    """|H v - λ v|: an eigenvalue lies at most this far from λ."""
    products: Int[Array, ""]
    """How many Hessian-vector products it took."""


def hessian_vector_product(
    model: Layer, loss: Loss, params: Params, state: State, dataset: Dataset, vector: Params
) -> Params:
    """Compute H v with H the Hessian of the (weighted) mean loss in evaluation mode; a tree like params.

    The derivative of the gradient along v (forward mode over reverse mode), added up over batches of 1,000 examples:
    H itself is never there, and the cost is about that of two gradients. A pure function. Where the loss has a kink
    (ReLU, max pooling) H is that of the pieces. Raises ValueError for an empty dataset, labels without an output, and a
    vector that is not like params; TypeError for what is no Dataset. Source: Pearlmutter, 1994, Fast Exact
    Multiplication by the Hessian.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> params, data = {"weight": jnp.zeros((1, 1))}, Dataset(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1)))
    >>> model, vector = linear(1, 1, bias=False), {"weight": jnp.ones((1, 1))}
    >>> hessian_vector_product(model, mean_squared_error, params, (), data, vector)  # the mean of 2 x²
    {'weight': Array([[10.]], dtype=float32)}
    """
    function = "hessian_vector_product"
    _, total_loss = check_examples(function, model, loss, params, state, dataset)
    checks.trainable(function, vector)
    checks.same_leaves(function, "vector", vector, params)
    params = _wide(params)
    vector = jax.tree.map(lambda v, p: jnp.asarray(v, p.dtype), vector, params)
    return _product(total_loss, params, state, dataset, vector)


def _wide(params: Params) -> Params:
    """Take parameters of low precision to float32: second derivatives do not survive in less."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32)), params)


def _product(total_loss: Callable[..., Any], params: Params, state: State, dataset: Dataset, vector: Params) -> Params:
    def summed(batch: Dataset) -> Params:
        def gradient(params: Params) -> Params:
            return jax.grad(lambda params: total_loss(params, state, batch)[0])(params)

        return jax.jvp(gradient, (params,), (vector,))[1]

    count = dataset.size if dataset.weights is None else dataset.weights.sum()
    return jax.tree.map(lambda leaf: leaf / count, over_batches(summed, dataset))


def over_batches(function: Callable[[Dataset], Any], dataset: Dataset, batch_size: int = BATCH) -> Any:
    """Add up a tree of sums over all batches in order, the last as short as it is, inside of one compiled program.

    >>> data = Dataset(jnp.arange(5.0), jnp.zeros(5))
    >>> float(over_batches(lambda batch: batch.inputs.sum(), data, batch_size=2))
    10.0
    """
    dataset = jax.tree.map(jnp.asarray, dataset)
    full = dataset.size // batch_size
    rest = jax.tree.map(lambda field: field[full * batch_size :], dataset)
    total = function(rest) if rest.size else None
    if not full:
        return total

    def rows(i: Any) -> Dataset:
        return jax.tree.map(lambda field: jax.lax.dynamic_slice_in_dim(field, i * batch_size, batch_size), dataset)

    if total is None:
        total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, rows(0)))
    return jax.lax.fori_loop(0, full, lambda i, sums: jax.tree.map(jnp.add, sums, function(rows(i))), total)


def sharpness(
    model: Layer,
    loss: Loss,
    params: Params,
    state: State,
    dataset: Dataset,
    *,
    key: PRNGKey,
    steps: int = 100,
    tolerance: float = 1e-3,
) -> Sharpness:
    """Compute the largest eigenvalue λ of the Hessian of the mean loss in evaluation mode, and its eigenvector.

    The largest, and not the largest in magnitude: at a saddle, a strongly negative curvature does not hide it. Gradient
    descent is stable where its learning rate is below 2 / λ. By Lanczos' method from a random start (`key`), each new
    vector made orthogonal to all before it; it ends after `steps` products, or when the residual is at most
    `tolerance` times |λ|. Holds `steps` vectors of the parameters' size.

    A pure function: under jit the values of data are not looked at, and a loss that is not finite gives NaN. Raises as
    `hessian_vector_product` does, and for steps below 1 or a tolerance outside of (0, 1). Source: Lanczos, 1950, An
    Iteration Method for the Solution of the Eigenvalue Problem; for networks Ghorbani, Krishnan and Xiao, 2019, An
    Investigation into Neural Net Optimization via Hessian Eigenvalue Density.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> params, data = {"weight": jnp.zeros((2, 1))}, Dataset(jnp.diag(jnp.array([1.0, 2.0])), jnp.zeros((2, 1)))
    >>> top = sharpness(linear(2, 1, bias=False), mean_squared_error, params, (), data, key=jax.random.key(0))
    >>> print(f"{top.eigenvalue:.3f}", abs(top.vector["weight"]).round(2).ravel())  # H = diag(1, 4)
    4.000 [0. 1.]
    """
    checks.positive_int("sharpness", "steps", steps)
    checks.in_range("sharpness", "tolerance", tolerance, 0, 1, open_low=True, open_high=True)
    checks.random_key("sharpness", key)
    _, total_loss = check_examples("sharpness", model, loss, params, state, dataset)
    flat, unravel = ravel_pytree(_wide(params))
    start = jax.random.normal(key, flat.shape, flat.dtype)
    dataset = jax.tree.map(jnp.asarray, dataset)

    @jax.jit
    def run(flat: jax.Array, state: State, dataset: Dataset, start: jax.Array):
        def product(vector: jax.Array) -> jax.Array:
            return ravel_pytree(_product(total_loss, unravel(flat), state, dataset, unravel(vector)))[0]

        return lanczos(product, start, min(steps, flat.size), tolerance)

    value, vector, residual, products = run(flat, state, dataset, start)
    return Sharpness(value, unravel(vector), residual, products)


class _Krylov(NamedTuple):
    """An orthonormal basis of the space that v, Hv, H²v, ... span, and H seen from inside it, a tridiagonal matrix."""

    basis: jax.Array  # [steps, P], zeros where it has not come to
    diagonal: jax.Array
    beside: jax.Array  # beside[i] links vectors i and i + 1
    count: jax.Array
    following: jax.Array  # the next vector of the basis
    largest: jax.Array
    residual: jax.Array
    weights: jax.Array  # of the basis vectors in the eigenvector


def lanczos(
    product: Product, start: Float[Array, "P"], steps: int, tolerance: float
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return (λ, v, |H v - λ v|, products) for the largest eigenvalue of the symmetric H that `product` multiplies by.

    >>> value, vector, *_ = lanczos(lambda v: jnp.array([-9.0, 1.0, 2.0]) * v, jnp.ones(3), 3, 1e-6)
    >>> print(f"{value:.3f}", abs(vector).round(3))
    2.000 [0. 0. 1.]
    """
    numbers, zero = jnp.zeros(steps, start.dtype), jnp.zeros((), start.dtype)
    empty = jnp.zeros((steps, start.size), start.dtype)
    first = start / jnp.linalg.norm(start)
    krylov = _Krylov(empty, numbers, numbers, jnp.int32(0), first, zero, zero + jnp.inf, numbers)

    def more(k: _Krylov) -> jax.Array:
        return (k.count < steps) & (k.residual > tolerance * jnp.abs(k.largest))  # a NaN ends it

    def extend(k: _Krylov) -> _Krylov:
        i = k.count
        basis = k.basis.at[i].set(k.following)
        image = product(k.following)
        diagonal = k.diagonal.at[i].set(jnp.vdot(k.following, image))
        for _ in range(2):  # once leaves rounding errors in the direction of the largest eigenvalue, twice is enough
            image = image - basis.T @ (basis @ image)
        length = jnp.linalg.norm(image)
        # Rows not come to yet get eigenvalues below all others (Gershgorin's bound), so that none is the largest.
        below = -jnp.abs(diagonal).max() - 2 * k.beside.max() - 1
        inside = jnp.where(jnp.arange(steps) <= i, diagonal, below)
        links = k.beside[:-1]
        values, vectors = jnp.linalg.eigh(jnp.diag(inside) + jnp.diag(links, 1) + jnp.diag(links, -1))
        weights = vectors[:, -1]
        return _Krylov(
            basis,
            diagonal,
            k.beside.at[i].set(length),
            i + 1,
            image / jnp.where(length > 0, length, 1),
            values[-1],
            length * jnp.abs(weights[i]),
            weights,
        )

    krylov = jax.lax.while_loop(more, extend, krylov)
    vector = krylov.weights @ krylov.basis
    return krylov.largest, vector / jnp.linalg.norm(vector), krylov.residual, krylov.count
