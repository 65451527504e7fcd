"""64 networks for the digits: one call of `fit_many` against 64 calls of `fit`.

    python -m benchmarks.fit_many

trains 64-32-10 with dropout from 64 seeds both ways, in turns, with all programs compiled before; `fit_many` also
in the way that it does not choose. Then whole calls with tracing and compilation, where `fit` compiles anew in each.
Prints the ratios and how far parameters and test accuracies are apart, and writes fit_many.json. Seconds are those of
the processor, over all threads. About a minute on one quiet core.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.output import write_results
from jaxnn.data import Dataset
from jaxnn.data.images import load
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.report import environment
from jaxnn.training import compiled_init, fit, init_train_state, no_progress, run_keys, sweep_programs, train_step
from jaxnn.training.display import training_display
from jaxnn.training.loop import compile_programs, train
from jaxnn.training.resume import Reached
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_loop import Task, no_saving, start_chunk, train_chunk
from jaxnn.training.sweep_programs import compile_members
from jaxnn.training.sweep_settings import Recipe, Structure

RESULTS = Path(__file__).with_name("results") / "fit_many.json"
BATCH = 64
MODEL = sequential(normalize(0.3053, 0.3760), mlp((64, 32, 10), dropout=0.2))
METRICS = {"accuracy": accuracy}


def make(h: dict[str, Any]) -> tuple[Any, Any]:
    """Make the one network."""
    return MODEL, adam(1e-3)


def many_at_once(data: Dataset, networks: int, epochs: int) -> tuple[Callable[[], Any], str]:
    """Compile what `fit_many` compiles; return a function that trains all networks, and how they share the program."""
    keys = jax.tree.map(lambda *k: jnp.stack(k), *[run_keys(seed) for seed in range(networks)])
    rows = np.stack([np.arange(data.size)] * networks)
    task = Task(jax.device_put(data), None, rows, rows[:, :0], keys, epochs, BATCH)
    structure = Structure({}, (), (0,))
    recipe = Recipe(make, softmax_cross_entropy, METRICS, None)
    programs = compile_members(recipe, structure, networks, task.dataset, data.size, BATCH)

    def run() -> Any:
        with training_display(False, epochs, task.steps) as display:
            chunk = start_chunk(programs, task, (), [{}] * networks, range(networks))
            chunk = train_chunk(programs, task, chunk, no_saving, [], display, 0, 1.0)
        return jax.device_get(chunk.running.train_state.params)

    return run, programs.how


def one_by_one(data: Dataset, networks: int, epochs: int) -> Callable[[], Any]:
    """Compile what `fit` compiles, once; return a function that trains the networks by its loop, one after another."""
    optimizer = adam(1e-3)
    step = train_step(MODEL, softmax_cross_entropy, optimizer, METRICS)
    start, keys = compiled_init(MODEL.init), run_keys(0)
    state = init_train_state(start, optimizer, keys.init)
    empty = no_progress(step, state, jax.tree.map(lambda field: field[:BATCH], data), keys.step)
    programs = compile_programs(
        MODEL, softmax_cross_entropy, METRICS, step, None, data, None, BATCH, state, empty, keys
    )

    def run() -> Any:
        params = []
        with training_display(False, epochs, 1) as display:
            for seed in range(networks):
                keys = run_keys(seed)
                reached = Reached(init_train_state(start, optimizer, keys.init), empty, None, [])
                result = train(programs, reached, keys, epochs, None, None, None, None, [], display)
                params.append(jax.device_get(result.train_state.params))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *params)

    return run


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Run it and return the processor's seconds, of all threads."""
    start = time.process_time()
    value = run()
    return value, time.process_time() - start


def apart(one: Any, other: Any) -> float:
    """Return the largest difference between two trees of parameters."""
    return max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def accuracies(params: Any, test: Dataset) -> np.ndarray:
    """Return the test accuracy of each network."""
    _, state = MODEL.init(jax.random.key(0))
    answers = jax.jit(jax.vmap(lambda p: MODEL.apply(p, state, jnp.asarray(test.inputs))[0].argmax(-1)))(params)
    return np.asarray(answers == jnp.asarray(test.targets), np.float64).mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description="64 digits networks by fit_many and by 64 calls of fit.")
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--whole-calls", type=int, default=4, help="whole calls of fit that are timed and scaled up")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    digits = load("digits")
    networks, epochs = options.networks, options.epochs
    short = apart(  # 3 epochs of 23 steps
        many_at_once(digits.train, networks, 3)[0](), one_by_one(digits.train, networks, 3)()
    )
    many, how = many_at_once(digits.train, networks, epochs)
    chosen = sweep_programs.SIDE_BY_SIDE, sweep_programs.MOST_IN_TURN
    sweep_programs.SIDE_BY_SIDE, sweep_programs.MOST_IN_TURN = 0, networks
    other, other_how = many_at_once(digits.train, networks, epochs)
    sweep_programs.SIDE_BY_SIDE, sweep_programs.MOST_IN_TURN = chosen
    alone = one_by_one(digits.train, networks, epochs)
    ours, others, theirs = many(), other(), alone()  # not timed: the first run allocates
    rows = []
    for _ in range(options.rounds):
        seconds = {name: round(timed(run)[1], 3) for name, run in (("many", many), ("other", other), ("fit", alone))}
        rows.append(seconds)
        print(", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()), flush=True)
    whole = {
        "fit_many": timed(lambda: whole_fit_many(digits.train, networks, epochs))[1],
        "fit": timed(lambda: whole_fits(digits.train, options.whole_calls, epochs))[1] * networks / options.whole_calls,
    }
    scores = [accuracies(params, digits.test) for params in (ours, theirs)]
    error = float(np.sqrt(sum(score.var(ddof=1) / networks for score in scores)))
    result = {
        "command": "python -m benchmarks.fit_many",
        "environment": environment(),
        "method": (
            f"{networks} networks 64-32-10, dropout 0.2, Adam at 0.001, batches of {BATCH} of 1,437 digits, {epochs} "
            "epochs, seeds 0, 1, 2, ... Turns in one process: fit_many as it chooses and the other way, and fit's loop "
            "once for each seed, all with programs compiled before. Seconds of the processor over all threads, so "
            "waiting for other work does not count; ratios are medians of the ratios within a turn. Whole calls "
            f"trace and compile: one of fit_many, and {options.whole_calls} of fit times "
            f"{networks / options.whole_calls:g}; nothing is kept on disk between them."
        ),
        "how": how,
        "the_other_way": other_how,
        "ratio": _median([row["many"] / row["fit"] for row in rows]),
        "ratio_of_the_other_way": _median([row["other"] / row["fit"] for row in rows]),
        "ratio_of_whole_calls": round(whole["fit_many"] / whole["fit"], 3),
        "seconds_of_whole_calls": {name: round(value, 1) for name, value in whole.items()},
        "largest_difference_of_parameters_after_69_steps": short,
        "largest_difference_of_parameters": apart(ours, theirs),
        "largest_difference_of_parameters_the_other_way": apart(others, theirs),
        "mean_test_accuracy": {"fit_many": float(scores[0].mean()), "fit": float(scores[1].mean())},
        "standard_error_of_their_difference": round(error, 5),
        "turns": rows,
    }
    print(json.dumps({key: value for key, value in result.items() if key not in ("environment", "method", "turns")}))
    write_results(options.output, result)


def _median(values: list[float]) -> float:
    return round(float(np.median(values)), 3)


def whole_fit_many(data: Dataset, networks: int, epochs: int) -> None:
    """Call `fit_many` as a user does."""
    fit_many(make, softmax_cross_entropy, data, [{}], epochs=epochs, seeds=range(networks), verbose=False)


def whole_fits(data: Dataset, networks: int, epochs: int) -> None:
    """Call `fit` as a user does."""
    for seed in range(networks):
        fit(MODEL, softmax_cross_entropy, adam(1e-3), data, epochs=epochs, seed=seed, verbose=False)


if __name__ == "__main__":
    main()
