"""The few types that everything else speaks in: arrays, keys, and the Layer.

A model is a value: two pure functions and a name. Whatever keeps the contract written at `Layer` can be trained,
summarised, exported and composed with everything else in this library.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
from jaxtyping import Key

Array: TypeAlias = jax.Array | np.ndarray
PRNGKey: TypeAlias = Key[jax.Array, ""]

Size: TypeAlias = Any
"""The length of an axis: an int, or while a model is exported the symbol of one (`jax.export.symbolic_shape`)."""

# A pytree of arrays: nested tuples and dicts, `()` when empty.
Params: TypeAlias = Any
State: TypeAlias = Any


@runtime_checkable
class Init(Protocol):
    """`init(key) -> (params, state)`. One argument only, so that `jax.vmap(model.init)(keys)` makes an ensemble."""

    def __call__(self, key: PRNGKey, /) -> tuple[Params, State]:
        """Draw the parameters and the initial state."""
        ...


@runtime_checkable
class Apply(Protocol):
    """`apply(params, state, x, *, key=None, train=False) -> (y, state)`, a pure function."""

    def __call__(
        self, params: Params, state: State, x: Any, /, *, key: PRNGKey | None = None, train: bool = False
    ) -> tuple[Any, State]:
        """Compute the output and the state that the next call is given."""
        ...


Loss: TypeAlias = Callable[[Any, Any], Any]
"""`loss(predictions, targets)` -> one value per example, shape [B]; the caller takes the (weighted) mean."""

Metric: TypeAlias = Callable[[Any, Any], Any]
"""A metric has the form of a loss: one value per example, so that means over any set are exact."""


class Layer(NamedTuple):
    """A layer, or a whole model: two pure functions, a name, and the parts it was built from.

    - `params` is what an optimizer may change, `state` what is carried from step to step (running statistics).
      Both are `()` when empty, and both keep their dtype through every `apply`; the dtype of the computation is
      that of `x`.
    - With `train=False` the state comes back unchanged and `key` is not needed.
    - `name` is the constructor call as a reader would type it; it is the repr.
    - `parts` is set by `sequential` alone (and what is built by it); then `apply` equals feeding the parts in
      order, with `params` and `state` as tuples in the same order.

    A layer is built outside of the compiled step and closed over. It is never data: do not pass it through `jit`.

    >>> import jax
    >>> double = Layer(init=lambda key: ((), ()), apply=lambda p, s, x, *, key=None, train=False: (2 * x, s),
    ...                name="double")
    >>> double
    double
    >>> double.apply((), (), 3.0)
    (6.0, ())
    """

    init: Init
    apply: Apply
    name: str
    parts: tuple["Layer", ...] = ()

    def __repr__(self) -> str:
        """Show the constructor call, not the functions behind it."""
        return self.name


LayerLike: TypeAlias = Layer | Callable[[Any], Any]
"""A `Layer`, or a plain function `x -> y` (`jax.nn.relu`, `jnp.tanh`), which is a layer without parameters."""
