"""How the loss and the metrics went from epoch to epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxnn.report.theme import WIDTH, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a record tells about the run and not about the model.
NO_METRIC = ("epoch", "step", "seconds", "examples_per_second", "gradient_norm", "learning_rate")
PANEL = (WIDTH / 2, 3.0)  # inches


class Look(NamedTuple):
    """How one line is drawn: its colour's place in the cycle, its dash, and its marker."""

    series: int
    dash: Any
    marker: str


# Colour, dash and marker all differ, so that the two can be told apart in black and white too.
TRAIN = Look(0, "-", "o")
VALIDATION = Look(1, (0, (4, 1.6)), "s")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw one panel for the loss and one for each metric, training and validation over epochs.

    `history` has one record an epoch, as `fit` gives: `epoch`, `loss`, any metric by its name, and each of these again
    with `validation_` before it where it was measured. `step`, `seconds`, `gradient_norm` and `learning_rate` are no
    metrics, and everything else that is not a number is passed over; a value may be absent or not finite in some
    epochs. The loss is on a logarithmic scale if it ranges over a factor of 30. Raises ValueError when there is nothing
    to draw.

    >>> figure = learning_curves([{"epoch": 1, "loss": 0.5, "accuracy": 0.9}, {"epoch": 2, "loss": 0.2, "accuracy": 1}])
    >>> [panel.get_title("left") for panel in figure.axes]
    ['Loss', 'Accuracy']
    """
    names = _metrics(history)
    if not names:
        raise ValueError(
            f"learning_curves expected records with a loss or a metric but got {list(history)[:1]}: "
            "give one record an epoch, such as {'epoch': 1, 'loss': 0.3, 'accuracy': 0.9}"
        )
    return _panels(history, names)


def optimizer_curves(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the learning rate and the norm of the gradient over epochs: what the optimizer was given.

    `history` is that of `fit`. The rate is that of the epoch's last step, the norm the mean over its steps; the norm is
    on a logarithmic scale if it ranges over a factor of 30. Raises ValueError when the records hold neither.

    >>> figure = optimizer_curves([{"epoch": 1, "learning_rate": 0.1, "gradient_norm": 2.0}])
    >>> [panel.get_title("left") for panel in figure.axes]
    ['Learning rate', 'Gradient norm']
    """
    names = [name for name in ("learning_rate", "gradient_norm") if _line(history, name)[0]]
    if not names:
        raise ValueError(
            f"optimizer_curves expected records with learning_rate or gradient_norm but got {list(history)[:1]}: "
            "give the history of fit"
        )
    return _panels(history, names)


def _panels(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> "Figure":
    """Draw a panel for each name, two beside one another."""
    from matplotlib.figure import Figure

    across = min(2, len(names))
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(max(6.0, PANEL[0] * across), PANEL[1] * down), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.06, wspace=0.06, hspace=0.06)  # type: ignore[union-attr]
    panels = figure.subplots(down, across, squeeze=False).flat
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, history, name)
    for panel in panels[len(names) :]:
        panel.remove()
    return figure


def _metrics(history: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for record in history for key in record)
    names = dict.fromkeys(key.removeprefix("validation_") for key in keys if key not in NO_METRIC)
    drawn = [name for name in names if _line(history, name)[0] or _line(history, f"validation_{name}")[0]]
    return sorted(drawn, key=lambda name: name != "loss")


def _line(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Return the epochs and the values of one key where it is a finite number."""
    points = []
    for i, record in enumerate(history, start=1):
        try:
            value = float(record[key])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            points.append((int(record.get("epoch", i)), value))
    return [epoch for epoch, _ in points], [value for _, value in points]


def _panel(panel: "Axes", history: Sequence[Mapping[str, Any]], name: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    panel.set_title(short(name.replace("_", " ").capitalize(), 32), loc="left", parse_math=False)
    panel.set_xlabel("epoch")
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    ends, epochs, values = [], [], []
    for label, key, look in (("train", name, TRAIN), ("validation", f"validation_{name}", VALIDATION)):
        x, y = _line(history, key)
        if not x:
            continue
        every = 1 if len(x) <= 20 else math.ceil(len(x) / 8)
        panel.plot(
            x,
            y,
            color=f"C{look.series}",
            linestyle=look.dash,
            marker=look.marker,
            label=label,
            markersize=4.5,
            markevery=slice((len(x) - 1) % every, None, every),
        )
        if name not in NO_METRIC:  # one line alone, which the title names
            ends.append((label, x[-1], y[-1], f"C{look.series}"))
        epochs += x
        values += y
    first, last = min(epochs), max(epochs)
    room = min((last - first) * 0.02, 0.5) or 0.5
    panel.set_xlim(first - room, last + room)
    panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    if name in ("loss", "gradient_norm") and min(values) > 0 and max(values) >= 30 * min(values):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
    elif max(values) == min(values):
        span = abs(values[0]) * 0.1 or 0.1
        panel.set_ylim(values[0] - span, values[0] + span)
    else:
        panel.margins(y=0.08)
    _name_lines(panel, ends)


def _name_lines(panel: "Axes", ends: list[tuple[str, int, float, str]]) -> None:
    """Write each line's name beside its last point, moved apart where two would touch."""
    panel.get_ylim()  # matplotlib sets the limits when they are asked for, and transLimits does not ask
    place = panel.transLimits  # from (scaled) data to fractions of the panel, whatever its size
    heights = [place.transform(panel.transScale.transform((epoch, value)))[1] for _, epoch, value, _ in ends]
    moved = _apart(heights, 0.085)
    for (label, epoch, _, color), height in zip(ends, moved, strict=True):
        panel.annotate(
            label,
            (epoch, height),
            xycoords=("data", "axes fraction"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontweight="bold",
            fontsize=9.5,
            annotation_clip=False,
        )


def _apart(heights: list[float], least: float) -> list[float]:
    """Move two heights in 0..1 symmetrically until they are at least `least` apart."""
    if len(heights) < 2 or abs(heights[0] - heights[1]) >= least:
        return heights
    middle = min(max(sum(heights) / 2, least / 2), 1 - least / 2)
    sign = 1 if heights[0] >= heights[1] else -1
    return [middle + sign * least / 2, middle - sign * least / 2]
