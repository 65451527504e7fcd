"""The figure of fine-tuning. Lines differ in dash and marker as well as in colour, for black and white."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.looks import LOOKS
from jaxnn.report.theme import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mean_and_deviation(values: Sequence[float]) -> str:
    """Write accuracies in percent.

    >>> mean_and_deviation([0.5, 0.6]), mean_and_deviation([0.5])
    ('55.0 ± 7.1', '50.0')
    """
    return f"{100 * np.mean(values):.1f}" + (f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def difference(values: Sequence[float] | np.ndarray) -> str:
    """Write the mean of differences in points, and twice its standard error.

    >>> difference([0.02, 0.04]), difference([-0.02])
    ('+3.0 ± 2.0', '-2.0')
    """
    error = 200 * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return f"{100 * np.mean(values):+.1f}" + (f" ± {error:.1f}" if error is not None else "")


def accuracy_by_images(found: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]]) -> "Figure":
    """Draw the test accuracy of each way by the number of images, with its deviation; a panel a new task."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.04)  # type: ignore[union-attr]
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (task, of_task) in zip(panels, found.items(), strict=True):
        for i, ((name, by_count), (color, dash, marker)) in enumerate(
            zip(of_task.items(), LOOKS[: len(of_task)], strict=True)
        ):
            counts = np.array(list(by_count))
            values = [100 * np.array(accuracies) for accuracies in by_count.values()]
            panel.errorbar(
                counts * 1.03 ** (i - 1.5),  # beside each other, so that no bar hides another
                [value.mean() for value in values],
                yerr=[value.std(ddof=1) if len(value) > 1 else 0 for value in values],
                color=color,
                linestyle=dash,
                marker=marker,
                elinewidth=1.2,
                label=name,
            )
        panel.set(xscale="log", xlabel="images of the new task", title=task[:1].upper() + task[1:])
        panel.xaxis.set_major_locator(FixedLocator(list(counts)))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    panels[0].set_ylabel("test accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, handlelength=3.5)
    return figure
