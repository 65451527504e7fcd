"""What the three MNIST programs share: their options, and a record for each epoch (standard library alone)."""

import argparse
import json
import os


def read_options(description: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """Read --data, --epochs and --seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("JAXNN_DATA_DIR")
    parser.add_argument("--data", default=folder, required=folder is None, help="the folder that holds mnist/*.gz")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    return parser.parse_args(arguments)


def print_record(seed: int, epoch: int, seconds: float, test_accuracy: float) -> None:
    """Print one epoch as a JSON line."""
    record = {"seed": seed, "epoch": epoch, "seconds": round(seconds, 3), "test_accuracy": test_accuracy}
    print(json.dumps(record), flush=True)
