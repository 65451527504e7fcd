"""The figure of `jit_vs_numpy`: time against size for the three rivals, and where compiled JAX overtakes NumPy."""

from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.jit_vs_numpy_timing import crossings
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_HEIGHT = 2.4  # inches
SHADE = 0.55


class Look(NamedTuple):
    """How one rival is drawn; dash and marker tell it apart without colour."""

    label: str
    color: str
    dash: Any
    marker: str


LOOKS = {
    "numpy": Look("NumPy", "C1", (0, (4, 1.6)), "s"),
    "eager": Look("eager JAX", "C3", (0, (1, 1.4)), "^"),
    "compiled": Look("compiled JAX", "C0", "-", "o"),
}
PASSES = ("forward pass", "backward pass")
DRAWN_ACTIVATIONS = ("sigmoid", "relu")  # the others are in the table; their lines look like one of these


def figure(cases: list[dict[str, Any]]) -> "Figure":
    """Draw a panel for each kind of work and network that was measured at more than one size, two in a row."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    groups = grouped(cases)
    rows = (len(groups) + 1) // 2
    drawn = Figure(figsize=(WIDTH, PANEL_HEIGHT * rows + 0.5), layout="constrained")
    drawn.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.05, hspace=0.05)  # type: ignore[union-attr]
    panels = list(drawn.subplots(rows, 2, squeeze=False).flat)
    for panel, (title, label, rows_of_group) in zip(panels, groups, strict=False):
        _panel(panel, title, label, rows_of_group)
    for panel in panels[len(groups) :]:
        panel.remove()
    handles, _ = panels[0].get_legend_handles_labels()
    shade = Patch(facecolor=colors().line, alpha=SHADE, label="NumPy is faster than compiled JAX")
    drawn.legend(handles=[*handles, shade], loc="outside upper left", ncols=4, frameon=False, handlelength=3.2)
    return drawn


def grouped(cases: list[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Sort the cases into panels, (title, label of the x axis, cases), in the order in which they are drawn."""
    panels: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    networks = list(dict.fromkeys(case["network"] for case in cases))
    for case in cases:
        work, network = case["work"], case["network"]
        if work in DRAWN_ACTIVATIONS:
            key = -1, f"Activation: {work}", "elements"
        elif work in PASSES:
            passes = "forward and backward" if work == "backward pass" else "forward"
            key = networks.index(network), f"{network}: {passes}", "batch (examples)"
        elif work == "training step":
            key = len(networks) + 1, f"{network}: a step by Adam", "batch (examples)"
        elif work == "Adam update":
            key = len(networks), "Adam: the update alone", "parameters"
        else:
            continue
        panels.setdefault(key, []).append(case)
    ordered = sorted(panels.items(), key=lambda item: item[0][0])
    return [(title, label, rows) for (_, title, label), rows in ordered if len({row["size"] for row in rows}) > 1]


def _panel(panel: "Axes", title: str, label: str, cases: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_title(title)
    panel.set_xscale("log")
    panel.set_yscale("log")
    sizes = [case["size"] for case in cases]
    lines = {name: [case["median_seconds"][name] for case in cases] for name in LOOKS}
    for name, look in LOOKS.items():
        panel.plot(
            sizes,
            lines[name],
            color=look.color,
            linestyle=look.dash,
            marker=look.marker,
            markersize=4,
            label=look.label,
        )
    panel.set_xlabel(label)
    panel.set_ylabel("time")
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    panel.xaxis.set_major_locator(LogLocator(base=10 if max(sizes) > 5000 else 4, numticks=9))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value < 1e4 else count(value)))
    panel.yaxis.set_major_locator(LogLocator(numticks=8))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: time_label(value)))
    low, high = min(map(min, lines.values())), max(map(max, lines.values()))
    panel.set_ylim(low / 2, high * (high / low) ** 0.22 * 2)  # room for the words above
    _mark(panel, sizes, lines)


def _mark(panel: "Axes", sizes: list[int], lines: dict[str, list[float]]) -> None:
    """Shade where NumPy is faster than compiled JAX, and write at each crossing from where the other one is."""
    found = crossings(sizes, lines["compiled"], lines["numpy"])
    edges = [sizes[0], *(size for size, _ in found), sizes[-1]]
    ours = lines["compiled"][0] < lines["numpy"][0]
    theme = colors()
    for i in range(len(edges) - 1):
        if not ours:
            panel.axvspan(edges[i], edges[i + 1], color=theme.line, alpha=SHADE, linewidth=0)
        ours = not ours
    for size, _ in found:
        panel.axvline(size, color=theme.ink, linewidth=1, linestyle=":")
    first_wins = lines["compiled"][0] < lines["numpy"][0]
    if not found:
        words = f"{'compiled JAX' if first_wins else 'NumPy'} wins everywhere"
    elif len(found) == 1:
        words = f"compiled JAX wins {'up to' if first_wins else 'from'} about {count(found[0][0])}"
    else:
        words = f"they change places at about {', '.join(count(size) for size, _ in found)}"
    box = {"facecolor": theme.paper, "edgecolor": theme.line, "boxstyle": "round,pad=0.3", "linewidth": 0.7}
    panel.text(0.5, 0.95, words, transform=panel.transAxes, ha="center", va="top", fontsize=9, bbox=box)


def count(value: float) -> str:
    """Write a number in two digits, 1048576 as 1 M and 535818 as 540 k.

    >>> count(1048576), count(535818), count(4096), count(64), count(2.34)
    ('1 M', '540 k', '4,100', '64', '2')
    """
    value = round(float(f"{value:.2g}"))
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if value >= max(factor, 1e4):
            return f"{value / factor:g}{unit}"
    return f"{value:,g}"


def time_label(seconds: float) -> str:
    """Write a power of ten of seconds with its unit.

    >>> time_label(1e-5), time_label(0.1), time_label(10.0)
    ('10 µs', '100 ms', '10 s')
    """
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.9999:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
