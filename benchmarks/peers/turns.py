"""Processes that take turns: one for each peer, and the machine's large matrix product between them."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.jit_vs_numpy_timing import PAUSE_SECONDS
from jaxnn.training.machine import cores

TOLERANCE = 1e-4
CASE_SECONDS = 90.0  # rounds that would take longer are fewer, but at least three
LEAST_ROUNDS = 3
PRODUCT_SIZE = 2048


class PeerFailedError(Exception):
    """A peer's process ended with an error; the message is its last line."""


class Task(NamedTuple):
    """What the peers do: a network from these weights with batches of some size."""

    network: str
    weights: Path
    batch: int
    examples: int


class Live(NamedTuple):
    """A peer's process that waits for its turn, and what it said of its first pass."""

    process: subprocess.Popen[str]
    errors: Path
    first: dict[str, Any]


def environment_of_peers() -> dict[str, str]:
    """Tell OpenMP and OpenBLAS the number of threads; XLA takes that of the cores by itself."""
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
    return dict(os.environ) | {name: str(cores()) for name in names}


def command(python: str, peer: str, network: str, weights: Path, *options: str) -> list[str]:
    return [python, "-m", "benchmarks.peers.worker", peer, network, "--weights", str(weights), *options]


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no message"


def check(python: str, peer: str, network: str, weights: Path) -> dict[str, float]:
    """Let a peer take one step without dropout; return the loss before and after it."""
    call = command(python, peer, network, weights, "--check")
    done = subprocess.run(call, capture_output=True, text=True, env=environment_of_peers())
    if done.returncode:
        raise PeerFailedError(last_line(done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


def checked(
    network: str, weights: Path, pythons: Mapping[str, str], left_out: Callable[[str, str], None]
) -> dict[str, float]:
    """Check that all train the same function; return the largest difference of each peer's losses from jaxnn's.

    A peer that fails is reported to `left_out` and has no entry; one whose loss differs ends the program.
    """
    with ThreadPoolExecutor(cores()) as pool:  # nothing is timed here
        calls = {peer: pool.submit(check, python, peer, network, weights) for peer, python in pythons.items()}
    ours = calls["jaxnn"].result()
    apart = {}
    for peer, call in calls.items():
        try:
            theirs = call.result()
        except PeerFailedError as error:
            left_out(peer, str(error))
            continue
        apart[peer] = max(abs(theirs[at] - ours[at]) for at in ours)
        if apart[peer] > TOLERANCE:
            raise SystemExit(f"{peer} does not train the same {network}: {theirs} where jaxnn has {ours}")
    return apart


def launch(python: str, peer: str, task: Task) -> Live:
    """Start a peer's process and wait until its first passes are done."""
    options = "--batch", str(task.batch), "--examples", str(task.examples)
    errors = task.weights.with_name(f"{peer}.log")
    with errors.open("w") as file:
        process = subprocess.Popen(
            command(python, peer, task.network, task.weights, *options),
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": file},
            text=True,
            env=environment_of_peers(),
        )
    live = Live(process, errors, {})
    try:
        return live._replace(first=answer(live))
    except BaseException:
        close(live)
        raise


def answer(live: Live) -> dict[str, Any]:
    """Read the next line of JSON; what a library prints beside is passed over."""
    assert live.process.stdout is not None
    for line in live.process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise PeerFailedError(last_line(live.errors.read_text()))


def turn(live: Live, seconds: float) -> dict[str, Any]:
    """Let a peer train and predict for some seconds each."""
    assert live.process.stdin is not None
    time.sleep(PAUSE_SECONDS)
    live.process.stdin.write(f"turn {seconds}\n")
    live.process.stdin.flush()
    return answer(live)


def close(live: Live) -> None:
    """End a peer's process: its input is over."""
    try:
        assert live.process.stdin is not None
        live.process.stdin.close()
        live.process.wait(5)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        live.process.kill()
        live.process.wait()


def products() -> dict[str, Callable[[], Any]]:
    """Make the large matrix product in each way that this program has."""
    a = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
    out, on_device, multiply = np.empty_like(a), jnp.asarray(a), jax.jit(jnp.matmul)
    ways = {
        "jax": lambda: multiply(on_device, on_device).block_until_ready(),
        "numpy": lambda: np.matmul(a, a, out=out),
    }
    for way in ways.values():
        way()
    return ways


def product_speeds(ways: Mapping[str, Callable[[], Any]], repeats: int = 3) -> dict[str, float]:
    """Measure the multiply-adds a second of each way's product, the best of some."""
    speeds = {}
    for name, way in ways.items():
        time.sleep(PAUSE_SECONDS)
        best = np.inf
        for _ in range(repeats):
            start = time.perf_counter()
            way()
            best = min(best, time.perf_counter() - start)
        speeds[name] = PRODUCT_SIZE**3 / float(best)
    return speeds


def measured(
    task: Task, pythons: Mapping[str, str], rounds: int, seconds: float, left_out: Callable[[str, str], None]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], list[dict[str, float]]]:
    """Start the peers one after another, and let them take turns for some rounds.

    Returns what each said of its first passes, what each measured in each round, and the product's speeds there.
    """
    ways = products()
    with ExitStack() as stack:
        lives: dict[str, Live] = {}
        for peer, python in pythons.items():
            try:
                lives[peer] = launch(python, peer, task)
            except PeerFailedError as error:
                left_out(peer, str(error))
                continue
            stack.callback(close, lives[peer])
        found: list[dict[str, Any]] = []
        speeds: list[dict[str, float]] = []
        start = time.perf_counter()
        while len(found) < rounds:
            if len(found) >= LEAST_ROUNDS and time.perf_counter() - start > CASE_SECONDS:
                break
            speeds.append(product_speeds(ways))
            found.append({peer: turn(live, seconds) for peer, live in lives.items()})
        return {peer: live.first for peer, live in lives.items()}, found, speeds
