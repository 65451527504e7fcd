"""How to train the guide's networks as well as is known here: what the recipes `best` and `augmented` are.

`python -m benchmarks.recipes` measures what they reach on test images.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax

from experiments.image_run import Recipe
from jaxnn import tree
from jaxnn.augmentation import compose, distort, flip, shift
from jaxnn.layers import (
    adaptive_average_pool2d,
    batch_norm,
    conv2d,
    dropout,
    flatten,
    linear,
    max_pool2d,
    residual,
    sequential,
)
from jaxnn.models import mlp
from jaxnn.optimizers import adamw
from jaxnn.schedules import Schedule, cosine_annealing, warm_up
from jaxnn.types import Layer, LayerLike, Params

# Chosen, as all numbers here, by the accuracy on validation images.
MORE_DECAY = 0.1
LESS_DECAY = 0.05


def warm_cosine(rate: float, steps: int) -> Schedule:
    """Make the rate of a training of `steps` updates: up in the first tenth, then down to 0 as half a cosine's wave."""
    rise = max(1, steps // 10)
    return warm_up(rise, cosine_annealing(rate, max(1, steps - rise)))


def adam_with_decay(weight_decay: float) -> Callable[[float, int], optax.GradientTransformation]:
    """Make the optimizer of a rate and a number of steps: AdamW with a warm-up and a cosine. Only weights decay."""
    return lambda rate, steps: adamw(warm_cosine(rate, steps), weight_decay=weight_decay, mask=only_weights)


def only_weights(params: Params) -> Any:
    """Tell the weights, which decay, from biases and scales, which do not."""
    return tree.mask(params, r".*weight")


def best_mlp(pixels: int, classes: int) -> Recipe:
    """Train the guide's layer sizes on the images as they are.

    Batch normalisation, dropout on the pixels too (Srivastava et al., 2014, Dropout: A Simple Way to Prevent Neural
    Networks from Overfitting), decoupled weight decay, batches of 256, and a rate that falls to zero.
    """
    network = sequential(dropout(0.1), mlp((pixels, 512, 256, classes), dropout=0.4, batch_norm=True))
    return Recipe(network, adam_with_decay(MORE_DECAY), epochs=60, batch_size=256, learning_rate=5e-3)


def augmented_mlp(pixels: int, classes: int) -> Recipe:
    """Train the guide's layer sizes on images that are distorted anew each time they are seen.

    Affine and elastic distortions (Simard, Steinkraus, Platt, 2003, Best Practices for Convolutional Neural Networks
    Applied to Visual Document Analysis) take the place of dropout.
    """
    network = mlp((pixels, 512, 256, classes), batch_norm=True)
    augment = distort(shift=1.0, rotate=8.0, scale=0.1, shear=8.0, elastic=25.0)
    return Recipe(network, adam_with_decay(LESS_DECAY), 80, 256, learning_rate=5e-3, augment=augment)


def best_cnn(data: str, classes: int) -> Recipe:
    """Train a deeper network than the guide's on images that are changed anew each time they are seen.

    Things, in Fashion-MNIST, are mirrored and shifted by a pixel; digits are shifted, rotated, scaled, sheared and
    elastically distorted.
    """
    things, digits = compose(flip(), shift(1)), distort(shift=1.0, rotate=8.0, scale=0.1, shear=8.0, elastic=10.0)
    epochs, augment = (18, things) if data == "fashion_mnist" else (12, digits)
    return Recipe(deep_cnn(classes), adam_with_decay(LESS_DECAY), epochs, 128, learning_rate=1e-2, augment=augment)


def deep_cnn(classes: int, channels: tuple[int, int, int] = (32, 48, 96)) -> Layer:
    """Make five convolutions with batch norm, two of them with a shortcut, and the mean over the last image.

    13.1 million multiply-adds for an image of 28x28. The shortcuts are those of He, Zhang, Ren, Sun, 2016, Deep
    Residual Learning for Image Recognition; after every convolution here, and not after every second one.
    """
    first, second, third = channels
    return sequential(
        *(*convolution(1, first), max_pool2d(2)),
        *(*convolution(first, second), residual(sequential(*convolution(second, second))), max_pool2d(2)),
        *(*convolution(second, third), residual(sequential(*convolution(third, third))), adaptive_average_pool2d(1)),
        *(flatten(), dropout(0.3), linear(third, classes)),
    )


def convolution(inputs: int, outputs: int) -> tuple[LayerLike, ...]:
    """Make a 3x3 convolution, batch norm and ReLU."""
    return conv2d(inputs, outputs, 3, padding=1), batch_norm(outputs), jax.nn.relu
