"""How far a model's confidence can be believed: the reliability diagram."""

from typing import TYPE_CHECKING

import numpy as np

from jaxnn import checks
from jaxnn.metrics import CalibrationBins, expected_calibration_error
from jaxnn.report.theme import colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def reliability_diagram(sums: CalibrationBins) -> "Figure":
    """Draw the sums of `jaxnn.metrics.calibration_bins`: accuracy over confidence, and how many examples stand where.

    A bar is the accuracy of the examples of its interval; the point is their mean confidence, and the dashed line is
    where both are equal. A bar below the line is overconfident, above it too modest. Below, the share of the examples
    in each interval. Raises ValueError for sums over no examples. DeGroot and Fienberg, 1983, The Comparison and
    Evaluation of Forecasters.

    >>> import jax.numpy as jnp
    >>> from jaxnn.metrics import calibration_bins
    >>> sums = calibration_bins(jnp.array([[0.9, 0.1], [0.4, 0.6]]), jnp.array([0, 0]), bins=5)
    >>> [axes.get_ylabel() for axes in reliability_diagram(sums).axes]
    ['accuracy', 'examples']
    """
    from matplotlib.figure import Figure

    checks.calibration("reliability_diagram", sums)
    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    count, confidence, correct = (np.asarray(part, np.float64) for part in sums)
    edges = np.linspace(0, 1, len(count) + 1)
    _accuracy(above, edges, count, confidence, correct)
    above.set_title(f"Expected calibration error {100 * float(expected_calibration_error(sums)):.2g} %")
    _shares(below, edges, count / count.sum())
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _accuracy(panel: "Axes", edges: np.ndarray, count: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> None:
    now, seen = colors(), count > 0
    accuracy, mean = correct[seen] / count[seen], confidence[seen] / count[seen]
    width = edges[1] - edges[0]
    panel.bar(edges[:-1][seen], accuracy, width, align="edge", color="C0", edgecolor=now.paper, label="accuracy")
    panel.plot([0, 1], [0, 1], color=now.ink, linestyle="--", linewidth=1.2, label="confidence is accuracy")
    panel.vlines(mean, np.minimum(mean, accuracy), np.maximum(mean, accuracy), color="C1", linewidth=1.6)
    points = {"linestyle": "", "marker": "o", "markersize": 5, "markeredgecolor": now.paper}
    panel.plot(mean, mean, color="C1", label="mean confidence, and the gap", **points)
    panel.set_ylim(0, 1.03)
    panel.set_ylabel("accuracy")
    _percent(panel)


def _shares(panel: "Axes", edges: np.ndarray, shares: np.ndarray) -> None:
    panel.bar(edges[:-1], shares, edges[1] - edges[0], align="edge", color="C2", edgecolor=colors().paper)
    panel.set_xlim(0, 1)
    panel.set_xlabel("confidence (probability of the predicted class)")
    panel.set_ylabel("examples")
    panel.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    _percent(panel)


def _percent(panel: "Axes") -> None:
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    panel.grid(axis="y")
    panel.set_axisbelow(True)
