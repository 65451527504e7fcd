"""The mathematics of the layers as plain functions over arrays. The layers are thin pairs around these."""

from jaxnn.functional.attention import (
    attention,
    attention_weights,
    causal_mask,
    heads_of,
    masked_mean,
    multi_head_attention,
    multi_head_weights,
)
from jaxnn.functional.convolution import conv1d, conv2d
from jaxnn.functional.dense import linear, wide
from jaxnn.functional.embedding import embed, sinusoids
from jaxnn.functional.normalization import batch_norm, batch_statistics, group_norm, layer_norm, rms_norm, standardize
from jaxnn.functional.pooling import (
    adaptive_average_pool1d,
    adaptive_average_pool2d,
    average_pool1d,
    average_pool2d,
    global_average_pool,
    global_max_pool,
    max_pool1d,
    max_pool2d,
)
from jaxnn.functional.randomness import dropout, keep_mask, mixed, threefry
from jaxnn.functional.recurrent import (
    gru,
    gru_step,
    last_step,
    lstm,
    lstm_step,
    rnn,
    rnn_step,
    valid_lengths,
    zero_carry,
)

__all__ = [
    "adaptive_average_pool1d",
    "adaptive_average_pool2d",
    "attention",
    "attention_weights",
    "average_pool1d",
    "average_pool2d",
    "batch_norm",
    "batch_statistics",
    "causal_mask",
    "conv1d",
    "conv2d",
    "dropout",
    "embed",
    "global_average_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "gru_step",
    "heads_of",
    "keep_mask",
    "last_step",
    "layer_norm",
    "linear",
    "lstm",
    "lstm_step",
    "masked_mean",
    "max_pool1d",
    "max_pool2d",
    "mixed",
    "multi_head_attention",
    "multi_head_weights",
    "rms_norm",
    "rnn",
    "rnn_step",
    "sinusoids",
    "standardize",
    "threefry",
    "valid_lengths",
    "wide",
    "zero_carry",
]
