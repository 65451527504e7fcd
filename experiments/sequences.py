"""Hold the RNN beside the LSTM: the adding problem at lengths 10 to 400, and images read row by row.

Without MNIST and without a network the images are scikit-learn's small digits, and the report says so.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import harness
from experiments import sequences_measures as measures
from experiments.image_run import DIGITS_EPOCHS, keep_network, load_images
from experiments.sequences_figures import NAMES, page
from experiments.sequences_measures import BASELINE, BROKEN, Rows, Sums
from jaxnn import checks
from jaxnn.data.images import ImageData
from jaxnn.report import write_report
from jaxnn.training import FitResult, run_keys


@dataclass(frozen=True)
class Config:
    """Options."""

    task: Literal["adding", "rows", "both"] = "both"
    """Which part to run."""
    lengths: tuple[int, ...] = (10, 50, 100, 200, 400)
    """Adding problem: time steps."""
    sequences: int = 9_600
    """Adding problem: training sequences of each length."""
    adding_epochs: int = 20
    """Adding problem: most passes over them; a training ends before when it has solved the problem."""
    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """Rows: auto is MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    epochs: int | None = None
    """Rows: passes over the training images (default: 10; 40 on digits)."""
    batch_size: int = 64
    """Rows: images a step."""
    learning_rate: float = 1e-3
    """Rows: Adam's at the start; it falls to 0 as a cosine."""
    seeds: int = 1
    """Rows: trainings of each network, of seed, seed + 1, ..."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed."""
    out: Path = Path("runs/sequences")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def check(config: Config) -> None:
    """Refuse wrong options before the results of an earlier run are touched."""
    for name in ("sequences", "adding_epochs", "batch_size", "seeds"):
        checks.positive_int("sequences", name, getattr(config, name))
    if not config.lengths:
        raise ValueError("sequences expected at least one length")
    for length in config.lengths:
        checks.in_range("sequences", "lengths", length, 2, np.inf)
    checks.positive_int("sequences", "epochs", 1 if config.epochs is None else config.epochs)
    checks.in_range("sequences", "learning_rate", config.learning_rate, 0, np.inf, open_high=True)
    run_keys(config.seed)
    run_keys(config.seed + config.seeds - 1)


def main(config: Config) -> int:
    check(config)
    data, substitute = None, None
    if config.task != "adding":
        data, substitute = load_images(config)
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    if substitute:
        say(f"note: {substitute}")

    sums: list[Sums] = []
    rows: list[Rows] = []
    try:
        stop = train_all(config, data, out, sums, rows)
    except KeyboardInterrupt:  # between two trainings; within one, `fit` has its own end
        stop = harness.Stop("Stopped by Ctrl-C.", 130)

    summary = summarised(config, data, sums, rows, stop)
    harness.write_json(out / "summary.json", summary)
    notices = [substitute] if substitute else []
    if stop:
        notices.append(f"{stop.reason} The training that it ended is not shown.")
        print(stop.reason, file=sys.stderr)
    write_report(out, page(config, notices, data, sums, rows, summary))
    say(f"report: {out / 'report.html'}")
    return stop.exit_code if stop else 0


def train_all(
    config: Config, data: ImageData | None, out: Path, sums: list[Sums], rows: list[Rows]
) -> harness.Stop | None:
    """Do the trainings one after the other; what is finished goes to `sums`, `rows` and `summary.json` at once."""
    say, record = partial(harness.say, config.quiet), partial(harness.append_record, out)

    def run(training: Callable[..., FitResult], name: str, *arguments: Any) -> tuple[FitResult, harness.Stop | None]:
        saving = {"checkpoints": out / harness.CHECKPOINTS / name, "resume": config.resume}
        return harness.until_stopped(partial(training, *arguments, record, verbose=not config.quiet, **saving))

    def keep() -> None:
        unfinished = harness.Stop("Stopped before its end.", 1)
        harness.write_json(out / "summary.json", summarised(config, data, sums, rows, unfinished))

    if config.task != "rows":
        for length, kind in itertools.product(config.lengths, NAMES):
            say(f"adding problem of {length} steps, {NAMES[kind]}")
            options = kind, length, config.sequences, config.adding_epochs, config.seed
            result, stop = run(measures.learn_sums, f"adding_{kind}_{length}", *options)
            if stop:
                return stop
            sums.append(measures.measured_sums(kind, length, config.seed, result))
            say(f"test mean squared error {sums[-1].test_error:.5f} after {sums[-1].steps:,} updates")
            keep()
    if data:
        epochs = config.epochs or (DIGITS_EPOCHS if data.name == "digits" else 10)
        for seed, kind in itertools.product(range(config.seed, config.seed + config.seeds), NAMES):
            say(f"{data.name} row by row, {NAMES[kind]}, seed {seed}")
            options = kind, data, epochs, config.batch_size, config.learning_rate, seed
            result, stop = run(measures.learn_rows, f"rows_{kind}_{seed}", *options)
            if stop:
                return stop
            rows.append(measures.measured_rows(kind, data, seed, result))
            say(f"test accuracy {rows[-1].test_accuracy:.2%}")
            keep()
            if kind == "lstm" and seed == config.seed:  # of the networks of a run, the one to use
                keep_network(out, measures.reader(kind, data), result, data)
    return None


def summarised(
    config: Config, data: ImageData | None, sums: Sequence[Sums], rows: Sequence[Rows], stop: harness.Stop | None
) -> dict[str, Any]:
    """Put together `summary.json` from the trainings that are finished."""
    summary: dict[str, Any] = {"status": stop.reason if stop else "finished", "seed": config.seed}
    if sums:
        summary |= {"adding_baseline": BASELINE, "adding_broken_above": BROKEN}
    for one in sums:
        case = f"{one.kind}_t{one.length}"
        summary[f"adding_mse_{case}"] = one.test_error
        summary[f"adding_updates_{case}"] = one.steps
        summary[f"adding_seconds_{case}"] = one.seconds
        summary[f"gradient_first_to_last_at_start_{case}"] = share(one.gradient_at_start)
        summary[f"gradient_first_to_last_trained_{case}"] = share(one.gradient_at_end)
    for kind in NAMES:
        if any(one.kind == kind for one in sums):
            summary[f"adding_breaks_at_{kind}"] = measures.breaks_at(sums, kind)
        found = [one for one in rows if one.kind == kind]
        if found and data:
            summary |= {"rows_dataset": data.name, "rows_data_source": data.source}
            summary |= harness.over_seeds(f"rows_test_accuracy_{kind}", [one.test_accuracy for one in found])
            seconds = [record["seconds"] for one in found for record in one.history]
            summary[f"rows_seconds_per_epoch_{kind}"] = float(np.median(seconds))
    return summary


def share(gradient: np.ndarray) -> float:
    """Return how much of the last step's gradient reaches the first step."""
    return float(gradient[0] / gradient[-1])


if __name__ == "__main__":
    harness.main(Config, main)
