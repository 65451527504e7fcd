"""What a user gets for a schedule whose numbers cannot be, and for a step that is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn.optimizers import adam, momentum
from jaxnn.schedules import (
    cosine_annealing,
    cosine_restarts,
    exponential_decay,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    piecewise,
    polynomial_decay,
    step_decay,
    warm_up,
)

NAN, INF = float("nan"), float("inf")
OF_A_RATE = {
    "step_decay": lambda rate: step_decay(rate, 10),
    "multi_step": lambda rate: multi_step(rate, [10]),
    "exponential_decay": lambda rate: exponential_decay(rate, 0.9),
    "polynomial_decay": lambda rate: polynomial_decay(rate, 10),
    "cosine_annealing": lambda rate: cosine_annealing(rate, 10),
    "cosine_restarts": lambda rate: cosine_restarts(rate, 10),
    "one_cycle": lambda rate: one_cycle(rate, 10),
    "warm_up": lambda rate: warm_up(10, rate),
    "piecewise": lambda rate: piecewise([rate, 0.1], [10]),
}
OF_STEPS = {
    "step_decay expected every": lambda steps: step_decay(0.1, steps),
    "exponential_decay expected steps": lambda steps: exponential_decay(0.1, 0.9, steps),
    "polynomial_decay expected steps": lambda steps: polynomial_decay(0.1, steps),
    "cosine_annealing expected steps": lambda steps: cosine_annealing(0.1, steps),
    "cosine_restarts expected steps": lambda steps: cosine_restarts(0.1, steps),
    "cosine_restarts expected growth": lambda steps: cosine_restarts(0.1, 10, steps),
    "one_cycle expected steps": lambda steps: one_cycle(0.1, steps),
    "one_cycle_momentum expected steps": one_cycle_momentum,
    "warm_up expected steps": lambda steps: warm_up(steps, 0.1),
    "multi_step expected milestones[1]": lambda steps: multi_step(0.1, [3, steps]),
    "piecewise expected boundaries[0]": lambda steps: piecewise([0.1, 0.2], [steps]),
}


@pytest.mark.parametrize("name", OF_A_RATE)
def test_rates(name):
    for rate in (-0.1, NAN, INF, np.float32(-1)):
        refused(ValueError, lambda rate=rate: OF_A_RATE[name](rate), f"{name} expected", "in [0, inf)", f"got {rate}")
    refused(TypeError, lambda: OF_A_RATE[name]("0.1"), f"{name} expected", "to be a number", "'0.1'")
    refused(ValueError, lambda: OF_A_RATE[name](jnp.ones(2)), f"{name} expected", "to be one number", "(2,)")


@pytest.mark.parametrize("name", OF_STEPS)
def test_counts_of_steps(name):
    refused(ValueError, lambda: OF_STEPS[name](0), name, "to be a positive integer", "got 0")
    refused(ValueError, lambda: OF_STEPS[name](-5), name, "to be a positive integer", "got -5")
    refused(TypeError, lambda: OF_STEPS[name](10.0), name, "to be a positive integer", "got 10.0")
    refused(TypeError, lambda: OF_STEPS[name](True), name, "to be a positive integer", "got True")


@pytest.mark.parametrize("name", OF_A_RATE)
def test_steps(name):
    schedule = OF_A_RATE[name](0.1)
    words = f"{name} expected step to be an integer"
    refused(TypeError, lambda: schedule(1.0), words, "got 1.0")
    refused(TypeError, lambda: schedule(True), words, "got True")
    refused(TypeError, lambda: schedule(None), words, "got None")
    refused(TypeError, lambda: schedule([1, 2]), words, "got [1, 2]")
    refused(TypeError, lambda: schedule(jnp.arange(3.0)), words, "float32 of shape (3,)")
    refused(TypeError, lambda: jax.jit(schedule)(1.0), words, "float32 of shape ()")
    refused(ValueError, lambda: schedule(-1), f"{name} expected step in 0..2147483647 but got -1")
    refused(ValueError, lambda: schedule(np.array([0, -7])), "but got -7")
    refused(ValueError, lambda: schedule(2**31), "but got 2147483648")


@pytest.mark.parametrize("places", [[5, 5], [7, 5], np.array([9, 2])], ids=str)
def test_places_that_do_not_increase(places):
    refused(ValueError, lambda: multi_step(0.1, places), "multi_step expected milestones to increase", "after")
    refused(ValueError, lambda: piecewise([0.1] * 3, places), "piecewise expected boundaries to increase")


@pytest.mark.parametrize("places", [10, "10", None, {5: 0.1}], ids=str)
def test_places_that_are_no_list(places):
    refused(TypeError, lambda: multi_step(0.1, places), "milestones to be a list of steps", repr(places))


def test_one_schedule_more_than_boundaries():
    refused(
        ValueError, lambda: piecewise([0.1], [5]), "piecewise expected one schedule more than boundaries", "1 and 1"
    )
    refused(ValueError, lambda: piecewise([], []), "0 and 0")


def test_other_options():
    for value in (0, -0.5, NAN, INF):
        refused(ValueError, lambda v=value: exponential_decay(0.1, v), "exponential_decay expected factor in (0, inf)")
        refused(ValueError, lambda v=value: step_decay(0.1, 5, v), "step_decay expected factor in (0, inf)")
        refused(ValueError, lambda v=value: multi_step(0.1, [5], v), "multi_step expected factor in (0, inf)")
        refused(ValueError, lambda v=value: polynomial_decay(0.1, 5, v), "polynomial_decay expected power in (0, inf)")
        refused(ValueError, lambda v=value: one_cycle(0.1, 9, divide_first=v), "one_cycle expected divide_first in")
        refused(ValueError, lambda v=value: one_cycle(0.1, 9, divide_last=v), "one_cycle expected divide_last in")
    refused(ValueError, lambda: cosine_annealing(0.1, 5, final=-0.1), "cosine_annealing expected final in [0, inf)")
    refused(ValueError, lambda: warm_up(5, 0.1, start=-0.1), "warm_up expected start in [0, inf)")
    refused(ValueError, lambda: one_cycle_momentum(9, high=1.0), "one_cycle_momentum expected high in [0, 1)")
    refused(ValueError, lambda: one_cycle_momentum(9, low=-0.1), "one_cycle_momentum expected low in [0, 1)")


@pytest.mark.parametrize("make", [lambda *a, **o: one_cycle(0.1, *a, **o), one_cycle_momentum])
def test_a_cycle_without_a_rise(make):
    refused(ValueError, lambda: make(3), "expected rise * steps above 1 but got 0.3 * 3", "take more steps")
    for rise in (0.0, 1.0, NAN):
        refused(ValueError, lambda r=rise: make(100, rise=r), "expected rise in (0, 1)", f"got {rise}")


def test_schedules_that_give_no_rate_a_step():
    def two(step):
        return jnp.ones(2)

    refused(ValueError, lambda: warm_up(5, two)(3), "warm_up expected then to give one rate a step, ()", "gave (2,)")
    refused(
        ValueError, lambda: piecewise([0.1, two], [5])(3), "piecewise expected schedules[1] to give one rate a step"
    )


def test_momenta_of_an_optimizer():
    for make, what in (
        (lambda m: adam(1e-3, beta1=m), "adam expected beta1"),
        (lambda m: momentum(0.1, m), "momentum"),
    ):
        for schedule, words in ((lambda step: 1.0, "in [0, 1)"), (lambda step: jnp.ones(2), "to be one number")):
            optimizer = make(schedule)
            state = optimizer.init(jnp.ones(2))
            refused(ValueError, lambda o=optimizer, s=state: o.update(jnp.ones(2), s), what, words)
