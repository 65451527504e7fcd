"""The report of the sweep and its figures, which can be read without colours."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import pages
from experiments.sweep_measures import Answers, words
from jaxnn.data.images import ImageData
from jaxnn.report import Page, Section, Table, learning_curves, records, reliability_diagram
from jaxnn.report.theme import color_scale, colors, contrast
from jaxnn.training.sweep_results import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat_map(table: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the mean validation accuracy by learning rate and dropout, a panel without batch norm and one with it.

    A cell has the mean and half its 95 % interval in percent, and how many networks diverged.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    dropouts = list(dict.fromkeys(row["dropout"] for row in table))
    rates = sorted({row["learning_rate"] for row in table}, reverse=True)
    measured = [row["validation_accuracy"] for row in table if "validation_accuracy" in row]
    # Without the worst fifth the colours tell the good settings apart.
    low, high = float(np.quantile(measured, 0.2)), float(max(measured))
    now = colors()
    scale, best = color_scale(now.paper, now.series[0]), high
    width = 1.2 + 2 * max(0.84 * len(dropouts), 1.6)
    figure = Figure(figsize=(width, 1.2 + 0.62 * len(rates)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, norm in zip(panels, (False, True), strict=True):
        for row in table:
            if row["batch_norm"] != norm:
                continue
            x, y = dropouts.index(row["dropout"]), rates.index(row["learning_rate"])
            value = row.get("validation_accuracy")
            share = 0.0 if value is None else float(np.clip((value - low) / ((high - low) or 1), 0, 1))
            behind = scale(0.85 * share)
            panel.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=behind, edgecolor=now.line, linewidth=0.7))
            if value == best:
                box = Rectangle((x - 0.45, y - 0.42), 0.9, 0.84, fill=False, edgecolor=now.ink, linewidth=2)
                panel.add_patch(box)
            # A cell without colour is the paper behind it.
            ink = max(("black", "white"), key=lambda color, behind=behind: contrast(color, behind))
            panel.text(x, y, _cell(row), color=ink, ha="center", va="center", fontsize=9.5, linespacing=1.25)
        panel.set(xlim=(-0.5, len(dropouts) - 0.5), ylim=(len(rates) - 0.5, -0.5), xlabel="dropout")
        panel.set_xticks(range(len(dropouts)), [f"{rate:g}" for rate in dropouts])
        panel.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        panel.set_title("With batch norm" if norm else "Without batch norm")
    panels[0].set_ylabel("learning rate")
    return figure


def _cell(row: Mapping[str, Any]) -> str:
    if "validation_accuracy" not in row:
        return "diverged" if row["diverged"] else "not run"
    interval = row["validation_accuracy_interval"]
    lines = [f"{100 * row['validation_accuracy']:.1f}"]
    lines += [] if interval is None else [f"± {100 * interval:.1f}"]
    lines += [f"{row['diverged']} diverged"] if row["diverged"] else []
    return "\n".join(lines)


def ensemble(answers: Answers) -> "Figure":
    """Draw the test accuracy of each network of the ensemble, and of the first one, two, three, ... together."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    panel = figure.subplots()
    places = np.arange(1, len(answers.members) + 1)
    alone = [100 * one.accuracy for one in answers.member_scores]
    panel.plot(places, 100 * np.asarray(answers.by_size), color="C0", marker="o", markersize=5, label="1 to n together")
    panel.plot(places, alone, color="C1", marker="D", markersize=5, linestyle="none", label="network n alone")
    mean = float(np.mean(alone))
    panel.axhline(mean, color=colors().muted, linestyle=(0, (4, 2)), linewidth=1.2, label="mean of the networks")
    panel.set(xlabel="network n, the best on validation images first", ylabel="test accuracy (%)")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(axis="y")
    panel.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def page(
    config: Any,
    data: ImageData,
    trained: int,
    validated: int,
    sweep: Sweep,
    answers: Answers,
    notices: Sequence[str],
) -> Page:
    """Put together the report of a run of `experiments.sweep`."""
    best, alone, all_of_them = answers.members[0], answers.member_scores, answers.ensemble
    count = len(answers.members)
    compared = Table(
        ("", "test accuracy", "test loss", "expected calibration error"),
        [
            ("best network", alone[0].accuracy, alone[0].loss, alone[0].calibration_error),
            (f"mean of the {count}", *np.mean([one[:3] for one in alone], axis=0).tolist()),
            (f"the {count} together", *all_of_them[:3]),
        ],
    )
    return Page(
        f"{len(sweep.members)} networks on {data.name.replace('_', '-').title()}",
        f"Learning rate x batch norm x dropout, {config.seeds} seeds each, in {len(sweep.how)} compiled programs",
        notices,
        [
            ("best network, test accuracy", f"{alone[0].accuracy:.2%}"),
            (f"best {count} together", f"{all_of_them.accuracy:.2%}"),
            ("networks", f"{len(sweep.members)}"),
            ("seconds a network", f"{sweep.train_seconds / len(sweep.members):.2f}"),
            ("seconds of compiling", f"{sweep.compile_seconds:.1f}"),
        ],
        [
            Section(
                "Validation accuracy by setting",
                f"Mean over the seeds in percent, and half of its 95 % interval (Student's t), after {config.epochs} "
                f"epochs of {trained:,} images, on {validated:,} others. The best is framed.",
                partial(heat_map, sweep.table),
            ),
            Section(
                "Best network",
                f"{words(best.hyperparameters).capitalize()}, seed {best.seed}: the best of "
                f"{len(sweep.members)} on the validation images. That choice makes its validation accuracy a little "
                "too good; the test images had no part in it.",
                partial(learning_curves, best.history),
            ),
            Section(
                "Ensemble against its members",
                f"The {count} best networks on the validation images. Together they answer with the mean of their "
                "probabilities. Each was tested once, after all choices.",
                partial(ensemble, answers),
                compared,
            ),
            Section(
                "Best network: can its confidence be believed?",
                "Accuracy by confidence on the test images; under the dashed line a network is too sure of itself.",
                partial(reliability_diagram, alone[0].bins),
            ),
            Section(
                "Ensemble: can its confidence be believed?",
                "A mean of probabilities is less sure than its networks are. That cures networks that are too sure of "
                "themselves, and makes modest ones more modest.",
                partial(reliability_diagram, all_of_them.bins),
            ),
            Section("Settings", table=records(sweep.table), folded=True),
            Section("How they were trained together", text="\n\n".join(sweep.how)),
            *pages.circumstances(config),
        ],
    )
