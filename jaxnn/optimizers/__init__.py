"""How a gradient becomes a step: the guide's optimizers written out, each an `optax.GradientTransformation`.

Ours and Optax's are exchangeable and chain: `optax.chain(clip_by_global_norm(1.0), adam(1e-3))`. The learning rate is a
number, a traced scalar, or a schedule `step -> rate`; step 0 is the first update, as in Optax.

The moments are kept in at least float32, since an average such as 0.999 v + 0.001 g² stands still in bfloat16, and the
updates come in the dtype of the gradients, as in Optax. Options outside of their range are a ValueError; tracers pass.
"""

from jaxnn.optimizers.adaptive import adagrad, adam, adamw, rmsprop
from jaxnn.optimizers.averaging import AveragedState, averaged_params, ema
from jaxnn.optimizers.clipping import clip_by_global_norm
from jaxnn.optimizers.descent import gradient_descent, momentum, sgd
from jaxnn.optimizers.transformation import LearningRate, Momentum, OptimizerState

__all__ = [
    "AveragedState",
    "LearningRate",
    "Momentum",
    "OptimizerState",
    "adagrad",
    "adam",
    "adamw",
    "averaged_params",
    "clip_by_global_norm",
    "ema",
    "gradient_descent",
    "momentum",
    "rmsprop",
    "sgd",
]
