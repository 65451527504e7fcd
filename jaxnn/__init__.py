"""jaxnn: neural networks as plain functions in JAX, from the perceptron to the Transformer.

A model is a `Layer`: `init(key) -> (params, state)` and `apply(params, state, x, *, key, train) -> (y, state)`. Losses
and metrics give one value per example, optimizers are Optax's or ours, data are arrays. A name loads its module when it
is first used. Reports are in `jaxnn.report`, mathematics over arrays in `jaxnn.functional`, `activations`, `losses` and
`backprop`.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, _, _offered = lazy_loader.attach_stub(__name__, __file__)

# Names that would hide what others call so are left out of `from jaxnn import *`; `jaxnn.data` is there all the same.
_PLAIN = {"checks", "data", "functional", "initializers", "layers", "metrics", "models", "report", "training", "types"}
__all__ = [name for name in _offered if name not in _PLAIN]  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted({*globals(), *_offered})
