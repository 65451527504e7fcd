"""Train 72 networks in four programs: learning rate x batch norm x dropout on Fashion-MNIST, and an ensemble of them.

The best network is the best on validation images; the test images are looked at once, at the end. Without Fashion-MNIST
and without a network it trains on scikit-learn's small digits instead, and says so.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments import harness
from experiments import sweep_figures as figures
from experiments.image_run import MEAN_STD, load_images
from experiments.sweep_measures import Maker, measured, summary_of, words
from jaxnn import checks
from jaxnn.data import Dataset, take
from jaxnn.data.images import ImageData
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.report import write_report
from jaxnn.training import run_keys
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_results import Sweep, SweepInterrupted
from jaxnn.training.sweep_settings import grid
from jaxnn.types import Layer

VALIDATION = 5_000  # images that no network trains on; a fifth of the images on digits


@dataclass(frozen=True)
class Config:
    """Options; the networks are the guide's NetworkWithBatchNorm, with and without its batch norm."""

    dataset: Literal["auto", "fashion_mnist", "mnist", "digits"] = "auto"
    """auto: Fashion-MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds fashion_mnist/ or mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)
    """Adam's."""
    dropouts: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Rates of dropout."""
    images: int = 10_000
    """Training images of each network, drawn at random; 5,000 others are for validation."""
    epochs: int = 6
    """Passes over them."""
    batch_size: int = 64
    """Images a step."""
    hidden: tuple[int, ...] = (256, 128)
    """Hidden units, layer by layer."""
    seeds: int = 3
    """Networks of each setting, from `seed` on."""
    ensemble: int = 10
    """Networks that answer together: the best on validation images."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed; more epochs go on too."""
    out: Path = Path("runs/sweep")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def parted(train: Dataset, images: int, seed: int) -> tuple[Dataset, Dataset]:
    """Draw training and validation images, the same for every network."""
    order = np.asarray(jax.random.permutation(run_keys(seed).split, train.size))
    held_out = min(VALIDATION, train.size // 5)
    return take(train, order[held_out:][:images]), take(train, order[:held_out])


def maker(data: ImageData, hidden: Sequence[int]) -> Maker:
    """Make `make` for `fit_many`."""
    sizes = (int(np.prod(data.train.inputs.shape[1:])), *hidden, len(data.class_names))

    def make(h: dict[str, Any]) -> tuple[Layer, Any]:
        network = mlp(sizes, batch_norm=h["batch_norm"], dropout=h["dropout"])
        return sequential(normalize(*MEAN_STD[data.name]), network), adam(h["learning_rate"])

    return make


def until_stopped(training: Callable[[], Sweep]) -> tuple[Sweep, harness.Stop | None]:
    """Run a sweep; when it is interrupted, return what was reached and why it stopped."""
    try:
        return training(), None
    except SweepInterrupted as stop:
        return stop.result, harness.Stop(f"Stopped by {stop}.", 128 + stop.signal_number)


def main(config: Config) -> int:
    for name in ("images", "epochs", "batch_size", "seeds", "ensemble"):
        checks.positive_int("sweep", name, getattr(config, name))
    run_keys(config.seed)
    data, substitute = load_images(config, "fashion_mnist")
    make = maker(data, config.hidden)
    settings = grid(batch_norm=[False, True], dropout=config.dropouts, learning_rate=config.learning_rates)
    for setting in settings:
        make(setting)  # refuses options before the results of an earlier run are touched
    out = harness.open_output(config.out, config)
    train, validation = parted(data.train, config.images, config.seed)
    count = len(settings) * config.seeds
    harness.say(
        config.quiet,
        f"{data.name} from {data.source}: {count} networks on {train.size:,} images, {config.epochs} epochs",
    )
    if substitute:
        harness.say(config.quiet, f"note: {substitute}")

    sweep, stop = until_stopped(
        lambda: fit_many(
            make,
            softmax_cross_entropy,
            train,
            settings,
            epochs=config.epochs,
            batch_size=config.batch_size,
            seeds=range(config.seed, config.seed + config.seeds),
            validation=validation,
            checkpoints=out / harness.CHECKPOINTS,
            resume=config.resume,
            verbose=not config.quiet,
        )
    )
    for member in sweep.members:
        model = words(member.hyperparameters)
        for record in member.history:
            harness.append_record(out, {"model": model, "seed": member.seed, **member.hyperparameters, **record})
    if sweep.best is None:
        print(stop.reason if stop else "every network diverged: take smaller learning rates", file=sys.stderr)
        return stop.exit_code if stop else 1
    harness.say(config.quiet, "testing")
    answers = measured(make, sweep, data.test, config.ensemble)
    summary = summary_of(data, sweep, answers, stop.reason if stop else "finished", config.seed)
    harness.write_json(out / "summary.json", summary)
    notices = [notice for notice in (substitute, stop and stop.reason) if notice]
    write_report(out, figures.page(config, data, len(train.inputs), validation.size, sweep, answers, notices))
    if stop:
        print(stop.reason, file=sys.stderr)
    harness.say(
        config.quiet,
        f"best network: {summary['best']}\ntest accuracy {summary['test_accuracy']:.2%}, the best "
        f"{summary['ensemble_size']} together {summary['ensemble_test_accuracy']:.2%}, report: {out / 'report.html'}",
    )
    return stop.exit_code if stop else 0


if __name__ == "__main__":
    harness.main(Config, main)
