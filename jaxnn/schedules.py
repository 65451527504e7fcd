"""How the learning rate changes: each schedule is `constructor(...) -> (step -> rate)`, a pure function of the step.

Step 0 is the first update, as in our optimizers and in Optax: `adam(cosine_annealing(1e-3, steps))`. The step is a
Python int, an integer array or a tracer; `schedule(jnp.arange(steps))` is the whole course, in float32.

Steps are updates. PyTorch's schedulers count the calls of `scheduler.step()`, by custom one an epoch: what is n there
is n * updates_per_epoch here, for the same rate at the start of each epoch. What has an end stays there.
Rates that are negative, infinite or NaN, and counts of steps below 1, are a ValueError.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.functional.interpolation import half_wave, line, power_of
from jaxnn.types import Array

Schedule: TypeAlias = Callable[[Any], Any]
"""`step -> rate`, for one step or an array of them."""


def step_decay(rate: float | Array, every: int, factor: float | Array = 0.1) -> Schedule:
    """Make a staircase: rate * factor^(step // every).

    The same as PyTorch's `StepLR(step_size=every, gamma=factor)` and as
    `optax.exponential_decay(rate, every, factor, staircase=True)`.

    >>> step_decay(0.1, every=2, factor=0.5)(jnp.arange(6))
    Array([0.1  , 0.1  , 0.05 , 0.05 , 0.025, 0.025], dtype=float32)
    """
    checks.rates("step_decay", rate=rate)
    checks.positive_int("step_decay", "every", every)
    checks.finite_positive("step_decay", "factor", factor)
    return _schedule("step_decay", lambda step: jnp.float32(rate) * power_of(factor, step // every))


def multi_step(rate: float | Array, milestones: Sequence[int], factor: float | Array = 0.1) -> Schedule:
    """Make stairs of given places: rate * factor^(number of milestones <= step).

    The milestones are increasing steps of at least 1, else ValueError. The same as PyTorch's `MultiStepLR(milestones,
    gamma=factor)` and as `optax.piecewise_constant_schedule(rate, {milestone: factor, ...})`.

    >>> multi_step(0.1, [2, 5])(jnp.array([1, 2, 4, 5]))
    Array([0.1  , 0.01 , 0.01 , 0.001], dtype=float32)
    """
    checks.rates("multi_step", rate=rate)
    checks.finite_positive("multi_step", "factor", factor)
    places = checks.increasing("multi_step", "milestones", milestones)
    return _schedule(
        "multi_step",
        lambda step: (
            jnp.float32(rate) * power_of(factor, jnp.searchsorted(jnp.asarray(places, jnp.int32), step, side="right"))
        ),
    )


def exponential_decay(rate: float | Array, factor: float | Array, steps: int = 1) -> Schedule:
    """Make exponential decay: rate * factor^(step / steps), so `factor` is what `steps` updates make of the rate.

    The same as `optax.exponential_decay(rate, steps, factor)`, and with steps=1 as PyTorch's `ExponentialLR(factor)`.

    >>> exponential_decay(1.0, 0.25, steps=2)(jnp.arange(5))
    Array([1.    , 0.5   , 0.25  , 0.125 , 0.0625], dtype=float32)
    """
    checks.rates("exponential_decay", rate=rate)
    checks.finite_positive("exponential_decay", "factor", factor)
    checks.positive_int("exponential_decay", "steps", steps)
    return _schedule("exponential_decay", lambda step: jnp.float32(rate) * power_of(factor, step, steps))


def polynomial_decay(rate: float | Array, steps: int, power: float = 1.0, *, final: float | Array = 0.0) -> Schedule:
    """Make polynomial decay: final + (rate - final) (1 - step / steps)^power, linear by default; final after `steps`.

    The same as `optax.polynomial_schedule(rate, final, power, steps)`, as PyTorch's `PolynomialLR(steps, power)` for
    final=0, and as its `LinearLR(1, final / rate, steps)` for power=1.

    >>> polynomial_decay(1.0, 4, power=2.0)(jnp.arange(6))
    Array([1.    , 0.5625, 0.25  , 0.0625, 0.    , 0.    ], dtype=float32)
    """
    checks.rates("polynomial_decay", rate=rate, final=final)
    checks.positive_int("polynomial_decay", "steps", steps)
    checks.finite_positive("polynomial_decay", "power", power)

    def course(step: jax.Array) -> jax.Array:
        step, end = jnp.float32(jnp.minimum(step, steps)), jnp.float32(steps)
        # gone is 1 - kept; the quotient may come out above 1, since a compiler multiplies by 1 / end.
        kept, gone = ((end - step) / end) ** power, -jnp.expm1(power * jnp.log1p(-jnp.minimum(step / end, 1)))
        return jnp.float32(rate) * kept + jnp.float32(final) * gone

    return _schedule("polynomial_decay", course)


def cosine_annealing(rate: float | Array, steps: int, *, final: float | Array = 0.0) -> Schedule:
    """Make half a wave of the cosine: final + (rate - final) (1 + cos(pi step / steps)) / 2, and final after `steps`.

    The same as `optax.cosine_decay_schedule(rate, steps, alpha=final / rate)` and, up to step `steps`, as PyTorch's
    `CosineAnnealingLR(T_max=steps, eta_min=final)`; beyond it PyTorch's rises again. Loshchilov, Hutter, 2017, SGDR.

    >>> cosine_annealing(1.0, 3)(jnp.arange(5)).round(2)
    Array([1.  , 0.75, 0.25, 0.  , 0.  ], dtype=float32)
    """
    checks.rates("cosine_annealing", rate=rate, final=final)
    checks.positive_int("cosine_annealing", "steps", steps)
    return _schedule("cosine_annealing", lambda step: half_wave(rate, final, step, steps))


def cosine_restarts(rate: float | Array, steps: int, growth: int = 1, *, final: float | Array = 0.0) -> Schedule:
    """Make SGDR: half waves from rate towards final, of steps, steps * growth, steps * growth², ... updates, for ever.

    The same as PyTorch's `CosineAnnealingWarmRestarts(T_0=steps, T_mult=growth, eta_min=final)`, and as
    `optax.sgdr_schedule` without warm-up, which is `warm_up(steps, cosine_restarts(...))` here.
    Loshchilov and Hutter, 2017, SGDR: Stochastic Gradient Descent with Warm Restarts.

    >>> cosine_restarts(1.0, 3, growth=2)(jnp.array([0, 1, 2, 3, 6, 9])).round(2)  # 3 updates, then 6, then 12
    Array([1.  , 0.75, 0.25, 1.  , 0.5 , 1.  ], dtype=float32)
    """
    checks.rates("cosine_restarts", rate=rate, final=final)
    checks.positive_int("cosine_restarts", "steps", steps)
    checks.positive_int("cosine_restarts", "growth", growth)
    if growth == 1:
        return _schedule("cosine_restarts", lambda step: half_wave(rate, final, step % steps, steps))
    starts = [0]
    while starts[-1] < 2**31:
        starts.append(starts[-1] * growth + steps)

    def course(step: jax.Array) -> jax.Array:
        wave = jnp.searchsorted(jnp.array(starts[:-1]), step, side="right") - 1
        return half_wave(
            rate, final, step - jnp.array(starts[:-1])[wave], jnp.array(np.diff(starts), jnp.float32)[wave]
        )

    return _schedule("cosine_restarts", course)


def one_cycle(
    rate: float | Array,
    steps: int,
    *,
    rise: float = 0.3,
    divide_first: float = 25.0,
    divide_last: float = 1e4,
    linear: bool = False,
) -> Schedule:
    """Make one cycle of `steps` updates: from first = rate / divide_first up to rate, and down to first / divide_last.

    Half waves, or lines; the top is at rise * steps - 1, above 0, and the end at steps - 1. So is PyTorch's
    `OneCycleLR(rate, steps, pct_start=rise, div_factor=divide_first, final_div_factor=divide_last)`, which cycles the
    momentum too: see `one_cycle_momentum`. `optax.cosine_onecycle_schedule(n, ...)` has its top at int(rise * n) and
    its end at n, and Optax's linear form a third phase. Smith and Topin, 2018, Super-Convergence.

    >>> one_cycle(1.0, 10, rise=0.5, divide_first=10.0, linear=True)(jnp.array([0, 2, 4, 9])).round(3)
    Array([0.1 , 0.55, 1.  , 0.  ], dtype=float32)
    """
    checks.rates("one_cycle", rate=rate)
    checks.finite_positive("one_cycle", "divide_first", divide_first)
    checks.finite_positive("one_cycle", "divide_last", divide_last)
    first = jnp.float32(rate) / divide_first
    return _cycle("one_cycle", first, rate, first / divide_last, steps, rise, linear)


def one_cycle_momentum(
    steps: int, *, high: float | Array = 0.95, low: float | Array = 0.85, rise: float = 0.3, linear: bool = False
) -> Schedule:
    """Make the momentum of one cycle: from high down to low while the rate of `one_cycle` rises, and up again.

    `adam(one_cycle(1e-2, steps), beta1=one_cycle_momentum(steps))`. The same as what PyTorch's `OneCycleLR` does with
    momentum or beta1 by default (`max_momentum=high, base_momentum=low`).

    >>> one_cycle_momentum(10, rise=0.5, linear=True)(jnp.array([0, 2, 4, 9]))
    Array([0.95, 0.9 , 0.85, 0.95], dtype=float32)
    """
    for what, value in {"high": high, "low": low}.items():
        checks.in_range("one_cycle_momentum", what, value, 0, 1, open_high=True)
    return _cycle("one_cycle_momentum", high, low, high, steps, rise, linear)


def warm_up(steps: int, then: float | Array | Schedule, *, start: float | Array = 0.0) -> Schedule:
    """Make a linear rise from start to the rate `then(0)` in `steps` updates, and then `then(step - steps)`.

    A schedule counts from the end of the warm-up: a run of n updates is `warm_up(w, cosine_annealing(rate, n - w))`, as
    `optax.warmup_cosine_decay_schedule(0.0, rate, w, n)`. PyTorch's `LinearLR(start / rate, total_iters=steps)` before
    another refuses start=0, with which the first update moves nothing. Goyal et al., 2017, Large Minibatch SGD.

    >>> warm_up(4, 0.1)(jnp.arange(6))
    Array([0.   , 0.025, 0.05 , 0.075, 0.1  , 0.1  ], dtype=float32)
    """
    checks.positive_int("warm_up", "steps", steps)
    checks.rates("warm_up", start=start)
    after = _part("warm_up", "then", then)

    def course(step: jax.Array) -> jax.Array:
        rising = line(start, after(jnp.zeros_like(step)), step, steps)
        return jnp.where(step < steps, rising, after(jnp.maximum(step - steps, 0)))

    return _schedule("warm_up", course)


def piecewise(schedules: Sequence[float | Array | Schedule], boundaries: Sequence[int]) -> Schedule:
    """Make one schedule of several, or of constant rates: the next takes over at each boundary and counts from there.

    The boundaries are increasing steps, one fewer than the schedules, else ValueError. The same as
    `optax.join_schedules(schedules, boundaries)` and as PyTorch's `SequentialLR(schedulers, milestones=boundaries)`.

    >>> piecewise([0.1, polynomial_decay(0.2, 2)], [3])(jnp.arange(6))
    Array([0.1, 0.1, 0.1, 0.2, 0.1, 0. ], dtype=float32)
    """
    places = checks.increasing("piecewise", "boundaries", boundaries)
    parts = [_part("piecewise", f"schedules[{i}]", part) for i, part in enumerate(schedules)]
    if len(parts) != len(places) + 1:
        raise ValueError(f"piecewise expected one schedule more than boundaries but got {len(parts)} and {len(places)}")

    def course(step: jax.Array) -> jax.Array:
        value = parts[0](step)
        for part, place in zip(parts[1:], places, strict=True):
            value = jnp.where(step < place, value, part(jnp.maximum(step - place, 0)))
        return value

    return _schedule("piecewise", course)


def _schedule(name: str, course: Callable[[jax.Array], jax.Array]) -> Schedule:
    """Make a schedule of a course over int32 steps; compiled, since its many small operations are slow one by one."""
    compiled = jax.jit(course)
    return lambda step: compiled(checks.steps(name, step))


def _part(name: str, what: str, part: float | Array | Schedule) -> Schedule:
    """Turn a rate into a schedule, and refuse a schedule that does not give one rate a step."""
    if not callable(part):
        checks.rates(name, **{what: part})

    def schedule(step: jax.Array) -> jax.Array:
        rate = jnp.float32(part(step)) if callable(part) else jnp.full(step.shape, jnp.float32(part))
        if rate.shape != step.shape:
            raise ValueError(f"{name} expected {what} to give one rate a step, {step.shape}, but it gave {rate.shape}")
        return rate

    return schedule


def _cycle(name: str, first: Any, middle: Any, last: Any, steps: int, rise: float, linear: bool) -> Schedule:
    """Go from first to middle at step rise * steps - 1, which may lie between two, and to last at step steps - 1."""
    checks.positive_int(name, "steps", steps)
    checks.in_range(name, "rise", rise, 0, 1, open_low=True, open_high=True)
    top, between = rise * steps - 1, line if linear else half_wave
    if top <= 0:
        raise ValueError(f"{name} expected rise * steps above 1 but got {rise:g} * {steps}: take more steps")

    def course(step: jax.Array) -> jax.Array:
        up, down = between(first, middle, step, top), between(middle, last, step - jnp.float32(top), steps - 1 - top)
        return jnp.where(step <= top, up, down)

    return _schedule(name, course)
