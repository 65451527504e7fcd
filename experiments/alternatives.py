"""Measure the guide's "When to consider alternatives": the network beside linear models, trees and ensembles of trees.

On the tables that scikit-learn ships, for classes and for numbers, and on more and more images of MNIST. Settings are
chosen on validation data; the test part is looked at once a training.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import alternatives_figures as figures
from experiments import alternatives_measures as measures
from experiments import harness, pages
from experiments.alternatives_measures import Task
from experiments.alternatives_verdicts import Record, by_model, claims, difference, not_told_apart, rules
from experiments.image_run import load_images
from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.report import Page, Section, Table, write_report
from jaxnn.training import run_keys

TREE = "breast cancer"  # the table whose tree is written out
UNITS = {True: "accuracy", False: "R²"}


@dataclass(frozen=True)
class Config:
    """Options."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "digits"] = "auto"
    """The images. auto: MNIST where it is found or can be downloaded, else digits."""
    data_dir: Path | None = None
    """Folder that holds mnist/ or fashion_mnist/ (default: $JAXNN_DATA_DIR, else the cache folder)."""
    images: tuple[int, ...] = (100, 300, 1000, 3000, 10000)
    """Numbers of training images; larger ones than the set has are left out."""
    seeds: int = 5
    """Random splits of each table, by seed, seed + 1, ..."""
    image_seeds: int = 3
    """Random subsets of the images of each size."""
    seed: int = 0
    """The whole run is a function of it (but for the times)."""
    resume: bool = False
    """Go on with the run in the output folder where it was stopped or killed."""
    out: Path = Path("runs/alternatives")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def check(config: Config) -> None:
    """Refuse wrong options before the results of an earlier run are touched."""
    checks.positive_int("alternatives", "seeds", config.seeds)
    checks.positive_int("alternatives", "image_seeds", config.image_seeds)
    run_keys(config.seed)
    run_keys(config.seed + max(config.seeds, config.image_seeds) - 1)
    if not config.images or min(config.images) < 100:
        raise ValueError(f"alternatives expected images of 100 or more, 10 of each class, but got {config.images}")


def main(config: Config) -> int:
    check(config)
    data, substitute = load_images(config)
    counts = [count for count in sorted(set(config.images)) if count <= data.train.size]
    if not counts:
        raise ValueError(f"alternatives expected images of at most {data.train.size}, all there are in {data.name}")
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    begin = time.perf_counter()

    earlier = harness.read_records(out)  # of the run that goes on; else there are none

    def compared(
        task: str, length: int, seed: int, title: str, compare: Callable[[], Sequence[Record]]
    ) -> Sequence[Record]:
        found = [one for one in earlier if (one["task"], one["length"], one["seed"]) == (task, length, seed)]
        if not found:
            found = compare()
            harness.append_records(out, found)
        say(f"{title}: " + ", ".join(f"{record['model']} {record['score']:.3f}" for record in found))
        return found

    on_tables: dict[str, list[Record]] = {}
    tasks = measures.tables()
    for task in tasks:
        on_tables[task.name] = []
        for seed in range(config.seed, config.seed + config.seeds):
            length = len(measures.divide(task, np.arange(len(task.inputs)), seed)[0])
            compare = partial(measures.compare_on_table, task, seed, measures.TABLES)
            title = f"{task.name}, {UNITS[bool(task.classes)]}, split {seed}"
            on_tables[task.name] += compared(task.name, length, seed, title, compare)

    pictures, test = as_table(data.name, data.train), as_table(data.name, data.test)
    on_images: dict[int, list[Record]] = {}
    for count in counts:
        on_images[count] = []
        for seed in range(config.seed, config.seed + config.image_seeds):
            compare = partial(measures.compare_on_subset, pictures, test, count, seed, measures.IMAGES)
            on_images[count] += compared(pictures.name, count, seed, f"{count:,} images, seed {seed}", compare)

    summary: dict[str, Any] = {"dataset": data.name, "data_source": data.source, "status": "finished"}
    for where, records in [*on_tables.items(), *((f"{data.name} {count}", on_images[count]) for count in counts)]:
        for model, scores in by_model(records).items():
            summary |= harness.over_seeds(slug(f"test score {where} {model}"), scores.tolist())
        for model, seconds in by_model(records, "seconds").items():
            summary[slug(f"seconds {where} {model}")] = float(seconds.mean())
    summary |= {"seed": config.seed, "seconds": time.perf_counter() - begin}
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, data.name, substitute, tasks, on_tables, on_images))
    for sentence, measured in claims(on_tables, on_images, data.name):
        say(f"{sentence}\n  {measured}")
    say(f"{summary['seconds']:.0f} s, report: {out / 'report.html'}")
    return 0


def as_table(name: str, data: Dataset) -> Task:
    """Return images as a table, a pixel a column."""
    pixels = np.asarray(data.inputs, np.float32).reshape(data.size, -1)
    names = [f"pixel {i}" for i in range(pixels.shape[1])]
    digits = [str(digit) for digit in range(10)]
    return Task(name, pixels, np.asarray(data.targets), names, digits, hidden=(256, 128), one_scale=True)


def slug(text: str) -> str:
    return text.lower().replace("'", "").replace(" ", "_")


def winners(on_tables: Mapping[str, Sequence[Record]]) -> Table:
    """Say for each table which models are best, and how far the network is from the best of the others."""
    rows = []
    for task, records in on_tables.items():
        scores = by_model(records)
        best, *close = not_told_apart(scores)
        rival = max((name for name in scores if name != "network"), key=lambda name: scores[name].mean())
        lead, error = difference(scores["network"], scores[rival])
        apart = f"{lead:+.3f}" + (f" ± {error:.3f}" if error == error else "")
        rows.append((f"{task} ({records[0]['length']:,})", best, ", ".join(close) or None, apart))
    header = ("table (examples)", "best", "not told apart from it", "lead of the network")
    return Table(header, rows)


def scores_table(found: Mapping[Any, Sequence[Record]], first: str) -> Table:
    """Write mean ± deviation of every model's score, a row a table or size."""
    models = list(by_model(next(iter(found.values()))))
    rows = []
    for name, records in found.items():
        scores = by_model(records)
        cells = [
            f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")
            for values in scores.values()
        ]
        rows.append((f"{name:,}" if isinstance(name, int) else name, *cells))
    return Table((first, *models), rows)


def compiling(on_images: Mapping[int, Sequence[Record]]) -> str:
    seconds = [r["compile_seconds"] for records in on_images.values() for r in records if r["model"] == "network"]
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


def page(
    config: Config,
    dataset: str,
    substitute: str | None,
    tasks: Sequence[Task],
    on_tables: Mapping[str, Sequence[Record]],
    on_images: Mapping[int, Sequence[Record]],
) -> Page:
    """Put together the report."""
    name = dataset.replace("_", "-").upper()
    task = next(task for task in tasks if task.name == TREE)
    written, accuracy = small_tree(task, config.seed)
    wins = sum("network" in not_told_apart(by_model(records))[:1] for records in on_tables.values())
    largest = by_model(on_images[max(on_images)])
    return Page(
        "When to consider alternatives",
        f"The network beside four other models, on {len(on_tables)} tables and on {name}",
        [substitute] if substitute else [],
        [
            ("tables where the network is best", f"{wins} of {len(on_tables)}"),
            *((f"{model}, {max(on_images):,} images", f"{100 * v.mean():.1f} %") for model, v in largest.items()),
        ],
        [
            Section(
                "The guide's sentences",
                table=Table(("the guide", "measured here"), claims(on_tables, on_images, name)),
            ),
            Section(
                "Tables",
                f"Mean and deviation over {config.seeds} random splits, a quarter for testing. Settings, and the "
                "network's epochs, are chosen on a quarter of the training part, for each split anew; then the model "
                "is trained on all of the training part. Linear is logistic regression for classes. The rule of "
                "Friedman is made: it is not linear, and half of its features say nothing.",
                partial(figures.tables, on_tables),
                scores_table(on_tables, "table"),
            ),
            Section(
                "Who wins",
                "Not told apart: behind the best, split by split, by at most twice the standard error, which counts "
                "that the splits overlap (Nadeau and Bengio, 2003). The lead is over the best of the others, ± twice "
                "that error. Few examples leave wide margins.",
                table=winners(on_tables),
            ),
            Section(
                f"{name} by number of images",
                f"Accuracy on the whole test set; mean and deviation over {config.image_seeds} random subsets. The "
                "time is that of the last training, settings chosen, on all cores together; compiling the network's "
                f"programs took {compiling(on_images)} seconds more, less where an earlier run had left them. "
                "Random forest (200 trees), gradient boosting (30 rounds) and the tree have no settings chosen here.",
                partial(figures.images, on_images),
                scores_table(on_images, "images"),
            ),
            Section(
                "A tree to read",
                f"A decision tree of three levels on {TREE}, split {config.seed}: a row is a rule. It is right on "
                f"{accuracy:.1%} of the test part.",
                table=Table(
                    ("if", "then", "training examples", "of these right"),
                    [
                        (conditions, answer, count, f"{100 * share:.0f} %")
                        for conditions, answer, count, share in written
                    ],
                ),
            ),
            *pages.circumstances(config),
        ],
    )


def small_tree(task: Task, seed: int) -> tuple[list[tuple[str, str, int, float]], float]:
    """Train a tree of three levels; return its rules and its accuracy on the test part."""
    from sklearn.tree import DecisionTreeClassifier

    known, new = measures.divide(task, np.arange(len(task.inputs)), seed)
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, random_state=seed)
    tree.fit(task.inputs[known], task.targets[known])
    return rules(tree, task), float(tree.score(task.inputs[new], task.targets[new]))


if __name__ == "__main__":
    harness.main(Config, main)
