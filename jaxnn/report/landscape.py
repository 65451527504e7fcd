"""The loss around a network: along one direction a curve, over two of them a map with contour lines."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.report.theme import color_scale, colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = 9
EDGE = 0.06  # of the map's width: a label nearer to the edge would be cut off, and is left out
WIDE_RANGE = 30  # largest / smallest loss from which on the scale is logarithmic, as in `learning_curves`


def loss_landscape(offsets: Any, losses: Any) -> "Figure":
    """Draw what `jaxnn.training.landscape.landscape` measured: losses [points] as a curve, [points, points] as a map.

    The map has the first direction to the right and the second upwards; contour lines carry their loss, and darker is
    higher (lighter on dark paper). The network itself is the ringed point in the middle. A loss that is not finite
    leaves a gap. The scale is logarithmic if the losses range over a factor of 30. Raises ValueError for other shapes,
    and where fewer than two losses are finite.

    >>> figure = loss_landscape([-1.0, 0.0, 1.0], [2.0, 0.5, 1.0])
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('distance along the direction, in filter norms', 'mean loss')
    """
    from matplotlib.figure import Figure

    places, values = np.asarray(offsets, np.float64), np.asarray(losses, np.float64)
    if places.ndim != 1 or len(places) < 3 or values.shape not in (places.shape, places.shape * 2):
        raise ValueError(
            f"loss_landscape expected offsets [points] of at least 3 and losses [points] or [points, points] but got "
            f"shapes {places.shape} and {values.shape}"
        )
    values = np.where(np.isfinite(values), values, np.nan)
    if np.isfinite(values).sum() < 2:
        raise ValueError("loss_landscape expected at least two finite losses: take a smaller span")
    figure = Figure(figsize=(6.0, 3.4) if values.ndim == 1 else (6.0, 5.6), layout="constrained")
    panel = figure.subplots()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    logarithmic = low > 0 and high >= WIDE_RANGE * low
    (_curve if values.ndim == 1 else _map)(panel, places, values, logarithmic)
    return figure


def _curve(panel: "Axes", places: np.ndarray, values: np.ndarray, logarithmic: bool) -> None:
    panel.plot(places, values, color="C0", marker=".", markersize=4)
    middle = len(places) // 2
    _network(panel, places[middle], values[middle])
    if logarithmic:
        _logarithmic(panel)
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    panel.set_xlabel("distance along the direction, in filter norms")
    panel.set_ylabel("mean loss")


def _logarithmic(panel: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_locator(NullLocator())


def _map(panel: "Axes", places: np.ndarray, values: np.ndarray, logarithmic: bool) -> None:
    from matplotlib.patheffects import withStroke

    now = colors()
    shown = np.ma.masked_invalid(values.T)  # contour has the first axis upwards
    levels = _levels(float(np.nanmin(values)), float(np.nanmax(values)), logarithmic)
    scale = color_scale(now.paper, now.series[0])
    # The shades stop half-way to the colour, or the ink of the labels could not be read on the darkest.
    shades = [scale(0.55 * i / LEVELS) for i in range(LEVELS + 1)]
    panel.contourf(places, places, shown, levels=levels, colors=shades, extend="both")
    lines = panel.contour(places, places, shown, levels=levels, colors=[now.ink], linewidths=0.8)
    span = float(places[-1] - places[0])
    for label in panel.clabel(lines, fmt=lambda level: f"{level:.2g}", fontsize=8.5, inline=False):
        near = min(abs(end - where) for end in (places[0], places[-1]) for where in label.get_position())
        if near < EDGE * span:
            label.remove()
        label.set_path_effects([withStroke(linewidth=3, foreground=now.paper)])
    panel.set_aspect("equal")
    middle = places[len(places) // 2]
    _network(panel, middle, middle)
    panel.set_xlabel("distance along the first direction, in filter norms")
    panel.set_ylabel("along the second, in filter norms")


def _levels(low: float, high: float, logarithmic: bool) -> np.ndarray:
    """Return the losses of the contour lines, strictly between the lowest and the highest."""
    if low == high:
        return low + np.linspace(-1, 1, LEVELS) * (abs(low) or 1.0)
    ends = np.geomspace(low, high, LEVELS + 2) if logarithmic else np.linspace(low, high, LEVELS + 2)
    return ends[1:-1]


def _network(panel: "Axes", x: float, y: float) -> None:
    """Mark the network that the directions start from."""
    now = colors()
    panel.plot(x, y, marker="o", markersize=8, color=now.paper, markeredgecolor=now.ink, markeredgewidth=1.6)
