"""The collection of doctests imports every file, and some rivals need libraries that may not be here."""

from importlib.util import find_spec

NEEDS = {
    "mnist_torch.py": "torch",
    "cnn_torch.py": "torch",
    "peers/with_torch.py": "torch",
    "peers/with_equinox.py": "equinox",
    "peers/equinox_weights.py": "equinox",
    "peers/with_keras.py": "keras",
}
collect_ignore = [file for file, package in NEEDS.items() if not find_spec(package)]
