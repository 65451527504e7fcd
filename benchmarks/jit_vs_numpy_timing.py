"""Timing of rivals that take turns, and what is read from it: medians, ratios, and where one overtakes the other."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# OpenBLAS's idle threads spin for 24 ms after a product and take the cores from whoever comes next; so each turn begins
# with a pause that outlasts them.
PAUSE_SECONDS = 0.03
TURN_SECONDS = 0.02  # a turn is as many calls as take this long, at least one
CASE_SECONDS = 12.0  # a case whose rounds would take longer gets fewer of them
LEAST_ROUNDS = 3


class Case(NamedTuple):
    """One piece of work and the programs that do it; each is called without arguments and returns when it is done."""

    work: str
    network: str
    size: int  # what the work grows with: the batch, or the number of elements
    programs: Mapping[str, Callable[[], Any]]
    compile_seconds: float
    units: Mapping[str, float] = {}
    """How many units of work one call does, where it is not one: the times are those of a unit."""


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Let the programs take turns, NumPy, eager, compiled, NumPy, ...; return the seconds of one unit in each round."""
    for program in case.programs.values():
        program()  # what is compiled, allocated or read in the first call is not timed
    once = {name: _seconds(program) for name, program in case.programs.items()}
    calls = {name: max(1, math.ceil(TURN_SECONDS / seconds)) for name, seconds in once.items()}
    turns = sum(calls[name] * seconds + PAUSE_SECONDS for name, seconds in once.items())
    rounds = min(rounds, max(LEAST_ROUNDS, int(CASE_SECONDS / turns)))
    seconds: dict[str, list[float]] = {name: [] for name in case.programs}
    for _ in range(rounds):
        for name, program in case.programs.items():
            time.sleep(PAUSE_SECONDS)
            if calls[name] > 1:
                program()  # wakes the threads that the pause let sleep
            start = time.perf_counter()
            for _ in range(calls[name]):
                program()
            elapsed = time.perf_counter() - start
            seconds[name].append(elapsed / calls[name] / case.units.get(name, 1))
    return seconds


def _seconds(program: Callable[[], Any]) -> float:
    start = time.perf_counter()
    program()
    return time.perf_counter() - start


def record(case: Case, rounds: int) -> dict[str, Any]:
    """Measure a case and describe it for JSON: median seconds, and NumPy's time over each other's, round by round."""
    seconds = measure(case, rounds)
    ratios = {
        name: [theirs / own for theirs, own in zip(seconds["numpy"], values, strict=True)]
        for name, values in seconds.items()
        if name != "numpy"
    }
    return {
        "work": case.work,
        "network": case.network,
        "size": case.size,
        "rounds": len(seconds["numpy"]),
        "median_seconds": {name: _digits(statistics.median(values)) for name, values in seconds.items()},
        "numpy_over": {name: _digits(statistics.median(values)) for name, values in ratios.items()},
        "numpy_over_range": {name: [_digits(min(values)), _digits(max(values))] for name, values in ratios.items()},
        "compile_seconds": _digits(case.compile_seconds),
    }


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def crossings(sizes: Sequence[float], ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[float, bool]]:
    """Find where the lower of two lines on log-log axes changes: (size, whether ours is the lower one from there).

    >>> crossings([1, 100], [2.0, 2.0], [1.0, 4.0])
    [(10.0, True)]
    """
    gaps = [math.log(b / a) for a, b in zip(ours, theirs, strict=True)]
    found = []
    for i in range(1, len(sizes)):
        before, after = gaps[i - 1], gaps[i]
        if (before > 0) != (after > 0):
            share = before / (before - after)
            low, high = math.log(sizes[i - 1]), math.log(sizes[i])
            found.append((float(f"{math.exp(low + share * (high - low)):.3g}"), after > 0))
    return found


def busy_cores(seconds: float = 1.0) -> float | None:
    """Measure how many cores other programs keep busy while this one sleeps; None where the system does not tell."""
    path = Path("/proc/stat")
    if not path.exists():
        return None

    def ticks() -> tuple[int, int]:
        # user, nice, system, idle, iowait, irq, softirq, steal; the rest is counted in the first two already.
        values = [int(value) for value in path.read_text().split("\n", 1)[0].split()[1:9]]
        return sum(values), values[3] + values[4]

    total, idle = ticks()
    time.sleep(seconds)
    new_total, new_idle = ticks()
    cores = sum(line.startswith("cpu") for line in path.read_text().splitlines()) - 1
    share = 1 - (new_idle - idle) / max(1, new_total - total)
    return round(cores * share, 2)
