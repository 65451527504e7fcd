"""The collection of doctests imports every file, and one rival needs PyTorch, which may not be here."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["mnist_torch.py"]
