"""What a sweep found: its networks, and a table of the settings with their means over the seeds."""

import math
import signal
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxnn.training.resume import Record
from jaxnn.types import Params, State

LEFT_OUT = {"epoch", "step", "learning_rate", "gradient_norm"}  # of a record, from the table
CONFIDENCE = 0.95


class Member(NamedTuple):
    """One trained network of a sweep; its arrays are on the host."""

    hyperparameters: dict[str, Any]
    seed: int
    params: Params
    model_state: State
    steps: int
    history: list[Record]
    """A record for each finished epoch, as in `fit` but without times."""
    diverged: str
    """Where the loss, the gradient or the parameters stopped being finite: "epoch 2, step 31". Empty: nowhere."""


class Sweep(NamedTuple):
    """What `fit_many` gives."""

    members: list[Member]
    """By setting, then by seed, in the order in which they were given."""
    table: list[dict[str, Any]]
    """A row for each setting: its hyperparameters, and the means of the last records with their 95 % intervals."""
    best: Member | None
    """The one with the highest validation accuracy, or else the lowest validation loss; None without validation."""
    how: list[str]
    """For each structure, how its networks shared the program, and why."""
    compile_seconds: float
    train_seconds: float


class SweepInterrupted(KeyboardInterrupt):
    """Raised by `fit_many` after Ctrl-C or SIGTERM; `result` holds the networks so far, `signal_number` says by what.

    Networks that were not begun are not in it.
    """

    def __init__(self, result: Sweep, signal_number: int):
        steps = sum(member.steps for member in result.members)
        super().__init__(
            f"{signal.Signals(signal_number).name} after {steps:,} steps of {len(result.members)} networks"
        )
        self.result = result
        self.signal_number = signal_number


def taken_names(hyperparameters: Mapping[str, Any], metrics: Iterable[str]) -> None:
    """Refuse hyperparameters that the table has other columns for.

    >>> taken_names({"loss": 1}, [])
    Traceback (most recent call last):
    ValueError: fit_many: the table has a column loss itself: give the hyperparameter another name
    """
    measured = {"loss", *metrics}
    columns = measured | {f"validation_{name}" for name in measured}
    columns |= {f"{name}_interval" for name in columns} | {"networks", "diverged"}
    for name in hyperparameters:
        if name in columns:
            raise ValueError(f"fit_many: the table has a column {name} itself: give the hyperparameter another name")


def half_interval(values: Sequence[float]) -> float | None:
    """Compute t s / sqrt(n), half the width of the 95 % confidence interval of the mean; None for a single value.

    s is the deviation of the sample and t the 97.5 % quantile of Student's distribution with n - 1 degrees of freedom.
    Student (Gosset), 1908, The Probable Error of a Mean.

    >>> round(half_interval([1.0, 2.0, 3.0]), 4)  # t = 4.3027, s = 1
    2.4841
    """
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def table_of(settings: Sequence[tuple[dict[str, Any], Sequence[Member]]]) -> list[dict[str, Any]]:
    """Make a row of each setting and its members; those that diverged are counted and not in the means.

    >>> def member(seed, accuracy):
    ...     return Member({"rate": 0.1}, seed, (), (), 10, [{"epoch": 1, "accuracy": accuracy}], "")
    >>> table_of([({"rate": 0.1}, [member(0, 0.5), member(1, 0.5)])])
    [{'rate': 0.1, 'networks': 2, 'diverged': 0, 'accuracy': 0.5, 'accuracy_interval': 0.0}]
    """
    rows = []
    for hyperparameters, members in settings:
        last = [member.history[-1] for member in members if member.history and not member.diverged]
        row = {**hyperparameters, "networks": len(members), "diverged": sum(bool(m.diverged) for m in members)}
        for name in last[0] if last else ():
            if name not in LEFT_OUT:
                values = [record[name] for record in last if name in record]
                row |= {name: statistics.fmean(values), f"{name}_interval": half_interval(values)}
        rows.append(row)
    return rows


def best_of(members: Sequence[Member]) -> Member | None:
    """Return the member that did best on its validation set at the end, the first of equals.

    >>> def member(seed, loss):
    ...     return Member({}, seed, (), (), 1, [{"validation_loss": loss}], "")
    >>> best_of([member(0, 0.5), member(1, 0.4)]).seed
    1
    """
    sound = [member for member in members if member.history and not member.diverged]
    for name, sign in (("validation_accuracy", 1), ("validation_loss", -1)):
        measured = [member for member in sound if name in member.history[-1]]
        if measured:
            return max(measured, key=lambda member: sign * member.history[-1][name])
    return None
