"""Time to 99 % on MNIST's test set, from the start of the process, compilation included.

    python -m benchmarks.time_to_99 --data DATA --seeds 5

Recipe and length were fixed beforehand, on validation images: a small CNN, two passes over all 60,000 training images.
Each seed has a process of its own, which keeps no compiled program; its time runs from before it is started until its
test accuracy is known. Prints a line a seed and writes time_to_99.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results") / "time_to_99.json"
EPOCHS, BATCH_SIZE, LEARNING_RATE = 2, 128, 1e-2


def worker(folder: Path, seed: int) -> dict[str, float]:
    """Train once and test once; the seconds are those of the parts, the rest is the start of Python and JAX."""
    started = time.perf_counter()
    import jax

    from jaxnn.data.images import load
    from jaxnn.layers import batch_norm, conv2d, flatten, linear, max_pool2d, normalize, sequential
    from jaxnn.losses import softmax_cross_entropy
    from jaxnn.optimizers import adam
    from jaxnn.schedules import one_cycle
    from jaxnn.training import fit, predict

    def squares(x):
        """Make 2x2 pixels one position with four channels: a quarter of the positions, the same information."""
        batch, height, width, _ = x.shape
        parts = x.reshape(batch, height // 2, 2, width // 2, 2)
        return parts.transpose(0, 1, 3, 2, 4).reshape(batch, height // 2, width // 2, 4)

    model = sequential(
        normalize(0.1307, 0.3081),
        squares,
        *(conv2d(4, 32, 3, padding=1, bias=False), batch_norm(32), jax.nn.relu, max_pool2d(2)),
        *(conv2d(32, 64, 3, padding=1, bias=False), batch_norm(64), jax.nn.relu),
        flatten(),
        linear(49 * 64, 10),
    )
    data = load("mnist", folder)
    read = time.perf_counter()
    steps = EPOCHS * -(-data.train.size // BATCH_SIZE)
    optimizer = adam(one_cycle(LEARNING_RATE, steps))
    result = fit(
        model,
        softmax_cross_entropy,
        optimizer,
        data.train,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        seed=seed,
        verbose=False,
    )
    logits = predict(model, *result.train_state[:2], data.test.inputs)
    return {
        "seed": seed,
        "test_accuracy": float((logits.argmax(-1) == data.test.targets).mean()),
        "import_and_read_seconds": round(read - started, 2),
        "compile_seconds": round(result.compile_seconds, 2),
        "train_seconds": round(result.train_seconds, 2),
    }


def timed(folder: Path, seed: int) -> dict[str, Any]:
    """Run one seed in a process of its own, and time it from outside."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.time_to_99", "--data", str(folder), "--worker", str(seed)]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(process.stdout.splitlines()[-1]) | {"seconds": round(time.perf_counter() - started, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("JAXNN_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder, required=folder is None, help="holds mnist/*.gz")
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, 2, ...")
    parser.add_argument("--worker", type=int, metavar="SEED", help="train this seed in this process, and print it")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(worker(options.data, options.worker)))
        return

    from benchmarks.jit_vs_numpy_timing import busy_cores
    from benchmarks.output import write_results
    from jaxnn.report import environment

    busy, rows = busy_cores(), []
    for seed in range(options.seeds):
        rows.append(timed(options.data, seed))
        print(f"seed {seed}: {rows[-1]['test_accuracy']:.2%} after {rows[-1]['seconds']:.1f} s", flush=True)
    accuracies = [row["test_accuracy"] for row in rows]
    result = {
        "command": f"python -m benchmarks.time_to_99 --seeds {options.seeds}",
        "environment": environment(),
        "cores_busy_before": busy,
        "method": (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        "test_accuracy_mean": round(sum(accuracies) / len(accuracies), 5),
        "slowest_seconds": max(row["seconds"] for row in rows),
        "seeds": rows,
    }
    write_results(options.output, result)
    print(f"mean {result['test_accuracy_mean']:.2%}, slowest {result['slowest_seconds']:.1f} s: {options.output}")


if __name__ == "__main__":
    main()
