"""Training of plain functions over plain trees: model, loss and optimizer are values that are passed in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
