"""Train the guide's MNIST classifier (784-512-256-10) and write a report of what it learned.

Without MNIST and without a network it trains on scikit-learn's small digits instead, and says so.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import harness, pages
from jaxnn import checks, tree
from jaxnn.data.images import ImageData, load
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.report import Section, first_layer_weights, write_report
from jaxnn.training import fit, predict, run_keys

MEAN_STD = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530), "digits": (0.3053, 0.3760)}
VALIDATION_SHARE = 1 / 12  # 5,000 of MNIST's 60,000 training images
DIGITS_EPOCHS = 40  # digits has 1,437 images: 40 epochs are as many steps as one epoch of MNIST


@dataclass(frozen=True)
class Config:
    """Options; the defaults are the guide's."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """auto: MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    epochs: int | None = None
    """Passes over the training images (default: 10; 40 on digits)."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-3
    """Adam's."""
    batch_norm: bool = False
    """Normalise each hidden layer over the batch."""
    watch_test: bool = False
    """As the guide does: train on every training image and look at the test set after each epoch."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed; more epochs go on too."""
    out: Path = Path("runs/mnist")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def load_images(config: Config) -> tuple[ImageData, str | None]:
    """Load the data set that was asked for, or digits where `auto` finds no MNIST; and the sentence that says so."""
    if config.dataset != "auto":
        return load(config.dataset, config.data_dir), None
    try:
        return load("mnist", config.data_dir), None
    except FileNotFoundError:
        if config.data_dir is not None:  # a folder that was named must hold the data
            raise
    return load("digits"), "MNIST is neither on this machine nor could it be downloaded: these are the digits (8x8)."


def check(config: Config) -> None:
    """Refuse wrong options before the results of an earlier run are touched."""
    checks.non_negative_int("mnist", "epochs", config.epochs or 0)
    checks.positive_int("mnist", "batch_size", config.batch_size)
    checks.in_range("mnist", "learning_rate", config.learning_rate, 0, np.inf, open_high=True)
    run_keys(config.seed)


def main(config: Config) -> int:
    check(config)
    data, substitute = load_images(config)
    out = harness.open_output(config.out, config)
    harness.say(
        config.quiet, f"{data.name}: {data.train.size:,} training and {data.test.size:,} test images from {data.source}"
    )
    if substitute:
        harness.say(config.quiet, f"note: {substitute}")

    pixels = int(np.prod(data.train.inputs.shape[1:]))
    network = mlp((pixels, 512, 256, len(data.class_names)), dropout=0.2, batch_norm=config.batch_norm)
    model = sequential(normalize(*MEAN_STD[data.name]), network)
    epochs = config.epochs if config.epochs is not None else DIGITS_EPOCHS if data.name == "digits" else 10

    def after_epoch(record, train_state):
        harness.append_record(out, record)
        if config.watch_test:
            harness.say(config.quiet, f"Epoch {record['epoch']}: Test Accuracy = {record['validation_accuracy']:.2%}")

    result, stop = harness.until_stopped(
        lambda: fit(
            model,
            softmax_cross_entropy,
            adam(config.learning_rate),
            data.train,
            epochs=epochs,
            batch_size=config.batch_size,
            validation=data.test if config.watch_test else None,
            validation_split=0.0 if config.watch_test else VALIDATION_SHARE,
            seed=config.seed,
            checkpoints=out / harness.CHECKPOINTS,
            resume=config.resume,
            callback=after_epoch,
            verbose=not config.quiet,
        )
    )

    params, model_state = result.train_state.params, result.train_state.model_state
    logits = predict(model, params, model_state, data.test.inputs)
    summary = {
        "test_accuracy": float(np.asarray(accuracy(logits, data.test.targets), np.float64).mean()),
        "test_loss": float(np.asarray(softmax_cross_entropy(logits, data.test.targets), np.float64).mean()),
        "test_evaluations": 1 + (len(result.history) if config.watch_test else 0),
        "dataset": data.name,
        "data_source": data.source,
        "status": stop.reason if stop else "finished",
        "epochs": len(result.history),
        "steps": int(result.train_state.step),
        "parameters": tree.size(params),
        "params_sha256": tree.sha256(params),
        "seconds_per_epoch": float(np.median([record["seconds"] for record in result.history] or [0.0])),
        "compile_seconds": result.compile_seconds,
        "train_seconds": result.train_seconds,
        "seed": config.seed,
    }
    harness.write_json(out / "summary.json", summary)
    notices = [notice for notice in (substitute, stop and stop.reason) if notice]
    weights = Section(
        "First layer weights",
        "Each picture shows what one unit of the first layer looks for.",
        partial(first_layer_weights, np.asarray(params[1][1]["weight"]), data.train.inputs.shape[1:]),
    )
    title = f"{data.name.replace('_', '-').upper()} with a multi-layer perceptron"
    page = pages.image_classifier(title, notices, config, model, data, result, logits, [weights], summary)
    write_report(out, page)
    if stop:
        print(stop.reason, file=sys.stderr)
    harness.say(config.quiet, f"test accuracy {summary['test_accuracy']:.2%}, report: {out / 'report.html'}")
    return stop.exit_code if stop else 0


if __name__ == "__main__":
    harness.main(Config, main)
