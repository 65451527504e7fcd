"""The figures of the activations' report. In each, lines differ in dash and marker too, for black and white."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.activations import DERIVATIVES
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = [("C0", "-", "o"), ("C1", (0, (4, 1.6)), "s"), ("C2", (0, (1, 1.3)), "^"), ("C3", (0, (6, 1.5, 1, 1.5)), "D")]
LABELS = {"leaky_relu": "leaky ReLU", "relu": "ReLU", "elu": "ELU", "gelu": "GELU", "silu": "SiLU"}
SMALLEST = 1.18e-38  # float32's smallest normal number


def label(name: str) -> str:
    """Write the name of an activation as in a text."""
    return LABELS.get(name, name)


def _panels(down: int, across: int, height: float, **options: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr]
    return figure, figure.subplots(down, across, squeeze=False, **options)


def _lines(panel: Any, x: Any, lines: Mapping[str, np.ndarray], every: int) -> None:
    for i, (name, y) in enumerate(lines.items()):
        color, dash, marker = LOOKS[i]
        marks = (i * every // len(lines), every)  # not all at the same x, where lines lie on each other
        panel.plot(x, y, color=color, linestyle=dash, marker=marker, markersize=5, markevery=marks, label=label(name))
    panel.grid(axis="y")
    panel.set_axisbelow(True)


def _legend(figure: "Figure", panel: Any, columns: int = 4) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, handlelength=4)


def curves() -> "Figure":
    """Draw each activation and its derivative over -4..4."""
    figure, panels = _panels(3, 3, 7.6, sharex=True)
    x = np.linspace(-4, 4, 801, dtype=np.float32)
    drawn = [(f, d) for f, d in DERIVATIVES.items() if f.__name__ != "identity"]
    for panel, (function, derivative) in zip(panels.flat, drawn, strict=True):
        for y, look, what in ((function(x), LOOKS[0], "f(x)"), (derivative(x), LOOKS[1], "f'(x)")):
            # A line that jumps is broken at the jump.
            broken = np.where(np.abs(np.diff(y, prepend=y[:1])) > 0.5, np.nan, y)
            panel.plot(x, broken, color=look[0], linestyle=look[1], label=what)
        panel.set_title(label(function.__name__))
        panel.grid()
        panel.set_axisbelow(True)
        panel.set_ylim(*((-1.15, 1.15) if function.__name__ in ("step", "sigmoid", "tanh") else (-1.15, 3.15)))
    for panel in panels[-1]:
        panel.set_xlabel("x")
    _legend(figure, panels[0, 0])
    return figure


def gradients(norms: Mapping[str, Mapping[str, np.ndarray]]) -> "Figure":
    """Draw the gradient's norm at layer 1 over the depth of the network, a panel for each initialisation."""
    figure, panels = _panels(1, len(norms), 4.2, sharey=True)
    for panel, (title, lines) in zip(panels.flat, norms.items(), strict=True):
        depth = len(next(iter(lines.values())))
        _lines(panel, np.arange(1, depth + 1), lines, 8)
        panel.set_yscale("log")
        panel.axhline(SMALLEST, color=colors().muted, linewidth=1)
        panel.set_title(title)
        panel.set_xlabel("hidden layers")
    panels[0, 0].set_ylabel("norm of the gradient of layer 1's weights")
    panels[0, 0].annotate(
        "float32 ends here", (1, SMALLEST), xytext=(0, 4), textcoords="offset points", color=colors().muted, fontsize=9
    )
    _legend(figure, panels[0, 0])
    return figure


def variances(values: Mapping[str, Mapping[str, np.ndarray]]) -> "Figure":
    """Draw the variance of the activations by layer, a panel for each activation; what is below 1e-20 is left out."""
    figure, panels = _panels(1, len(values), 4.2, sharey=True)
    for panel, (name, lines) in zip(panels.flat, values.items(), strict=True):
        drawn = {key: np.where(y < 1e-20, np.nan, y) for key, y in list(lines.items())[: len(LOOKS)]}
        _lines(panel, np.arange(1, len(next(iter(drawn.values()))) + 1), drawn, 8)
        panel.set_yscale("log")
        panel.set_title(label(name))
        panel.set_xlabel("layer")
    panels[0, 0].set_ylabel("variance of the activations")
    _legend(figure, panels[0, 0])
    return figure


def dead_units(steps: np.ndarray, shares: Mapping[str, np.ndarray], rates: Sequence[float]) -> "Figure":
    """Draw the share of dead units over the steps of training, a line for each rate, a panel for each activation."""
    figure, panels = _panels(1, len(shares), 4.0, sharey=True)
    for panel, (name, by_rate) in zip(panels.flat, shares.items(), strict=True):
        _lines(panel, steps, {f"rate {r:g}": 100 * y for r, y in zip(rates, by_rate, strict=True)}, 4)
        panel.set_title(label(name))
        panel.set_xlabel("step")
    panels[0, 0].set_ylabel("dead units (%)")
    panels[0, 0].set_ylim(bottom=-2)
    _legend(figure, panels[0, 0])
    return figure


def comparison(
    means: Mapping[str, tuple[float, float]],
    losses: Mapping[str, Sequence[float]],
    times: Mapping[str, Mapping[str, float]],
) -> "Figure":
    """Draw for each activation the mean and spread of its outputs, the losses by seed, and the time an element."""
    figure, panels = _panels(1, 3, 4.6, sharey=True)
    rows = list(means)
    (mean_panel, loss_panel, time_panel) = panels.flat
    for y, name in enumerate(rows):
        mean, sd = means[name]
        mean_panel.errorbar(mean, y, xerr=sd, color="C0", marker="o", capsize=3, linewidth=1.4)
        loss_panel.plot(losses[name], [y] * len(losses[name]), "o", color="C0", fillstyle="none", markersize=6)
        for what, marker, color in (("value", "o", "C0"), ("derivative", "s", "C1")):
            time_panel.plot(times.get(name, {}).get(what, np.nan), y, marker, color=color, fillstyle="none")
    for marker, color, text in (("o", "C0", "f(x)"), ("s", "C1", "f'(x)")):
        time_panel.plot([], [], marker, color=color, fillstyle="none", label=text)
    mean_panel.axvline(0, color=colors().muted, linewidth=1)
    mean_panel.set_yticks(range(len(rows)), [label(name) for name in rows])
    mean_panel.invert_yaxis()
    mean_panel.set_title("Mean activation")
    mean_panel.set_xlabel("mean, and one standard deviation")
    loss_panel.set_xscale("log")
    loss_panel.set_title("Training loss")
    loss_panel.set_xlabel("cross-entropy (nats), a ring a seed")
    time_panel.set_title("Time")
    time_panel.set_xlabel("nanoseconds an element")
    time_panel.set_xlim(left=0)
    for panel in panels.flat:
        panel.grid(axis="both")
        panel.set_axisbelow(True)
    paper = colors().paper
    time_panel.legend(loc="upper right", facecolor=paper, edgecolor=paper, framealpha=1, handletextpad=0.2)
    return figure
