"""Train the guide's CNN on images and look inside: filters, feature maps, linear probes, saliency.

Without MNIST and without a network it trains on scikit-learn's small digits instead, and says so.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import harness, mnist, pages
from experiments import images_figures as figures
from experiments import images_measures as measures
from jaxnn import checks, tree
from jaxnn.data.images import ImageData
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import cnn
from jaxnn.optimizers import adam
from jaxnn.report import Page, Section, records, write_report
from jaxnn.schedules import cosine_annealing
from jaxnn.training import FitResult, fit, predict, run_keys
from jaxnn.types import Layer


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
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the rate falls from learning_rate to 0 over the whole training."""
    seeds: int = 1
    """Trainings, of seed, seed + 1, ...; the report shows the first."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed; more epochs and seeds go on too."""
    out: Path = Path("runs/images")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def check(config: Config) -> None:
    """Refuse wrong options before the results of an earlier run are touched."""
    checks.non_negative_int("images", "epochs", config.epochs or 0)
    checks.positive_int("images", "batch_size", config.batch_size)
    checks.in_range("images", "learning_rate", config.learning_rate, 0, np.inf, open_high=True)
    checks.positive_int("images", "seeds", config.seeds)
    run_keys(config.seed + config.seeds - 1)
    run_keys(config.seed)


def main(config: Config) -> int:
    check(config)
    data, substitute = mnist.load_images(mnist.Config(dataset=config.dataset, data_dir=config.data_dir))
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    say(f"{data.name}: {data.train.size:,} training and {data.test.size:,} test images from {data.source}")
    if substitute:
        say(f"note: {substitute}")
    model = sequential(normalize(*mnist.MEAN_STD[data.name]), cnn(len(data.class_names)))

    runs: list[dict[str, Any]] = []
    inside: list[Section] = []
    first = None
    stop = None
    for seed in range(config.seed, config.seed + config.seeds):
        if config.seeds > 1:
            say(f"seed {seed}")
        result, stop = harness.until_stopped(partial(train, config, model, data, seed, out))
        if stop and first:  # a training cut short is measured only where there is no other
            stop = stop._replace(reason=f"{stop.reason.rstrip('.')} of seed {seed}, which is left out.")
        else:
            logits = predict(model, result.train_state.params, result.train_state.model_state, data.test.inputs)
            runs.append(measured(result, logits, data, seed))
            say(f"seed {seed}: test accuracy {runs[-1]['test_accuracy']:.2%}")
        summary = summarised(runs, data, stop)
        harness.write_json(out / "summary.json", summary)
        if first is None:
            first = result, logits
            look = partial(measures.look_inside, model, data, result, logits, seed, mnist.VALIDATION_SHARE)
            if not stop:
                say("linear probes")
            try:
                found = look(probe=not stop)
            except KeyboardInterrupt:
                stop = harness.Stop("Stopped in the linear probes, which are left out.", 130)
                found = look(probe=False)
                summary = summarised(runs, data, stop)
                harness.write_json(out / "summary.json", summary)
            inside = figures.sections(found, data, logits, summary)
        notices = [notice for notice in (substitute, summary["status"] if stop else None) if notice]
        write_report(out, page(config, notices, model, data, *first, inside, runs, summary))
        if stop:
            break
    if stop:
        print(stop.reason, file=sys.stderr)
    say(f"test accuracy {summary['test_accuracy_mean']:.2%}, report: {out / 'report.html'}")
    return stop.exit_code if stop else 0


def train(config: Config, model: Layer, data: ImageData, seed: int, out: Path) -> FitResult:
    """Train one network; a line of `metrics.jsonl` an epoch names the seed."""
    epochs = config.epochs if config.epochs is not None else mnist.DIGITS_EPOCHS if data.name == "digits" else 10
    size = data.train.size - round(mnist.VALIDATION_SHARE * data.train.size)
    steps = max(1, epochs * math.ceil(size / config.batch_size))
    rate = config.learning_rate if config.schedule == "constant" else cosine_annealing(config.learning_rate, steps)
    return fit(
        model,
        softmax_cross_entropy,
        adam(rate),
        data.train,
        epochs=epochs,
        batch_size=config.batch_size,
        validation_split=mnist.VALIDATION_SHARE,
        seed=seed,
        checkpoints=out / harness.CHECKPOINTS / f"seed_{seed}",
        resume=config.resume,
        callback=lambda record, _: harness.append_record(out, {"seed": seed, **record}),
        verbose=not config.quiet,
    )


def measured(result: FitResult, logits: np.ndarray, data: ImageData, seed: int) -> dict[str, Any]:
    """Put together the numbers of one training."""
    last = result.history[-1] if result.history else {}
    return {
        "seed": seed,
        "test_accuracy": float(np.asarray(accuracy(logits, data.test.targets), np.float64).mean()),
        "test_loss": float(np.asarray(softmax_cross_entropy(logits, data.test.targets), np.float64).mean()),
        "validation_accuracy": last.get("validation_accuracy"),
        "epochs": len(result.history),
        "steps": int(result.train_state.step),
        "parameters": tree.size(result.train_state.params),
        "params_sha256": tree.sha256(result.train_state.params),
        "seconds_per_epoch": float(np.median([record["seconds"] for record in result.history] or [0.0])),
        "compile_seconds": result.compile_seconds,
        "train_seconds": result.train_seconds,
    }


def summarised(runs: Sequence[Mapping[str, Any]], data: ImageData, stop: harness.Stop | None) -> dict[str, Any]:
    """Put together `summary.json`: the numbers of the first training, and the accuracy of each."""
    return {
        **runs[0],
        "seeds": [run["seed"] for run in runs],
        **harness.over_seeds("test_accuracy", [run["test_accuracy"] for run in runs]),
        "test_evaluations": len(runs),
        "dataset": data.name,
        "data_source": data.source,
        "status": stop.reason if stop else "finished",
    }


def page(
    config: Config,
    notices: Sequence[str],
    model: Layer,
    data: ImageData,
    result: FitResult,
    logits: np.ndarray,
    inside: Sequence[Section],
    runs: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
) -> Page:
    """Put together the report: that of every classifier of images, what is inside, and the seeds."""
    title = f"{data.name.replace('_', '-').upper()} with a convolutional network"
    found = pages.image_classifier(title, notices, config, model, data, result, logits, inside, summary)
    if len(runs) < 2:
        return found
    columns = ("seed", "test_accuracy", "validation_accuracy", "test_loss", "seconds_per_epoch")
    seeds = Section(
        "Seeds",
        f"The test set is evaluated once a seed, after training. All other sections show seed {config.seed}.",
        table=records([{name: run[name] for name in columns} for run in runs]),
    )
    mean = f"{100 * summary['test_accuracy_mean']:.2f} ± {100 * summary['test_accuracy_deviation']:.2f} %"
    headline = [(f"test accuracy, {len(runs)} seeds", mean), *found.headline]
    return found._replace(headline=headline, sections=[seeds, *found.sections])


if __name__ == "__main__":
    harness.main(Config, main)
