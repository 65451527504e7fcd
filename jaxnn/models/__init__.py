"""Whole models: each constructor returns a `Layer`."""

from jaxnn.models.cnn import cnn
from jaxnn.models.mlp import mlp
from jaxnn.models.perceptron import perceptron, perceptron_rule, threshold_unit
from jaxnn.models.recurrent import gru_classifier, lstm_classifier, rnn_classifier
from jaxnn.models.transformer import attention_maps, transformer_classifier

__all__ = [
    "attention_maps",
    "cnn",
    "gru_classifier",
    "lstm_classifier",
    "mlp",
    "perceptron",
    "perceptron_rule",
    "rnn_classifier",
    "threshold_unit",
    "transformer_classifier",
]
