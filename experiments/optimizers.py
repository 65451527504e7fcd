"""Draw the optimizers' paths, hand-written and Optax's over each other, and race them on MNIST.

Then L2 in the loss is held beside decoupled weight decay. Without MNIST and without a network the network learns
scikit-learn's small digits instead, and says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness, pages
from experiments import optimizers_figures as figures
from experiments.image_run import load_images
from experiments.optimizers_races import (
    CONTENDERS,
    DECAY,
    NOISE,
    VALLEYS,
    Decays,
    Lesson,
    Task,
    Trajectory,
    cross,
    decay,
    learn,
    remaining,
)
from jaxnn import checks
from jaxnn.models import mlp
from jaxnn.report import Page, Section, Table, write_report
from jaxnn.training import run_keys


@dataclass(frozen=True)
class Config:
    """Options."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """auto: MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    images: int = 5_000
    """Training images that are used, from the first on."""
    steps: int = 600
    """Steps on images; gradient descent, which sees every image in each, does a twentieth."""
    batch_size: int = 64
    """Images a step, but for gradient descent."""
    hidden: int = 128
    """Hidden units of the network."""
    seed: int = 0
    """The whole run is a function of it, but for the seconds."""
    out: Path = Path("runs/optimizers")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: Config) -> int:
    for name in ("images", "batch_size", "hidden"):
        checks.positive_int("optimizers", name, getattr(config, name))
    checks.in_range("optimizers", "steps", config.steps, 10, np.inf)
    keys = run_keys(config.seed)
    data, substitute = load_images(config)
    out = harness.open_output(config.out, config)
    if substitute:
        harness.say(config.quiet, f"note: {substitute}")

    walks = {
        place: {
            name: cross(valley, name, getattr(contender, place), keys.step) for name, contender in CONTENDERS.items()
        }
        for place, valley in VALLEYS.items()
    }

    images = data.train.inputs[: config.images].astype(np.float32) / 255
    model = mlp((int(np.prod(images.shape[1:])), config.hidden, len(data.class_names)))
    batches = jax.random.randint(keys.order, (config.steps, config.batch_size), 0, len(images))
    labels = jnp.asarray(data.train.targets[: config.images])
    task = Task(model, model.init(keys.init)[0], jnp.asarray(images), labels, batches)
    harness.say(config.quiet, f"{data.name}: {model} on {len(images):,} images from {data.source}")
    lessons = {}
    for name in CONTENDERS:
        lessons[name] = learn(task, name)
        losses, seconds = lessons[name].losses, lessons[name].seconds
        harness.say(config.quiet, f"{name}: loss {tail(losses):.4f} after {len(losses)} steps in {seconds:.2f} s")
    decays = {name: decay(task, name) for name in ("SGD", "Adam")}

    summary: dict[str, Any] = {"dataset": data.name, "data_source": data.source, "images": len(images)}
    for name in CONTENDERS:
        key = name.lower().replace(" ", "_")
        for place, paths in walks.items():
            summary[f"{place}_height_{key}"] = float(paths[name].values[0][-1])
            summary[f"{place}_distance_{key}"] = float(paths[name].distance.max())
        summary[f"loss_{key}"] = tail(lessons[name].losses)
        summary[f"distance_{key}"] = float(lessons[name].distance.max())
        summary[f"float32_distance_{key}"] = float(lessons[name].distance_float32.max())
        summary[f"float32_from_float64_{key}"], summary[f"optax_float32_from_float64_{key}"] = lessons[name].rounding
        summary[f"seconds_per_step_{key}"] = lessons[name].seconds / len(lessons[name].losses)
    far = {key: value for key, value in summary.items() if "distance" in key}
    summary["largest_distance"] = max(value for key, value in far.items() if "float32" not in key)
    for name, result in decays.items():
        summary[f"l2_against_decoupled_{name.lower()}"] = float(result.distance[-1])
    summary["seed"] = config.seed
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, data.name, substitute, summary, walks, lessons, decays))
    harness.say(
        config.quiet,
        f"L2 against decoupled decay: {summary['l2_against_decoupled_sgd']:.2g} apart under SGD, "
        f"{summary['l2_against_decoupled_adam']:.2g} under Adam\n"
        f"ours and Optax's at most {summary['largest_distance']:.1e} apart in float64, report: {out / 'report.html'}",
    )
    return 0


def tail(losses: np.ndarray) -> float:
    """Compute the mean loss of the last tenth of the steps."""
    return float(losses[-max(1, len(losses) // 10) :].mean(dtype=np.float64))


def page(
    config: Config,
    dataset: str,
    substitute: str | None,
    summary: Mapping[str, Any],
    walks: Mapping[str, Mapping[str, Trajectory]],
    lessons: Mapping[str, Lesson],
    decays: Mapping[str, Decays],
) -> Page:
    """Put together the report."""
    name = dataset.replace("_", "-").upper()
    keys = {title: title.lower().replace(" ", "_") for title in CONTENDERS}

    def table(header: Sequence[str], entries: Sequence[str], look: str, rates: str | None = None) -> Table:
        """Take entries of the summary for each optimizer, after its rate."""
        return Table(
            ("optimizer", *(["learning rate"] if rates else []), *header),
            [
                (
                    title,
                    *([f"{getattr(CONTENDERS[title], rates):g}"] if rates else []),
                    *(f"{summary[f'{entry}_{key}']:{look}}" for entry in entries),
                )
                for title, key in keys.items()
            ],
        )

    def valley(place: str, formula: str) -> Section:
        return Section(
            {"quadratic": "Ill-conditioned quadratic", "rosenbrock": "Rosenbrock's valley"}[place],
            f"{formula}, {VALLEYS[place].steps:,} steps in float64. Solid: hand-written. Dashed over it: Optax's. "
            f"Circle: start. Cross: minimum. SGD's gradient has noise of standard deviation {NOISE:g} added, for want "
            "of batches.",
            partial(figures.valley, VALLEYS[place], walks[place]),
            table(
                ("height at the end", "largest distance to Optax"),
                (f"{place}_height", f"{place}_distance"),
                ".2g",
                place,
            ),
        )

    return Page(
        "Optimizers by hand",
        f"Five optimizers beside Optax's, in two valleys and on {name}, seed {config.seed}",
        [substitute] if substitute else [],
        [
            ("largest distance to Optax (float64)", f"{summary['largest_distance']:.2g}"),
            ("L2 against decoupled decay, SGD", f"{summary['l2_against_decoupled_sgd']:.2g}"),
            ("the same, Adam", f"{summary['l2_against_decoupled_adam']:.2g}"),
        ],
        [
            valley("quadratic", "(x² + 50 y²) / 2"),
            valley("rosenbrock", "(1 - x)² + 100 (y - x²)²"),
            Section(
                f"{name} by step and by second",
                f"Training loss of {config.hidden} hidden units on {summary['images']:,} images; means over "
                f"{figures.WINDOW} steps, but for gradient descent. Each of its steps sees all images, and it does a "
                "twentieth of the steps. Compilation is not in the seconds.",
                partial(figures.losses, lessons),
                table(("loss", "seconds a step"), ("loss", "seconds_per_step"), ".2g", "images"),
            ),
            Section(
                "Distance to Optax",
                "The largest difference between a parameter of ours and of Optax's, divided by the largest parameter; "
                "each goes its own way from the same start. In float64 it is rounding: the rules are the same. In "
                "float32 rounding grows on the way, most under Adam and RMSprop, which make whole steps of the "
                "smallest gradients; the last two columns say how far each ended from itself in float64. An optimizer "
                "that is not drawn has the bits of Optax's.",
                partial(figures.distances, lessons),
                table(
                    ("float64", "float32", "ours, float32 to float64", "Optax's, the same"),
                    ("distance", "float32_distance", "float32_from_float64", "optax_float32_from_float64"),
                    ".1g",
                ),
            ),
            Section(
                "L2 and decoupled weight decay",
                f"L2 adds {DECAY:g}/2 |w|² to the loss; decoupled decay takes lr {DECAY:g} w off after the step. Under "
                "SGD they are the same rule. Under Adam the L2 term is divided by the size of the gradient like "
                "everything else: it pulls hard on weights with small gradients and hardly on those with large ones. "
                "Below: mean size of first-layer weights against training without decay, by the size of their "
                "gradient; the first group has none, as its pixels are dark in every image.",
                partial(figures.weight_decay, decays, remaining(decays["Adam"])),
            ),
            *pages.circumstances(config),
        ],
    )


if __name__ == "__main__":
    harness.main(Config, main)
