"""Time the guide's networks in jaxnn and in its peers, side by side on this machine.

    python -m benchmarks.peers
    python -m benchmarks.peers --networks mlp cnn --batches 64 --rounds 3
    python -m benchmarks.peers --check

First every peer takes one step from the same weights with dropout off, and the losses after it are compared. Then, for
each network and batch, every peer starts in a process of its own, and they take turns, round after round: a large
matrix product, jaxnn, the first peer, the second, ... What counts is the ratio within a round. A peer that is not
installed is left out, and said. Writes peers.json and peers.png; `python -m benchmarks.peers.readme` puts the table
into the README.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jit_vs_numpy_timing import busy_cores
from benchmarks.output import write_results
from benchmarks.peers import work
from benchmarks.peers.figure import figure
from benchmarks.peers.roster import PEERS
from benchmarks.peers.tables import against_fastest, rows, tables
from benchmarks.peers.turns import PRODUCT_SIZE, PeerFailedError, Task, checked, measured
from benchmarks.peers.with_jaxnn import first_weights
from jaxnn.report import environment, save_png
from jaxnn.training.machine import cores

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
PASS_STEPS = {"mlp": 100, "cnn": 16, "rnn": 40, "lstm": 20, "transformer": 8, "transformer_2048": 4}  # of 64 examples
METHOD = (
    "Processes of their own that take turns, with as many threads each. A turn is a pause of 30 ms and then passes "
    "over the examples for some seconds of training and of inference; of them the median step. Ratios are within a "
    "round: their median over the rounds, the least and the most. Compilation is the first pass less an ordinary one. "
    "Memory is the most that the process has held, its libraries included. The product is that of two float32 matrices "
    f"of {PRODUCT_SIZE} x {PRODUCT_SIZE} in each round, its faster way. A network's share of it counts the "
    "multiply-adds of its matrix products and convolutions as defined, though jaxnn computes 3x3 convolutions of many "
    "channels in a third of them; a training step has three products for one of the forward pass, but for the data's "
    "gradient of the first layer. jaxnn makes the CPU a device a core and trains the CNN, the RNN and the LSTM on all "
    "of them, each with its part of the batch. Its predict computes several batches in a call, a call on each core, "
    "and a batch with large arrays in parts."
)


def peer_python(peer: str, torch_python: str) -> str:
    return torch_python if PEERS[peer].package == "torch" else sys.executable


def installed(python: str, package: str) -> bool:
    """Ask the interpreter, without importing the package."""
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", program], capture_output=True).returncode == 0


def examples_of(network: str, batch: int) -> int:
    """Choose a pass's number of examples: as many whole batches as PASS_STEPS batches of 64 fill, at least one.

    >>> examples_of("mlp", 64), examples_of("transformer_2048", 512)
    (6400, 512)
    """
    return max(1, PASS_STEPS[network] * 64 // batch) * batch


def write(result: dict[str, Any], speeds: list[dict[str, float]], output: Path) -> None:
    """Write the JSON of what is known so far, and the figure beside it."""
    result["against_fastest"] = against_fastest(result["rows"])
    result["product_giga_multiply_adds_per_second"] = {
        way: round(statistics.median(speed[way] for speed in speeds) / 1e9, 1) for way in speeds[0]
    }
    write_results(output, result)
    save_png(lambda: figure(result["rows"]), output.with_suffix(".png"))


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    networks, peers = list(work.DROPOUT), [peer for peer in PEERS if peer != "jaxnn"]
    parser.add_argument("--networks", nargs="+", choices=networks, default=networks, metavar="NETWORK")
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers, metavar="PEER", help=", ".join(peers))
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--rounds", type=int, default=5, help="fewer, but at least 3, where they take long")
    parser.add_argument("--seconds", type=float, default=0.4, help="of training, and of inference, in a turn")
    parser.add_argument("--check", action="store_true", help="compare the losses after one step, and time nothing")
    parser.add_argument(
        "--torch-python", default=sys.executable, help="an interpreter with PyTorch, where this has none"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def command_of(options: argparse.Namespace) -> str:
    """Write the command that measures the same.

    >>> command_of(options_of(["--networks", "mlp", "--peers", "torch", "--batches", "64"]))
    'python -m benchmarks.peers --networks mlp --peers torch --batches 64 --rounds 5 --seconds 0.4'
    """
    lists = {"networks": options.networks, "peers": options.peers, "batches": options.batches}
    given = " ".join(f"--{name} {' '.join(map(str, values))}" for name, values in lists.items())
    return f"python -m benchmarks.peers {given} --rounds {options.rounds} --seconds {options.seconds:g}"


def main(arguments: list[str] | None = None) -> None:
    options = options_of(arguments)
    pythons = {peer: peer_python(peer, options.torch_python) for peer in ["jaxnn", *options.peers]}
    result: dict[str, Any] = {
        "command": command_of(options),
        "method": METHOD,
        "environment": environment() | {"threads": str(cores())},
        "cores_busy_before": busy_cores(),
        "left_out": {},
        "multiply_adds": {
            name: {"inference": work.multiply_adds(name), "training": work.training_multiply_adds(name)}
            for name in options.networks
        },
        "largest_difference_of_losses": {},
        "rows": [],
    }

    def left_out(peer: str, why: str) -> None:
        if peer == "jaxnn":
            raise SystemExit(f"jaxnn failed: {why}")
        print(f"{peer} is left out: {why}", flush=True)
        result["left_out"][peer] = why
        pythons.pop(peer, None)

    for peer, python in list(pythons.items()):
        if not installed(python, PEERS[peer].package):
            left_out(peer, f"{PEERS[peer].package} is not installed")
    started, speeds = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            weights = Path(folder) / f"{network}.npz"
            np.savez(weights, allow_pickle=False, **first_weights(network))
            taking_part = {peer: python for peer, python in pythons.items() if network in PEERS[peer].networks}
            apart = checked(network, weights, taking_part, left_out)
            result["largest_difference_of_losses"][network] = apart
            print(f"{network}: the losses after a step differ by {max(apart.values()):.1e} at most", flush=True)
            for batch in [] if options.check else options.batches:
                taking_part = {peer: python for peer, python in taking_part.items() if peer in pythons}
                task = Task(network, weights, batch, examples_of(network, batch))
                first, found, speed = measured(task, taking_part, options.rounds, options.seconds, left_out)
                for peer, said in first.items():
                    result["environment"] |= {key: value for key, value in said.items() if key == PEERS[peer].package}
                new = rows(network, batch, task.examples, first, found, speed)
                result["rows"] += new
                speeds += speed
                result["seconds"] = round(time.perf_counter() - started)
                write(result, speeds, options.output)
                print(tables(new), flush=True)
    if result["rows"]:
        print(f"\n{tables(result['rows'])}\n\n{result['seconds']} s; {options.output}")


if __name__ == "__main__":
    try:
        main()
    except PeerFailedError as error:
        sys.exit(f"error: {error}")
