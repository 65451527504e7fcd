"""Fine-tuning: a network trained on the digits 0 to 4 learns 5 to 9, and clothes, from a few images, in four ways.

From scratch; with its features frozen; with smaller rates for the features than for the head; with all of it trained.
The features are the convolutions, the head the linear layers after them. Weight decay is on weights only. Groups of
parameters are `jaxnn.tree.mask` and Optax's `multi_transform`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import fine_tuning_figures as figures
from experiments import harness, pages
from experiments.fine_tuning_measures import (
    BATCH,
    METHODS,
    RATES,
    Method,
    Target,
    batches,
    decayed_adam,
    learner,
    load_tasks,
    with_new_head,
)
from experiments.image_run import MEAN_STD
from jaxnn import checks
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import cnn
from jaxnn.report import Page, Section, Table, write_report
from jaxnn.training import fit, run_keys
from jaxnn.training.weights import load_weights, save_weights
from jaxnn.types import Layer


@dataclass(frozen=True)
class Config:
    """Options."""

    data_dir: Path | None = None
    """Folder that holds mnist/ and fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    dataset: str = "auto"
    """auto: MNIST and Fashion-MNIST where both are found, else digits: scikit-learn's, and no clothes."""
    source_images: int = 10_000
    """Images of the digits 0 to 4 that the network is first trained on."""
    source_epochs: int = 3
    """Passes over them."""
    images: tuple[int, ...] = (30, 100, 300)
    """Numbers of images of a new task."""
    steps: int = 150
    """Steps of AdamW on them, 32 images each."""
    seeds: int = 3
    """Trainings of each kind; their images and random numbers are those of seed, seed + 1, ..."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed."""
    out: Path = Path("runs/fine_tuning")
    """Folder for the report, the numbers, and the weights as safetensors."""
    quiet: bool = False
    """Print nothing but errors."""


def main(config: Config) -> int:
    for name in ("source_images", "source_epochs", "steps", "seeds"):
        checks.positive_int("fine_tuning", name, getattr(config, name))
    run_keys(config.seed + config.seeds - 1)
    run_keys(config.seed)
    dataset, source, targets, substitute = load_tasks(config.dataset, config.data_dir, config.source_images)
    counts = sorted(set(config.images))
    most = min(target.train.size for target in targets)
    if not counts or not 1 <= counts[0] <= counts[-1] <= most:
        raise ValueError(f"fine_tuning expected images from 1 to {most} but got {config.images}")
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    say(f"{dataset}: {source.size:,} images of the digits 0 to 4, then {counts} images of another task")

    model = network(dataset, 5)
    result = fit(
        model,
        softmax_cross_entropy,
        decayed_adam(1e-3),
        source,
        epochs=config.source_epochs,
        seed=config.seed,
        checkpoints=out / harness.CHECKPOINTS,
        resume=config.resume,
        callback=lambda record, _: harness.append_record(out, record),
        verbose=not config.quiet,
    )
    weights = save_weights(out / "source.safetensors", *result.train_state[:2], model=model)
    trained = load_weights(weights, like=jax.eval_shape(model.init, jax.random.key(0)))

    summary: dict[str, Any] = {"dataset": dataset, "source_accuracy": result.history[-1]["accuracy"]}
    rates: dict[str, dict[str, float]] = {}
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for target in targets:
        rates[target.name], found[target.name] = {}, {}
        measure = measurement(network(dataset, target.classes), trained, target, config.steps)
        for name, method in METHODS.items():
            chosen = [measure(method, counts[len(counts) // 2], rate, config.seed, "validation") for rate in RATES]
            rate = rates[target.name][name] = RATES[int(np.argmax(chosen))]
            seeds = range(config.seed, config.seed + config.seeds)
            of_method = {n: [measure(method, n, rate, seed, "test") for seed in seeds] for n in counts}
            found[target.name][name] = of_method
            said = ", ".join(f"{n} images {np.mean(accuracies):.1%}" for n, accuracies in of_method.items())
            say(f"{target.name}, {name}, rate {rate:g}: {said}")
            summary[slug(f"rate {target.name} {name}")] = rate
            for n, accuracies in of_method.items():
                summary |= harness.over_seeds(slug(f"test accuracy {target.name} {name} {n}"), accuracies)
    summary |= {"weights": weights.name, "status": "finished", "seed": config.seed}
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, dataset, targets, substitute, rates, found))
    say(f"report: {out / 'report.html'}")
    return 0


def network(dataset: str, classes: int) -> Layer:
    """Make the guide's CNN, at a quarter of its width."""
    return sequential(normalize(*MEAN_STD[dataset]), cnn(classes, channels=(8, 16, 32)))


def measurement(model: Layer, trained: Any, target: Target, steps: int) -> Callable[..., float]:
    """Make `measure(method, count, rate, seed, part)`: train on `count` images, give the accuracy on that part."""
    learners = {method.share: learner(model, method.share) for method in METHODS.values()}
    init = jax.jit(model.init)
    answers = jax.jit(lambda params, state, x: model.apply(params, state, x)[0].argmax(-1))

    def measure(method: Method, count: int, rate: float, seed: int, part: Literal["validation", "test"]) -> float:
        keys = run_keys(seed)
        start = with_new_head(model, trained, keys.init) if method.loaded else init(keys.init)
        rows = batches(count, steps, np.random.default_rng([seed, count]), target.train.size)
        end = learners[method.share](start, target.train, rows, jnp.float32(rate), keys.step)
        data = getattr(target, part)
        return float((np.asarray(answers(end.params, end.model_state, data.inputs)) == data.targets).mean())

    return measure


def slug(text: str) -> str:
    return text.lower().replace(" ", "_").replace("-", "_")


def page(
    config: Config,
    dataset: str,
    targets: Sequence[Target],
    substitute: str | None,
    rates: Mapping[str, Mapping[str, float]],
    found: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]],
) -> Page:
    """Put together the report."""
    rows, headline = [], []
    for task, of_task in found.items():
        for name, by_count in of_task.items():
            rate, share = rates[task][name], METHODS[name].share
            features = f"{share * rate:g}" if share else "frozen"
            cells = [figures.mean_and_deviation(accuracies) for accuracies in by_count.values()]
            rows.append((task, name, f"{rate:g}", features, *cells))
        fewest = min(config.images)
        lead = np.array(of_task["full fine-tuning"][fewest]) - np.array(of_task["from scratch"][fewest])
        headline.append((f"full fine-tuning less from scratch, {fewest} images of {task}", figures.difference(lead)))
    columns = [f"{count} images, %" for count in sorted(set(config.images))]
    tested = " and ".join(f"{target.test.size:,}" for target in targets)
    validated = " and ".join(f"{target.validation.size:,}" for target in targets)
    return Page(
        "Fine-tuning",
        f"The guide's CNN at a quarter of its width, trained on {config.source_images:,} images of the digits 0 to 4 "
        f"({dataset}), on new tasks with few images",
        [substitute] if substitute else [],
        headline,
        [
            Section(
                "New tasks from few images",
                f"Accuracy on {tested} test images; mean and deviation over {config.seeds} seeds, of which each draws "
                f"its images. {config.steps} steps of {BATCH} images in all rows, with rates that fall to 0 along a "
                f"cosine; the head's is chosen on {validated} validation images, for each row, at the middle number "
                "of images. The head, both linear layers, starts anew in all rows. Statistics of batch norm are "
                "state and no parameters: they follow the new images, also where the features are frozen. "
                "Above: the difference seed by seed, its mean ± twice the standard error, in points.",
                partial(figures.accuracy_by_images, found),
                Table(("new task", "", "rate: head", "features", *columns), rows),
            ),
            *pages.circumstances(config),
        ],
    )


if __name__ == "__main__":
    harness.main(Config, main)
