"""The report of the schedules and its figures. Lines differ in dash and marker too, for black and white."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments import pages
from jaxnn.report import Page, Section, Table, records
from jaxnn.report.theme import WIDTH, colors
from jaxnn.training.sweep_results import Sweep, half_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {
    "constant": ("C0", "-", "o"),
    "step": ("C1", (0, (5, 1.6)), "s"),
    "cosine": ("C2", (0, (1, 1.2)), "^"),
    "one cycle": ("C3", (0, (6, 1.5, 1, 1.5)), "D"),
}


class Course(NamedTuple):
    """A schedule at its best rate: the rate of each step, and what its networks, one a seed, came to."""

    rate: float
    """The highest."""
    rates: np.ndarray
    histories: list[list[dict[str, float]]]
    test_accuracies: list[float]


def curves(courses: Mapping[str, Course], epochs: int) -> "Figure":
    """Draw the rate by step, and under it the training and the validation loss by epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 8.4), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    for i, (name, course) in enumerate(courses.items()):
        color, dash, marker = LOOKS[name]
        every = max(1, len(course.rates) // 8)
        marks = (i * every // len(courses), every)  # not all at the same x, where lines lie on each other
        line = {"color": color, "linestyle": dash, "marker": marker, "markersize": 5}
        steps = (np.arange(len(course.rates)) + 1) * epochs / len(course.rates)
        panels[0].plot(steps, course.rates, markevery=marks, label=f"{name}, up to {course.rate:g}", **line)
        for panel, loss in zip(panels[1:], ("loss", "validation_loss"), strict=True):
            values = np.array([[record[loss] for record in history] for history in course.histories])
            panel.plot(np.arange(1, values.shape[1] + 1), values.mean(0), **line)
    names = ("Learning rate", "Training loss", "Validation loss")
    for panel, title, unit in zip(panels, names, ("rate", "cross-entropy (nats)", "cross-entropy (nats)"), strict=True):
        panel.set_title(title)
        panel.set_ylabel(unit)
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    panels[1].set_yscale("log")
    _plain_ticks(panels[1].yaxis)
    panels[2].set_xlabel("epoch")
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, handlelength=4)
    return figure


def _plain_ticks(axis: Any) -> None:
    """Write 0.2 and 0.5 at a logarithmic axis, and no powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def accuracies(sweep: Sweep, courses: Mapping[str, Course]) -> "Figure":
    """Draw the validation accuracy at every rate, and the test accuracy at each schedule's best one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rates = sorted({member.hyperparameters["rate"] for member in sweep.members})
    for at, name in enumerate(courses):
        for i, rate in enumerate(rates):
            setting = {"schedule": name, "rate": rate}
            values = [
                member.history[-1]["validation_accuracy"]
                for member in sweep.members
                if member.hyperparameters == setting and member.history and not member.diverged
            ]
            place = at + 0.7 * ((i + 0.5) / len(rates) - 0.5)
            _bar(left, place, values, f"C{i % 6}", "osD^v<"[i % 6], f"rate {rate:g}" if at == 0 else None)
        color, _, marker = LOOKS[name]
        _bar(right, at, courses[name].test_accuracies, color, marker, None)
    for panel, title in ((left, "Validation accuracy at each rate"), (right, "Test accuracy at the best rate")):
        panel.set_title(title)
        panel.set_xlim(-0.6, len(courses) - 0.4)
        panel.set_ylabel("accuracy (%)")
        panel.set_xticks(range(len(courses)), list(courses))
        panel.tick_params(axis="x", length=0)
        panel.grid(axis="y")
        panel.set_axisbelow(True)
    right.set_xticks(range(len(courses)), [f"{name}\n{course.rate:g}" for name, course in courses.items()])
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(rates), frameon=False)
    return figure


def _bar(panel: Any, x: float, values: Sequence[float], color: str, marker: str, label: str | None) -> None:
    """Draw each value as a dot, and their mean with its 95 % interval beside them."""
    if not values:
        return
    percent = 100 * np.asarray(values)
    dots = {"linestyle": "none", "marker": "o", "markersize": 3, "color": colors().muted, "alpha": 0.8}
    panel.plot(np.full(len(values), x - 0.09), percent, **dots)
    half = half_interval([*percent]) or 0.0
    panel.errorbar(x + 0.05, percent.mean(), half, color=color, marker=marker, markersize=6, capsize=4, label=label)


def page(
    config: Any,
    dataset: str,
    sizes: tuple[int, int, int],
    sweep: Sweep,
    courses: Mapping[str, Course],
    notices: Sequence[str],
) -> Page:
    """Put together the report of a run of `experiments.schedules`."""
    epochs, trained, validated = sizes
    table = Table(
        ("schedule", "rate", "networks", "test accuracy", "± (95 %)", "training loss"),
        [
            (
                name,
                found.rate,
                len(found.test_accuracies),
                float(np.mean(found.test_accuracies)),
                half_interval(found.test_accuracies),
                float(np.mean([history[-1]["loss"] for history in found.histories])),
            )
            for name, found in courses.items()
        ],
    )
    best = max(courses, key=lambda name: float(np.mean(courses[name].test_accuracies)))
    return Page(
        "Learning-rate schedules",
        f"{dataset.replace('_', '-').upper()}, {config.seeds} seeds of each schedule and rate, from seed {config.seed}",
        notices,
        [(f"{name}, test accuracy", f"{np.mean(found.test_accuracies):.2%}") for name, found in courses.items()],
        [
            Section(
                "Rate and loss",
                "Each schedule at its own best rate; means over the seeds. The training loss is the mean over an "
                "epoch, with dropout on.",
                partial(curves, courses, epochs),
            ),
            Section(
                "Accuracy",
                "Dots are networks; bars are means with their 95 % intervals (Student's t). On the left every rate, "
                f"on {validated:,} validation images; on the right the rate that was best there, on the test images, "
                f"which were looked at once. The best mean on the test images is that of {best}; where intervals "
                "overlap, other seeds may say otherwise.",
                partial(accuracies, sweep, courses),
                table,
            ),
            Section(
                "What was trained",
                text=f"{len(sweep.members)} networks, {epochs} epochs of {trained:,} images each.\n\n"
                + "\n\n".join(sweep.how),
            ),
            Section("Settings", table=records(sweep.table), folded=True),
            *pages.circumstances(config),
        ],
    )
