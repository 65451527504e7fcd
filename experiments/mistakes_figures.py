"""The figure of the report on common mistakes. Marks differ in shape as well as in colour, for black and white."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.mistakes_measures import Trained
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 0.36  # inches


def accuracies(rows: Sequence[tuple[str, Sequence[tuple[Trained, Trained]]]]) -> "Figure":
    """Draw a row for each mistake: its test accuracy, that of the cure, and what the validation set promised."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(WIDTH, 1.5 + ROW * len(rows)), layout="constrained")
    panel = figure.subplots()
    places = np.arange(len(rows))
    wrong, right, watched = (
        np.array([_mean([getattr(pair[i], name) for pair in pairs]) for _, pairs in rows])
        for i, name in ((0, "accuracy"), (1, "accuracy"), (0, "watched"))
    )
    panel.hlines(places, wrong, right, color=colors().line, linewidth=3)
    ink, paper = colors().ink, colors().paper
    panel.plot(
        watched, places, "|", color=ink, markersize=15, markeredgewidth=2, label="mistake, on its validation set"
    )
    panel.plot(right, places, "o", color="C0", markersize=10, label="cure")
    panel.plot(wrong, places, "X", color="C1", markersize=9, markeredgecolor=paper, label="mistake")
    for y in places[np.isnan(wrong)]:
        panel.text(0.01, y, "training is refused", va="center", color=colors().muted, backgroundcolor=paper)
    panel.set_yticks(places, [title for title, _ in rows], color=ink)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.set_xlabel("test accuracy")
    panel.grid(axis="x")
    panel.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
