"""The form of a tree that is saved: dtype and shape of every array by its path, and how two trees differ in them."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxnn import tree


def forms(values: Any) -> dict[str, list]:
    """Return dtype and shape of every array (or shape struct) of a tree by its path.

    Raises ValueError where two arrays have the same path, as in {"a.b": ..., "a": {"b": ...}}; TypeError for a leaf
    that is no array and no number.

    >>> import numpy as np
    >>> forms(({"weight": np.zeros((3, 2), np.float32)}, 7))
    {'0.weight': ['float32', [3, 2]], '1': ['int32', []]}
    """
    for name, leaf in tree.paths(values).items():
        if not (hasattr(leaf, "dtype") or isinstance(leaf, int | float | complex)):
            raise TypeError(f"only arrays and numbers can be saved but {name} is {type(leaf).__name__}")
    structs = jax.eval_shape(lambda values: values, values)  # with the dtypes that the arrays have in JAX
    named = tree.paths(structs)
    if len(named) != len(jax.tree.leaves(structs)):
        paths = [tree.path_string(path) for path, _ in jax.tree.leaves_with_path(structs)]
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"arrays are saved under their paths, but {twice} is the path of two: rename one")
    return {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in named.items()}


def refuse_other_forms(what: str, found: Mapping[str, list], expected: Mapping[str, list]) -> None:
    """Refuse saved arrays that are not the expected ones, with every difference at once; `what` begins the message.

    >>> refuse_other_forms("a.safetensors", {"bias": ["float32", [3]]}, {"bias": ["float32", [2]], "weight": []})
    Traceback (most recent call last):
    ValueError: a.safetensors: missing weight; bias is float32 (3,) where float32 (2,) is expected
    """
    differences = [f"missing {name}" for name in expected if name not in found]
    differences += [f"extra {name}" for name in found if name not in expected]
    for name in expected:
        if name in found and found[name] != expected[name]:
            (dtype, shape), (saved_dtype, saved_shape) = expected[name], found[name]
            differences.append(f"{name} is {saved_dtype} {tuple(saved_shape)} where {dtype} {tuple(shape)} is expected")
    if differences:
        raise ValueError(f"{what}: {'; '.join(differences)}")
