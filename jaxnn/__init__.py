"""jaxnn: neural networks as plain functions in JAX, from the perceptron to the Transformer."""

__version__ = "0.1.0"
