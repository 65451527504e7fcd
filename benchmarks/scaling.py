"""How time and memory of training grow: with examples, batch, width, depth, length, and networks in `fit_many`.

    python -m benchmarks.scaling                     # a few minutes on two quiet cores
    python -m benchmarks.scaling --quick             # the three smallest sizes of each
    python -m benchmarks.scaling --axes width depth

Each size trains in a process of its own. The exponent e of value = c size^e is fitted by least squares over the
logarithms, for all sizes and for the larger half of them, beside the one that the counted arithmetic (for time) and the
counted floats (for memory) have over the same sizes. What is fixed, such as the dispatch of a program, makes the fit
over small sizes flatter; memory is therefore what exceeds that of the smallest size. Writes scaling.json and .png.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.jit_vs_numpy_timing import busy_cores
from benchmarks.output import write_results
from benchmarks.peers.tables import markdown
from benchmarks.scaling_cases import AXES, exponent
from jaxnn.report import environment, save_png
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = Path(__file__).with_name("results") / "scaling.json"
PANEL_HEIGHT = 1.75  # inches


def measure(axis: str, size: int) -> dict[str, float]:
    """Train at one size in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scaling_cases", axis, str(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def fitted(axis: str, points: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Fit the exponents of what was measured, and of what was counted at the same sizes."""
    half = points[len(points) // 2 :] if len(points) > 3 else points[1:]
    counted, least = AXES[axis], points[0]
    return {
        "seconds": _beside(points, "seconds", counted.arithmetic),
        "seconds_larger_half": _beside(half, "seconds", counted.arithmetic),
        "megabytes_larger_half": _beside(
            [point | {"megabytes": max(1, point["megabytes"] - least["megabytes"])} for point in half],
            "megabytes",
            lambda size: counted.floats(size) - counted.floats(int(least["size"])),
        ),
        "compile_seconds": {
            "exponent": exponent([point["size"] for point in points], [point["compile_seconds"] for point in points])
        },
    }


def _beside(points: Sequence[dict[str, float]], measure: str, counted: Callable[[int], float]) -> dict[str, float]:
    sizes = [int(point["size"]) for point in points]
    return {
        "exponent": exponent(sizes, [point[measure] for point in points]),
        "expected": exponent(sizes, [counted(size) for size in sizes]),
    }


def table(result: dict[str, Any]) -> str:
    """Write the exponents, fitted and expected."""
    names = {
        "seconds": "time",
        "seconds_larger_half": "time, larger half",
        "megabytes_larger_half": "memory, larger half",
    }
    lines = []
    for axis in result["axes"]:
        points = axis["points"]
        line = [axis["title"], *(f"{points[at]['size']:,} ({clock(points[at]['seconds'])})" for at in (0, -1))]
        for name in names:
            line += [f"{axis['fits'][name][value]:.2f}" for value in ("exponent", "expected")]
        lines.append([*line, f"{axis['fits']['compile_seconds']['exponent']:.2f}"])
    header = [word for name in names.values() for word in (name, "counted")]
    return markdown(["what grows", "from", "to", *header, "compilation"], lines)


def clock(seconds: float) -> str:
    """Write a time in three digits.

    >>> clock(0.0123), clock(2.5)
    ('12.3 ms', '2.5 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def figure(result: dict[str, Any]) -> "Figure":
    """Draw a row for each axis: time and memory against size, beside lines that grow as what was counted."""
    from matplotlib.figure import Figure

    axes = result["axes"]
    drawn = Figure(figsize=(WIDTH, PANEL_HEIGHT * len(axes) + 0.4), layout="constrained")
    drawn.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.05, hspace=0.05)  # type: ignore[union-attr]
    rows = drawn.subplots(len(axes), 2, squeeze=False)
    for (left, right), axis in zip(rows, axes, strict=True):
        times = [1000 * point["seconds"] for point in axis["points"]]
        counted = axis["counted"]["arithmetic"]
        line = [value * times[-1] / counted[-1] for value in counted]
        _panel(left, axis, times, line, "ms", axis["fits"]["seconds_larger_half"])
        left.set_title(f"{axis['title']}: {axis['timed']}")
        memory, counted = [point["megabytes"] for point in axis["points"]], axis["counted"]["floats"]
        slope = (memory[-1] - memory[0]) / (counted[-1] - counted[0])
        line = [memory[0] + slope * (value - counted[0]) for value in counted]
        _panel(right, axis, memory, line, "MB", axis["fits"]["megabytes_larger_half"])
        right.set_title("peak memory above the process before")
    drawn.legend(*rows[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    return drawn


def _panel(
    panel: "Axes", axis: dict[str, Any], values: list[float], line: list[float], unit: str, fit: dict[str, float]
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    sizes = [point["size"] for point in axis["points"]]
    panel.plot(sizes, values, color="C0", marker="o", markersize=4, label="measured")
    label = "growth of the counted arithmetic or floats"
    panel.plot(sizes, line, color="C1", linestyle=(0, (4, 1.6)), label=label)
    words = f"larger half: exponent {fit['exponent']:.2f}, counted {fit['expected']:.2f}"
    panel.text(0.02, 0.95, words, transform=panel.transAxes, va="top", fontsize=8, color=colors().muted)
    panel.set_xscale("log")
    panel.set_yscale("log")
    low, high = min(*values, *line), max(*values, *line)
    panel.set_ylim(low / 1.5, high * (high / low) ** 0.25 * 1.6)
    panel.set_xticks(sizes, [size_label(size) for size in sizes])
    # Where the values lie within few powers of ten, twice and five times those too: else no line may be there at all.
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,), numticks=6))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} {unit}"))
    for side in (panel.xaxis, panel.yaxis):
        side.set_minor_locator(NullLocator())
    panel.grid(axis="y")
    panel.set_axisbelow(True)


def size_label(size: int) -> str:
    """Write a size short where it is round.

    >>> size_label(256_000), size_label(1_000_000), size_label(16_384)
    ('256 k', '1 M', '16,384')
    """
    for factor, unit in ((1_000_000, " M"), (1000, " k")):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size:,}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS", help=", ".join(AXES))
    parser.add_argument("--quick", action="store_true", help="the three smallest sizes of each axis")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)

    started = time.perf_counter()
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.scaling{' --quick' if options.quick else ''}",
        "method": " ".join((__doc__ or "").split("\n\n")[2].split()),
        "environment": environment(),
        "cores_busy_before": busy_cores(),
        "axes": [],
    }
    for name in options.axes:
        axis = AXES[name]
        points = [measure(name, size) for size in axis.sizes[: 3 if options.quick else None]]
        counted = {
            "arithmetic": [axis.arithmetic(int(point["size"])) for point in points],
            "floats": [axis.floats(int(point["size"])) for point in points],
        }
        found = {"axis": name, "title": axis.title, "timed": axis.timed, "points": points, "counted": counted}
        result["axes"].append(found | {"fits": fitted(name, points)})
        print(f"{axis.title}: {', '.join(clock(point['seconds']) for point in points)}", flush=True)
    result["seconds"] = round(time.perf_counter() - started)
    write_results(options.output, result)
    save_png(lambda: figure(result), options.output.with_suffix(".png"))
    print(f"\n{table(result)}\n\n{result['seconds']} s; {options.output}")


if __name__ == "__main__":
    main()
