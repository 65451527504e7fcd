"""Time the guide's networks in jaxnn and in its peers, side by side on this machine.

    python -m benchmarks.peers --torch-python PYTHON

First every peer takes one step from the same weights with dropout off, and the losses after it are compared. Then they
take turns, each turn in a process of its own: first passes (which compile), training and prediction, batches of 64 and
512. What counts is the ratio within a round. A peer that is not installed is left out, and said. Writes peers.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.jit_vs_numpy_timing import busy_cores
from benchmarks.peers import work
from benchmarks.peers.with_jaxnn import first_weights
from benchmarks.peers.worker import PEERS
from jaxnn.files import write_whole
from jaxnn.report import environment

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
NEEDS = {  # what a peer imports
    **{"linen": "flax", "nnx": "flax", "equinox": "equinox", "keras": "keras", "numpy": "numpy"},
    **{"torch": "torch", "torch_channels_last": "torch", "torch_compile": "torch"},
}
ONLY = {"torch_channels_last": ("cnn",), "numpy": ("mlp",)}  # the same as another one elsewhere; there is no other
PASS_STEPS = {"mlp": 100, "cnn": 10, "rnn": 40, "lstm": 20, "transformer": 8, "transformer_2048": 8}  # of 64 examples
TOLERANCE = 1e-4


def peer_python(peer: str, torch_python: str) -> str:
    return torch_python if NEEDS.get(peer) == "torch" else sys.executable


def installed(peer: str, python: str) -> bool:
    """Ask the interpreter; jaxnn is here."""
    needed = NEEDS.get(peer)
    return needed is None or subprocess.run([python, "-c", f"import {needed}"], capture_output=True).returncode == 0


def call(peer: str, network: str, python: str, weights: Path, *options: str) -> dict[str, Any]:
    """Run the worker, and read its last line."""
    command = [python, "-m", "benchmarks.peers.worker", peer, network, "--weights", str(weights), *options]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def product_speed(size: int = 2048, rounds: int = 5) -> float:
    """Measure multiply-adds a second of a large matrix product, the best of some rounds."""
    a = jnp.ones((size, size))
    multiply = jax.jit(jnp.matmul)
    multiply(a, a).block_until_ready()
    best = np.inf
    for _ in range(rounds):
        start = time.perf_counter()
        multiply(a, a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return size**3 / best


def checked(network: str, peers: Sequence[str], pythons: dict[str, str], weights: Path) -> dict[str, float]:
    """Compare the losses before and after one step; return the largest difference of each peer from jaxnn."""
    found = {peer: call(peer, network, pythons[peer], weights, "--check") for peer in peers}
    ours = found["jaxnn"]
    apart = {peer: max(abs(losses[at] - ours[at]) for at in ours) for peer, losses in found.items()}
    for peer, difference in apart.items():
        if difference > TOLERANCE:
            raise SystemExit(f"{peer} does not train the same {network}: {found[peer]} where jaxnn has {ours}")
    return apart


def summarised(network: str, batch: int, rounds: list[dict[str, Any]], speeds: list[float]) -> list[dict[str, Any]]:
    """Make a row for each peer: medians, ratios to jaxnn within the rounds with their range, share of the product."""
    rows = []
    for peer in rounds[0]:
        row: dict[str, Any] = {"network": network, "batch": batch, "peer": peer}
        for what, times in (("train", 3), ("predict", 1)):
            steps = [found[peer][what]["step_seconds"] for found in rounds]
            ratios = [found["jaxnn"][what]["step_seconds"] / found[peer][what]["step_seconds"] for found in rounds]
            needed = times * work.multiply_adds(network) * batch
            row |= {
                f"{what}_step_milliseconds": round(1000 * statistics.median(steps), 4),
                f"{what}_jaxnn_over_peer": round(statistics.median(ratios), 3),
                f"{what}_range": [round(min(ratios), 3), round(max(ratios), 3)],
                f"{what}_share_of_product": round(needed / statistics.median(steps) / statistics.median(speeds), 3),
                f"{what}_first_pass_seconds": round(
                    statistics.median(found[peer][what]["first_pass_seconds"] for found in rounds), 2
                ),
            }
        row["peak_megabytes"] = round(statistics.median(found[peer]["peak_megabytes"] for found in rounds))
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the rows as a Markdown table.

    >>> row = {"network": "mlp", "batch": 64, "peer": "torch", "peak_megabytes": 400}
    >>> row |= {f"{what}_{name}": 1.0 for what in ("train", "predict") for name in ("step_milliseconds",
    ...     "jaxnn_over_peer", "share_of_product", "first_pass_seconds")}
    >>> print(table([row]).splitlines()[2])
    | mlp | 64 | torch | 1.00 | 1.00 | 100 % | 1.00 | 1.00 | 1.0 | 400 |
    """
    header = (
        "| network | batch | peer | training step, ms | jaxnn / peer | of the product | prediction, ms | jaxnn / peer "
        "| first pass, s | MB |"
    )
    lines = [header, "| --- " * 10 + "|"]
    for row in rows:
        lines.append(
            f"| {row['network']} | {row['batch']} | {row['peer']} | {row['train_step_milliseconds']:.2f} "
            f"| {row['train_jaxnn_over_peer']:.2f} | {row['train_share_of_product']:.0%} "
            f"| {row['predict_step_milliseconds']:.2f} | {row['predict_jaxnn_over_peer']:.2f} "
            f"| {row['train_first_pass_seconds']:.1f} | {row['peak_megabytes']} |".replace("%", " %")
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=work.DROPOUT, default=list(work.DROPOUT))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter with PyTorch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    pythons = {peer: peer_python(peer, options.torch_python) for peer in ["jaxnn", *options.peers]}
    absent = [peer for peer, python in pythons.items() if not installed(peer, python)]
    for peer in absent:
        print(f"{peer} is left out: {pythons[peer]} has no {NEEDS[peer]}", flush=True)
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.peers --rounds {options.rounds}",
        "environment": environment(),
        "cores_busy_before": busy_cores(),
        "left_out": absent,
        "rows": [],
        "largest_difference_of_losses": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            peers = [p for p in pythons if p not in absent and network in ONLY.get(p, (network,))]
            weights = Path(folder) / f"{network}.npz"
            np.savez(weights, allow_pickle=False, **first_weights(network))
            result["largest_difference_of_losses"][network] = checked(network, peers, pythons, weights)
            for batch in options.batches:
                steps = max(2, PASS_STEPS[network] * 64 // batch)
                given = "--batch", str(batch), "--examples", str(steps * batch)
                rounds, speeds = [], []
                for _ in range(options.rounds):
                    speeds.append(product_speed())
                    rounds.append({p: call(p, network, pythons[p], weights, *given) for p in peers})
                rows = summarised(network, batch, rounds, speeds)
                result["rows"] += rows
                result["product_giga_multiply_adds_per_second"] = round(statistics.median(speeds) / 1e9, 1)
                print(table(rows), flush=True)
                options.output.parent.mkdir(parents=True, exist_ok=True)
                write_whole(options.output, (json.dumps(result, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
