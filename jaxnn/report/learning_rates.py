"""The loss after short trainings over their learning rates, with the edge of divergence and the suggestion."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.report.theme import colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROOM = 0.15  # of the height, above the untrained network's loss: what lies higher is drawn at the top
WIDE_RANGE = 30  # largest / smallest loss from which on the scale is logarithmic, as in `learning_curves`


def learning_rates(
    rates: Any, losses: Any, *, start: float | None = None, edge: float | None = None, suggestion: float | None = None
) -> "Figure":
    """Draw losses [K] over rates [K] on a logarithmic axis: `final` of `lr_finder`, or `smoothed` of `ramp`.

    `start` is the untrained network's loss, a dotted line; from `edge` on the panel is shaded; `suggestion` is ringed.
    Losses far above the start, or infinite, are triangles at the top. The loss is on a logarithmic scale if it ranges
    over a factor of 30. Raises ValueError for unequal shapes, rates that are not positive, and where no loss is finite.

    >>> figure = learning_rates([0.01, 0.1, 1.0], [2.0, 0.5, float("inf")], start=2.3, edge=1.0, suggestion=0.1)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['untrained', 'suggestion 0.1', 'diverges from 1']
    """
    from matplotlib.figure import Figure

    places, values = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    if places.ndim != 1 or len(places) < 2 or values.shape != places.shape:
        raise ValueError(
            f"learning_rates expected rates [K] of at least 2 and losses [K] but got shapes {places.shape} and "
            f"{values.shape}"
        )
    if not (np.isfinite(places).all() and (places > 0).all()):
        raise ValueError("learning_rates expected rates that are positive and finite")
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("learning_rates expected at least one finite loss: give smaller rates")
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    panel = figure.subplots()
    panel.set_xscale("log")
    panel.set_xlim(places.min() / 1.3, places.max() * 1.3)
    top = _scale(panel, finite, start)
    inside = np.isfinite(values) & (values <= top)
    panel.plot(places, np.where(inside, values, np.nan), color="C0", marker=".", markersize=5)
    panel.plot(places[~inside], np.full((~inside).sum(), top), color="C0", marker="^", markersize=6, linestyle="none")
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    panel.set_xlabel("learning rate (triangles: loss far higher, or infinite)" if not inside.all() else "learning rate")
    panel.set_ylabel("smoothed training loss")
    _marks(panel, places, values, start, edge, suggestion)
    return figure


def _scale(panel: "Axes", finite: np.ndarray, start: float | None) -> float:
    """Set the limits of the losses and return the highest that is drawn where it is."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low = float(finite.min())
    usual = float(finite.max()) if start is None else float(start)
    if start is None and low > 0:
        usual = min(usual, 2 * float(np.median(finite)))
    usual = max(usual, low)
    if low > 0 and usual >= WIDE_RANGE * low:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
        factor = (usual / low) ** ROOM
        panel.set_ylim(low / factor**0.5, usual * factor**1.4)
        return usual * factor
    height = (usual - low) or abs(usual) or 1.0
    panel.set_ylim(low - 0.5 * ROOM * height, usual + 1.4 * ROOM * height)
    return usual + ROOM * height


def _marks(
    panel: "Axes",
    places: np.ndarray,
    values: np.ndarray,
    start: float | None,
    edge: float | None,
    suggestion: float | None,
) -> None:
    now = colors()
    if start is not None:
        panel.axhline(start, color=now.muted, linestyle=":", linewidth=1.2, zorder=1)
        panel.annotate(
            "untrained",
            (0.0, start),
            xycoords=("axes fraction", "data"),
            xytext=(6, 4),
            textcoords="offset points",
            color=now.muted,
            fontsize=9,
        )
    if suggestion is not None:
        panel.axvline(suggestion, color="C1", linewidth=1.2, zorder=1)
        at = int(np.abs(np.log(places / suggestion)).argmin())
        if np.isclose(places[at], suggestion):
            panel.plot(
                places[at], values[at], marker="o", markersize=9, color=now.paper, markeredgecolor="C1",
                markeredgewidth=1.8,
            )  # fmt: skip
        _above(panel, suggestion, f"suggestion {suggestion:.2g}", 0, "C1")
    if edge is not None:
        panel.axvspan(edge, panel.get_xlim()[1], color=now.line, alpha=0.45, linewidth=0, zorder=0)
        panel.axvline(edge, color=now.ink, linestyle=(0, (4, 1.6)), linewidth=1.2, zorder=1)
        _above(panel, edge, f"diverges from {edge:.2g}", 1, now.ink)


def _above(panel: "Axes", rate: float, text: str, row: int, color: str) -> None:
    """Write above the panel at the rate, inwards near its sides; each mark has a row of its own, so none overlap."""
    low, high = np.log(panel.get_xlim())
    share = (np.log(rate) - low) / (high - low)
    panel.annotate(
        text,
        (rate, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4 + 14 * row),
        textcoords="offset points",
        ha="left" if share < 0.25 else "right" if share > 0.75 else "center",
        color=color,
        fontsize=9.5,
        fontweight="bold",
        annotation_clip=False,
    )
