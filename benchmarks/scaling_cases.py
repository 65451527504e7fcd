"""What `benchmarks.scaling` measures, one axis and one size in a process of its own.

    python -m benchmarks.scaling_cases width 256

trains at this size and prints one line of JSON: the seconds of a pass or a step, those of its compilation, and by how
much the process's memory grew at its peak.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.fit_many import many_at_once
from benchmarks.peers.worker import peak_megabytes
from jaxnn.data import Dataset
from jaxnn.data.images import load
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import lstm_classifier, mlp, transformer_classifier
from jaxnn.optimizers import adam
from jaxnn.training import (
    compiled_init,
    compiler_options,
    epoch_order,
    epoch_program,
    init_train_state,
    no_progress,
    run_keys,
    train_step,
)
from jaxnn.types import Layer

CLASSES, FEATURES, TOKENS = 10, 64, 1000
FEWEST_PASSES, LEAST_SECONDS = 3, 0.5
LEAST_MEGABYTES = 1.0  # what is below is the allocator's and not the network's
# The parameters, those of the step before (nothing is donated), both moments of both, and the gradients.
COPIES = 7


class Axis(NamedTuple):
    """What grows, what is timed, and how arithmetic and floats held are expected to grow, up to a factor."""

    title: str
    timed: str
    sizes: tuple[int, ...]
    make: Callable[[int], tuple[Callable[[], Any], float, int]]
    """size -> (a call that trains, the seconds of its compilation, how many of the timed units it does)."""
    arithmetic: Callable[[int], float]
    floats: Callable[[int], float]


def trainer(model: Layer, data: Dataset, batch: int) -> tuple[Callable[[], Any], float]:
    """Compile a pass of training by Adam; return a call that does one, and the seconds of compilation."""
    optimizer, keys = adam(1e-3), run_keys(0)
    step = train_step(model, softmax_cross_entropy, optimizer)
    state = init_train_state(compiled_init(model.init), optimizer, keys.init)
    empty = no_progress(step, state, jax.tree.map(lambda field: field[:batch], data), keys.step)
    order, _ = epoch_order(keys.order, 0, size=data.size, batch_size=batch)
    arguments = state, empty, jax.device_put(data), order, keys, jnp.int32(0), jnp.int32(len(order))
    start = time.perf_counter()
    run = jax.jit(epoch_program(step)).lower(*arguments).compile(compiler_options=compiler_options())
    return lambda: jax.block_until_ready(run(*arguments)), time.perf_counter() - start


def drawn(examples: int, *shape: int, tokens: bool = False) -> Dataset:
    random = np.random.default_rng(0)
    if tokens:
        inputs = random.integers(0, TOKENS, (examples, *shape), dtype=np.int32)
    else:
        inputs = random.standard_normal((examples, *shape), np.float32)
    return Dataset(inputs, random.integers(0, CLASSES, examples, dtype=np.int32))


def of_examples(size: int) -> tuple[Callable[[], Any], float, int]:
    return *trainer(mlp((FEATURES, 128, CLASSES)), drawn(size, FEATURES), 250), 1


def of_batch(size: int) -> tuple[Callable[[], Any], float, int]:
    return *trainer(mlp((784, 512, 256, CLASSES)), drawn(4 * size, 784), size), 4


def of_width(size: int) -> tuple[Callable[[], Any], float, int]:
    return *trainer(mlp((size, size, size, CLASSES)), drawn(8 * 128, size), 128), 8


def of_depth(size: int) -> tuple[Callable[[], Any], float, int]:
    return *trainer(mlp((256,) * (size + 1) + (CLASSES,)), drawn(8 * 128, 256), 128), 8


def of_lstm_length(size: int) -> tuple[Callable[[], Any], float, int]:
    return *trainer(lstm_classifier(FEATURES, 128, 1, CLASSES), drawn(4 * 128, size, FEATURES), 128), 4


def of_transformer_length(size: int) -> tuple[Callable[[], Any], float, int]:
    model = transformer_classifier(TOKENS, 128, 4, 1, CLASSES, dim_feedforward=512, max_length=size)
    return *trainer(model, drawn(4 * 32, size, tokens=True), 32), 4


def of_networks(size: int) -> tuple[Callable[[], Any], float, int]:
    data = load("digits").train
    start = time.perf_counter()
    run, _ = many_at_once(data, size, 2)
    return run, time.perf_counter() - start, 1


def weights(*sizes: int) -> int:
    return sum(a * b for a, b in pairwise(sizes))


LSTM_STEP = 4 * 128 * (FEATURES + 128)  # multiply-adds of an example
TRANSFORMER_TOKEN = 4 * 128**2 + 2 * 128 * 512  # and each of T tokens meets T tokens twice, in 128 numbers

AXES = {
    "examples": Axis(
        "examples, 64-128-10, batch 250",
        "an epoch",
        (1000, 4000, 16_000, 64_000, 256_000, 1_000_000),
        of_examples,
        lambda n: n,
        lambda n: n * (FEATURES + 1) + COPIES * weights(FEATURES, 128, CLASSES),
    ),
    "batch": Axis(
        "batch, 784-512-256-10",
        "a step",
        (64, 256, 1024, 4096, 16_384),
        of_batch,
        lambda b: b,
        lambda b: 4 * b * 785 + b * 4 * (512 + 256) + COPIES * weights(784, 512, 256, CLASSES),
    ),
    "width": Axis(
        "width W, W-W-W-10, batch 128",
        "a step",
        (64, 128, 256, 512, 1024, 2048),
        of_width,
        lambda w: weights(w, w, w, CLASSES),
        lambda w: 8 * 128 * w + 128 * 4 * 2 * w + COPIES * weights(w, w, w, CLASSES),
    ),
    "depth": Axis(
        "layers of 256, batch 128",
        "a step",
        (2, 4, 8, 16, 32, 64),
        of_depth,
        lambda d: d,
        lambda d: d * (128 * 4 * 256 + COPIES * 256**2),
    ),
    "lstm_length": Axis(
        "time steps, LSTM of 128, batch 128",
        "a step",
        (16, 32, 64, 128, 256, 512),
        of_lstm_length,
        lambda t: t * LSTM_STEP,
        lambda t: 4 * 128 * t * FEATURES + t * 128 * 128 * 12 + COPIES * 4 * 128 * (FEATURES + 128),
    ),
    "transformer_length": Axis(
        "tokens, Transformer of 128, batch 32",
        "a step",
        (16, 32, 64, 128, 256, 512),
        of_transformer_length,
        lambda t: t * (TRANSFORMER_TOKEN + 2 * t * 128),
        lambda t: 32 * t * (2 * 512 + 12 * 128 + 4 * 4 * t) + COPIES * (128 * (TOKENS + t) + TRANSFORMER_TOKEN),
    ),
    "networks": Axis(
        "networks in fit_many, 64-32-10",
        "two epochs",
        (4, 16, 64, 256, 1024),
        of_networks,
        lambda m: m,
        lambda m: m * (2 * 1437 + COPIES * weights(FEATURES, 32, CLASSES)) + 1437 * FEATURES / 4,
    ),
}


def resident_megabytes() -> float:
    """Read the memory that this process holds now; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measured(axis: str, size: int) -> dict[str, float]:
    """Train at this size; before it at the smallest, so that what JAX and XLA hold for any program is there."""
    AXES[axis].make(AXES[axis].sizes[0])[0]()
    before = resident_megabytes()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far was compilation; Linux forgets it on this word
    call, compile_seconds, units = AXES[axis].make(size)
    call()  # allocates
    taken: list[float] = []
    while len(taken) < FEWEST_PASSES or sum(taken) < LEAST_SECONDS:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return {
        "size": size,
        "seconds": min(taken) / units,  # growth is looked for, and what other programs add is not growth
        "compile_seconds": compile_seconds,
        "megabytes": max(LEAST_MEGABYTES, peak_megabytes() - before),
    }


def exponent(sizes: Any, values: Any) -> float:
    """Fit e in value = c size^e by least squares over the logarithms.

    >>> exponent([1, 2, 4], [3.0, 12.0, 48.0])
    2.0
    """
    slope, _ = np.polyfit([math.log(size) for size in sizes], [math.log(value) for value in values], 1)
    return round(float(slope), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("axis", choices=AXES)
    parser.add_argument("size", type=int)
    options = parser.parse_args()
    print(json.dumps(measured(options.axis, options.size)))


if __name__ == "__main__":
    main()
