"""Which learning rate to take: short trainings at many rates in one program, and the classic ramp of one training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxnn import checks
from jaxnn.data import Dataset, check_dataset
from jaxnn.training.evaluation import check_labels
from jaxnn.training.short_training import MakeOptimizer, compile_trainings, first_batches, short_training, side_by_side
from jaxnn.training.state import RunKeys, TrainState, check_optimizer, compiled_init, init_train_state, run_keys
from jaxnn.types import Array, Init, Layer, Loss

DECAY = 0.95  # of the smoothing: about the last twenty batches count
NEARLY = 0.98  # of the largest drop of the loss: what a suggestion must reach
WORSE = 0.01  # share of the start by which a loss must end above it; less is rounding and the noise of batches
EXPLODED = 4.0  # times the lowest loss: where fastai's ramp ends too


class LearningRates(NamedTuple):
    """The loss curves of trainings that differ in their learning rate alone, and what follows from them."""

    rates: Float[np.ndarray, "K"]
    losses: Float[np.ndarray, "K steps"]
    """Each batch's loss before its update; infinite from the first that is not finite."""
    final: Float[np.ndarray, "K"]
    """The smoothed loss at the end."""
    start: float
    """The smoothed loss of the untrained network on the same batches."""
    edge: float | None
    """The smallest rate at which training diverges: not finite, or at the end worse than at the start."""
    suggestion: float | None
    """None where every rate diverges."""
    mapped_by: str
    """How the trainings shared the program: `vmap`, side by side, or `lax.map`, one after the other."""


class Ramp(NamedTuple):
    """One training whose learning rate grows with each step."""

    rates: Float[np.ndarray, "steps"]
    losses: Float[np.ndarray, "steps"]
    smoothed: Float[np.ndarray, "steps"]
    edge: float | None
    """The first rate whose smoothed loss is not finite, or above four times the lowest before it."""
    suggestion: float | None


def smooth(losses: Array, decay: float = DECAY) -> np.ndarray:
    """Compute the running mean of losses [..., steps], sum_s decay^(t-s) l_s / sum_s decay^(t-s) over s <= t.

    >>> smooth(np.array([4.0, 1.0]), 0.5)
    array([4., 2.])
    """
    weighted = np.zeros(np.shape(losses)[:-1])
    total, means = 0.0, []
    for loss in np.moveaxis(np.asarray(losses, np.float64), -1, 0):
        weighted, total = decay * weighted + loss, decay * total + 1
        means.append(weighted / total)
    return np.stack(means, axis=-1)


def lr_finder(
    model: Layer,
    loss: Loss,
    make_optimizer: MakeOptimizer,
    dataset: Dataset,
    *,
    rates: Sequence[float] | Array | None = None,
    steps: int = 100,
    batch_size: int = 64,
    init: Init | None = None,
    seed: int = 0,
) -> LearningRates:
    """Train `steps` steps at each of K learning rates, in one compiled program: losses [K, steps] and a suggestion.

    All start from the same parameters and see the same batches and the same randomness; `seed`, `init` and
    `batch_size` are those of `fit`, whose first steps these are (short last batches are left out). The default rates
    are 32 from 1e-6 to 10. `init=lambda key: (params, state)` starts from given parameters, which stay as they are.
    A training that diverges does not stop the others.

    The suggestion is the smallest rate whose smoothed loss has dropped by at least 98 % of the largest drop, among
    those below the edge of divergence. The lowest loss of a short training is often reached at a rate that is too noisy
    for a longer one: of rates that are nearly as good, the smallest is the safest, as in the one-standard-error rule
    (Breiman, Friedman, Olshen and Stone, 1984, Classification and Regression Trees).

    Small networks are trained side by side (`vmap`), those of more than 1,000 parameters or with convolutions (a
    weight of three or more axes) one after the other (`lax.map`), a share of them on each core: whichever is faster on
    a CPU. Raises ValueError for rates that are not positive or do not increase, for fewer than two, and for data or
    labels that cannot be trained on; TypeError for what is no model, loss, optimizer or Dataset.

    >>> from jaxnn.data import from_arrays
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> from jaxnn.optimizers import sgd
    >>> line = from_arrays([[1.0], [-1.0]], [[3.0], [-3.0]])  # a curvature of 2: diverges from 2 / 2 on
    >>> found = lr_finder(linear(1, 1), mean_squared_error, sgd, line, rates=[0.001, 0.01, 0.1, 1.1, 10])
    >>> found.edge, found.suggestion, found.losses.shape
    (1.1, 0.1, (5, 100))
    """
    checks.positive_int("lr_finder", "steps", steps)
    rates = np.geomspace(1e-6, 10, 32) if rates is None else _increasing_rates(rates)
    model, start, data, order, keys = _prepared(
        "lr_finder", model, loss, make_optimizer, dataset, float(rates[0]), steps, batch_size, init, seed
    )
    given = start.params, start.model_state, data, order, keys
    curves, untrained = compile_trainings(model, loss, make_optimizer, given, rates)()
    losses = _finite_or_infinite(curves)
    final, before = smooth(losses)[:, -1], float(smooth(untrained)[-1])
    diverged = ~(final <= before + WORSE * abs(before))
    edge = int(diverged.argmax()) if diverged.any() else len(rates)
    drops = before - final[:edge]
    return LearningRates(
        rates,
        losses,
        final,
        before,
        float(rates[edge]) if edge < len(rates) else None,
        float(rates[int((drops >= drops.max() - (1 - NEARLY) * abs(drops.max())).argmax())]) if edge else None,
        "vmap" if side_by_side(start.params) else "lax.map",
    )


def ramp(
    model: Layer,
    loss: Loss,
    make_optimizer: MakeOptimizer,
    dataset: Dataset,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int = 64,
    init: Init | None = None,
    seed: int = 0,
) -> Ramp:
    """Train once with a learning rate that grows geometrically from `low` to `high`: rates and losses [steps].

    The suggestion is a tenth of the rate with the lowest smoothed loss. It costs one training and not K, but each rate
    is tried for one step only, on parameters that the rates before it have trained: what a rate does in the long run,
    it cannot show. The other arguments, and what it raises, are those of `lr_finder`. Source: Smith, 2017, Cyclical
    Learning Rates for Training Neural Networks (with a linear ramp); the geometric one and the tenth are fastai's.

    >>> from jaxnn.data import from_arrays
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> from jaxnn.optimizers import sgd
    >>> line = from_arrays([[1.0], [-1.0]], [[3.0], [-3.0]])
    >>> tried = ramp(linear(1, 1), mean_squared_error, sgd, line)
    >>> 1 < tried.edge < 10, 0.01 < tried.suggestion < 1
    (True, True)
    """
    checks.positive_int("ramp", "steps", steps)
    checks.finite_positive("ramp", "low", low)
    checks.finite_positive("ramp", "high", high)
    if steps < 2 or low >= high:
        raise ValueError(f"ramp expected low < high and at least two steps but got {low:g}, {high:g}, {steps} steps")
    rates = np.geomspace(low, high, steps)
    model, start, data, order, keys = _prepared(
        "ramp", model, loss, make_optimizer, dataset, low, steps, batch_size, init, seed
    )
    training = jax.jit(short_training(model, loss, make_optimizer))
    curve = training(start.params, start.model_state, data, order, keys, jnp.asarray(rates, jnp.float32))
    losses = _finite_or_infinite(jax.device_get(curve))
    smoothed = smooth(losses)
    lowest = np.minimum.accumulate(smoothed)
    exploded = ~np.isfinite(smoothed) | (smoothed > lowest + (EXPLODED - 1) * np.abs(lowest))
    edge = int(exploded.argmax()) if exploded.any() else steps
    return Ramp(
        rates,
        losses,
        smoothed,
        float(rates[edge]) if edge < steps else None,
        float(rates[smoothed[:edge].argmin()]) / 10 if edge else None,
    )


def _finite_or_infinite(losses: Array) -> np.ndarray:
    """Return the losses [..., steps], infinite from the first on that is not finite."""
    finite = np.logical_and.accumulate(np.isfinite(losses), axis=-1)
    return np.where(finite, losses, np.inf).astype(np.float32)


def _increasing_rates(rates: Any) -> np.ndarray:
    if isinstance(rates, str) or not isinstance(rates, Sequence | np.ndarray | jax.Array) or np.ndim(rates) != 1:
        got = f"an array of shape {rates.shape}" if isinstance(rates, np.ndarray | jax.Array) else repr(rates)
        raise TypeError(f"lr_finder expected rates to be a list of learning rates but got {got}")
    for i, rate in enumerate(rates):
        checks.finite_positive("lr_finder", f"rates[{i}]", rate)
    values = np.asarray(rates, np.float64)
    if len(values) < 2 or (np.diff(values) <= 0).any():
        raise ValueError(f"lr_finder expected at least two rates that increase but got {values.tolist()}")
    return values


def _prepared(
    function: str,
    model: Any,
    loss: Any,
    make_optimizer: Any,
    dataset: Any,
    rate: float,
    steps: int,
    batch_size: int,
    init: Init | None,
    seed: int,
) -> tuple[Layer, TrainState, Dataset, jax.Array, RunKeys]:
    """Check what is to be trained; return the model, its start, the data on the device, the batches and the keys."""
    checks.positive_int(function, "batch_size", batch_size)
    model = checks.as_layer(function, model)
    checks.callables(function, loss=loss, **({} if init is None else {"init": init}))
    if not callable(make_optimizer):
        got = "an optimizer: give the constructor, without its rate" if hasattr(make_optimizer, "update") else None
        raise TypeError(
            f"{function} expected make_optimizer to be a function of the rate, such as adam, but got "
            f"{got or repr(make_optimizer)}"
        )
    optimizer = make_optimizer(rate)
    check_optimizer(function, optimizer)
    check_dataset(function, dataset)
    keys = run_keys(seed)
    start = init_train_state(init or compiled_init(model.init), optimizer, keys.init)
    check_labels(function, model, start.params, start.model_state, dataset)
    return model, start, jax.device_put(dataset), first_batches(dataset, steps, batch_size, keys), keys
