"""What the optimizers' experiment measures: descents as one scan each, several optimizers side by side."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import optimizers, tree
from jaxnn.losses import softmax_cross_entropy
from jaxnn.types import Layer

NOISE = 4.0  # standard deviation of the noise in SGD's gradient in the valleys, where there are no batches to draw
FULL_BATCH_SHARE = 20  # gradient descent does so many times fewer steps on images: each sees all of them
DECAY = 0.1  # lambda: of the L2 term lambda/2 |w|² and of the decoupled decay


class Contender(NamedTuple):
    """An optimizer in both hands, and its learning rate on the quadratic, in Rosenbrock's valley and on images."""

    ours: Callable[[float], Any]
    optax: Callable[[float], Any]
    quadratic: float
    rosenbrock: float
    images: float


CONTENDERS = {
    "gradient descent": Contender(optimizers.gradient_descent, optax.sgd, 0.036, 1e-3, 0.3),
    "SGD": Contender(optimizers.sgd, optax.sgd, 0.02, 1e-3, 0.1),
    "momentum": Contender(optimizers.momentum, partial(optax.sgd, momentum=0.9), 0.01, 5e-4, 0.02),
    "RMSprop": Contender(optimizers.rmsprop, partial(optax.rmsprop, eps_in_sqrt=False), 0.1, 0.01, 1e-3),
    "Adam": Contender(optimizers.adam, optax.adam, 0.3, 0.05, 1e-3),
}


class Valley(NamedTuple):
    """A function of two variables, how many steps are done where, and the part of the plane that is drawn."""

    height: Callable[[Any], Any]
    steps: int
    start: tuple[float, float]
    minimum: tuple[float, float]
    window: tuple[float, float, float, float]


VALLEYS = {
    "quadratic": Valley(lambda w: (w[0] ** 2 + 50 * w[1] ** 2) / 2, 300, (-9.0, 1.5), (0, 0), (-10.0, 3.0, -2.2, 2.2)),
    "rosenbrock": Valley(
        lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, 2000, (-1.5, 2.0), (1, 1), (-2.0, 1.6, -0.7, 3.0)
    ),
}

Runner = tuple[Any, Callable[[Any, Any], Any]]  # an optimizer and its objective(params, input of the step)


class Trajectory(NamedTuple):
    """By step: the value of each runner's objective, what was kept of its parameters, and the distance of the two."""

    values: Any
    kept: Any
    distance: Any


def race(
    runners: Sequence[Runner], start: Any, inputs: Any, keep: Callable[[Any], Any] = lambda params: ()
) -> tuple[list[tuple[Any, Any]], Trajectory]:
    """Descend from one start by each runner; the whole trajectory is one scan over the inputs of the steps.

    Returns the (parameters, optimizer state) of each at the end, and the trajectory. The distance is the largest
    difference between a parameter of the first and of the last runner, divided by the largest parameter so far.
    """

    def step(carry, x):
        values, after = [], []
        before, scale = carry
        for (optimizer, objective), (params, state) in zip(runners, before, strict=True):
            value, gradient = jax.value_and_grad(objective)(params, x)
            updates, state = optimizer.update(gradient, state, params)
            after.append((optax.apply_updates(params, updates), state))
            values.append(value)
        first, last = after[0][0], after[-1][0]
        scale = jnp.maximum(scale, _largest(last))
        apart = _largest(jax.tree.map(jnp.subtract, first, last)) / scale
        return (after, scale), Trajectory(values, [keep(params) for params, _ in after], apart)

    at_start = [(start, optimizer.init(start)) for optimizer, _ in runners]
    (ends, _), trajectory = jax.lax.scan(step, (at_start, _largest(start)), inputs)
    return ends, trajectory


def _largest(leaves: Any) -> jax.Array:
    return jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(leaves)]).max()


def cross(valley: Valley, name: str, rate: float, key: Any) -> Trajectory:
    """Walk down a valley with both hands, in float64; `values` are the heights of the places, [steps + 1] for each.

    The term noise @ w in the objective is noise in its gradient, as a batch of a few examples has; only SGD has any.
    """
    with jax.enable_x64():
        noise = (NOISE if name == "SGD" else 0.0) * jax.random.normal(key, (valley.steps, 2), jnp.float64)
        hands = [CONTENDERS[name].ours(rate), CONTENDERS[name].optax(rate)]
        runners = [(optimizer, lambda w, noise: valley.height(w) + noise @ w) for optimizer in hands]
        start = jnp.array(valley.start, jnp.float64)
        _, walked = jax.jit(lambda noise: race(runners, start, noise, lambda w: w))(noise)
    places = [np.concatenate([np.asarray(valley.start)[None], path]) for path in walked.kept]
    return Trajectory([valley.height(path.T) for path in places], places, np.asarray(walked.distance))


class Task(NamedTuple):
    """A network, its parameters at the start, the training images and labels, and the rows of each step's batch."""

    model: Layer
    start: Any
    images: jax.Array
    labels: jax.Array
    batches: jax.Array


def mean_loss(task: Task, params: Any, rows: jax.Array | None) -> jax.Array:
    """Compute the mean cross-entropy of a batch; None takes every image."""
    x, y = (task.images, task.labels) if rows is None else (task.images[rows], task.labels[rows])
    return softmax_cross_entropy(task.model.apply(params, ((),) * len(task.model.parts), x)[0], y).mean()


class Lesson(NamedTuple):
    """What one optimizer did on images.

    The loss by step and the seconds, the least of three runs, are of ours alone; the distance by step is that of both
    hands, in float64 and in float32; `rounding` is how far each hand ended in float32 from itself in float64.
    """

    losses: np.ndarray
    seconds: float
    distance: np.ndarray
    distance_float32: np.ndarray
    rounding: tuple[float, float]


def learn(task: Task, name: str) -> Lesson:
    """Train with both hands side by side for the distance, and with ours alone, compiled beforehand, for the time."""
    contender = CONTENDERS[name]
    full = name == "gradient descent"
    batches = task.batches[: max(1, len(task.batches) // FULL_BATCH_SHARE)] if full else task.batches

    def lowered(makes: Sequence[Callable[[float], Any]], dtype: Any) -> tuple[Any, Any]:
        start, images = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), (task.start, task.images))

        def run(images, labels, batches):
            here = task._replace(images=images, labels=labels)
            objective = lambda params, rows: mean_loss(here, params, None if full else rows)  # noqa: E731
            return race([(make(contender.images), objective) for make in makes], start, batches)

        arrays = jnp.asarray(images), task.labels, batches
        return jax.jit(run).lower(*arrays), arrays

    hands = [contender.ours, contender.optax]
    programs = [lowered([contender.ours], np.float32), lowered(hands, np.float32)]
    with jax.enable_x64():
        programs.append(lowered(hands, np.float64))
    with ThreadPoolExecutor() as pool:  # XLA compiles outside of Python's lock
        alone, both, exactly = pool.map(lambda program: program[0].compile(), programs)
    arrays, seconds = programs[0][1], []
    for _ in range(1 if full else 3):
        began = time.perf_counter()
        _, trajectory = jax.block_until_ready(alone(*arrays))
        seconds.append(time.perf_counter() - began)
    ends, single = both(*arrays)
    with jax.enable_x64():
        exact_ends, exact = exactly(*programs[2][1])
    ours, theirs = (_apart(rounded, params) for (rounded, _), (params, _) in zip(ends, exact_ends, strict=True))
    return Lesson(
        np.asarray(trajectory.values[0]),
        min(seconds),
        np.asarray(exact.distance),
        np.asarray(single.distance),
        (ours, theirs),
    )


def _apart(one: Any, other: Any) -> float:
    """Compute on the host what `race` computes for each step."""
    pairs = [
        (np.asarray(a, np.float64), np.asarray(b)) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    ]
    return float(max(np.abs(a - b).max() for a, b in pairs) / max(np.abs(b).max() for _, b in pairs))


class Decays(NamedTuple):
    """The distance by step between L2 in the loss and decoupled decay, the weights' norm by step, and the ends."""

    distance: np.ndarray
    norms: dict[str, np.ndarray]
    ends: dict[str, tuple[Any, Any]]


def decay(task: Task, name: str) -> Decays:
    """Train three times from one start: with L2 in the loss, without decay, and with decoupled decay."""
    rate = CONTENDERS[name].images
    plain = CONTENDERS[name].ours(rate)
    # For SGD decoupled decay is written as it reads: after the step, w <- w - lr lambda w.
    after_sgd = optax.chain(plain, optax.add_decayed_weights(-rate * DECAY))
    decoupled = after_sgd if name == "SGD" else optimizers.adamw(rate, weight_decay=DECAY)

    def run(images, labels, batches):
        loss = partial(mean_loss, task._replace(images=images, labels=labels))
        with_l2 = lambda params, rows: loss(params, rows) + DECAY / 2 * tree.norm(params) ** 2  # noqa: E731
        return race([(plain, with_l2), (plain, loss), (decoupled, loss)], task.start, batches, tree.norm)

    ends, by_step = jax.jit(run)(task.images, task.labels, task.batches)
    names = ("L2 in the loss", "no decay", "decoupled decay")
    norms = {key: np.asarray(norm) for key, norm in zip(names, by_step.kept, strict=True)}
    return Decays(np.asarray(by_step.distance), norms, dict(zip(names, ends, strict=True)))


GROUPS = ("none", "smallest\nquarter", "second", "third", "largest\nquarter")


def remaining(decays: Decays) -> dict[str, list[float]]:
    """Return what decay left of Adam's first-layer weights, in five groups of weights by the size of their gradient.

    A share of 1 is as large as without decay. The first group never had a gradient but the L2 term's: its pixels are
    dark in every image. The other four are quarters by the root of Adam's v without decay.
    """
    weights = {name: np.abs(np.asarray(params[1]["weight"])) for name, (params, _) in decays.ends.items()}
    size = np.sqrt(np.asarray(decays.ends["no decay"][1].moments["v"][1]["weight"]))
    edges = np.quantile(size[size > 0], [0.25, 0.5, 0.75])
    group = np.where(size > 0, 1 + np.searchsorted(edges, size), 0)
    means = {name: [float(w[group == g].mean()) if (group == g).any() else np.nan for g in range(5)]
             for name, w in weights.items()}  # fmt: skip
    return {
        name: [share / whole for share, whole in zip(means[name], means["no decay"], strict=True)]
        for name in ("L2 in the loss", "decoupled decay")
    }
