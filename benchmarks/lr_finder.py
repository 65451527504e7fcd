"""The learning-rate finder: what 32 rates in one program cost, and how well its suggestion trains.

    python -m benchmarks.lr_finder speed
    python -m benchmarks.lr_finder suggestions --networks digits mnist trec --seeds 10

`speed`: the program of `lr_finder` with 32 rates against 32 calls of the same training at one rate, compiled before,
in turn. `suggestions`: for each seed the finder's rate beside a grid of 14 rates, each trained for some
epochs; what counts is the accuracy on validation images or texts, the mean over the seeds for each rate of
the grid. Both write into lr_finder.json; a part that was not run keeps its earlier figures.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.jit_vs_numpy_timing import busy_cores
from benchmarks.output import write_results
from experiments import text_networks
from experiments.image_run import MEAN_STD
from experiments.text_parts import as_tokens, load_parts
from jaxnn.data import Dataset, from_arrays, split
from jaxnn.data.images import load
from jaxnn.layers import normalize, sequential
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import cnn, mlp
from jaxnn.optimizers import adam
from jaxnn.report import environment
from jaxnn.training import fit, init_train_state, lr_finder, run_keys
from jaxnn.training.short_training import compile_trainings, first_batches, short_training, side_by_side
from jaxnn.training.sweep import fit_many
from jaxnn.types import Layer, Loss

RATES = np.geomspace(1e-6, 10, 32)  # those of `lr_finder`
GRID = RATES[(RATES >= 1e-4) & (RATES <= 0.1)]  # 14 of them
STEPS = 100
RESULTS = Path(__file__).with_name("results") / "lr_finder.json"


class Work(NamedTuple):
    """A network, what it learns from, and for how long."""

    model: Layer
    loss: Loss
    data: Dataset
    epochs: int
    steps: int = STEPS


def xor() -> Work:
    gate = from_arrays([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [[0.0], [1.0], [1.0], [0.0]])
    return Work(mlp((2, 4, 1)), mean_squared_error, gate, 0)


def images(name: str, network: Callable[[int], Layer], epochs: int, steps: int = STEPS) -> Work:
    data = load(name)
    pixels = int(np.prod(data.train.inputs.shape[1:]))
    model = sequential(normalize(*MEAN_STD[name]), network(pixels))
    return Work(model, softmax_cross_entropy, data.train, epochs, steps)


def trec() -> Work:
    tokens = as_tokens(load_parts("trec", None, None, seed=0))
    model = text_networks.network("lstm", len(tokens.vocabulary), 6, tokens.train.inputs.shape[1])
    return Work(model, softmax_cross_entropy, tokens.train, epochs=5)


WORKS: dict[str, Callable[[], Work]] = {
    "xor": xor,
    "digits": lambda: images("digits", lambda pixels: mlp((pixels, 128, 64, 10)), epochs=20),
    "mnist": lambda: images("mnist", lambda pixels: mlp((pixels, 512, 256, 10), dropout=0.2), epochs=3),
    "cnn": lambda: images("mnist", lambda _: cnn(), epochs=1, steps=10),
    "trec": trec,
}


def measured_speed(work: Work, rounds: int) -> dict[str, Any]:
    """Time both programs in turn; the ratio is that of one round, so that the machine's drift does not enter."""
    model, loss, data, _, steps = work
    keys = run_keys(0)
    start = init_train_state(jax.jit(model.init), adam(1e-3), keys.init)
    order = first_batches(data, steps, 64, keys)
    given = start.params, start.model_state, jax.device_put(data), order, keys
    many = compile_trainings(model, loss, adam, given, RATES)
    one = jax.jit(short_training(model, loss, adam))
    each = [jnp.full(steps, rate, jnp.float32) for rate in RATES]
    many()
    jax.block_until_ready(one(*given, each[0]))
    ratios, alone = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        for rate in each:
            jax.block_until_ready(one(*given, rate))
        middle = time.perf_counter()
        many()
        alone.append(middle - began)
        ratios.append((time.perf_counter() - middle) / alone[-1])
    return {
        "mapped_by": "vmap" if side_by_side(start.params) else "lax.map",
        "steps": steps,
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "largest": round(max(ratios), 3),
        "seconds_one_by_one": round(statistics.median(alone), 4),
    }


def measured_suggestions(work: Work, seeds: int) -> dict[str, Any]:
    """Let the finder suggest a rate for each seed, and train it and the grid on the same examples.

    A rate of the grid at which a seed diverged is left out: it is not the best.
    """
    model, loss, data, epochs, _ = work
    train, validation = split(data, 0.2, jax.random.key(0))
    found = [lr_finder(model, loss, adam, train, seed=seed).suggestion for seed in range(seeds)]
    if None in found:
        raise SystemExit("every rate diverged: there is no suggestion to train with")
    suggested = [float(rate) for rate in found if rate is not None]
    options = {"epochs": epochs, "validation": validation, "verbose": False}
    with_suggestions = [
        fit(model, loss, adam(rate), train, seed=seed, **options).history[-1]["validation_accuracy"]
        for seed, rate in enumerate(suggested)
    ]
    sweep = fit_many(
        lambda h: (model, adam(h["learning_rate"])),
        loss,
        train,
        [{"learning_rate": rate} for rate in GRID.tolist()],
        seeds=range(seeds),
        **options,
    )
    by_rate = {
        f"{row['learning_rate']:.3g}": round(row["validation_accuracy"], 5)
        for row in sweep.table
        if not row["diverged"]
    }
    return {
        "epochs": epochs,
        "seeds": seeds,
        "accuracy_with_suggestions": round(float(np.mean(with_suggestions)), 5),
        "accuracy_of_best_rate": max(by_rate.values()),
        "points_below_the_best": round(100 * (max(by_rate.values()) - float(np.mean(with_suggestions))), 3),
        "suggested": [float(f"{rate:.3g}") for rate in suggested],
        "accuracy_by_rate": by_rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "suggestions"))
    parser.add_argument(
        "--networks", nargs="+", choices=WORKS, help="default: xor digits mnist cnn, or digits mnist trec"
    )
    parser.add_argument("--rounds", type=int, default=9, help="speed: how often both take turns")
    parser.add_argument("--seeds", type=int, default=10, help="suggestions: 0, 1, 2, ...")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    speed = options.part == "speed"
    names = options.networks or (["xor", "digits", "mnist", "cnn"] if speed else ["digits", "mnist", "trec"])
    if not speed and {"xor", "cnn"} & set(names):
        parser.error("suggestions are measured for digits, mnist and trec")
    measure = (
        partial(measured_speed, rounds=options.rounds) if speed else partial(measured_suggestions, seeds=options.seeds)
    )
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    part = results.setdefault(options.part, {})
    for name in names:
        busy = busy_cores()
        part[name] = {
            "command": f"python -m benchmarks.lr_finder {options.part} --networks {name}",
            "cores_busy_before": busy,
            **measure(WORKS[name]()),
        }
        print(name, json.dumps(part[name], indent=2), flush=True)
        results["environment"] = environment()
        write_results(options.output, results)


if __name__ == "__main__":
    main()
