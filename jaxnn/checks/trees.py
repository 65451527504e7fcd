"""Checks of trees given to optimizers: parameters, gradients, masks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.types import Params


def trainable(name: str, params: Params) -> None:
    """Refuse a tree without parameters, and parameters that are not floats."""
    # Optax asks for the structure of a state with a node of its own that has no leaves; that is no empty tree.
    if not jax.tree.leaves(params, is_leaf=lambda node: not isinstance(node, tuple | list | dict | None)):
        raise ValueError(f"{name} expected parameters but got {params!r}: there is nothing to train")
    for path, leaf in tree.paths(params).items():
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{name} expected parameters of floats but {path or 'the tree'} is {jnp.result_type(leaf)}: "
                "what is not trained belongs to the state"
            )


def same_leaves(name: str, what: str, got: Params, expected: Params) -> None:
    """Refuse a tree whose paths or shapes are not the expected ones: nothing broadcasts.

    >>> same_leaves("adam", "gradients", {"bias": np.zeros(1)}, {"bias": np.zeros(3)})
    Traceback (most recent call last):
    ValueError: adam expected gradients of shape (3,) at bias but got (1,)
    """
    shapes, wanted = ({path: np.shape(leaf) for path, leaf in tree.paths(t).items()} for t in (got, expected))
    if list(shapes) != list(wanted):
        raise ValueError(f"{name} expected {what} with the leaves {', '.join(wanted)} but got {', '.join(shapes)}")
    for path, shape in shapes.items():
        if shape != wanted[path]:
            place = f" at {path}" if path else ""
            raise ValueError(f"{name} expected {what} of shape {wanted[path]}{place} but got {shape}")


def mask(name: str, given: Any, params: Params) -> Params:
    """Return a boolean for each leaf of params; refuse a tree that is no top of theirs, and other leaves."""
    try:
        whole = jax.tree.broadcast(given, params)
    except ValueError:
        raise ValueError(
            f"{name} expected mask to be a tree like the parameters, or the top of one, but got "
            f"{jax.tree.structure(given)} for {jax.tree.structure(params)}"
        ) from None
    for path, leaf in tree.paths(whole).items():
        if not isinstance(leaf, bool | np.bool_):
            raise TypeError(f"{name} expected mask to be True or False at {path or 'the top'} but got {leaf!r}")
    return whole
