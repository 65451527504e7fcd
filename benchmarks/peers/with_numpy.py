"""The perceptron in NumPy: the guide's MNIST program (`benchmarks.mnist_numpy`), vectorised by hand in float32."""

import numpy as np

from benchmarks import mnist_numpy, numpy_network
from benchmarks.peers import work
from benchmarks.peers.work import Data, Peer


def start(network: str, data: Data, batch: int, *, dropout: float, rate: float, weights: dict[str, np.ndarray]) -> Peer:
    """Make the network with these weights."""
    if network != "mlp":
        raise ValueError(f"with_numpy expected the network mlp but got {network}: there is no other in NumPy")
    module = mnist_numpy.make(0, work.SIZES)
    layers = numpy_network.views(module.parameters, work.SIZES)
    gradients = numpy_network.views(module.gradients, work.SIZES)
    for (weight, bias), path in zip(layers, ("1", "3", "5"), strict=True):
        weight[...], bias[...] = weights[f"{path}.weight"], weights[f"{path}.bias"]
    update = numpy_network.adam(rate)

    def train() -> None:
        for rows in work.batches_of_rows(module.rng, len(data.labels), batch):
            mnist_numpy.loss_and_gradients(
                layers, gradients, data.inputs[rows], data.labels[rows], dropout=dropout, rng=module.rng
            )
            update(module.parameters, module.gradients)

    def predict() -> np.ndarray:
        parts = range(0, len(data.inputs), batch)
        return np.concatenate([mnist_numpy.predict(module, data.inputs[i : i + batch]) for i in parts])

    return Peer(train, predict)
