"""What the doctor finds of mistakes made on purpose, and what it says of networks that are as they should be.

    python -m benchmarks.doctor --data DATA --seeds 3

makes each mistake of `experiments.mistakes` in a perceptron, a CNN and an LSTM over 3,000 images of MNIST at half their
width and height, with each seed, and asks the doctor about it; then about networks trained without a mistake: the
guide's perceptron and CNN and a reader of rows on MNIST, perceptron and CNN on Fashion-MNIST, the texts' LSTM and GRU
on TREC. Writes doctor.json: for each mistake and network, in how many seeds it was found. About 40 minutes on one quiet
core.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.output import write_results
from experiments import mistakes_cases as cases
from experiments import mistakes_measures as measures
from experiments.image_run import MEAN_STD
from experiments.sequences_measures import reader
from experiments.text_networks import network
from experiments.text_parts import as_tokens, load_parts
from jaxnn.data import split, take
from jaxnn.data.images import load
from jaxnn.layers import normalize, sequential
from jaxnn.models import cnn, mlp
from jaxnn.report import environment
from jaxnn.training import run_keys
from jaxnn.training.doctor_findings import Diagnosis
from jaxnn.types import Layer

IMAGES, EPOCHS = 3_000, 6
RESULTS = Path(__file__).with_name("results") / "doctor.json"


def planted(kind: cases.Kind, data: Path | None, seed: int) -> Iterator[tuple[cases.Mistake, Diagnosis]]:
    """Make every mistake in one network, and examine it."""
    images = load("mnist", data)
    halved = images._replace(
        train=images.train._replace(inputs=halve(images.train.inputs)),
        test=take(images.test._replace(inputs=halve(images.test.inputs)), np.arange(IMAGES)),
    )
    prepared = cases.prepared(halved, IMAGES, MEAN_STD["mnist"], seed)
    for mistake in cases.mistakes(kind, prepared, EPOCHS, seed):
        yield mistake, measures.examine(mistake.wrong, measures.train(mistake.wrong, seed), seed)


def halve(images: np.ndarray) -> np.ndarray:
    """Compute the means of 2x2 pixels, [N, H, W, C] -> [N, H / 2, W / 2, C], rounded to bytes.

    >>> halve(np.array([[10, 20], [30, 40]], np.uint8).reshape(1, 2, 2, 1)).ravel().tolist()
    [25]
    """
    size, height, width, channels = images.shape
    blocks = images.reshape(size, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4)).round().astype(np.uint8)


def sound(data: Path | None, seed: int) -> dict[str, Callable[[], cases.Way]]:
    """Make the networks without a mistake, each when it is asked for."""

    def images(name: str, model: Layer, size: int, rate: float, epochs: int) -> cases.Way:
        found = load(name, data)
        order = np.asarray(jax.random.permutation(run_keys(seed).split, found.train.size))
        train, validation = split(take(found.train, order[:size]), 1 / 12, run_keys(seed).order)
        return cases.Way(model, train, validation, found.test, rate, epochs)

    def texts(kind: str) -> cases.Way:
        tokens = as_tokens(load_parts("trec", None, data, seed))
        model = network(kind, len(tokens.vocabulary), 6, tokens.train.inputs.shape[1])
        assert tokens.validation is not None
        return cases.Way(model, tokens.train, tokens.validation, tokens.test, 2e-3, 10, stop_early=True)

    def behind(name: str, model: Layer) -> Layer:
        return sequential(normalize(*MEAN_STD[name]), model)

    perceptron = mlp((784, 512, 256, 10), dropout=0.2)
    return {
        "MNIST, CNN": lambda: images("mnist", behind("mnist", cnn(10)), 5_000, 1e-3, 2),
        "Fashion-MNIST, CNN": lambda: images("fashion_mnist", behind("fashion_mnist", cnn(10)), 5_000, 1e-3, 2),
        "MNIST, perceptron 784-512-256-10": lambda: images("mnist", behind("mnist", perceptron), 60_000, 1e-3, 3),
        "Fashion-MNIST, perceptron 784-512-256-10": lambda: images(
            "fashion_mnist", behind("fashion_mnist", perceptron), 60_000, 1e-3, 3
        ),
        "MNIST, rows by an LSTM": lambda: images("mnist", reader("lstm", load("mnist", data)), 5_000, 1e-3, 4),
        "TREC, LSTM": partial(texts, "lstm"),
        "TREC, GRU": partial(texts, "gru"),
    }


def values(diagnosis: Diagnosis) -> dict[str, float]:
    """Return the number that each check compared, where it was asked."""
    return {one.check: round(one.value, 5) for one in diagnosis.findings if one.value is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what the doctor finds of mistakes made on purpose.")
    parser.add_argument("--data", type=Path, help="the folder that holds mnist/ and text/ (default: $JAXNN_DATA_DIR)")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 0, 1, 2, ...")
    parser.add_argument("--part", choices=("both", "planted", "sound"), default="both", help="the rest stays as it was")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # the seeds share their compiled programs
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        run(options)


def run(options: argparse.Namespace) -> None:
    """Examine all, and write after each."""
    rows: dict[str, list[dict[str, Any]]] = {"planted": [], "sound": []}
    if options.part != "both" and options.output.is_file():
        rows |= {name: json.loads(options.output.read_text(encoding="utf-8"))[name] for name in rows}
    if options.part != "sound":
        rows["planted"] = []
    if options.part != "planted":
        rows["sound"] = []

    def add(part: str, row: dict[str, Any], diagnosis: Diagnosis, started: float) -> None:
        names = {outcome: [one.check for one in diagnosis.having(outcome)] for outcome in ("finding", "note")}
        row |= {"findings": names["finding"], "notes": names["note"]}
        row |= {"seconds": round(time.process_time() - started, 1), "values": values(diagnosis)}
        rows[part].append(row)
        write(options, rows)

    for seed in range(options.seeds):
        for kind in () if options.part == "sound" else cases.KINDS:
            started = time.process_time()
            for mistake, diagnosis in planted(kind, options.data, seed):
                found = any(one.check in mistake.checks for one in diagnosis.having("finding"))
                row = {"mistake": mistake.name, "network": kind, "made": mistake.title, "seed": seed, "found": found}
                add("planted", row, diagnosis, started)
                print(f"{kind}, seed {seed}: {mistake.title}: {'found' if found else 'NOT FOUND'}", flush=True)
                started = time.process_time()
        for name, make in {} if options.part == "planted" else sound(options.data, seed).items():
            started = time.process_time()
            way = make()
            trained = measures.train(way, seed)
            diagnosis = measures.examine(way, trained, seed)
            row = {"network": name, "seed": seed, "test_accuracy": round(trained.accuracy or 0.0, 4)}
            add("sound", row, diagnosis, started)
            print(f"{name}, seed {seed}: {row['findings'] or 'no finding'}, notes {row['notes']}", flush=True)


def write(options: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write what there is so far, with the table of mistakes and networks first."""
    table: dict[str, dict[str, str]] = {}
    for row in rows["planted"]:
        same = [r for r in rows["planted"] if (r["mistake"], r["network"]) == (row["mistake"], row["network"])]
        found = sum(r["found"] for r in same)
        table.setdefault(row["mistake"], {})[row["network"]] = f"{row['made']}: {found} of {len(same)}"
    result = {
        "command": f"python -m benchmarks.doctor --seeds {options.seeds}",
        "environment": environment(),
        "method": (
            f"Planted: {IMAGES:,} images of MNIST at 14x14, a sixth of them for validation, {EPOCHS} epochs of Adam at "
            f"{cases.RATES}. Found: one of the checks that belong to the mistake gave a finding. The table says for "
            "each mistake and network how it was made, and in how many seeds it was found. Sound: networks of the "
            "experiments, the CNNs and the reader of rows on 5,000 images, those of TREC at a constant rate and kept "
            "where the validation loss was lowest. Seconds are of the processor, with training and compilation."
        ),
        "found": table,
        "findings_on_sound_networks": sum(len(row["findings"]) for row in rows["sound"]),
        **rows,
    }
    write_results(options.output, result)


if __name__ == "__main__":
    main()
