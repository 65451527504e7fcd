"""The figures of the alternatives: scores on tables, and accuracy and time by the number of images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.alternatives_verdicts import Record, by_model
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {
    "network": ("C0", "-", "o"),
    "linear": ("C1", (0, (5, 1.6)), "s"),
    "decision tree": ("C2", (0, (1, 1.2)), "^"),
    "random forest": ("C3", (0, (6, 1.5, 1, 1.5)), "D"),
    "gradient boosting": ("C4", (0, (3, 1, 1, 1, 1, 1)), "v"),
}


def _figure(height: float, *arguments: int, **options: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.06, hspace=0.04)  # type: ignore[union-attr]
    return figure, figure.subplots(*arguments, squeeze=False, **options)[0]


def _legend(figure: "Figure", panel: Any) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, handlelength=3)


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def tables(records: Mapping[str, Sequence[Record]]) -> "Figure":
    """Draw each model's score on each table, with its deviation over the splits; accuracy left, R2 right."""
    kinds = {"accuracy": True, "R2": False}
    names = {
        kind: [task for task, found in records.items() if found[0]["classes"] == is_] for kind, is_ in kinds.items()
    }
    rows = max(map(len, names.values()))
    figure, panels = _figure(1.2 + 0.95 * rows, 1, 2)
    for panel, (kind, tasks) in zip(panels, names.items(), strict=True):
        for i, task in enumerate(tasks):
            for j, (model, scores) in enumerate(by_model(records[task]).items()):
                color, _, marker = LOOKS[model]
                panel.errorbar(
                    scores.mean(),
                    i + (j - 2) * 0.15,
                    xerr=_spread(scores),
                    color=color,
                    marker=marker,
                    markersize=6,
                    linestyle="none",
                    elinewidth=1.2,
                    label=model if i == 0 else None,
                )
            if i:
                panel.axhline(i - 0.5, color=colors().line, linewidth=0.8)
        panel.set_yticks(range(len(tasks)), tasks)
        panel.set_ylim(len(tasks) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.set(title={"accuracy": "Classification", "R2": "Regression"}[kind])
        panel.set_xlabel({"accuracy": "test accuracy", "R2": "R² on the test part (1: exact, 0: the mean)"}[kind])
        panel.grid(axis="x")
        panel.set_axisbelow(True)
    _legend(figure, panels[0])
    return figure


def images(records: Mapping[int, Sequence[Record]]) -> "Figure":
    """Draw test accuracy and training time by the number of training images, with deviations over the seeds."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    figure, (accuracy, seconds) = _figure(4.4, 1, 2)
    counts = np.array(sorted(records))
    for panel, name, scale in ((accuracy, "score", 100), (seconds, "seconds", 1)):
        series = [by_model(records[count], name) for count in counts]
        for i, (model, (color, dash, marker)) in enumerate(LOOKS.items()):
            values = [scale * found[model] for found in series]
            panel.errorbar(
                counts * 1.03 ** (i - 2),  # beside each other, so that no bar hides another
                [value.mean() for value in values],
                yerr=[_spread(value) for value in values] if name == "score" else None,
                color=color,
                linestyle=dash,
                marker=marker,
                markersize=5.5,
                elinewidth=1.2,
                label=model,
            )
        panel.set(xscale="log", xlabel="training images")
        panel.xaxis.set_major_locator(FixedLocator(list(counts)))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    accuracy.set(title="Test accuracy", ylabel="%")
    seconds.set(title="Time of training", ylabel="seconds of the processor", yscale="log")
    seconds.yaxis.set_major_locator(LogLocator())
    seconds.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    seconds.yaxis.set_minor_locator(NullLocator())
    _legend(figure, accuracy)
    return figure
