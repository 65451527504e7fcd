"""Early stopping: when validation has not become better for a while, end, and take the best parameters."""

from typing import Any, NamedTuple

import numpy as np

from jaxnn import checks
from jaxnn.types import Params, State


class EarlyStopping(NamedTuple):
    """A rule; `early_stopping` makes and checks one."""

    metric: str
    patience: int
    min_delta: float
    maximize: bool
    restore_best: bool


class Best(NamedTuple):
    """What the rule knows: the best value, its epoch (0: none yet) and parameters, and the epochs waited since."""

    value: float
    epoch: int
    waited: int
    params: Params
    model_state: State


def early_stopping(
    metric: str = "validation_loss",
    *,
    patience: int = 7,
    min_delta: float = 0.0,
    maximize: bool = False,
    restore_best: bool = True,
) -> EarlyStopping:
    """Make the rule for `fit(early_stopping=...)`: end after `patience` epochs in which `metric` became no better.

    A value is better when it is not above the best one minus `min_delta` (with `maximize`, not below plus), as in the
    guide's class, so a tie counts as better. NaN never does. At the end, of the patience or of the epochs, the
    parameters of the best epoch are the result; the guide keeps the last ones: `restore_best=False`.

    Raises ValueError for a patience below 1 and a negative `min_delta`. Prechelt, 1998, Early Stopping - But When?

    >>> early_stopping(patience=3).metric
    'validation_loss'
    """
    checks.positive_int("early_stopping", "patience", patience)
    checks.in_range("early_stopping", "min_delta", min_delta, 0, np.inf, open_high=True)
    if not isinstance(metric, str):
        raise TypeError(f"early_stopping expected metric to be a name such as 'validation_loss' but got {metric!r}")
    return EarlyStopping(metric, patience, min_delta, maximize, restore_best)


def no_best(params: Params, model_state: State) -> Best:
    """Return what is known before the first epoch.

    >>> no_best((), ()).epoch
    0
    """
    return Best(float("nan"), 0, 0, params, model_state)


def update_best(rule: EarlyStopping, best: Best, value: float, epoch: int, params: Params, model_state: State) -> Best:
    """Take in the metric after an epoch.

    >>> rule, best = early_stopping(patience=2), no_best((), ())
    >>> for epoch, value in enumerate([0.5, 0.3, 0.4], start=1):
    ...     best = update_best(rule, best, value, epoch, (), ())
    >>> best.value, best.epoch, best.waited, should_stop(rule, best)
    (0.3, 2, 1, False)
    """
    sign = -1 if rule.maximize else 1
    better = sign * value <= sign * best.value - rule.min_delta
    if better or (best.epoch == 0 and not np.isnan(value)):
        return Best(value, epoch, 0, params, model_state)
    return best._replace(waited=best.waited + 1)


def should_stop(rule: EarlyStopping, best: Best) -> bool:
    """Say whether the patience is at its end.

    >>> should_stop(early_stopping(patience=2), no_best((), ())._replace(waited=2))
    True
    """
    return best.waited >= rule.patience


def metric_of(rule: EarlyStopping, record: dict[str, Any]) -> float:
    """Find the rule's metric in the record of an epoch. Raises ValueError that names those that are there.

    >>> metric_of(early_stopping(), {"loss": 0.5})
    Traceback (most recent call last):
    ValueError: early_stopping watches validation_loss, but the record of an epoch has only loss
    """
    if rule.metric not in record:
        raise ValueError(
            f"early_stopping watches {rule.metric}, but the record of an epoch has only {', '.join(record)}"
        )
    return float(record[rule.metric])
