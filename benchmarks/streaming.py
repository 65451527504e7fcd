"""Training from a set that does not fit, beside training in memory: speed, and memory above the model's own.

    python -m benchmarks.streaming
    python -m benchmarks.streaming --gigabytes 0.3 --steps 1000 100 --rounds 1

It writes a set of random images (28 x 28 bytes, as MNIST's) and labels of 5 GB as two .npy files into a temporary
folder, which is removed at the end. The guide's MLP and CNN train on it by `fit`, batch 64 and Adam, for a fixed number
of steps, in turn with the same network on 60,000 of the images in memory; each in a process of its own. The speed is
that after the first tenth of the steps; what comes before the first steps is told apart. Ratios are those within a
round. Memory is the largest seen every 20 ms: resident in all, and of that anonymous, which is what the system cannot
take back. The files have just been written, so as much of them as fits is in the system's cache; --cold drops it before
each run. Writes streaming.json. About fifteen minutes on two quiet cores.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jit_vs_numpy_timing import busy_cores
from benchmarks.output import write_results
from benchmarks.peers.tables import markdown
from jaxnn.report import environment

RESULTS = Path(__file__).with_name("results") / "streaming.json"
ASKED = {"mlp": 0.7, "cnn": 0.95}  # of the speed in memory
ASKED_BYTES = 10**9  # of memory above training in memory
SHAPE, BLOCK = (28, 28, 1), 50_000


def write_set(folder: Path, size: int) -> int:
    """Write random images and labels, block by block; return the bytes."""
    generator = np.random.default_rng(0)
    forms = {"inputs.npy": ((size, *SHAPE), np.dtype(np.uint8)), "targets.npy": ((size,), np.dtype(np.int32))}
    for name, (shape, dtype) in forms.items():
        with open(folder / name, "xb") as file:
            head = {"shape": shape, "fortran_order": False, "descr": dtype.str}
            np.lib.format.write_array_header_1_0(file, head)
            for first in range(0, size, BLOCK):
                rows = (min(BLOCK, size - first), *shape[1:])
                file.write(generator.integers(0, 256 if name == "inputs.npy" else 10, rows, dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())
    return sum((folder / name).stat().st_size for name in forms)


def measured(network: str, kind: str, folder: Path, steps: int) -> dict[str, Any]:
    """Train once in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streaming_run", network, kind, str(folder), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{network}, {kind}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def summarised(network: str, kind: str, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare with training in memory within each round, and take medians, of memory the largest difference."""
    ratios = sorted(one[kind]["steps_per_second"] / one["memory"]["steps_per_second"] for one in rounds)
    above = {
        name: max(one[kind]["peak"][name] for one in rounds) - min(one["memory"]["peak"][name] for one in rounds)
        for name in ("rss", "anonymous")
    }

    def median(which: str, name: str) -> float:
        return round(statistics.median(one[which][name] for one in rounds), 3)

    return {
        "speed_ratio": [round(value, 4) for value in (statistics.median(ratios), ratios[0], ratios[-1])],
        "asked_ratio": ASKED[network],
        "steps_per_second": median(kind, "steps_per_second"),
        "steps_per_second_in_memory": median("memory", "steps_per_second"),
        "seconds_before_first_steps": median(kind, "seconds_before_first_steps"),
        "seconds_before_first_steps_in_memory": median("memory", "seconds_before_first_steps"),
        "peak_bytes_above": above,
        "asked_bytes_above": ASKED_BYTES,
        "peak_bytes": {which: [one[which]["peak"] for one in rounds] for which in (kind, "memory")},
        "reached": statistics.median(ratios) >= ASKED[network] and above["rss"] < ASKED_BYTES,
    }


def table(result: dict[str, Any]) -> str:
    lines = []
    for network, kinds in result["networks"].items():
        for kind, one in kinds.items():
            ratio = "{:.3f} ({:.3f} to {:.3f})".format(*one["speed_ratio"]) + f", asked {one['asked_ratio']}"
            megabytes = [f"{one['peak_bytes_above'][name] / 1e6:,.0f} MB" for name in ("rss", "anonymous")]
            lines.append([network, kind, ratio, f"{one['steps_per_second']:,.0f}", *megabytes])
    titles = ["network", "set", "speed to in memory", "steps a second", "resident above", "anonymous above"]
    return markdown(titles, lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5.2, help="of the set, 10^9 bytes each")
    parser.add_argument("--steps", type=int, nargs=2, default=(20_000, 2000), metavar=("MLP", "CNN"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="also with the system's cache of the files dropped before")
    parser.add_argument("--folder", type=Path, help="where the set is written for the while; default: the system's")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)

    started = time.perf_counter()
    kinds = ["memory", "stream", *["cold"] * options.cold]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        size = round(options.gigabytes * 1e9 / (np.prod(SHAPE) + 4))
        if shutil.disk_usage(folder).free < 1.2e9 * options.gigabytes:
            parser.error(f"the disk of {folder.parent} has no room for {options.gigabytes:g} GB: give another --folder")
        result: dict[str, Any] = {
            "command": f"python -m benchmarks.streaming {' '.join(arguments or sys.argv[1:])}".strip(),
            "method": " ".join((__doc__ or "").split("\n\n")[2].split()),
            "environment": environment() | {"grain": version("grain")},
            "cores_busy_before": busy_cores(),
            "set": {"examples": size, "bytes": write_set(folder, size)},
            "rounds": options.rounds,
            "steps": dict(zip(ASKED, options.steps, strict=True)),
            "networks": {},
        }
        print(f"{result['set']['bytes']:,} bytes are written, after {time.perf_counter() - started:.0f} s", flush=True)
        for network, steps in result["steps"].items():
            rounds = []
            for _ in range(options.rounds):
                rounds.append({kind: measured(network, kind, folder, steps) for kind in kinds})
                speeds = {kind: round(one["steps_per_second"], 1) for kind, one in rounds[-1].items()}
                print(network, json.dumps(speeds), flush=True)
            result["networks"][network] = {kind: summarised(network, kind, rounds) for kind in kinds[1:]}
    result["seconds"] = round(time.perf_counter() - started)
    write_results(options.output, result)
    print(f"{table(result)}\n\n{result['seconds']} s; {options.output}")


if __name__ == "__main__":
    main()
