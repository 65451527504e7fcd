"""One peer, one network, in a process of its own: checks it, or times it, and prints a JSON line.

    python -m benchmarks.peers.worker torch mlp --weights FILE --batch 64 --examples 6400 --seconds 3
    python -m benchmarks.peers.worker torch mlp --weights FILE --check

`--check` takes one step with dropout off and a small rate and prints the loss before and after it; else passes over the
examples are timed, the first apart: it compiles.
"""

import argparse
import importlib
import json
import os
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.peers import work

PEERS = {
    "jaxnn": ("with_jaxnn", {}),
    "linen": ("with_linen", {}),
    "nnx": ("with_nnx", {}),
    "equinox": ("with_equinox", {}),
    "keras": ("with_keras", {}),
    "numpy": ("with_numpy", {}),
    "torch": ("with_torch", {}),
    "torch_channels_last": ("with_torch", {"channels_last": True}),
    "torch_compile": ("with_torch", {"compiled": True}),
}
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


def timed(call: Callable[[], object], seconds: float) -> tuple[float, list[float]]:
    """Call once for what is done once, then at least three times, until the seconds are over."""
    start = time.perf_counter()
    call()
    first, taken = time.perf_counter() - start, []
    while len(taken) < 3 or sum(taken) < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return first, taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("network", choices=work.DROPOUT)
    parser.add_argument("--weights", required=True, help="the first weights, .npz")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--examples", type=int, default=6400)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()

    module, arguments = PEERS[options.peer]
    with np.load(options.weights) as file:
        weights = dict(file)
    start = partial(
        importlib.import_module(f"benchmarks.peers.{module}").start, options.network, weights=weights, **arguments
    )
    if options.check:
        data = work.data(options.network, CHECK_BATCH, seed=1)
        peer = start(data, CHECK_BATCH, dropout=0.0, rate=CHECK_RATE)
        before = cross_entropy(peer.predict(), data.labels)
        peer.train()
        print(json.dumps({"before": before, "after": cross_entropy(peer.predict(), data.labels)}))
        return
    data = work.data(options.network, options.examples)
    peer = start(data, options.batch, dropout=work.DROPOUT[options.network], rate=work.LEARNING_RATE)
    batches = options.examples // options.batch
    found = {}
    for name, call in (("train", peer.train), ("predict", peer.predict)):
        first, taken = timed(call, options.seconds)
        found[name] = {"step_seconds": float(np.median(taken)) / batches, "first_pass_seconds": first}
    found["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["threads"] = len(os.sched_getaffinity(0))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
