"""Layer constructors: each returns a `Layer`, a pair of pure functions and a name."""

from jaxnn.layers.attention import multi_head_attention
from jaxnn.layers.composition import activations, residual, sequential, walk
from jaxnn.layers.convolution import conv1d, conv2d
from jaxnn.layers.dense import flatten, linear
from jaxnn.layers.embedding import embedding, learned_positions, sinusoidal_positions
from jaxnn.layers.normalization import batch_norm, group_norm, layer_norm, normalize, rms_norm
from jaxnn.layers.pooling import (
    adaptive_average_pool1d,
    adaptive_average_pool2d,
    average_pool1d,
    average_pool2d,
    global_average_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
)
from jaxnn.layers.precision import cast
from jaxnn.layers.recurrent import gru, last_step, lstm, rnn
from jaxnn.layers.regularization import dropout
from jaxnn.layers.repetition import remat, repeat
from jaxnn.layers.transformer import transformer_encoder, transformer_encoder_layer

__all__ = [
    "activations",
    "adaptive_average_pool1d",
    "adaptive_average_pool2d",
    "average_pool1d",
    "average_pool2d",
    "batch_norm",
    "cast",
    "conv1d",
    "conv2d",
    "dropout",
    "embedding",
    "flatten",
    "global_average_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "last_step",
    "layer_norm",
    "learned_positions",
    "linear",
    "lstm",
    "max_pool1d",
    "max_pool2d",
    "multi_head_attention",
    "normalize",
    "remat",
    "repeat",
    "residual",
    "rms_norm",
    "rnn",
    "sequential",
    "sinusoidal_positions",
    "transformer_encoder",
    "transformer_encoder_layer",
    "walk",
]
