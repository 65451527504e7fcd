"""One peer and one network in a process of its own, which prints JSON lines.

    python -m benchmarks.peers.worker torch mlp --weights FILE --check
    python -m benchmarks.peers.worker torch mlp --weights FILE --batch 64 --examples 6400

`--check` takes one step with dropout off and a small rate and prints the loss before and after it. Else the first pass
of training and of prediction is timed, which compiles, and then each line `turn SECONDS` on standard input is answered
by the time of a step in passes over the examples; between them the process sleeps.
"""

import argparse
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import work
from benchmarks.peers.roster import PEERS

CHECK_RATE = 5e-5  # libraries with one bias where others have two take half the step in it; here that is below 1e-4
CHECK_BATCH = 32


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean cross-entropy in float64.

    >>> round(cross_entropy(np.zeros((2, 10)), np.array([3, 4])), 4)
    2.3026
    """
    logits = logits.astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels].mean())


def starter(peer: str, network: str, weights: dict[str, np.ndarray]) -> Callable[..., work.Peer]:
    """Import the peer's file; return its `start` for the network and the weights."""
    entry = PEERS[peer]
    start = importlib.import_module(f"benchmarks.peers.{entry.file}").start
    return partial(start, network, weights=weights, **entry.options)


def losses(start: Callable[..., work.Peer], network: str) -> dict[str, float]:
    """Compute the loss before and after one step of training without dropout."""
    data = work.data(network, CHECK_BATCH, seed=1)
    peer = start(data, CHECK_BATCH, dropout=0.0, rate=CHECK_RATE)
    before = cross_entropy(peer.predict(), data.labels)
    peer.train()
    return {"before": before, "after": cross_entropy(peer.predict(), data.labels)}


def seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def pass_seconds(call: Callable[[], object], seconds: float) -> float:
    """Call until the seconds are over, at least once; return the median of one call."""
    taken = [seconds_of(call)]
    while sum(taken) < seconds:
        taken.append(seconds_of(call))
    return float(np.median(taken))


def peak_megabytes() -> float:
    """Read the most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # here `ru_maxrss` would count the parent process, from before its copy became this program
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("network", choices=work.DROPOUT)
    parser.add_argument("--weights", required=True, help="the first weights, .npz")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--examples", type=int, default=6400)
    options = parser.parse_args()

    if options.peer == "jaxnn":
        from benchmarks.peers.with_jaxnn import set_up

        set_up(options.batch)
    with np.load(options.weights) as file:
        start = starter(options.peer, options.network, dict(file))
    if options.check:
        say(losses(start, options.network))
        return
    data = work.data(options.network, options.examples)
    start_seconds = time.perf_counter()
    peer = start(data, options.batch, dropout=work.DROPOUT[options.network], rate=work.LEARNING_RATE)
    start_seconds = time.perf_counter() - start_seconds
    calls = {"train": peer.train, "predict": peer.predict}
    package = PEERS[options.peer].package
    first = {name: seconds_of(call) for name, call in calls.items()}
    say({"first_pass_seconds": first, "start_seconds": start_seconds, package: metadata.version(package)})
    batches = options.examples // options.batch
    for line in sys.stdin:
        seconds = float(line.split()[1])
        found = {name: pass_seconds(call, seconds) / batches for name, call in calls.items()}
        say({"step_seconds": found, "peak_megabytes": peak_megabytes()})


if __name__ == "__main__":
    main()
