"""The figure of `benchmarks.peers`: for each network the peers' steps beside jaxnn's, and how much of the product."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.peers.roster import PEERS, TITLES
from benchmarks.peers.tables import MODES, three_digits
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and marker, so that black and white will do; jaxnn is the line at 1.
LOOKS = {
    "torch": ("C1", "s"),
    "torch_channels_last": ("C1", "D"),
    "torch_compile": ("C1", "^"),
    "linen": ("C2", "o"),
    "nnx": ("C2", "v"),
    "equinox": ("C3", "X"),
    "keras": ("C4", "P"),
    "numpy": ("C5", "*"),
}
LINE_HEIGHT = 0.42  # inches for a network


def figure(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw a panel for each mode and batch: a line for each network, on it each peer's time over jaxnn's."""
    from matplotlib.figure import Figure

    batches = sorted({row["batch"] for row in rows})
    networks = [name for name in TITLES if any(row["network"] == name for row in rows)]
    height = (LINE_HEIGHT * len(networks) + 0.9) * len(batches) + 0.6
    drawn = Figure(figsize=(WIDTH, height), layout="constrained")
    drawn.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.06)  # type: ignore[union-attr]
    panels = drawn.subplots(len(batches), len(MODES), squeeze=False, sharex=True)
    for line, batch in zip(panels, batches, strict=True):
        for panel, mode in zip(line, MODES, strict=True):
            _panel(panel, [row for row in rows if row["batch"] == batch], networks, mode)
            panel.set_title(f"{MODES[mode].capitalize()}, batch {batch}")
            if mode != "train":
                panel.set_yticklabels([])
    for panel in panels[-1]:
        panel.set_xlabel("time of a step over jaxnn's")
    found = [dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True)) for panel in panels.flat]
    handles = {label: handle for labelled in found for label, handle in labelled.items()}
    drawn.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=5, frameon=False)
    return drawn


def _panel(panel: "Axes", rows: Sequence[Mapping[str, Any]], networks: Sequence[str], mode: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    theme = colors()
    panel.axvline(1, color=theme.ink, linewidth=1.2, label="jaxnn" if rows else None)
    for peer, (color, marker) in LOOKS.items():
        found = [row for row in rows if row["peer"] == peer]
        if not found:
            continue
        ratios = [row[mode]["jaxnn_over_peer"] for row in found]
        middle = [1 / ratio["median"] for ratio in ratios]
        spread = [
            [m - 1 / ratio["most"] for m, ratio in zip(middle, ratios, strict=True)],
            [1 / ratio["least"] - m for m, ratio in zip(middle, ratios, strict=True)],
        ]
        height = [networks.index(row["network"]) for row in found]
        panel.errorbar(
            middle,
            height,
            xerr=spread,
            color=color,
            marker=marker,
            markersize=6,
            linestyle="none",
            elinewidth=1,
            label=PEERS[peer].title,
        )
    for row in rows:
        if row["peer"] == "jaxnn":
            share = row[mode]["share_of_product"]["median"]
            milliseconds = statistics.median(row[mode]["step_milliseconds"])
            words = f"{three_digits(milliseconds)} ms, {share:.0%} of the product".replace("%", " %")
            at = networks.index(row["network"])
            panel.text(0.985, at - 0.3, words, transform=panel.get_yaxis_transform(), ha="right", fontsize=8)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64]))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_yticks(range(len(networks)), [TITLES[name] for name in networks])
    panel.set_ylim(len(networks) - 0.5, -0.6)
    panel.grid(axis="x")
    panel.set_axisbelow(True)
