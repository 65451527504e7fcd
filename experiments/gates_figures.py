"""The figures of the experiment with gates, and the page that they stand on."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import pages
from jaxnn.models.perceptron import CORNERS, HAND_SET, TRUTH_TABLES, PerceptronResult, threshold_gate
from jaxnn.report import Page, Section, Table, key_values
from jaxnn.report.theme import WIDTH, color_scale, colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPAN = (-0.4, 1.4)  # of both inputs in every picture
LOOKS = (("-", "o"), ((0, (5, 1.5)), "s"), ((0, (1, 1)), "^"), ((0, (6, 1.5, 1, 1.5)), "D"))  # dash and marker

# Mean loss where the network gives the same answer, their mean, to this many corners, and is right at the others.
# Two of both classes: 1/2 each. Three: 1/3 or 2/3. All four: 1/2.
LEVELS = {2: np.log(2) / 2, 3: (np.log(3) + 2 * np.log(1.5)) / 4, 4: np.log(2)}


def ending(loss: np.ndarray, solved: np.ndarray) -> np.ndarray:
    """Tell for each network how many corners it confuses, from the nearest level; 0 where it is solved."""
    nearest = np.abs(loss[:, None] - np.array(list(LEVELS.values()))).argmin(1)
    return np.where(solved, 0, np.array(list(LEVELS))[nearest])


def blind(active: Any) -> Any:
    """Tell for each network, [N, 4, units], whether no unit is active at corners of both classes."""
    silent = ~active.any(2)  # [N, 4]
    ones = TRUTH_TABLES["XOR"] == 1
    return silent[:, ones].any(1) & silent[:, ~ones].any(1)


def linear(active: Any) -> Any:
    """Tell for each network, [N, 4, units], whether every unit is active at all corners or at none."""
    return (active.all(1) | ~active.any(1)).all(1)


def _plane(axes: "Axes", title: str, labels: np.ndarray) -> None:
    """Set up one picture of the plane of inputs, with each corner's class written into its marker."""
    now = colors()
    axes.set(xlim=SPAN, ylim=SPAN, xticks=(0, 1), yticks=(0, 1), aspect="equal", xlabel="input 1", ylabel="input 2")
    axes.set_title(title, fontsize=10.5)
    axes.tick_params(length=0)
    for (a, b), label in zip(CORNERS, labels, strict=True):
        face, ink = (now.ink, now.paper) if label else (now.paper, now.ink)
        axes.plot(a, b, "o", markersize=15, markerfacecolor=face, markeredgecolor=now.ink, markeredgewidth=1, zorder=3)
        axes.text(a, b, str(label), color=ink, ha="center", va="center_baseline", fontsize=10, zorder=4)


def _line(axes: "Axes", weights: Any, bias: float, **look: Any) -> None:
    """Draw where w x + b = 0."""
    grid = np.linspace(*SPAN, 200)
    score = weights[0] * grid[None, :] + weights[1] * grid[:, None] + bias
    axes.contour(grid, grid, score, levels=[0], **look)


def decision_lines(learned: Mapping[str, PerceptronResult]) -> "Figure":
    """Draw the plane of inputs for each gate: the learned line and the one set by hand, and XOR by two units."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = Figure(figsize=(WIDTH, 7.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, hspace=0.06)  # type: ignore[union-attr]
    panels = figure.subplots(2, 3).flat
    grid = np.linspace(*SPAN, 400)
    across, up = np.meshgrid(grid, grid)
    by_hand = {"colors": "C1", "linestyles": [(0, (4, 2))], "linewidths": 1.8}

    def shade(axes, fires):
        axes.contourf(grid, grid, fires.astype(float), levels=[0.5, 2], colors=["C0"], alpha=0.18)

    for axes, (gate, results) in zip(panels, learned.items(), strict=False):
        end, epochs = int(results.converged_at[0]), results.errors.shape[-1]
        how = f"converged at epoch {end}" if end >= 0 else f"not in {epochs:,} epochs"
        _plane(axes, f"{gate}: {how}", TRUTH_TABLES[gate])
        weights, bias = results.params["weight"][0], results.params["bias"][0]
        shade(axes, weights[0] * across + weights[1] * up + bias >= 0)
        _line(axes, weights, bias, colors="C0", linestyles="-", linewidths=1.8)
        if gate in HAND_SET:
            hand, threshold = HAND_SET[gate]
            _line(axes, hand, -threshold, **by_hand)
    last = panels[5]
    _plane(last, "XOR: AND(OR, NAND), by hand", TRUTH_TABLES["XOR"])
    shade(last, (across + up >= 0.5) & (across + up <= 1.5))
    for gate in ("OR", "NAND"):
        hand, threshold = HAND_SET[gate]
        _line(last, hand, -threshold, **by_hand)
    handles = [
        Line2D([], [], color="C0", label="learned"),
        Line2D([], [], color="C1", linestyle=(0, (4, 2)), label="set by hand"),
        Patch(facecolor="C0", alpha=0.18, label="answer 1"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def surfaces(trained: Any, probabilities: Callable[[Any, np.ndarray], np.ndarray]) -> "Figure":
    """Draw what a solved network answers over the plane, and one that failed at each level of the loss."""
    import jax
    from matplotlib.figure import Figure

    endings = ending(trained.loss, trained.solved)
    shown = [int(np.flatnonzero(endings == kind)[0]) for kind in (0, *LEVELS) if (endings == kind).any()]
    grid = np.linspace(*SPAN, 161)
    plane = np.stack(np.meshgrid(grid, grid), -1).astype(np.float32)
    now = colors()
    figure = Figure(figsize=(WIDTH, 4.4 if len(shown) < 3 else 8.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, wspace=0.04, hspace=0.04)  # type: ignore[union-attr]
    panels = figure.subplots(1 if len(shown) < 3 else 2, min(len(shown), 2), squeeze=False)
    for axes in panels.flat[len(shown) :]:
        axes.remove()
    for axes, index in zip(panels.flat, shown, strict=False):
        answers = probabilities(jax.tree.map(lambda leaf, i=index: leaf[i], trained.params), plane)
        confused = f"{endings[index]} corners confused, loss {trained.loss[index]:.3f}"
        title = f"solved, loss {trained.loss[index]:.4f}" if trained.solved[index] else confused
        _plane(axes, f"Network {index}: {title}", TRUTH_TABLES["XOR"])
        # Bands around 0, 0.1, ... 1: an answer of 1/2 over a whole region must not fall on the edge of two.
        bands = np.arange(-0.05, 1.1, 0.1)
        drawn = axes.contourf(grid, grid, answers, bands, cmap=color_scale(now.paper, now.series[0]), vmin=0, vmax=1.2)
        if trained.solved[index]:
            lines = axes.contour(grid, grid, answers, [0.1, 0.5, 0.9], colors=now.ink, linewidths=[0.8, 1.8, 0.8])
            axes.clabel(lines, fmt="%.1f", fontsize=9)
        silent = CORNERS[~trained.active[index].any(1)]
        axes.plot(*silent.T, "s", markersize=23, markerfacecolor="none", markeredgecolor=now.ink, markeredgewidth=1.8)
    figure.colorbar(drawn, ax=panels, label="answer (probability of 1)", shrink=0.6, ticks=np.arange(0, 1.1, 0.1))
    return figure


def solved_by_width(by_width: Mapping[str, np.ndarray]) -> "Figure":
    """Draw the share of networks that solve XOR over the number of hidden units, a line for each activation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, shares), (dash, marker) in zip(by_width.items(), LOOKS, strict=True):
        axes.plot(np.arange(1, len(shares) + 1), 100 * shares, linestyle=dash, marker=marker, markersize=5, label=name)
    axes.set(xlabel="hidden units", ylabel="networks that solve XOR (%)", ylim=(-3, 103), xticks=range(1, 17))
    axes.grid(axis="y")
    axes.legend(loc="lower right", frameon=False, handlelength=4)
    return figure


def endings(trained: Any) -> "Figure":
    """Draw where the losses end, and what becomes of networks by the number of units that are left alive."""
    from matplotlib.figure import Figure

    now = colors()
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    figure.get_layout_engine().set(wspace=0.08)  # type: ignore[union-attr]
    left, right = figure.subplots(1, 2)
    left.hist(trained.loss, bins=np.arange(-0.005, 0.75, 0.01), color="C0", edgecolor=now.paper)
    top = left.get_ylim()[1]
    for corners, loss in LEVELS.items():
        left.axvline(float(loss), color="C1", linestyle=(0, (4, 2)), linewidth=1.4, zorder=0)
        label = f"{corners} corners confused: {loss:.3f}"
        left.text(loss - 0.012, 0.97 * top, label, ha="right", va="top", fontsize=9, rotation=90)
    left.text(0.03, 0.97 * top, "solved", va="top", fontsize=9)
    left.set(xlabel="loss after training (nats)", ylabel="networks", xlim=(-0.03, 0.8), title="Where the losses end")

    live, kinds = trained.active.any(1).sum(1), ending(trained.loss, trained.solved)
    counts = np.arange(trained.active.shape[-1] + 1)
    bottom = np.zeros(len(counts))
    for kind, (color, hatch) in {0: ("C0", ""), 2: ("C1", "//"), 3: ("C2", "xx"), 4: ("C3", "..")}.items():
        height = np.array([((live == n) & (kinds == kind)).sum() for n in counts])
        label = f"{kind} corners confused" if kind else "solved"
        right.bar(counts, height, bottom=bottom, color=color, hatch=hatch, edgecolor=now.paper, label=label)
        bottom += height
    for n in counts[bottom > 0]:
        share = trained.solved[live == n].mean()
        right.annotate(f"{share:.0%}", (n, bottom[n]), xytext=(0, 3), textcoords="offset points", ha="center")
    right.set(xlabel="live hidden units after training", ylabel="networks", title="Solved, by live units")
    right.set(xticks=counts, ylim=(0, 1.12 * bottom.max()))
    right.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def perceptron_table(learned: Mapping[str, PerceptronResult]) -> Table:
    """Make the table of the gates: how many seeds converge, and when."""
    rows = []
    for gate, results in learned.items():
        ends = results.converged_at[results.converged_at >= 0]
        when = (float(np.median(ends)), int(ends.max())) if ends.size else (None, None)
        rows.append((gate, percent(ends.size / len(results.converged_at)), *when))
    return Table(("gate", "converged", "median epoch", "latest epoch"), rows)


def hand_table() -> Table:
    """Make the table of the threshold units and what they answer."""
    header = ("gate", "weights", "threshold", *(f"{a} {b}" for a, b in CORNERS))
    rows: list[tuple[Any, ...]] = [
        (gate, str(HAND_SET[gate][0]), HAND_SET[gate][1], *threshold_gate(gate, CORNERS).tolist())
        for gate in HAND_SET
        if gate != "NOT"
    ]
    return Table(header, [*rows, ("XOR", "AND(OR, NAND)", None, *threshold_gate("XOR", CORNERS).tolist())])


def percent(share: float) -> str:
    """Write a share, so that a table sets it flush right."""
    return f"{100 * share:.1f} %"


def page(
    config: Any,
    summary: Mapping[str, Any],
    learned: Mapping[str, PerceptronResult],
    relu: Any,
    by_width: Mapping[str, np.ndarray],
    at_once: Table,
    probabilities: Callable[[Any, np.ndarray], np.ndarray],
    answers: np.ndarray,
) -> Page:
    """Put together the report."""
    networks, first = config.networks, summary["xor_first_network_solved"]
    shares = {name: percent(value) for name, value in summary.items() if isinstance(value, float)}
    targets = TRUTH_TABLES["XOR"]
    predictions = [
        (f"[{a} {b}]", int(y), float(p), int(p > 0.5)) for (a, b), y, p in zip(CORNERS, targets, answers, strict=True)
    ]
    return Page(
        "Gates: from the threshold unit to XOR",
        f"A line parts the classes of AND, OR, NAND and NOR, and none those of XOR. Seed {config.seed}.",
        [] if first else ["The network of this seed does not solve XOR: the reasons are below."],
        [
            ("of the 2-4-1 networks solve XOR", shares["xor_solved_share"]),
            ("networks trained at once", f"{networks:,}"),
            ("seconds for all of them", f"{summary['xor_seconds']:.2f}"),
            ("seconds of compiling", f"{summary['xor_compile_seconds']:.2f}"),
        ],
        [
            Section(
                "Decision lines",
                "The first perceptron of this seed. A filled corner is of class 1. The last picture takes two units in "
                "a first layer, OR and NAND, and a third, AND, behind them.",
                partial(decision_lines, learned),
                hand_table(),
            ),
            Section(
                "Perceptrons",
                f"{networks:,} perceptrons a gate, learning rate 0.01, at most {learned['AND'].errors.shape[-1]} "
                "epochs, counted from 0. An epoch without an error ends the training.",
                table=perceptron_table(learned),
            ),
            Section(
                "What the networks answer",
                "The first network that solved XOR and the first at each level of the loss where others stopped. "
                "In a square: a corner at which no hidden unit is active. The table is of network 0.",
                partial(surfaces, relu, probabilities),
                Table(("input", "target", "prediction", "class"), predictions),
            ),
            Section(
                "How many solve XOR",
                f"{max(networks // 5, 1):,} networks a point, 5,000 epochs at learning rate 0.5: the standard error is "
                f"at most {50 / np.sqrt(max(networks // 5, 1)):.1f} percentage points. In the table, compiling takes "
                "less where the program lies in the cache from an earlier run.",
                partial(solved_by_width, by_width),
                table=at_once,
            ),
            Section(
                "Why the others fail",
                text=f"{shares['xor_failed_share']} of the networks with four ReLU units fail. Where a network gives "
                "two, three or all four corners the same answer, the best answer is their mean, and the loss is 0.347, "
                f"0.477 or 0.693: {shares['xor_failed_at_levels']} of the failed networks end within 0.01 of these.\n\n"
                f"{shares['xor_failed_blind']} of the failed networks have corners of both classes at which no hidden "
                f"unit is active, and {shares['xor_solved_blind']} of those that solve it. The network sees no "
                "difference between such corners, and from them no gradient reaches a hidden unit. In "
                f"{shares['xor_failed_linear']} every hidden unit that is left is active at all four corners, and so "
                "the network is linear there: its best answer is 1/2 everywhere.\n\n"
                f"A dead unit is active at no corner and stays so. {shares['xor_failed_with_dead_units']} of the "
                f"failed networks have one, but also {shares['xor_solved_with_dead_units']} of the others: with zero "
                "biases a quarter of all units are dead from the start.",
                caption="The percentages over the bars are the shares solved.",
                figure=partial(endings, relu),
            ),
            Section("Numbers", table=key_values({k: f"{v:.6g}" for k, v in summary.items()}), folded=True),
            *pages.circumstances(config),
        ],
    )
