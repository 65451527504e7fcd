"""The report of the experiment with sequences. Lines differ in dash and marker as well as in colour."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import pages
from experiments.sequences_measures import (
    BASELINE,
    BATCH,
    BROKEN,
    CLIP,
    GRADIENT_SEQUENCES,
    HIDDEN,
    RATES,
    ROWS_HIDDEN,
    SOLVED,
    TEST_SEQUENCES,
    VALIDATION_SEQUENCES,
    Rows,
    Sums,
)
from jaxnn.data.images import ImageData
from jaxnn.report import Page, Section, Table, records
from jaxnn.report.theme import WIDTH, colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"rnn": "RNN", "lstm": "LSTM"}
LOOKS = {
    "rnn": {"color": "C1", "linestyle": (0, (5, 1.6)), "marker": "s"},
    "lstm": {"color": "C0", "linestyle": "-", "marker": "o"},
}
DASHES = ["-", (0, (5, 1.6)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 3))]
MARKERS = "os^Dvx"


def _panels(across: int, height: float, **options: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[union-attr]
    panels = figure.subplots(1, across, squeeze=False, **options)[0]
    for panel in panels:
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    return figure, panels


def _legend(figure: "Figure", panel: Any, columns: int) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, handlelength=4)


def _plain_ticks(axis: Any) -> None:
    """Write 0.2 and 0.5 at a logarithmic axis, and no powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _marks(points: int) -> int:
    return max(1, points // 8)


def errors(done: Sequence[Sums]) -> "Figure":
    """Draw the test error by length, with the error of always answering 1 and the half of it that counts as broken."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure, (panel,) = _panels(1, 4.4)
    panel.axhline(BASELINE, color=colors().muted, linewidth=1.2, label="always answering 1")
    panel.axhline(
        BROKEN, color=colors().muted, linewidth=1.2, linestyle=(0, (1, 1.5)), label="half of it: broken above"
    )
    for kind, look in LOOKS.items():
        points = sorted((one.length, one.test_error) for one in done if one.kind == kind)
        if points:
            panel.plot(*zip(*points, strict=True), **look, markersize=7, label=NAMES[kind])
    panel.set(xscale="log", yscale="log", xlabel="time steps", ylabel="test mean squared error")
    panel.xaxis.set_major_locator(FixedLocator(sorted({one.length for one in done})))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())
    _plain_ticks(panel.yaxis)
    _legend(figure, panel, 2)
    return figure


def courses(done: Sequence[Sums]) -> "Figure":
    """Draw the validation error by step of training, a panel for each network and a line for each length."""
    from matplotlib.ticker import MaxNLocator

    figure, panels = _panels(2, 4.4, sharex=True, sharey=True)
    lengths = sorted({one.length for one in done})
    for panel, kind in zip(panels, NAMES, strict=True):
        for one in done:
            if one.kind == kind:
                i = lengths.index(one.length)
                panel.plot(
                    [record["step"] for record in one.history],
                    [record["validation_loss"] for record in one.history],
                    color=f"C{i % 6}",
                    linestyle=DASHES[i % 6],
                    marker=MARKERS[i % 6],
                    markersize=4.5,
                    label=f"{one.length} steps",
                )
        panel.axhline(BASELINE, color=colors().muted, linewidth=1.2, label="always answering 1")
        panel.set(title=NAMES[kind], yscale="log", xlabel="updates")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _plain_ticks(panels[0].yaxis)
    panels[0].set_ylabel("validation mean squared error")
    fullest = max(panels, key=lambda panel: len(panel.get_legend_handles_labels()[1]))
    _legend(figure, fullest, 3)
    return figure


def gradients(done: Sequence[Sums], length: int) -> "Figure":
    """Draw the gradient that reaches each time step, relative to that of the last, before and after training."""
    from matplotlib.ticker import NullLocator

    figure, panels = _panels(2, 4.4, sharey=True)
    shown = [one for one in done if one.length == length]
    for panel, when in zip(panels, ("start", "end"), strict=True):
        for one in shown:
            gradient = getattr(one, f"gradient_at_{when}")
            share = np.where(gradient > 0, gradient, np.nan) / gradient[-1]
            steps = np.arange(1, length + 1)
            panel.plot(steps, share, **LOOKS[one.kind], markersize=5, markevery=_marks(length), label=NAMES[one.kind])
        panel.set(yscale="log", xlabel="time step", title={"start": "At the start", "end": "After training"}[when])
    panels[0].set_ylabel("gradient norm, last step = 1")
    panels[0].yaxis.set_minor_locator(NullLocator())
    _legend(figure, panels[0], 2)
    return figure


def accuracies(done: Sequence[Rows]) -> "Figure":
    """Draw the validation error by epoch, a line for each training."""
    from matplotlib.ticker import MaxNLocator

    figure, (panel,) = _panels(1, 4.0)
    named = set()
    for one in done:
        epochs = [record["epoch"] for record in one.history]
        wrong = [100 * (1 - record["validation_accuracy"]) or np.nan for record in one.history]
        label = None if one.kind in named else NAMES[one.kind]
        panel.plot(epochs, wrong, **LOOKS[one.kind], markersize=5, markevery=_marks(len(epochs)), label=label)
        named.add(one.kind)
    panel.set(yscale="log", xlabel="epoch", ylabel="validation errors (%)")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain_ticks(panel.yaxis)
    _legend(figure, panel, 2)
    return figure


def page(
    config: Any,
    notices: Sequence[str],
    data: ImageData | None,
    sums: Sequence[Sums],
    rows: Sequence[Rows],
    summary: Mapping[str, Any],
) -> Page:
    """Put together the report from the trainings that are finished."""
    length = min((one.length for one in sums), key=lambda length: abs(length - 100), default=0)
    headline = [
        (f"{NAMES[one.kind]}: error at {length} steps", f"{one.test_error:.2g}") for one in sums if one.length == length
    ]
    for kind, name in NAMES.items():
        if f"adding_breaks_at_{kind}" in summary:
            longest = max(one.length for one in sums if one.kind == kind)
            broken = summary[f"adding_breaks_at_{kind}"]
            headline.append((f"{name}: breaks at", f"{broken} steps" if broken else f"not up to {longest}"))
    for kind, name in NAMES.items():
        if f"rows_test_accuracy_{kind}_mean" in summary:
            headline.append((f"{name}: images row by row", f"{summary[f'rows_test_accuracy_{kind}_mean']:.2%}"))
    return Page(
        "Recurrent networks and long sequences",
        f"RNN and LSTM, seed {config.seed}",
        notices,
        headline,
        [
            *(_adding(sums, length) if sums else []),
            *(_rows(data, rows) if data and rows else []),
            *pages.circumstances(config),
        ],
    )


def _adding(sums: Sequence[Sums], length: int) -> list[Section]:
    table = Table(
        ("network", "time steps", "test error", "updates", "seconds", "gradient at the start", "gradient after"),
        [
            (
                NAMES[one.kind],
                one.length,
                f"{one.test_error:.2g}",
                one.steps,
                f"{one.seconds:.1f}",
                *(f"{g[0] / g[-1]:.1g}" for g in (one.gradient_at_start, one.gradient_at_end)),
            )
            for one in sums
        ],
    )
    return [
        Section(
            "Adding problem",
            "Two numbers of a sequence are marked, one in each half; the answer at the end is their sum. Mean squared "
            f"error on {TEST_SEQUENCES:,} sequences that no training has seen. Always answering 1 has 1/6. A network "
            "breaks at the first length whose error is above half of that.",
            partial(errors, sums),
            table,
            text=f"One layer of {HIDDEN} units, PyTorch's initialisation, batches of {BATCH}, the gradient clipped to "
            f"norm {CLIP:g}, Adam at {RATES['rnn']:g} for the RNN and {RATES['lstm']:g} for the LSTM. A training ends "
            f"when its validation error is below {SOLVED:g}. The last two columns are the gradient that reaches the "
            "first step, divided by that of the last.",
        ),
        Section(
            "Adding problem by update",
            f"Error on {VALIDATION_SEQUENCES:,} validation sequences after each pass over the training sequences.",
            partial(courses, sums),
        ),
        Section(
            "Gradient by time step",
            f"How much of the loss at the end reaches the carry of each step before it, at {length} steps: the norm "
            f"over {GRADIENT_SEQUENCES} test sequences, divided by that of the last step. The carry is h, and for the "
            "LSTM h and c. A step whose share is next to nothing has no part in the update of the weights.",
            partial(gradients, sums, length),
        ),
    ]


def _rows(data: ImageData, rows: Sequence[Rows]) -> list[Section]:
    name = data.name.replace("_", "-").upper()
    height, width = data.train.inputs.shape[1:3]
    return [
        Section(
            f"{name} row by row",
            f"Each image is a sequence of {height} steps of {width} pixels; the last step is classified. Errors on the "
            "validation images after each epoch. The test set is evaluated once a training, after it.",
            partial(accuracies, rows),
            records(
                [
                    {
                        "network": NAMES[one.kind],
                        "seed": one.seed,
                        "test accuracy": f"{one.test_accuracy:.2%}",
                        "seconds of training": one.seconds,
                    }
                    for one in rows
                ]
            ),
            text=f"Two layers of {ROWS_HIDDEN} units, the LSTM with dropout 0.2 between them, the gradient clipped to "
            f"norm {CLIP:g}, Adam with a learning rate that falls to 0 as a cosine. {name} from {data.source}.",
        )
    ]
