"""Measure what the guide says of activations: vanishing gradients, initialisation, dead units, zero-centred, fast.

Everything runs on scikit-learn's digits, so it needs no data folder.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import activations_figures as figures
from experiments import harness, pages
from experiments.activations_measures import (
    BATCH,
    CLASSES,
    DEPTH,
    ELEMENTS,
    INITIALISATIONS,
    LOOKS,
    RATES,
    SEEDS,
    WIDTH,
    gradient_by_depth,
    nanoseconds_per_element,
    over_seeds,
    train_all,
    variance_by_layer,
)
from jaxnn import checks
from jaxnn.activations import DERIVATIVES, leaky_relu, relu, sigmoid, tanh
from jaxnn.data.images import load
from jaxnn.report import Page, Section, Table, write_report
from jaxnn.training import run_keys

MEAN, STD = 0.3053, 0.3760  # of the pixels of digits
DEEP = (sigmoid, tanh, relu, leaky_relu)


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    steps: int = 500
    """Adam steps of each training, a multiple of 10."""
    seed: int = 0
    """The whole run is a function of it (but for the times)."""
    out: Path = Path("runs/activations")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: Config) -> int:
    checks.positive_int("activations", "steps", config.steps)
    if config.steps % LOOKS:
        raise ValueError(f"activations expected steps to be a multiple of {LOOKS} but got {config.steps}")
    keys = run_keys(config.seed)
    out = harness.open_output(config.out, config)
    begin = time.perf_counter()

    digits = load("digits")
    images = (jnp.asarray(digits.train.inputs).reshape(digits.train.size, -1) / 255 - MEAN) / STD
    labels = jnp.asarray(digits.train.targets)
    some = slice(0, len(labels) // BATCH * BATCH, len(labels) // BATCH)  # BATCH of them, evenly spread
    batch = images[some], labels[some]

    harness.say(config.quiet, f"gradients and variances through {DEPTH} layers, {SEEDS} networks each")
    gradients = {
        name: {f.__name__: over_seeds(gradient_by_depth, f, name, keys.init, *batch) for f in DEEP}
        for name in ("Kaiming normal", "PyTorch's default")
    }
    variances = {
        f.__name__: {name: over_seeds(variance_by_layer, f, name, keys.init, batch[0]) for name in INITIALISATIONS}
        for f in (relu, tanh)
    }
    harness.say(config.quiet, f"{len(DERIVATIVES) * len(RATES) * SEEDS} networks, {config.steps} steps each")
    start = time.perf_counter()
    trained = train_all(keys.step, images, labels, config.steps)
    train_seconds = time.perf_counter() - start
    times = nanoseconds_per_element(keys.order)

    names = [f.__name__ for f in DERIVATIVES]
    summary = {
        "steps": config.steps,
        "networks_trained": len(names) * len(RATES) * SEEDS,
        "train_seconds": train_seconds,
        "dataset": digits.name,
        "data_source": digits.source,
        "seed": config.seed,
    }
    for init, by_name in gradients.items():
        for name, norms in by_name.items():
            summary[f"gradient_ratio_{DEPTH}_to_1_{name}_{slug(init)}"] = float(norms[-1] / norms[0])
    for name, by_init in variances.items():
        for init, values in by_init.items():
            summary[f"variance_layer_{DEPTH}_{name}_{slug(init)}"] = float(values[-1])
    for i, name in enumerate(names):
        found = {key: values[i] for key, values in trained.items()}
        summary[f"loss_{name}"] = float(found["loss"][0, :, -1].mean())
        summary[f"mean_activation_{name}"] = float(found["mean"][0, :, -1].mean())
        if name in times:
            summary[f"nanoseconds_{name}"] = times[name]["value"]
            summary[f"nanoseconds_{name}_derivative"] = times[name]["derivative"]
        if name in ("relu", "leaky_relu"):
            for rate, dead in zip(RATES, found["dead"], strict=True):
                summary[f"dead_share_{name}_rate_{rate}"] = float(dead[:, -1].mean())
            was_dead, is_dead = found["dead"].any(2), found["dead"][:, :, -1]
            summary[f"revived_share_{name}"] = float((was_dead & ~is_dead).sum() / max(1, was_dead.sum()))
    summary["seconds"] = time.perf_counter() - begin
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, gradients, variances, trained, times, summary))
    harness.say(config.quiet, f"{summary['seconds']:.0f} s, report: {out / 'report.html'}")
    return 0


def slug(name: str) -> str:
    """Write the name of an initialisation as part of a key.

    >>> slug("PyTorch's default"), slug("0.01 N(0, 1)")
    ('pytorch_s_default', '0_01_n_0_1')
    """
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def page(config: Config, gradients: Any, variances: Any, trained: Any, times: Any, summary: Any) -> Page:
    names = [f.__name__ for f in DERIVATIVES]
    steps = np.linspace(0, config.steps, LOOKS + 1)
    dead = {name: trained["dead"][names.index(name)].mean((1, 3)) for name in ("relu", "leaky_relu")}
    last = {key: trained[key][..., -1] for key in ("mean", "sd", "loss")}  # [activations, rates, seeds]
    means = {name: (last["mean"][i, 0].mean(), last["sd"][i, 0].mean()) for i, name in enumerate(names)}
    losses = {name: last["loss"][i, 0] for i, name in enumerate(names)}
    rows = [
        (
            figures.label(name),
            means[name][0],
            float(losses[name].mean()),
            float(np.nanmin(last["loss"][i].mean(-1))),
            *(times.get(name, {}).get(what) for what in ("value", "derivative")),
        )
        for i, name in enumerate(names)
    ]
    end = {name: f"{summary[f'dead_share_{name}_rate_{RATES[-1]}']:.0%}" for name in dead}
    ratio = f"gradient_ratio_{DEPTH}_to_1"
    return Page(
        "Activations",
        f"Digits, networks of width {WIDTH}, {SEEDS} seeds, run of seed {config.seed}",
        headline=[
            (f"gradient left by {DEPTH} layers, sigmoid", f"{summary[f'{ratio}_sigmoid_kaiming_normal']:.0e}"),
            (f"gradient left by {DEPTH} layers, ReLU", f"{summary[f'{ratio}_relu_kaiming_normal']:.2f}"),
            (f"dead units, ReLU at rate {RATES[-1]}", end["relu"]),
            (f"dead units, leaky ReLU at rate {RATES[-1]}", end["leaky_relu"]),
        ],
        sections=[
            Section(
                "Functions and derivatives",
                "Solid: the function. Dashed: its derivative, written by hand. At 0 ReLU's is 0.",
                figures.curves,
            ),
            Section(
                "The gradient that reaches layer 1",
                f"Networks of 1 to {DEPTH} hidden layers at initialisation, {BATCH} digits, softmax and cross-entropy; "
                f"geometric mean of {SEEDS} networks, in float64. The sigmoid's derivative is at most 1/4, so each "
                "layer takes its share. With Kaiming's weights ReLU about keeps it; with PyTorch's default every "
                "activation does, since those weights have a sixth of the variance.",
                partial(figures.gradients, gradients),
                Table(
                    ("initialisation", "activation", "1 layer", "10 layers", f"{DEPTH} layers"),
                    [
                        (init, figures.label(name), *(f"{norms[d]:.1e}" for d in (0, 9, DEPTH - 1)))
                        for init, by_name in gradients.items()
                        for name, norms in by_name.items()
                    ],
                ),
            ),
            Section(
                "Variance through the layers",
                f"Over units and images; geometric mean of {SEEDS} networks. Kaiming's N(0, 2 / in) is "
                "what the guide's network uses, 0.01 N(0, 1) what its perceptron does. The uniform forms of "
                "Kaiming and Xavier have the variance of the normal ones and are only in the table. PyTorch's "
                "default settles because its biases are not 0: they are all that is left. "
                f"Kaiming's keeps ReLU's variance on average; a typical network of width {WIDTH} drifts.",
                partial(figures.variances, variances),
                Table(
                    (
                        "initialisation",
                        *(f"{figures.label(name)}, layer {d}" for name in variances for d in (1, DEPTH)),
                    ),
                    [
                        (init, *(f"{variances[name][init][d]:.1e}" for name in variances for d in (0, DEPTH - 1)))
                        for init in INITIALISATIONS
                    ],
                ),
            ),
            Section(
                "Dead units",
                f"Share of the {2 * WIDTH} hidden units that are positive for none of the training images; mean of "
                f"{SEEDS} trainings of {WIDTH}-{WIDTH}-{WIDTH}-{CLASSES} with Adam. A dead ReLU passes no "
                "gradient; a leaky one still learns and can come back.",
                partial(figures.dead_units, steps, dead, RATES),
            ),
            Section(
                "Zero-centred, trainable, fast",
                f"After {config.steps} steps at rate {RATES[0]}: the outputs of the hidden units over all training "
                "images, and the training loss. The step passes no gradient, so only its output layer learns. Times "
                f"are medians of compiled programs on {ELEMENTS:,} float32 numbers; the identity takes none.",
                partial(figures.comparison, means, losses, times),
                Table(
                    (
                        *("activation", "mean activation", f"loss at rate {RATES[0]}", "loss at its best rate"),
                        *("ns an element, f", "ns an element, f'"),
                    ),
                    rows,
                ),
            ),
            *pages.circumstances(config),
        ],
    )


if __name__ == "__main__":
    harness.main(Config, main)
