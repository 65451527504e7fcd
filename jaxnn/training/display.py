"""What a user sees while training runs: a live bar on a terminal, a line an epoch in a pipe, or nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple


class Display(NamedTuple):
    """What there is to tell: what is being done, how far it is, the record of a finished epoch, and other news."""

    status: Callable[[str], None]
    advance: Callable[[int, Mapping[str, float]], None]
    epoch: Callable[[Mapping[str, float]], None]
    note: Callable[[str], None]


SHORT = {"validation": "val", "accuracy": "acc", "learning_rate": "lr", "gradient_norm": "grad"}
ONLY_LIVE = ("gradient_norm", "learning_rate")  # a line an epoch has no room for them
HIDDEN = ("epoch", "step", "seconds", "examples_per_second")


def record_line(record: Mapping[str, float], epochs: int) -> str:
    """Write the record of an epoch as one line; with loss and accuracy on both sets it fits 80 columns.

    >>> record_line({"epoch": 3, "loss": 0.0912, "accuracy": 0.9721, "validation_accuracy": 0.979, "seconds": 1.9}, 10)
    'epoch  3/10  loss 0.0912  acc 97.21%  val acc 97.90%  1.9 s'
    """
    width = len(str(epochs))
    words = [f"epoch {record['epoch']:{width}.0f}/{epochs}"]
    for name, value in record.items():
        if name not in HIDDEN + ONLY_LIVE:
            words.append(_named(name, value))
    return "  ".join([*words, f"{record['seconds']:.1f} s"])


def _named(name: str, value: float) -> str:
    label = SHORT.get(name) or " ".join(SHORT.get(word, word) for word in name.split("_"))
    if name.endswith("accuracy"):
        return f"{label} {value:.2%}"
    return f"{label} {value:.4f}" if name.endswith("loss") else f"{label} {value:.4g}"


def _silent(*_: Any) -> None:
    """Say nothing."""


@contextmanager
def training_display(enabled: bool, epochs: int, steps: int) -> Iterator[Display]:
    """Show a run of `epochs` epochs of `steps` steps: a live bar on a terminal, plain lines elsewhere, or nothing.

    >>> with training_display(False, 1, 10) as display:
    ...     display.advance(5, {"loss": 0.3})
    """
    if not enabled:
        yield Display(_silent, _silent, _silent, _silent)
        return
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        yield Display(_silent, _silent, lambda record: print(record_line(record, epochs), flush=True), print)
        return
    with _live_display(console, epochs, steps) as display:
        yield display


@contextmanager
def _live_display(console: Any, epochs: int, steps: int) -> Iterator[Display]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[now]}")]
    # The time left is that of the whole run, so the bar is one over all epochs.
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console, transient=True, expand=True) as bar:
        task = bar.add_task("starting", total=epochs * steps, now="")

        def advance(step: int, values: Mapping[str, float]) -> None:
            now = "  ".join(_named(name, value) for name, value in values.items() if name not in HIDDEN)
            now += f"  {values['examples_per_second']:,.0f}/s"
            epoch = min((step - 1) // steps + 1, epochs)
            bar.update(task, completed=step, description=f"epoch {epoch}/{epochs}", now=now)

        yield Display(
            status=lambda text: bar.update(task, description=text),
            advance=advance,
            epoch=lambda record: console.print(record_line(record, epochs), soft_wrap=True),
            note=lambda text: console.print(text, soft_wrap=True),
        )
