"""jaxnn: neural networks as plain functions in JAX, from the perceptron to the Transformer.

A model is a `Layer`: `init(key) -> (params, state)` and `apply(params, state, x, *, key, train) -> (y, state)`. Losses
and metrics give one value per example, optimizers are Optax's or ours, data are arrays. Importing this loads nothing; a
name loads its module when it is first used. Reports are in `jaxnn.report`, mathematics over arrays in
`jaxnn.functional`, `activations`, `losses` and `backprop`.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
