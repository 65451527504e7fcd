"""What modules of other libraries are asked for: that they are installed, and how they are called."""

import importlib
import inspect
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

from jaxnn import tree

# Arguments by which modules are told the mode, and what they are in training.
MODES = {"train": True, "training": True, "is_training": True}
MODES |= {"deterministic": False, "use_running_average": False, "inference": False}


def imported(function: str, module: str) -> ModuleType:
    """Import a library that only this function needs. Raises ImportError that says how to install it.

    >>> imported("from_linen", "flux.linen")
    Traceback (most recent call last):
    ImportError: from_linen needs flux: pip install 'jaxnn[interop]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name != package:
            raise
        raise ImportError(f"{function} needs {package}: pip install 'jaxnn[interop]'") from error


def arguments(function: str, call: Callable[..., Any], known: Collection[str] = ()) -> list[str]:
    """Return the arguments of a module's call, after x, that are a mode or one of the `known`.

    Raises TypeError for another one that has no default: nobody would give it.

    >>> arguments("from_linen", lambda x, train, temperature=1.0: x)
    ['train']
    >>> arguments("from_linen", lambda x, mask: x)
    Traceback (most recent call last):
    TypeError: from_linen calls a module with x and its mode (train, training, ...), but this one asks for mask as well:
    write a module around it
    """
    parameters = list(inspect.signature(call).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    rest = named[1:] if not parameters or parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL else named
    taken = [p.name for p in rest if p.name in MODES or p.name in known]
    unknown = [p.name for p in rest if p.default is p.empty and p.name not in taken]
    if unknown:
        raise TypeError(
            f"{function} calls a module with x and its mode ({', '.join(MODES)}), but this one asks for "
            f"{', '.join(unknown)} as well: write a module around it"
        )
    return taken


def modes(names: Collection[str], train: bool) -> dict[str, bool]:
    """Return the values of those arguments that say the mode.

    >>> modes(["deterministic", "rngs"], train=True)
    {'deterministic': False}
    """
    return {name: MODES[name] == train for name in names if name in MODES}


def own_arrays(name: str, what: str, given: Any, expected: Any) -> None:
    """Refuse params or state with other arrays than those that a module has.

    >>> own_arrays("from_nnx(Linear)", "params", {}, {"kernel": 0})
    Traceback (most recent call last):
    ValueError: from_nnx(Linear) expected params with kernel but got none: use its own init
    """
    found, wanted = list(tree.paths(given)), list(tree.paths(expected))
    if found != wanted:
        listed = [", ".join(paths) or "none" for paths in (wanted, found)]
        raise ValueError(f"{name} expected {what} with {listed[0]} but got {listed[1]}: use its own init")


HOMES = {"flax.linen": "from_linen", "flax.nnx": "from_nnx", "equinox.": "from_equinox"}


def is_module(thing: Any) -> bool:
    """Say whether something is a module of one of the libraries, made already.

    >>> is_module(abs)
    False
    """
    return not isinstance(thing, type) and bool(_taker(type(thing)))


def _taker(kind: type) -> str:
    homes = {base.__module__ for base in kind.__mro__}
    return next((taker for home, taker in HOMES.items() if any(name.startswith(home) for name in homes)), "")


def described(thing: Any) -> str:
    """Say what came in the place of a module, and which function takes it.

    >>> described(3), described(dict)
    ('int', 'the class dict itself')
    """
    if isinstance(thing, type):
        return f"the class {thing.__name__} itself"
    taker = _taker(type(thing))
    return f"{type(thing).__name__}: {taker} takes it" if taker else type(thing).__name__
