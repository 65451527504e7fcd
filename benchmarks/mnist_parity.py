"""The guide's MNIST classifier in jaxnn, PyTorch and NumPy: the same accuracy, and how long an epoch takes.

    python -m benchmarks.mnist_parity --data DATA --seeds 10 --epochs 10 [--torch-python PYTHON]

Same data (all 60,000 images), layers, initialisation, optimizer and batches of 64 in each; no seed is left out. The
programs run one after the other, each in a process of its own, and in turn (A B C A B C), so that a drift of the
machine's speed meets all of them. The ratio of a round is that of the median epochs in it. PyTorch may live in an
environment of its own: `--torch-python` names its Python.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAMS = ("jaxnn", "torch", "numpy")
RESULTS = Path(__file__).with_name("results") / "mnist_parity.json"


def one_run(program: str, python: str, options: argparse.Namespace, seed: int) -> list[dict]:
    """Train one seed in a new process and return its records, an epoch each."""
    command = [python, "-m", f"benchmarks.mnist_{program}", "--data", str(options.data)]
    command += ["--epochs", str(options.epochs), "--seeds", str(seed)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if output.returncode:
        raise SystemExit(f"{program} failed:\n{output.stderr}")
    return [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]


def torch_version(python: str) -> str:
    """Ask PyTorch's environment for its version."""
    code = "from importlib.metadata import version; print(version('torch'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def summarize(runs: dict[str, list[list[dict]]]) -> dict[str, dict]:
    """Return for each program the final accuracies and the epoch's seconds, and its ratios to the others by round."""
    seconds = {
        name: np.array([np.median([r["seconds"] for r in run]) for run in rounds]) for name, rounds in runs.items()
    }
    rows = {}
    for name, rounds in runs.items():
        final = np.array([100 * run[-1]["test_accuracy"] for run in rounds])
        ratio = seconds["jaxnn"] / seconds[name]
        rows[name] = {
            "mean_test_accuracy": round(float(final.mean()), 3),
            "deviation": round(float(final.std(ddof=1)), 3) if len(final) > 1 else None,
            "test_accuracies": [round(float(value), 2) for value in final],
            "median_seconds_per_epoch": round(float(np.median(seconds[name])), 3),
            "jaxnn_time_ratio": round(float(np.median(ratio)), 3),
            "jaxnn_time_ratio_range": [round(float(ratio.min()), 3), round(float(ratio.max()), 3)],
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the guide's MNIST program in jaxnn, PyTorch and NumPy.")
    folder = os.environ.get("JAXNN_DATA_DIR")
    parser.add_argument("--data", default=folder, required=folder is None, help="the folder that holds mnist/*.gz")
    parser.add_argument("--seeds", type=int, default=10, help="how many: 0, 1, 2, ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--torch-python", default=sys.executable, help="the Python of an environment with PyTorch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.data = Path(options.data).resolve()

    from rich.console import Console
    from rich.table import Table

    from benchmarks.output import write_results
    from jaxnn.report import environment

    pythons = {"jaxnn": sys.executable, "torch": options.torch_python, "numpy": sys.executable}
    runs: dict[str, list[list[dict]]] = {name: [] for name in PROGRAMS}
    for seed in range(options.seeds):
        for name in PROGRAMS:
            runs[name].append(one_run(name, pythons[name], options, seed))
            last = runs[name][-1][-1]
            print(f"seed {seed}  {name:6}  {last['test_accuracy']:.2%}  {last['seconds']:.2f} s an epoch", flush=True)
    rows = summarize(runs)
    table = Table(title=f"MNIST, {options.epochs} epochs, {options.seeds} seeds")
    for heading in ("program", "test accuracy %", "deviation", "s an epoch", "jaxnn's time / its time", "range"):
        table.add_column(heading, justify="left" if heading == "program" else "right")
    for name, row in rows.items():
        low, high = row["jaxnn_time_ratio_range"]
        deviation = "" if row["deviation"] is None else f"{row['deviation']:.2f}"
        cells = [f"{row['mean_test_accuracy']:.2f}", deviation, f"{row['median_seconds_per_epoch']:.2f}"]
        table.add_row(name, *cells, f"{row['jaxnn_time_ratio']:.2f}", f"{low:.2f} to {high:.2f}")
    Console().print(table)
    result = {
        "command": f"python -m benchmarks.mnist_parity --seeds {options.seeds} --epochs {options.epochs}",
        "environment": environment() | {"torch": torch_version(options.torch_python)},
        "programs": rows,
    }
    write_results(options.output, result)


if __name__ == "__main__":
    main()
