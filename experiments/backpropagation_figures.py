"""The figures of the experiment with backpropagation, and the page that they stand on."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import pages
from jaxnn.backprop import LayerTrace
from jaxnn.report import Page, Section, Table, key_values
from jaxnn.report.theme import colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.2  # inches, narrower than the page: the writing stays legible in a window of 400 pixels
COMPARISONS = {  # words for the reader, and a marker, so that the series differ without colour
    "jax_grad_float32": ("jax.grad, float32", "o"),
    "central_differences_float64": ("central differences, float64", "^"),
    "jax_grad_float64": ("jax.grad, float64", "s"),
}
FLOOR = 1e-17  # where an error of exactly 0 is drawn
HIDDEN_WORDS = {"relu": "ReLU", "tanh": "tanh"}
PAIR_WORDS = {
    "softmax_cce": "softmax, cross-entropy",
    "sigmoid_bce": "sigmoid, cross-entropy",
    "linear_mse": "linear, squared error",
}


def data_flow(layers: Sequence[LayerTrace]) -> "Figure":
    """Draw the network downwards and its gradients upwards: forward left, parameters in the middle, backward right."""
    from matplotlib.figure import Figure

    rows = len(layers)
    figure = Figure(figsize=(WIDTH, 2.05 * rows + 2.3), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(-0.95, 2 * rows + 1.55))
    axes.axis("off")
    left, middle, right, top = 1.75, 5.0, 8.25, 2 * rows + 0.75
    for x, text in ((left, "forward ↓"), (middle, "parameters"), (right, "backward ↑")):
        axes.text(x, top + 0.62, text, ha="center", va="center", fontsize=12.5, fontweight="bold")
    _box(axes, left, top, r"$a_0 = x$", layers[0].inputs.shape)
    for i, layer in enumerate(layers, 1):
        y, last = top - 2 * i, i == rows
        f = r"\mathrm{softmax}" if last else "f"
        _box(axes, left, y, rf"$z_{i} = a_{i - 1} W_{i} + b_{i}$" + "\n" + rf"$a_{i} = {f}(z_{i})$", layer.a.shape, 1.4)
        _box(axes, middle, y, rf"$W_{i}$, $b_{i}$", [layer.dW.shape, layer.db.shape], 1.4)
        delta = (
            rf"$\delta_{i} = a_{i} - y$" if last else rf"$\delta_{i} = \delta_{i + 1} W_{i + 1}^\top \odot f'(z_{i})$"
        )
        gradients = rf"$dW_{i} = a_{i - 1}^\top \delta_{i} / B$"
        _box(axes, right, y, f"{delta}\n{gradients}", layer.delta.shape, 1.4, dashed=True)
        _arrow(axes, (left, y + (1.3 if i > 1 else 1.55)), (left, y + 0.72))
        _arrow(axes, (middle - 1.17, y), (left + 1.68, y))
        _arrow(axes, (right - 1.65, y), (middle + 1.2, y), dashed=True)
        if i > 1:
            _arrow(axes, (right, y + 0.72), (right, y + 1.28), dashed=True)
    y = top - 2 * rows - 1.1
    _arrow(axes, (left, y + 0.4), (left, y), head=False)
    _arrow(axes, (left, y), (right, y), head=False)
    _arrow(axes, (right, y), (right, y + 0.38), dashed=True)
    axes.text(middle, y - 0.15, "the loss compares with the labels y", ha="center", va="top", fontsize=11.5)
    return figure


def _box(axes: "Axes", x: float, y: float, text: str, shape: Any, height: float = 0.9, *, dashed: bool = False) -> None:
    """Write a formula and under it the shape of what it gives, in a box."""
    from matplotlib.patches import FancyBboxPatch

    now = colors()
    shapes = shape if isinstance(shape, list) else [shape]
    width = 2.35 if isinstance(shape, list) else 3.3
    look = {"edgecolor": now.series[1 if dashed else 0], "linestyle": (0, (4, 2)) if dashed else "-"}
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.12",
                       facecolor=now.paper, linewidth=1.6, **look)
    )  # fmt: skip
    words = ", ".join("[" + ", ".join(map(str, size)) + "]" for size in shapes)
    axes.text(x, y, f"{text}\n{words}", ha="center", va="center", fontsize=12.5, linespacing=1.4)


def _arrow(axes: "Axes", start: Any, end: Any, *, dashed: bool = False, head: bool = True) -> None:
    now = colors()
    axes.annotate(
        "",
        end,
        start,
        arrowprops={"arrowstyle": "-|>" if head else "-", "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0,
                    "linestyle": (0, (4, 2)) if dashed else "-", "color": now.ink},
    )  # fmt: skip


def errors_by_leaf(results: Mapping[tuple[str, str], Any], limits: Mapping[str, float]) -> "Figure":
    """Draw the largest error of each leaf over the output pairs, a panel a hidden activation, with the limits."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(WIDTH, 7.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, hspace=0.05)  # type: ignore[union-attr]
    highest = max(limits.values()) * 10
    hiddens = list(dict.fromkeys(hidden for hidden, _ in results))
    now = colors()
    for axes, hidden in zip(figure.subplots(len(hiddens), 1, sharex=True, squeeze=False).flat, hiddens, strict=True):
        axes.set_title(f"Hidden layers: {HIDDEN_WORDS[hidden]}")
        for series, (name, (words, marker)) in enumerate(COMPARISONS.items()):
            by_pair = [errors[name] for (other, _), errors in results.items() if other == hidden]
            leaves = list(by_pair[0])
            values = [max(max(errors[leaf] for errors in by_pair), FLOOR) for leaf in leaves]
            dash = ("-", (0, (4, 2)), (0, (1, 1.5)))[series]
            color = f"C{series}"
            axes.plot(range(len(leaves)), values, marker, color=color, markersize=8, label=words)
            axes.axhline(limits[name], color=color, linestyle=dash, linewidth=1.4)
            axes.plot(len(leaves) - 0.1, limits[name], marker, color=color, markersize=8, markerfacecolor=now.paper)
            axes.text(len(leaves) + 0.1, limits[name] * 1.7, "limit", color=now.ink, fontsize=10.5)
            highest = max(highest, *values)
        axes.set(yscale="log", ylim=(FLOOR / 3, 5 * highest), xlim=(-0.5, len(leaves) + 0.8), ylabel="relative error")
        axes.set_xticks(range(len(leaves)), [rf"${leaf[0]}_{leaf[1:]}$" for leaf in leaves], fontsize=12)
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=11)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    axes.set_xlabel("parameters of layers 1 to 3", fontsize=11)
    handles, words = axes.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower center", ncols=1, frameon=False, fontsize=11)
    return figure


def gradient_sizes(traces: Mapping[str, Sequence[LayerTrace]]) -> "Figure":
    """Draw how the sizes of the weights' gradients are spread in each layer, one panel a layer."""
    from matplotlib.figure import Figure

    rows = len(next(iter(traces.values())))
    figure = Figure(figsize=(WIDTH, 1.75 * rows + 0.9), layout="constrained")
    sizes = {hidden: [np.abs(layer.dW).ravel() for layer in layers] for hidden, layers in traces.items()}
    logs = np.concatenate([np.log10(size[size > 0]) for layers in sizes.values() for size in layers])
    edges = np.linspace(np.floor(np.quantile(logs, 0.001)), np.ceil(logs.max()), 41)
    for i, axes in enumerate(figure.subplots(rows, 1, sharex=True, squeeze=False).flat):
        axes.set_title(f"Layer {i + 1}: " + " by ".join(map(str, next(iter(traces.values()))[i].dW.shape)), fontsize=11)
        for series, (hidden, layers) in enumerate(sizes.items()):
            positive = layers[i][layers[i] > 0]
            counts, _ = np.histogram(np.log10(positive), edges)
            dash = ("-", (0, (3, 1.5)))[series]
            zeros = 1 - positive.size / layers[i].size
            words = f"{HIDDEN_WORDS[hidden]}, {zeros:.0%} are 0" if zeros else HIDDEN_WORDS[hidden]
            axes.stairs(
                counts / layers[i].size, 10**edges, color=f"C{series}", linestyle=dash, linewidth=2, label=words
            )
        axes.set(xscale="log", ylabel="share of weights")
        axes.legend(frameon=False, loc="upper left", fontsize=10.5, handlelength=2.6)
        axes.tick_params(labelsize=10.5)
    axes.set_xlabel("|dL/dw|, nats per unit of weight", fontsize=11)
    return figure


def error_table(results: Mapping[tuple[str, str], Any], kinks: Mapping[tuple[str, str], int]) -> Table:
    """Make a table of the largest error of each network, a row a network."""
    header = ("hidden", "output, loss", "jax.grad float32", "central differences", "jax.grad float64", "left out")
    rows = [
        (
            HIDDEN_WORDS[hidden],
            PAIR_WORDS[pair],
            *(f"{max(errors[name].values()):.1e}" for name in COMPARISONS),
            kinks[hidden, pair],
        )
        for (hidden, pair), errors in results.items()
    ]
    return Table(header, rows)


def trace_table(layers: Sequence[LayerTrace]) -> Table:
    """Make a table of everything that the trace holds: shape and root mean square by layer."""
    rows = []
    for i, layer in enumerate(layers, 1):
        for name in ("z", "a", "delta", "dW", "db"):
            array = np.asarray(getattr(layer, name), np.float64)
            rows.append((i, name, str(list(array.shape)), f"{np.sqrt(np.square(array).mean()):.3g}"))
    return Table(("layer", "what", "shape", "root mean square"), rows)


def page(
    config: Any,
    results: Mapping[tuple[str, str], Any],
    kinks: Mapping[tuple[str, str], int],
    traces: Mapping[str, Sequence[LayerTrace]],
    limits: Mapping[str, float],
    step: float,
    summary: Mapping[str, Any],
    broken: Sequence[str],
) -> Page:
    """Put together the report."""
    headline = [
        (f"{COMPARISONS[name][0]}; limit {limit:.0e}", f"{summary[f'max_relative_error_{name}']:.1e}")
        for name, limit in limits.items()
    ]
    sizes = "-".join(map(str, (traces["relu"][0].inputs.shape[1], *(len(layer.db) for layer in traces["relu"]))))
    left_out = max(kinks.values())
    return Page(
        "Backpropagation by hand",
        f"{sizes}, one batch of {config.batch_size} digits, seed {config.seed}",
        [f"Above its limit: {text}." for text in broken],
        headline,
        [
            Section(
                "Data flow",
                "Down the left the activations, in the middle the parameters, up the right the deltas: delta is the "
                "derivative of each example's loss with respect to z. Solid: forward. Dashed: backward. The gradient "
                "of b is the mean of delta over the batch; f is the hidden activation; ⊙ multiplies "
                "element by element. Shapes are in brackets, the batch first.",
                partial(data_flow, traces["relu"]),
            ),
            Section(
                "Errors by layer",
                "The largest difference over a weight or bias, divided by its largest gradient, the worst of the three "
                "output pairs. Each line is a limit, and the hollow marker on it says of which comparison. A "
                f"difference of 0 is drawn at {FLOOR:g}.",
                partial(errors_by_leaf, results, limits),
            ),
            Section(
                "Errors by network",
                f"Central differences move every parameter by {step:g} both ways. With ReLU a hidden unit may switch "
                "on or off between the two points; the difference then averages two slopes and is no derivative. Such "
                f"parameters are left out and counted in the last column, at most {left_out:,} of "
                f"{summary['parameters']:,}. tanh has no kink, and all its parameters are compared.",
                table=error_table(results, kinks),
            ),
            Section(
                "Gradient sizes",
                "How large the gradients of the weights are in each layer, with softmax and cross-entropy: the share "
                "of weights in each of 40 bins on a logarithmic scale.",
                partial(gradient_sizes, traces),
            ),
            Section("Trace", "The network with ReLU, layer by layer.", table=trace_table(traces["relu"]), folded=True),
            Section("Numbers", table=key_values({k: f"{v:.6g}" for k, v in summary.items()}), folded=True),
            *pages.circumstances(config),
        ],
    )
