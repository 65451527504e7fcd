"""The guide's MNIST program in jaxnn, in the form of its two rivals `mnist_torch` and `mnist_numpy`.

    python -m benchmarks.mnist_jaxnn --data DATA --epochs 10 --seeds 0 1 2

prints one JSON line an epoch: {"seed", "epoch", "seconds", "test_accuracy"}; the seconds are those of training alone.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import optax

from benchmarks.mnist_arrays import read_mnist
from jaxnn.data import from_arrays
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import fit


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the guide's MNIST classifier in jaxnn.")
    folder = os.environ.get("JAXNN_DATA_DIR")
    parser.add_argument("--data", default=folder, required=folder is None, help="the folder that holds mnist/*.gz")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, help="a file to append the JSON lines to")
    options = parser.parse_args(arguments)
    train, test = (from_arrays(*map(np.asarray, read_mnist(options.data, part))) for part in ("train", "test"))
    model = sequential(normalize(0.1307, 0.3081), mlp((784, 512, 256, 10), dropout=0.2))

    for seed in options.seeds:

        def say(record, train_state, seed=seed):
            line = json.dumps(
                {
                    "seed": seed,
                    "epoch": record["epoch"],
                    "seconds": round(record["seconds"], 3),
                    "test_accuracy": record["validation_accuracy"],
                }
            )
            print(line, flush=True)
            if options.output:
                options.output.parent.mkdir(parents=True, exist_ok=True)
                with options.output.open("a") as file:
                    file.write(line + "\n")

        fit(
            model,
            softmax_cross_entropy,
            optax.adam(1e-3),
            train,
            epochs=options.epochs,
            validation=test,
            seed=seed,
            callback=say,
            verbose=False,
        )


if __name__ == "__main__":
    main()
