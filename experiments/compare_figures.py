"""The figure of a comparison: each metric by epoch, a line a run, in dash and marker as well as in colour."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.looks import LOOKS
from jaxnn.report.curves import NO_METRIC
from jaxnn.report.theme import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]


def kind(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Say of which training in its run a record is, the seed apart: what it says in words, and a length.

    >>> kind({"task": "adding", "model": "rnn", "length": 50, "seed": 3, "epoch": 1, "loss": 0.2})
    ('adding', 'rnn', 'length 50')
    """
    words = [value for value in record.values() if isinstance(value, str)]
    return (*words, *([f"length {record['length']}"] if "length" in record else []))


def curve(history: History, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs and each epoch's values, [epochs, 3]: mean, smallest, and largest over the seeds.

    >>> curve([{"epoch": 1, "loss": 3.0}, {"epoch": 1, "loss": 5.0}, {"epoch": 2, "loss": None}], "loss")
    (array([1]), array([[4., 3., 5.]]))
    """
    by_epoch: dict[int, list[float]] = {}
    for record in history:
        value = record.get(name)
        if "epoch" in record and isinstance(value, int | float) and math.isfinite(value):
            by_epoch.setdefault(int(record["epoch"]), []).append(value)
    values = [(np.mean(by_epoch[epoch]), min(by_epoch[epoch]), max(by_epoch[epoch])) for epoch in sorted(by_epoch)]
    return np.array(sorted(by_epoch), int), np.array(values).reshape(-1, 3)


def metrics(histories: Mapping[str, History]) -> list[str]:
    """Return the names of what is drawn: every metric that two runs at least have measured, the loss first."""
    measured = [
        {name for record in history for name in record if name not in NO_METRIC and len(curve(history, name)[0])}
        for history in histories.values()
    ]
    names = {name for found in measured for name in found if sum(name in other for other in measured) > 1}
    names -= {"seed", "length", "rate"}
    return sorted(names, key=lambda name: (name.removeprefix("validation_") != "loss", name.split("_")[::-1], name))


def curves(histories: Mapping[str, History]) -> "Figure":
    """Draw each metric by epoch, a line a run; where a run has several seeds their mean, and a band from end to end."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = metrics(histories)
    across = min(2, len(names))
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(WIDTH, 0.5 + 3.1 * down), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr]
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    drawn: dict[str, Any] = {}
    for panel, name in zip(panels, names, strict=False):
        for (label, history), (color, dash, marker) in zip(histories.items(), LOOKS, strict=False):
            epochs, values = curve(history, name)
            if not len(epochs):
                continue
            every = 1 if len(epochs) <= 12 else math.ceil(len(epochs) / 8)
            drawn[label] = panel.plot(
                epochs, values[:, 0], color=color, linestyle=dash, marker=marker, markersize=5, markevery=every
            )[0]
            if (values[:, 1] < values[:, 2]).any():
                panel.fill_between(epochs, values[:, 1], values[:, 2], color=color, alpha=0.18, linewidth=0)
        validation = name.startswith("validation_")
        metric = name.removeprefix("validation_").replace("_", " ")
        panel.set(title=f"{metric.capitalize()}, {'validation' if validation else 'training'}", xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    for panel in panels[len(names) :]:
        panel.remove()
    figure.legend(
        drawn.values(), drawn, loc="outside lower center", ncols=min(len(drawn), 3), frameon=False, handlelength=4
    )
    return figure
