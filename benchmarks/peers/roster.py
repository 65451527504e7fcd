"""Who takes part: the file, the package it imports, the networks it has."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.peers import work


class Entry(NamedTuple):
    """One peer; the file is `with_*.py`."""

    title: str
    file: str
    package: str
    options: Mapping[str, Any] = {}
    networks: tuple[str, ...] = tuple(work.DROPOUT)


PEERS = {
    "jaxnn": Entry("jaxnn", "with_jaxnn", "jaxnn"),
    "torch": Entry("PyTorch", "with_torch", "torch"),
    # The same as PyTorch's own layout where there are no images.
    "torch_channels_last": Entry("channels last", "with_torch", "torch", {"channels_last": True}, ("cnn",)),
    "torch_compile": Entry("torch.compile", "with_torch", "torch", {"compiled": True}),
    "linen": Entry("Flax linen", "with_linen", "flax"),
    "nnx": Entry("Flax nnx", "with_nnx", "flax"),
    "equinox": Entry("Equinox", "with_equinox", "equinox"),
    "keras": Entry("Keras on JAX", "with_keras", "keras"),
    "numpy": Entry("NumPy", "with_numpy", "numpy", {}, ("mlp",)),
}
TITLES = {
    "mlp": "MLP",
    "cnn": "CNN",
    "rnn": "RNN",
    "lstm": "LSTM",
    "transformer": "Transformer (512)",
    "transformer_2048": "Transformer (2048)",
}
