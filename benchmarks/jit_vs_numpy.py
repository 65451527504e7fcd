"""NumPy, eager JAX and compiled JAX at the same work, from 2-4-1 to 784-2048-2048-10 and from one example to 4,096.

Activations, forward pass, hand-written backward pass (and `jax.grad` of the same network), Adam's update, training
steps of a whole epoch, and a thousand small networks by `vmap`. From the project's folder:

    python -m benchmarks.jit_vs_numpy            # five minutes on two quiet cores
    python -m benchmarks.jit_vs_numpy --quick    # a part of it, under a minute

prints a table and writes jit_vs_numpy.json and jit_vs_numpy.png. NumPy is `benchmarks.numpy_network`, in float32 and
in place. The rivals take turns in one process, each turn after a pause in which the threads of the one before fall
asleep; times are medians over the rounds, ratios are taken within a round. Compilation is timed apart. BLAS and XLA
have as many threads as there are cores, and BLAS waits by spinning: beside another busy program NumPy loses several
times more than JAX does, so the cores must be quiet. How busy they were before and after is measured and kept.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.jit_vs_numpy_cases import FULL, QUICK, Plan, cases
from benchmarks.jit_vs_numpy_timing import busy_cores, record
from jaxnn.files import write_whole
from jaxnn.report import environment, save_png

METHOD = (
    "Turns in one process: NumPy, eager JAX, compiled JAX, NumPy, ...; each after a pause of 30 ms and, where a call "
    "is short, one call that is not timed. Seconds are medians over the rounds, ratios are medians of the ratios "
    "within a round, ranges are from the least to the largest. float32. Arrays are ready on the host for NumPy and on "
    "the device for JAX. Backward pass: the forward pass is part of it. Training step: one step of an epoch by Adam "
    "with its gather of the batch; compiled JAX does the whole epoch in one program. Eager and compiled JAX use "
    "the hand-written backward pass; jax.grad stands beside it. Thousand networks: seconds for one network's training "
    "of 5,000 epochs; NumPy trains three in each turn, one after another, compiled JAX all thousand at once, eager JAX "
    "all thousand for a fiftieth of the epochs."
)
TABLE_WIDTH = 130


@dataclass(frozen=True)
class Options:
    """How much is measured, and where the results go."""

    quick: bool = False
    """Measure a part in under a minute."""
    rounds: int = 5
    """Turns of each program; slow cases get fewer, at least three."""
    out: Path = Path("runs/jit_vs_numpy")
    """The folder for jit_vs_numpy.json and jit_vs_numpy.png."""


def run(plan: Plan, rounds: int) -> dict[str, Any]:
    """Measure all cases of a plan; return what goes into the JSON file."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    busy_before, start, records = busy_cores(), time.perf_counter(), []
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), transient=True) as progress:
        task = progress.add_task("")
        for case in cases(plan):
            progress.update(task, description=f"{case.work} {case.network} {case.size:,}")
            records.append(record(case, rounds))
    seconds = time.perf_counter() - start
    time.sleep(0.1)  # our own threads fall asleep
    return {
        "method": METHOD,
        "environment": environment() | threads(),
        "busy_cores_before_and_after": [busy_before, busy_cores()],
        "seconds": round(seconds, 1),
        "cases": records,
    }


def threads() -> dict[str, str]:
    """Say in words which BLAS multiplies for NumPy, and on how many threads each rival runs."""
    import numpy as np

    blas: dict[str, Any] = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    try:
        from threadpoolctl import threadpool_info

        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        count = ", ".join(f"{pool['num_threads']} threads, {pool.get('architecture', 'its')} kernels" for pool in pools)
    except ImportError:
        count = "as many threads as cores unless told otherwise (threadpoolctl, which would tell, is not installed)"
    return {
        "BLAS of NumPy": f"{blas['name']} {blas['version']}: {count}",
        "XLA": "one pool of as many threads as cores",
    }


def table(cases: list[dict[str, Any]]) -> Any:
    """Make the table: a row for each case; an asterisk marks the fastest."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        title="Median times (* the fastest), and how many times as fast as NumPy compiled JAX is",
    )
    for heading in (
        "work",
        "network",
        "size",
        "NumPy",
        "eager",
        "compiled",
        "times",
        "range",
        "grad/hand",
        "compiling",
    ):
        left = heading in {"work", "network"}
        result.add_column(heading, justify="left" if left else "right", no_wrap=True)
    last = None
    for row in cases:
        seconds = row["median_seconds"]
        low, high = row["numpy_over_range"]["compiled"]
        grad = seconds.get("compiled jax.grad")
        if (row["work"], row["network"]) != last:
            result.add_section()
        last = row["work"], row["network"]
        rivals = {name: seconds[name] for name in ("numpy", "eager", "compiled")}
        fastest = min(rivals, key=lambda name: rivals[name])
        result.add_row(
            row["work"],
            row["network"],
            f"{row['size']:,}",
            *(f"{'*' if name == fastest else ''}{in_words(value)}" for name, value in rivals.items()),
            f"{row['numpy_over']['compiled']:.3g}",
            f"{low:.3g}-{high:.3g}",
            "" if grad is None else f"{grad / seconds['compiled']:.2f}",
            in_words(row["compile_seconds"]),
        )
    return result


def in_words(seconds: float) -> str:
    """Write a time in three digits with its unit.

    >>> in_words(0.00123), in_words(2.5e-6), in_words(12.0)
    ('1.23 ms', '2.5 µs', '12 s')
    """
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.9995 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}"
    raise AssertionError("the last unit takes every time")


def main(options: Options) -> None:
    from rich.console import Console

    from benchmarks.jit_vs_numpy_figures import figure

    if options.rounds < 1:
        raise SystemExit(f"jit_vs_numpy expected at least one round but got {options.rounds}")
    options.out.mkdir(parents=True, exist_ok=True)
    result = run(QUICK if options.quick else FULL, options.rounds)
    measured = result["cases"]
    command = f"python -m benchmarks.jit_vs_numpy{' --quick' if options.quick else ''} --rounds {options.rounds}"
    console = Console()
    # A table cut to the 80 columns of a pipe cannot be read.
    console = console if console.width >= TABLE_WIDTH else Console(width=TABLE_WIDTH)
    console.print(table(measured))
    before, after = result["busy_cores_before_and_after"]
    console.print(f"{result['seconds']:.0f} s; cores that others kept busy: {before} before, {after} after")
    content = json.dumps({"command": command} | result, indent=1) + "\n"
    write_whole(options.out / "jit_vs_numpy.json", content.encode())
    save_png(lambda: figure(measured), options.out / "jit_vs_numpy.png")
    console.print(f"{options.out}/jit_vs_numpy.json, jit_vs_numpy.png")


if __name__ == "__main__":
    import tyro

    main(
        tyro.cli(
            Options,
            prog="python -m benchmarks.jit_vs_numpy",
            description=__doc__,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    )
