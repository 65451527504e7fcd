"""Train the guide's MNIST classifier under four learning-rate schedules: constant, step, cosine, one cycle.

Each is tried at every peak rate with five seeds, all in one compiled program a schedule. The rate is chosen on
validation images; the test images are looked at once, at the end. Without MNIST and without a network the networks
learn scikit-learn's small digits instead, and the run says so.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments import schedules_figures as figures
from experiments.image_run import MEAN_STD, load_images
from experiments.schedules_figures import Course
from experiments.sweep import parted, until_stopped
from jaxnn import checks, schedules
from jaxnn.data import Dataset
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.report import write_report
from jaxnn.training import predict, run_keys
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_results import Member, Sweep
from jaxnn.training.sweep_settings import grid
from jaxnn.types import Array

FALL = 0.3  # of the run after which the step schedule divides its rate by ten, again and again: the guide's 30 of 100
DIGITS_EPOCHS = 30


@dataclass(frozen=True)
class Config:
    """Options; the network is the guide's, 784-512-256-10 with dropout 0.2, trained by Adam."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """auto: MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    rates: tuple[float, ...] = (1e-3, 3e-3)
    """The highest rate of a schedule: each is tried, and the best on validation images is taken."""
    images: int = 10_000
    """Training images of each network, drawn at random; 5,000 others are for validation."""
    epochs: int | None = None
    """Passes over them (default: 8; 30 on digits)."""
    batch_size: int = 64
    """Images a step."""
    hidden: tuple[int, ...] = (512, 256)
    """Hidden units, layer by layer."""
    seeds: int = 5
    """Networks of each schedule and rate, from `seed` on."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed; more epochs go on too."""
    out: Path = Path("runs/schedules")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def schedule(name: str, rate: float | Array, steps: int) -> schedules.Schedule:
    """Make the schedule of a run of `steps` updates with this highest rate."""
    match name:
        case "constant":
            return lambda step: jnp.broadcast_to(jnp.float32(rate), jnp.shape(step))
        case "step":
            return schedules.step_decay(rate, every=max(1, round(FALL * steps)))
        case "cosine":
            return schedules.cosine_annealing(rate, steps)
    return schedules.one_cycle(rate, steps)


SCHEDULES = ("constant", "step", "cosine", "one cycle")


def main(config: Config) -> int:
    for name in ("images", "batch_size", "seeds"):
        checks.positive_int("schedules", name, getattr(config, name))
    if config.epochs is not None:
        checks.positive_int("schedules", "epochs", config.epochs)
    for rate in config.rates:
        checks.finite_positive("schedules", "rates", rate)
    run_keys(config.seed)
    data, substitute = load_images(config)
    train, validation = parted(data.train, config.images, config.seed)
    epochs = config.epochs or (DIGITS_EPOCHS if data.name == "digits" else 8)
    steps = epochs * -(-train.size // config.batch_size)
    model = sequential(
        normalize(*MEAN_STD[data.name]),
        mlp((int(np.prod(train.inputs.shape[1:])), *config.hidden, len(data.class_names)), dropout=0.2),
    )
    out = harness.open_output(config.out, config)
    settings = grid(schedule=SCHEDULES, rate=config.rates)
    harness.say(
        config.quiet,
        f"{data.name} from {data.source}: {len(settings) * config.seeds} networks on {train.size:,} images, "
        f"{epochs} epochs",
    )
    if substitute:
        harness.say(config.quiet, f"note: {substitute}")

    def make(h: dict[str, Any]) -> tuple[Any, Any]:
        momentum = schedules.one_cycle_momentum(steps) if h["schedule"] == "one cycle" else 0.9  # as PyTorch's does
        return model, adam(schedule(h["schedule"], h["rate"], steps), momentum)

    sweep, stop = until_stopped(
        lambda: fit_many(
            make,
            softmax_cross_entropy,
            train,
            settings,
            epochs=epochs,
            batch_size=config.batch_size,
            seeds=range(config.seed, config.seed + config.seeds),
            validation=validation,
            checkpoints=out / harness.CHECKPOINTS,
            resume=config.resume,
            verbose=not config.quiet,
        )
    )
    for member in sweep.members:
        told = {"model": "{schedule}, rate {rate:g}".format(**member.hyperparameters), "seed": member.seed}
        for record in member.history:
            harness.append_record(out, told | member.hyperparameters | record)
    courses = {name: course(sweep, name, model, data.test, steps) for name in SCHEDULES}
    courses = {name: found for name, found in courses.items() if found is not None}
    if not courses:
        print(stop.reason if stop else "every network diverged: take smaller rates", file=sys.stderr)
        return stop.exit_code if stop else 1
    summary = {
        **{
            key: value
            for name, found in courses.items()
            for key, value in (
                harness.over_seeds(f"{name.replace(' ', '_')}_test_accuracy", found.test_accuracies)
                | {f"{name.replace(' ', '_')}_rate": found.rate}
            ).items()
        },
        "networks": len(sweep.members),
        "diverged": sum(bool(member.diverged) for member in sweep.members),
        "steps": steps,
        "compile_seconds": sweep.compile_seconds,
        "train_seconds": sweep.train_seconds,
        "dataset": data.name,
        "data_source": data.source,
        "status": stop.reason if stop else "finished",
        "seed": config.seed,
    }
    harness.write_json(out / "summary.json", summary)
    notices = [notice for notice in (substitute, stop and stop.reason) if notice]
    write_report(out, figures.page(config, data.name, (epochs, train.size, validation.size), sweep, courses, notices))
    if stop:
        print(stop.reason, file=sys.stderr)
    told = ", ".join(f"{name} {np.mean(found.test_accuracies):.2%}" for name, found in courses.items())
    harness.say(config.quiet, f"mean test accuracy: {told}\nreport: {out / 'report.html'}")
    return stop.exit_code if stop else 0


def course(sweep: Sweep, name: str, model: Any, test: Dataset, steps: int) -> Course | None:
    """Take the schedule's best rate by mean validation accuracy, and test its networks; None if all diverged."""
    rows = [row for row in sweep.table if row["schedule"] == name and "validation_accuracy" in row]
    if not rows:
        return None
    rate = max(rows, key=lambda row: row["validation_accuracy"])["rate"]
    chosen = {"schedule": name, "rate": rate}
    members = [m for m in sweep.members if m.hyperparameters == chosen and m.history and not m.diverged]

    def tested(member: Member) -> float:
        logits = predict(model, member.params, member.model_state, test.inputs)
        return float(np.asarray(accuracy(logits, test.targets), np.float64).mean())

    rates = np.asarray(schedule(name, rate, steps)(jnp.arange(steps)))
    return Course(rate, rates, [member.history for member in members], [tested(member) for member in members])


if __name__ == "__main__":
    harness.main(Config, main)
