"""The settings of a sweep: checked on the host, and sorted by which of them can share a program."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.training.epoch import Augment
from jaxnn.training.state import TrainState, check_optimizer, init_train_state, run_keys
from jaxnn.training.step import train_step
from jaxnn.types import Layer, Loss, Metric

Hyperparameters: TypeAlias = Mapping[str, Any]
Make: TypeAlias = Callable[[dict[str, Any]], tuple[Layer, Any]]
"""`make(h) -> (model, optimizer)`. Some floats in h are traced scalars when it is called inside the program."""


class Recipe(NamedTuple):
    """What all members share: how a network is made, and what is measured."""

    make: Make
    loss: Loss
    metrics: Mapping[str, Metric]
    augment: Augment | None


class Structure(NamedTuple):
    """Settings that share one program: what is the same in all of them, and the names of the numbers that differ."""

    fixed: dict[str, Any]
    mapped: tuple[str, ...]
    settings: tuple[int, ...]
    """Their places in the list of all settings."""


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Make every combination of the values, the last name changing fastest.

    >>> grid(batch_norm=[False, True], rate=[0.1, 0.01])[1]
    {'batch_norm': False, 'rate': 0.01}
    """
    for name, column in values.items():
        if isinstance(column, str) or not isinstance(column, Sequence | np.ndarray) or getattr(column, "ndim", 1) == 0:
            raise TypeError(f"grid expected {name} to be a list of values but got {column!r}")
        if len(column) == 0:
            raise ValueError(f"grid got no values for {name}")
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def checked_settings(settings: Any) -> list[dict[str, Any]]:
    """Refuse what is no list of settings with the same names; return them with Python's numbers.

    >>> checked_settings([{"rate": 1}, {"rate": 0.5}])
    [{'rate': 1.0}, {'rate': 0.5}]
    """
    if isinstance(settings, Mapping | str) or not isinstance(settings, Sequence):
        hint = ": grid(**values) makes every combination" if isinstance(settings, Mapping) else ""
        raise TypeError(f"fit_many expected hyperparameters to be a list of dicts but got {settings!r}{hint}")
    if not settings:
        raise ValueError("fit_many got no hyperparameters: give one dict for each setting, or [{}] for seeds alone")
    for i, setting in enumerate(settings):
        if not isinstance(setting, Mapping) or not all(isinstance(name, str) for name in setting):
            raise TypeError(f"fit_many expected hyperparameters[{i}] such as {{'rate': 0.1}} but got {setting!r}")
        if setting.keys() != settings[0].keys():
            raise ValueError(
                f"fit_many expected the same names in all hyperparameters but [0] has {', '.join(settings[0])} "
                f"and [{i}] has {', '.join(setting)}"
            )
        for name, value in setting.items():
            if isinstance(value, list | dict | set | np.ndarray | jax.Array):
                raise TypeError(
                    f"fit_many expected hyperparameters[{i}][{name!r}] to be a number, a word or another value that "
                    f"can be compared but got {value!r}: give a tuple for a list, float(...) for an array"
                )
    plain = [{name: v.item() if isinstance(v, np.generic) else v for name, v in s.items()} for s in settings]
    numbers = _numbers(plain)
    return [{name: float(v) if name in numbers else v for name, v in setting.items()} for setting in plain]


def checked_seeds(seeds: Any) -> list[int]:
    """Refuse what are no different seeds.

    >>> checked_seeds(range(3))
    [0, 1, 2]
    """
    if isinstance(seeds, str) or not isinstance(seeds, Sequence | np.ndarray) or np.ndim(seeds) != 1:
        hint = f": range({seeds}) gives as many" if isinstance(seeds, int) else ""
        raise TypeError(f"fit_many expected seeds to be a list of integers but got {seeds!r}{hint}")
    for seed in seeds:
        run_keys(seed)
    if not 0 < len(set(seeds)) == len(seeds):
        raise ValueError(f"fit_many expected at least one seed, and no seed twice, but got {list(seeds)}")
    return [int(seed) for seed in seeds]


def _numbers(settings: Sequence[Hyperparameters]) -> list[str]:
    """Return the names whose values are all numbers, and not all integers."""
    columns = {name: [setting[name] for setting in settings] for name in settings[0]}
    return [
        name
        for name, column in columns.items()
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
        and any(isinstance(value, float) for value in column)
    ]


def made(make: Make, setting: Hyperparameters) -> tuple[Layer, Any]:
    """Call `make` on a copy of the setting; refuse what is no pair of a model and an optimizer.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> made(lambda h: (linear(2, h["width"]), optax.sgd(0.1)), {"width": 3})[0]
    linear(2, 3)
    """
    try:
        pair = make(dict(setting))
    except KeyError as error:
        names = ", ".join(setting) or "none"
        raise ValueError(f"make asks for {error}, but the names of the hyperparameters are {names}") from error
    if not isinstance(pair, tuple) or isinstance(pair, Layer) or len(pair) != 2:
        raise TypeError(f"make expected to return the pair (model, optimizer) but got {pair!r}")
    model, optimizer = pair
    check_optimizer("make", optimizer)
    return checks.as_layer("make", model), optimizer


def structures(recipe: Recipe, settings: Sequence[Hyperparameters], batch: Dataset) -> list[Structure]:
    """Find the settings that can share a program; every setting is made once, on the host, so that errors come here.

    Two can if all that is not a float is equal, the trees of parameters and states have the same leaves, and a
    training step can be traced with those floats unknown that differ. A float for which it cannot (`make` asks
    `if h["rate"] > 0.5`) is taken as a constant: each of its values has a program.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> recipe = Recipe(lambda h: (linear(1, h["width"]), optax.sgd(h["rate"])), mean_squared_error, {}, None)
    >>> batch = Dataset(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32))
    >>> structures(recipe, grid(width=[1], rate=[0.1, 0.2]), batch)
    [Structure(fixed={'width': 1}, mapped=('rate',), settings=(0, 1))]
    """
    numbers = _numbers(settings)
    groups: dict[Any, list[int]] = {}
    seen = set()
    for i, setting in enumerate(settings):
        try:
            form = _form(recipe, setting)
            if form not in seen:
                _form(recipe, setting, batch)
                seen.add(form)
        except (ValueError, TypeError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"fit_many, hyperparameters[{i}] {setting}: {error}") from error
        rest = tuple((type(value), value) for name, value in setting.items() if name not in numbers)
        groups.setdefault((rest, form), []).append(i)
    found = []
    for (_, form), places in groups.items():
        constant = _constants(recipe, [settings[i] for i in places], numbers, batch, form)
        parts: dict[Any, list[int]] = {}
        for i in places:
            parts.setdefault(tuple(settings[i][name] for name in constant), []).append(i)
        for part in parts.values():
            mapped = _differing([settings[i] for i in part], numbers)
            fixed = {name: value for name, value in settings[part[0]].items() if name not in mapped}
            found.append(Structure(fixed, tuple(mapped), tuple(part)))
    return found


def apart(structure: Structure, others: Sequence[Structure]) -> str:
    """Write down what tells a structure from the others, for the beginning of a sentence.

    >>> one, other = Structure({"width": 8}, ("rate",), (0,)), Structure({"width": 16}, ("rate",), (1,))
    >>> apart(one, [one, other])
    'width=8: '
    """
    told = [
        f"{name}={value!r}" if not callable(value) else f"{name}={checks.name_of(value)}"
        for name, value in structure.fixed.items()
        if any(name not in other.fixed or other.fixed[name] != value for other in others)
    ]
    return f"{', '.join(told)}: " if told else ""


def _differing(settings: Sequence[Hyperparameters], names: Sequence[str]) -> list[str]:
    return [name for name in names if len({setting[name] for setting in settings}) > 1]


def _constants(
    recipe: Recipe, settings: Sequence[Hyperparameters], numbers: Sequence[str], batch: Dataset, form: Any
) -> list[str]:
    """Return the names of the numbers that differ and cannot be traced."""
    differing = _differing(settings, numbers)

    def traceable(names: Sequence[str]) -> bool:
        try:
            return not names or _form(recipe, settings[0], batch, names) == form
        except (TypeError, ValueError):  # it could be made when its value was known, so the value was asked for
            return False

    return [] if traceable(differing) else [name for name in differing if not traceable([name])]


def _form(
    recipe: Recipe, setting: Hyperparameters, batch: Dataset | None = None, traced: Sequence[str] = ()
) -> tuple[Any, ...]:
    """Return leaves, shapes and types at the start, or after a step on the batch; nothing is computed."""

    def state(numbers: dict[str, jax.Array], batch: Dataset | None) -> TrainState:
        model, optimizer = made(recipe.make, dict(setting) | numbers)
        state = init_train_state(model.init, optimizer, jax.random.key(0))
        if batch is None:
            return state
        return train_step(model, recipe.loss, optimizer, recipe.metrics)(state, batch, jax.random.key(0))[0]

    shapes = jax.eval_shape(state, dict.fromkeys(traced, jax.ShapeDtypeStruct((), jnp.float32)), batch)
    return jax.tree.structure(shapes), *((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes))
