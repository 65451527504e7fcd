"""Whole models: each constructor returns a `Layer`."""

from jaxnn.models.mlp import mlp

__all__ = ["mlp"]
