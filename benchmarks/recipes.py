"""What the recipes reach on the test sets: long series, each of which goes on where it was stopped.

    python -m benchmarks.recipes mnist_mlp mnist_mlp_augmented mnist_cnn fashion_cnn

runs the experiment of each name with `--resume` into a folder under runs/recipes, and writes what its summary.json
says, with the command, into recipes.json; the other entries there stay. Networks, lengths and settings were chosen on
validation images; these trainings see them too, and the test images are looked at once a seed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.output import write_results
from jaxnn.report import environment

SERIES = {
    "mnist_mlp": "experiments.mnist --dataset mnist --recipe best --seeds 5 --all-images",
    "mnist_mlp_augmented": "experiments.mnist --dataset mnist --recipe augmented --seeds 5 --all-images",
    "mnist_cnn": "experiments.images --dataset mnist --recipe best --seeds 3 --all-images",
    "fashion_cnn": "experiments.images --dataset fashion_mnist --recipe best --seeds 3 --all-images",
}
KEPT = (
    *("test_accuracy_by_seed", "test_accuracy_mean", "test_accuracy_deviation", "ensemble_test_accuracy", "status"),
    *("validation_accuracy", "epochs", "parameters", "train_seconds", "test_evaluations", "dataset"),
)
RESULTS = Path(__file__).with_name("results") / "recipes.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="+", choices=SERIES)
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"), help="folder of the runs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    for name in options.series:
        folder = options.runs / name
        command = [sys.executable, "-m", *SERIES[name].split(), "--resume", "--out", str(folder)]
        if subprocess.run(command).returncode:
            raise SystemExit(f"{name} has not ended: run it again, and it goes on")
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        results = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
        results[name] = {
            "command": f"python -m {SERIES[name]}",
            **{key: summary[key] for key in KEPT},
            "environment": environment(),
        }
        write_results(options.output, results)


if __name__ == "__main__":
    main()
