"""The figures of the optimizers' report. Lines differ in dash and marker as well as in colour, for black and white."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.looks import LOOKS
from experiments.optimizers_races import GROUPS, Decays, Lesson, Trajectory, Valley
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW = 40  # steps over which a training loss is averaged


def _panels(down: int, across: int, height: float, **options: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr]
    return figure, figure.subplots(down, across, squeeze=False, **options)


def _line(panel: Any, i: int, x: Any, y: np.ndarray, label: str) -> None:
    color, dash, marker = LOOKS[i]
    every = max(1, len(y) // 8)
    marks = (i * every // len(LOOKS), every)  # not all at the same x, where lines lie on each other
    panel.plot(x, y, color=color, linestyle=dash, marker=marker, markersize=5, markevery=marks, label=label)


def _legend(figure: "Figure", panel: Any, columns: int = 5) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, handlelength=4)


def valley(place: Valley, walks: Mapping[str, Trajectory]) -> "Figure":
    """Draw each optimizer's path over the contours, a panel each, and all heights by step in the last panel."""
    from matplotlib.ticker import MaxNLocator

    figure, panels = _panels(2, 3, 6.6)
    left, right, low, high = place.window
    x, y = np.meshgrid(np.linspace(left, right, 240), np.linspace(low, high, 240))
    ground = place.height(np.stack([x, y]))
    levels = np.geomspace(max(ground.min(), ground.max() * 1e-4), ground.max(), 10)
    *path_panels, height_panel = panels.flat
    for i, (panel, (name, walk)) in enumerate(zip(path_panels, walks.items(), strict=True)):
        ours, theirs = walk.kept
        panel.contour(x, y, ground, levels, colors=[colors().line], linewidths=0.9)
        panel.plot(*ours.T, color="C0", linewidth=3.2, alpha=0.75, label="path, hand-written", solid_capstyle="butt")
        panel.plot(*theirs.T, color=colors().ink, linewidth=1.1, linestyle=(0, (4, 3)), label="path, Optax")
        panel.plot(*place.start, "o", color=colors().ink, fillstyle="none", markersize=8, markeredgewidth=1.5)
        panel.plot(*place.minimum, "X", color="C1", markersize=10, markeredgecolor=colors().paper, zorder=5)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.set(xlim=(left, right), ylim=(low, high), title=name.capitalize() if name.islower() else name)
        if i >= 3:
            panel.set_xlabel("x")
        if i % 3 == 0:
            panel.set_ylabel("y")
    for i, (name, walk) in enumerate(walks.items()):
        _line(height_panel, i, np.arange(len(walk.values[0])), walk.values[0], name)
    height_panel.set(yscale="log", title="Height by step", xlabel="step")
    height_panel.set_ylim(bottom=max(height_panel.get_ylim()[0], 1e-12))
    height_panel.grid(axis="y")
    (paths, path_labels), (heights, labels) = (p.get_legend_handles_labels() for p in (panels[0, 0], height_panel))
    figure.legend(
        paths + heights, path_labels + labels, loc="outside lower center", ncols=4, frameon=False, handlelength=4
    )
    return figure


def losses(lessons: Mapping[str, Lesson]) -> "Figure":
    """Draw the training loss by step, and by second."""
    figure, ((by_step, by_second),) = _panels(1, 2, 4.6, sharey=True)
    for i, (name, lesson) in enumerate(lessons.items()):
        # The loss over all images has no noise to average.
        window = 1 if name == "gradient descent" else min(WINDOW, max(1, len(lesson.losses) // 4))
        smooth = np.convolve(lesson.losses, np.ones(window) / window, mode="valid")
        step = np.arange(len(smooth)) + window
        _line(by_step, i, step, smooth, name)
        _line(by_second, i, step * lesson.seconds / len(lesson.losses), smooth, name)
    by_step.set(title="By step", xlabel="step", ylabel="cross-entropy (nats)", yscale="log")
    by_second.set(title="By second", xlabel="seconds of training", xscale="log")
    _plain_ticks(by_step.yaxis, (1, 2, 5))
    _plain_ticks(by_second.xaxis, (1,))
    for panel in (by_step, by_second):
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    _legend(figure, by_step)
    return figure


def _plain_ticks(axis: Any, digits: tuple[int, ...]) -> None:
    """Write 0.2 and 0.5 at a logarithmic axis, and no powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def distances(lessons: Mapping[str, Lesson]) -> "Figure":
    """Draw by step how far ours and Optax's are apart, in float64 and in float32."""
    figure, ((exact, single),) = _panels(1, 2, 4.4)
    for i, (name, lesson) in enumerate(lessons.items()):
        if not max(lesson.distance.max(), lesson.distance_float32.max()):
            continue
        for panel, distance in ((exact, lesson.distance), (single, lesson.distance_float32)):
            _line(panel, i, np.arange(1, len(distance) + 1), np.where(distance > 0, distance, np.nan), name)
    exact.set(title="float64", ylabel="distance, relative to the largest parameter")
    single.set(title="float32")
    for panel in (exact, single):
        panel.set(yscale="log", xlabel="step")
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    _legend(figure, exact)
    return figure


def weight_decay(decays: Mapping[str, Decays], shares: Mapping[str, Sequence[float]]) -> "Figure":
    """Draw the distance of the two decays under each optimizer, the weights' norms, and what is left by gradient."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 7.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr]
    panels = figure.subplot_mosaic([["distance", "norm"], ["share", "share"]])
    distance, norm, share = (panels[name] for name in ("distance", "norm", "share"))
    for i, (name, result) in enumerate(decays.items()):
        steps = np.arange(1, len(result.distance) + 1)
        _line(distance, i, steps, np.where(result.distance > 0, result.distance, np.nan), name)
    distance.set(title="L2 against decoupled decay", xlabel="step", yscale="log", ylabel="relative distance")
    for i, (name, values) in enumerate(decays["Adam"].norms.items()):
        _line(norm, i, np.arange(1, len(values) + 1), values, name)
    norm.set(title="Adam: norm of the weights", xlabel="step", ylim=(0, None))
    for i, (name, values) in enumerate(shares.items()):
        share.bar(np.arange(5) + 0.4 * i - 0.2, values, 0.38, color=LOOKS[2 * i][0], hatch=("", "///")[i], label=name)
    share.axhline(1, color=colors().muted, linewidth=1)
    share.set_xticks(range(5), GROUPS)
    share.set(title="Adam: weights left, by size of gradient", ylabel="share of the size without decay")
    share.set_yticks(np.linspace(0, 1, 6))
    share.set_ylim(0, 1.3)  # room for the legend above the bars
    places: Any = ("center right", "best", "upper left")
    for panel, place in zip((distance, norm, share), places, strict=True):
        panel.grid(axis="y")
        panel.set_axisbelow(True)
        panel.legend(loc=place, frameon=False, handlelength=4, fontsize=9, ncols=2 if panel is share else 1)
    return figure
