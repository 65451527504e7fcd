"""Names of another library for the parts of a model: a mapping from our paths, or beginnings of them."""

from collections.abc import Mapping, Sequence
from typing import Any


def checked_names(function: str, names: Any) -> Mapping[str, str]:
    """Return the mapping, an empty one for None; refuse what is none.

    >>> checked_names("from_torch", None)
    {}
    """
    if names is None:
        return {}
    if not isinstance(names, Mapping) or not all(isinstance(word, str) for pair in names.items() for word in pair):
        raise TypeError(f"{function} expected names such as {{'1': 'fc1'}}, our paths and others, but got {names!r}")
    return names


def renamed(path: str, names: Mapping[str, str]) -> str | None:
    """Return what `names` calls a path, by the longest beginning of it that stands there; None where none does.

    >>> renamed("encoder.layers.0", {"encoder": "transformer"}), renamed("3", {"encoder": "transformer"})
    ('transformer.layers.0', None)
    """
    parts = path.split(".") if path else []
    for length in range(len(parts), -1, -1):
        start = ".".join(parts[:length])
        if start in names:
            return ".".join(filter(None, (names[start], *parts[length:])))
    return None


def unknown_names(paths: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Say which keys of `names` are no path of a layer, nor the beginning of one.

    >>> unknown_names(["encoder.layers.0"], {"encoder": "transformer", "7": "fc"})
    ["names has '7', but the layers are encoder.layers.0"]
    """
    layers = ", ".join(path or "''" for path in paths)
    unknown = [start for start in names if start and not any(f"{path}.".startswith(f"{start}.") for path in paths)]
    return [f"names has {start!r}, but the layers are {layers}" for start in unknown]
