"""What the classifiers of images share: their options, the trainings of several seeds, and the report."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from optax import GradientTransformation

from experiments import devices, harness, pages
from jaxnn import checks, tree
from jaxnn.augmentation import Augmentation
from jaxnn.data.frame import FRAMES
from jaxnn.data.images import ImageData, load
from jaxnn.interop.trained import save_trained
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.report import Page, Section, records, write_report
from jaxnn.training import FitResult, fit, predict, run_keys
from jaxnn.types import Layer, Loss

MEAN_STD = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530), "digits": (0.3053, 0.3760)}
VALIDATION_SHARE = 1 / 12  # 5,000 of MNIST's 60,000 training images
DIGITS_EPOCHS = 40  # digits has 1,437 images: 40 epochs are as many steps as one epoch of MNIST
BY_RECIPE = ("epochs", "batch_size", "learning_rate")  # options that the recipe decides where they are not given


@dataclass(frozen=True)
class Options(devices.Devices):
    """What can be chosen for every classifier of images."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """auto: MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    epochs: int | None = None
    """Passes over the training images (default: the recipe's)."""
    batch_size: int | None = None
    """Images a step (default: the recipe's)."""
    learning_rate: float | None = None
    """The optimizer's, at its highest (default: the recipe's)."""
    seeds: int = 1
    """Trainings, of seed, seed + 1, ...; the report shows the first."""
    seed: int = 0
    """The whole run is a function of it."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed; more epochs and seeds go on too."""
    all_images: bool = False
    """Train on the validation images too, with settings that were chosen without it; the test set is used once."""
    watch_test: bool = False
    """As the guide does: train on every training image and look at the test set after each epoch."""
    tensorboard: bool = False
    """Write the records for TensorBoard too, into the output folder."""
    out: Path = Path("runs/image_run")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


class Recipe(NamedTuple):
    """A network for images that are normalised already, and how it is trained."""

    network: Layer
    optimizer: Callable[[float, int], GradientTransformation]  # of the highest learning rate and the number of steps
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    loss: Loss = softmax_cross_entropy
    augment: Augmentation | None = None


LookInside: TypeAlias = Callable[..., list[Section]]
"""`look(model, data, result, logits, seed, complete=...)` makes the sections that look into the first trained network;
where training was stopped, complete is false and what takes long is left out."""


def load_images(config: Any, auto: str = "mnist") -> tuple[ImageData, str | None]:
    """Load the data set that was asked for, or digits where that of `auto` is not found; and what says so."""
    if config.dataset != "auto":
        return load(config.dataset, config.data_dir), None
    try:
        return load(auto, config.data_dir), None
    except FileNotFoundError:
        if config.data_dir is not None:  # a folder that was named must hold the data
            raise
    name = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}[auto]
    return load("digits"), f"{name} is neither on this machine nor could it be downloaded: these are the digits (8x8)."


def check(name: str, config: Options) -> None:
    """Refuse wrong options before the results of an earlier run are touched."""
    checks.non_negative_int(name, "epochs", config.epochs or 0)
    checks.positive_int(name, "batch_size", 1 if config.batch_size is None else config.batch_size)
    checks.in_range(name, "learning_rate", config.learning_rate or 0, 0, np.inf, open_high=True)
    checks.positive_int(name, "seeds", config.seeds)
    run_keys(config.seed + config.seeds - 1)
    run_keys(config.seed)


def run(config: Options, title: str, make_recipe: Callable[[ImageData], Recipe], look_inside: LookInside) -> int:
    """Train a network for each seed and write the report; the options have been checked."""
    data, substitute = load_images(config)
    recipe = chosen(config, make_recipe(data), data)
    config = replace(config, **{name: getattr(recipe, name) for name in BY_RECIPE})  # what the files will say
    model = sequential(normalize(*MEAN_STD[data.name]), recipe.network)
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    say(f"{data.name}: {data.train.size:,} training and {data.test.size:,} test images from {data.source}")
    if substitute:
        say(f"note: {substitute}")

    runs: list[dict[str, Any]] = []
    probabilities: list[np.ndarray] = []
    inside: list[Section] = []
    first = None
    stop = None
    for seed in range(config.seed, config.seed + config.seeds):
        if config.seeds > 1:
            say(f"seed {seed}")
        result, stop = harness.until_stopped(partial(train, config, recipe, model, data, seed, out))
        if not devices.is_first():  # what follows is done by process 0 alone
            if stop:
                return stop.exit_code
            continue
        if stop and first:  # a training cut short is measured only where there is no other
            stop = stop._replace(reason=f"{stop.reason.rstrip('.')} of seed {seed}, which is left out.")
        else:
            logits = predict(model, result.train_state.params, result.train_state.model_state, data.test.inputs)
            runs.append(measured(config, result, logits, data, seed))
            probabilities.append(np.asarray(jax.nn.softmax(logits), np.float64))
            say(f"seed {seed}: test accuracy {runs[-1]['test_accuracy']:.2%}")
        summary = summarised(runs, probabilities, data, stop)
        harness.write_json(out / "summary.json", summary)
        if first is None:
            first = result, logits
            keep_network(out, model, result, data)
            look = partial(look_inside, model, data, result, logits, seed)
            try:
                inside = look(complete=not stop)
            except KeyboardInterrupt:
                stop = harness.Stop(
                    "Stopped while the trained network was looked into: the slow part is left out.", 130
                )
                inside = look(complete=False)
                summary = summarised(runs, probabilities, data, stop)
                harness.write_json(out / "summary.json", summary)
        notices = [notice for notice in (substitute, summary["status"] if stop else None) if notice]
        write_report(out, page(config, title, notices, model, data, *first, inside, runs, summary))
        if stop:
            break
    if not devices.is_first():
        return 0
    if stop:
        print(stop.reason, file=sys.stderr)
    say(f"test accuracy {summary['test_accuracy_mean']:.2%}, report: {out / 'report.html'}")
    return stop.exit_code if stop else 0


def chosen(config: Options, recipe: Recipe, data: ImageData) -> Recipe:
    """Put the options that were given in place of the recipe's; digits is so small that it takes more epochs."""
    if data.name == "digits":
        recipe = recipe._replace(epochs=DIGITS_EPOCHS, batch_size=min(recipe.batch_size, 64))
    given = {name: getattr(config, name) for name in BY_RECIPE}
    return recipe._replace(**{name: value for name, value in given.items() if value is not None})


def train(config: Options, recipe: Recipe, model: Layer, data: ImageData, seed: int, out: Path) -> FitResult:
    """Train one network; a line of `metrics.jsonl` an epoch names the seed."""
    share = 0.0 if config.watch_test or config.all_images else VALIDATION_SHARE
    size = data.train.size - round(share * data.train.size)
    steps = max(1, recipe.epochs * math.ceil(size / recipe.batch_size))
    with harness.recorder(out, f"tensorboard/seed_{seed}" if config.tensorboard else None) as write:

        def after_epoch(record, train_state):
            write({"seed": seed, **record}, train_state)
            if config.watch_test:
                accuracy = record["validation_accuracy"]
                harness.say(config.quiet, f"Epoch {record['epoch']}: Test Accuracy = {accuracy:.2%}")

        return fit(
            model,
            recipe.loss,
            recipe.optimizer(recipe.learning_rate, steps),
            data.train,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            validation=data.test if config.watch_test else None,
            validation_split=share,
            augment=recipe.augment,
            seed=seed,
            checkpoints=out / harness.CHECKPOINTS / f"seed_{seed}",
            resume=config.resume,
            mesh=devices.mesh_of(config),
            callback=after_epoch,
            verbose=not config.quiet,
        )


def keep_network(out: Path, model: Layer, result: FitResult, data: ImageData) -> None:
    """Write the trained network into the output folder, for `python -m jaxnn predict` and `demo`."""
    params, state = result.train_state.params, result.train_state.model_state
    name = data.name
    save_trained(out, model, params, state, data.test.inputs, data.class_names, dataset=name, frame=FRAMES[name])


def measured(config: Options, result: FitResult, logits: np.ndarray, data: ImageData, seed: int) -> dict[str, Any]:
    """Put together the numbers of one training."""
    last = result.history[-1] if result.history else {}
    return {
        "seed": seed,
        "test_accuracy": float(np.asarray(accuracy(logits, data.test.targets), np.float64).mean()),
        "test_loss": float(np.asarray(softmax_cross_entropy(logits, data.test.targets), np.float64).mean()),
        "test_evaluations": 1 + (len(result.history) if config.watch_test else 0),
        "validation_accuracy": None if config.watch_test else last.get("validation_accuracy"),
        "epochs": len(result.history),
        "steps": int(result.train_state.step),
        "parameters": tree.size(result.train_state.params),
        "params_sha256": tree.sha256(result.train_state.params),
        "seconds_per_epoch": float(np.median([record["seconds"] for record in result.history] or [0.0])),
        "compile_seconds": result.compile_seconds,
        "train_seconds": result.train_seconds,
    }


def summarised(
    runs: Sequence[Mapping[str, Any]],
    probabilities: Sequence[np.ndarray],
    data: ImageData,
    stop: harness.Stop | None,
) -> dict[str, Any]:
    """Put together `summary.json`: the numbers of the first training, the accuracy of each, and that of all together.

    Together the networks answer with the mean of their probabilities.
    """
    together = np.mean(probabilities, 0).argmax(-1) == np.asarray(data.test.targets)
    return {
        **runs[0],
        "seeds": [run["seed"] for run in runs],
        **harness.over_seeds("test_accuracy", [run["test_accuracy"] for run in runs]),
        "ensemble_test_accuracy": float(together.mean()) if len(runs) > 1 else None,
        "test_evaluations": sum(run["test_evaluations"] for run in runs),
        "dataset": data.name,
        "data_source": data.source,
        "status": stop.reason if stop else "finished",
    }


def page(
    config: Options,
    title: str,
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
    title = f"{data.name.replace('_', '-').upper()} with a {title}"
    found = pages.image_classifier(title, notices, config, model, data, result, logits, inside, summary)
    if len(runs) < 2:
        return found
    columns = ("seed", "test_accuracy", "validation_accuracy", "test_loss", "seconds_per_epoch")
    seeds = Section(
        "Seeds",
        f"Evaluations of the test set: {summary['test_evaluations']}. All other sections show seed {config.seed}. "
        f"Together, by the mean of their probabilities, they reach {summary['ensemble_test_accuracy']:.2%}.",
        table=records([{name: run[name] for name in columns} for run in runs]),
    )
    mean = f"{100 * summary['test_accuracy_mean']:.2f} ± {100 * summary['test_accuracy_deviation']:.2f} %"
    headline = [(f"test accuracy, {len(runs)} seeds", mean), *found.headline]
    return found._replace(headline=headline, sections=[seeds, *found.sections])
