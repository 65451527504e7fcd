"""Wrong labels of MNIST, found by how much each example's own steps lower its own loss.

    python -m benchmarks.mislabelled --data DATA --seeds 3 --epochs 2

gives 2 % of the 60,000 training images another label at random, trains the guide's classifier on them for a few epochs,
and ranks all of them by `self_influence` at the end of each epoch. Prints which share of the wrong labels is among the
4 % first, and writes mislabelled.json. The loss after the last epoch stands beside it for comparison. About a
minute a seed on one quiet core, most of it the gradients of 60,000 examples an epoch.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.mnist_arrays import read_mnist
from benchmarks.output import write_results
from jaxnn.data import Dataset, from_arrays
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.report import environment
from jaxnn.training import fit, predict
from jaxnn.training.per_example import self_influence
from jaxnn.types import Params, State

WRONG = 0.02
LOOKED_AT = 0.04
LEARNING_RATE = 1e-3
RESULTS = Path(__file__).with_name("results") / "mislabelled.json"


def with_wrong_labels(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, np.ndarray]:
    """Give a share of the examples another of the ten labels, all nine equally likely; return their indices too.

    >>> data, wrong = with_wrong_labels(Dataset(np.zeros(50), np.full(50, 3, np.int32)), 0.1, seed=0)
    >>> len(wrong), np.array_equal(np.flatnonzero(data.targets != 3), wrong)
    (5, True)
    """
    random = np.random.default_rng(seed)
    wrong = np.sort(random.choice(dataset.size, round(share * dataset.size), replace=False))
    targets = np.array(dataset.targets)
    targets[wrong] = (targets[wrong] + random.integers(1, 10, len(wrong))) % 10
    return dataset._replace(targets=targets), wrong


def share_found(order: np.ndarray, wrong: np.ndarray, share: float) -> float:
    """Return which share of the wrong examples is in the first `share` of the order.

    >>> share_found(np.array([3, 1, 2, 0]), np.array([0, 3]), 0.5)
    0.5
    """
    return float(np.isin(wrong, order[: round(share * len(order))]).mean())


def one_seed(train: Dataset, seed: int, epochs: int) -> dict[str, float]:
    """Flip, train, rank; return what was found, and the seconds it took."""
    dataset, wrong = with_wrong_labels(train, WRONG, seed)
    model = sequential(normalize(0.1307, 0.3081), mlp((784, 512, 256, 10), dropout=0.2))
    checkpoints: list[tuple[Params, State]] = []
    start = time.perf_counter()
    fit(
        model,
        softmax_cross_entropy,
        adam(LEARNING_RATE),
        dataset,
        epochs=epochs,
        seed=seed,
        callback=lambda record, train_state: checkpoints.append((train_state.params, train_state.model_state)),
        verbose=False,
    )
    trained = time.perf_counter()
    ranked = self_influence(model, softmax_cross_entropy, checkpoints, [LEARNING_RATE] * epochs, dataset)
    seconds = time.perf_counter() - trained
    losses = np.asarray(softmax_cross_entropy(predict(model, *checkpoints[-1], dataset.inputs), dataset.targets))
    return {
        "seed": seed,
        "found": round(share_found(ranked.order, wrong, LOOKED_AT), 4),
        "wrong_among_the_first_2_percent": round(share_found(ranked.order, wrong, WRONG), 4),
        "found_by_loss": round(share_found(np.argsort(-losses), wrong, LOOKED_AT), 4),
        "training_seconds": round(trained - start, 1),
        "ranking_seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the wrong labels among MNIST's by their influence.")
    folder = os.environ.get("JAXNN_DATA_DIR")
    parser.add_argument("--data", default=folder, required=folder is None, help="the folder that holds mnist/*.gz")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 0, 1, 2, ...")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    train = from_arrays(*map(np.asarray, read_mnist(Path(options.data), "train")))
    rows = []
    for seed in range(options.seeds):
        rows.append(one_seed(train, seed, options.epochs))
        print(
            f"seed {seed}: {rows[-1]['found']:.1%} of the wrong labels are among the first {LOOKED_AT:.0%} "
            f"({rows[-1]['found_by_loss']:.1%} by loss alone); "
            f"{rows[-1]['training_seconds']:.0f} s of training, {rows[-1]['ranking_seconds']:.0f} s of ranking",
            flush=True,
        )
    found = [row["found"] for row in rows]
    result = {
        "command": f"python -m benchmarks.mislabelled --seeds {options.seeds} --epochs {options.epochs}",
        "environment": environment(),
        "method": (
            f"{WRONG:.0%} of the 60,000 training labels replaced by another at random; 784-512-256-10 with dropout "
            f"0.2, Adam at {LEARNING_RATE:g}, batches of 64. `found` is the share of the wrong labels among the first "
            f"{LOOKED_AT:.0%} by self-influence over the network at the end of each epoch; `found_by_loss` by the loss "
            "after the last epoch."
        ),
        "found_mean": round(float(np.mean(found)), 4),
        "found_least": min(found),
        "seeds": rows,
    }
    write_results(options.output, result)


if __name__ == "__main__":
    main()
