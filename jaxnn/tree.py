"""Questions about a parameter tree: the path of each leaf, how many numbers and bytes, how long, which leaves match."""

import hashlib
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.types import Params

SMALL = 2**15  # elements of a leaf whose copy is nothing beside its layer's products


def path_string(path: tuple[Any, ...]) -> str:
    """Write a JAX key path as words joined by dots: `0.weight`.

    >>> [path_string(path) for path, _ in jax.tree.leaves_with_path(({"bias": 1, "weight": 2},))]
    ['0.bias', '0.weight']
    """
    return jax.tree_util.keystr(path, simple=True, separator=".")


def paths(tree: Params) -> dict[str, Any]:
    """Return {path: leaf} for every leaf, in the tree's own order.

    >>> paths(({"weight": 3}, (), {"weight": 4}))
    {'0.weight': 3, '2.weight': 4}
    """
    return {path_string(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def size(tree: Params) -> int:
    """Count the numbers in all leaves (arrays or shape structs).

    >>> size({"weight": jnp.zeros((3, 2)), "bias": jnp.zeros(2)})
    8
    """
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def nbytes(tree: Params) -> int:
    """Count the bytes of all leaves.

    >>> nbytes({"weight": jnp.zeros((3, 2)), "bias": jnp.zeros(2)})
    32
    """
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def norm(tree: Params) -> jax.Array:
    """Compute the Euclidean norm over all leaves together, in at least float32.

    >>> float(norm(({"a": jnp.array([3.0])}, jnp.array([4.0]))))
    5.0
    """
    # Leaves of low precision are widened first: 300**2 overflows float16 already.
    wide = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(tree)]
    total = partial(jax.lax.platform_dependent, cpu=_sum_of_folded_squares, default=_sum_of_squares)
    return jnp.sqrt(total(wide)) if wide else jnp.float32(0)


def _sum_of_squares(leaves: list[jax.Array]) -> jax.Array:
    return sum((jnp.vdot(x, x).real for x in leaves), start=jnp.float32(0))


def _sum_of_folded_squares(leaves: list[jax.Array]) -> jax.Array:
    """Sum up with the small leaves of each dtype end to end, which are then compiled as one."""
    small = [x.reshape(-1) for x in leaves if x.size <= SMALL]
    kinds = dict.fromkeys(x.dtype for x in small)
    ends = [jnp.concatenate([x for x in small if x.dtype == kind]) for kind in kinds]
    return sum(map(_folded_squares, [x for x in leaves if x.size > SMALL] + ends), start=jnp.float32(0))


def _folded_squares(x: jax.Array) -> jax.Array:
    """Sum up |x|**2 by laying sixteenths of x over one another until little is left.

    XLA's own sum on a CPU writes the squares out and then adds number by number: 0.15 of the time of a step of the
    MNIST perceptron. Element by element it is one pass, and all that remains of it is 0.02.
    """
    x = x.reshape(-1)
    total = jnp.float32(0)
    squared = lambda part: (part * jnp.conj(part)).real  # noqa: E731
    while x.size > 512:
        size, rest = divmod(x.size, 16)
        first, *parts = map(squared, jax.lax.split(x, [size] * 16 + [rest] * (rest > 0)))
        total += sum(tail.sum() for tail in parts[15:])
        x, squared = sum(parts[:15], first), lambda part: part
    return total + squared(x).sum()


def sha256(tree: Params) -> str:
    """Compute a fingerprint of all leaves: paths, dtypes, shapes and every bit. Equal trees have equal ones.

    >>> sha256({"weight": jnp.zeros(2)}) == sha256({"weight": jnp.zeros(2)})
    True
    >>> sha256({"weight": jnp.zeros(2)}) == sha256({"weight": -jnp.zeros(2)})  # minus zero has another bit
    False
    """
    digest = hashlib.sha256()
    for path, leaf in paths(tree).items():
        array = np.asarray(leaf)
        digest.update(f"{path} {array.dtype} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def mask(tree: Params, pattern: str) -> Params:
    r"""Return a tree of the same structure with True at every leaf whose whole path matches the regular expression.

    For Optax's masked transformations: `optax.adamw(1e-3, mask=lambda params: mask(params, r".*weight"))` decays
    weights only. Raises ValueError when nothing matches, since a mask of nothing is a typing error, and for a pattern
    that is no regular expression.

    >>> mask(({"weight": 3, "bias": 1}, {"scale": 1}), r".*\.weight")
    ({'bias': False, 'weight': True}, {'scale': False})
    """
    if not isinstance(pattern, str):
        raise TypeError(f"mask expected pattern to be a regular expression but got {pattern!r}")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"mask expected pattern to be a regular expression but got {pattern!r}: {error}") from error
    matches = jax.tree.map_with_path(lambda path, _: expression.fullmatch(path_string(path)) is not None, tree)
    if not any(jax.tree.leaves(matches)):
        raise ValueError(f"mask: no path matches {pattern!r}; the paths are {', '.join(paths(tree)) or 'none'}")
    return matches


def where(condition: Any, if_true: Params, if_false: Params) -> Params:
    """Choose between two trees of the same structure and shapes by one boolean scalar. Nothing broadcasts: ValueError.

    >>> where(jnp.array(True), {"a": jnp.array(1)}, {"a": jnp.array(2)})
    {'a': Array(1, dtype=int32, weak_type=True)}
    """
    if jax.tree.structure(if_true) != jax.tree.structure(if_false):
        raise ValueError(f"where expected two trees of the same leaves but got {_shapes(if_true)}, {_shapes(if_false)}")
    if np.shape(condition) != () or _shapes(if_true) != _shapes(if_false):
        raise ValueError(
            f"where expected one condition and equal shapes but got a condition of shape {np.shape(condition)} "
            f"for {_shapes(if_true)} and {_shapes(if_false)}"
        )
    return jax.tree.map(lambda yes, no: jnp.where(condition, yes, no), if_true, if_false)


def _shapes(tree: Params) -> dict[str, tuple[int, ...]]:
    return {path: np.shape(leaf) for path, leaf in paths(tree).items()}
