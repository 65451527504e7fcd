"""The guide's MNIST program in jaxnn, in the form of its two rivals `mnist_torch` and `mnist_numpy`.

    python -m benchmarks.mnist_jaxnn --data DATA --epochs 10 --seeds 0 1 2

prints one JSON line an epoch: {"seed", "epoch", "seconds", "test_accuracy"}; the seconds are those of training alone.
"""

import numpy as np

from benchmarks.mnist_arrays import read_mnist
from benchmarks.mnist_records import print_record, read_options
from jaxnn.data import from_arrays
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.training import fit


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments)
    train, test = (from_arrays(*map(np.asarray, read_mnist(options.data, part))) for part in ("train", "test"))
    model = sequential(normalize(0.1307, 0.3081), mlp((784, 512, 256, 10), dropout=0.2))

    for seed in options.seeds:

        def say(record, train_state, seed=seed):
            print_record(seed, record["epoch"], record["seconds"], record["validation_accuracy"])

        fit(
            model,
            softmax_cross_entropy,
            adam(1e-3),
            train,
            epochs=options.epochs,
            validation=test,
            seed=seed,
            callback=say,
            verbose=False,
        )


if __name__ == "__main__":
    main()
