"""What training makes small: functions `(predictions, targets) -> one value per example`, each with its derivative.

Beside each loss stands `<name>_gradient(predictions, targets)`, written by hand: the derivative of every example's loss
with respect to its own predictions, in their shape and dtype. Train from logits; the forms over probabilities are the
guide's. Element-wise losses take the mean over all axes but the first, so `outputs` in a formula is the number of
predictions an example has.
"""

from jaxnn.losses.binary import (
    binary_cross_entropy,
    binary_cross_entropy_gradient,
    hinge,
    hinge_gradient,
    sigmoid_binary_cross_entropy,
    sigmoid_binary_cross_entropy_gradient,
)
from jaxnn.losses.categorical import (
    categorical_cross_entropy,
    categorical_cross_entropy_gradient,
    negative_log_likelihood,
    negative_log_likelihood_gradient,
    softmax_cross_entropy,
    softmax_cross_entropy_gradient,
)
from jaxnn.losses.regression import (
    huber,
    huber_gradient,
    mean_absolute_error,
    mean_absolute_error_gradient,
    mean_squared_error,
    mean_squared_error_gradient,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_gradient",
    "categorical_cross_entropy",
    "categorical_cross_entropy_gradient",
    "hinge",
    "hinge_gradient",
    "huber",
    "huber_gradient",
    "mean_absolute_error",
    "mean_absolute_error_gradient",
    "mean_squared_error",
    "mean_squared_error_gradient",
    "negative_log_likelihood",
    "negative_log_likelihood_gradient",
    "sigmoid_binary_cross_entropy",
    "sigmoid_binary_cross_entropy_gradient",
    "softmax_cross_entropy",
    "softmax_cross_entropy_gradient",
]
