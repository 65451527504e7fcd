"""Made data, as functions of a key: two tasks for memory over many steps, and two shapes in the plane."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.data.dataset import Dataset
from jaxnn.types import PRNGKey


def adding_problem(size: int, length: int, key: PRNGKey) -> Dataset:
    """Make sequences [N, T, 2] of numbers and marks, whose target [N, 1] is the sum of the two marked numbers.

    Channel 0 holds numbers from U(0, 1); channel 1 is 1 at two places and 0 elsewhere, one in the first half of the
    sequence (the first T // 2 steps) and one in the second. Always answering 1 has the mean squared error 1/6 = 0.167.
    Raises ValueError for fewer than two steps.

    Hochreiter and Schmidhuber, 1997, Long Short-Term Memory (numbers from U(-1, 1) and other marks there); in this form
    Arjovsky, Shah, Bengio, 2016, Unitary Evolution Recurrent Neural Networks.

    >>> data = adding_problem(100, 50, jax.random.key(0))
    >>> data.inputs.shape, data.targets.shape
    ((100, 50, 2), (100, 1))
    >>> bool(np.allclose((data.inputs[:, :, 0] * data.inputs[:, :, 1]).sum(1, keepdims=True), data.targets))
    True
    """
    checks.positive_int("adding_problem", "size", size)
    checks.positive_int("adding_problem", "length", length)
    if length < 2:
        raise ValueError(f"adding_problem expected length of at least 2, one step for each number, but got {length}")
    number_key, first_key, second_key = _keys("adding_problem", key, 3)
    numbers = np.asarray(jax.random.uniform(number_key, (size, length)))
    half, rows = length // 2, np.arange(size)
    first = np.asarray(jax.random.randint(first_key, (size,), 0, half))
    second = np.asarray(jax.random.randint(second_key, (size,), half, length))
    marks = np.zeros((size, length), np.float32)
    marks[rows, first] = marks[rows, second] = 1
    return Dataset(np.stack([numbers, marks], -1), (numbers[rows, first] + numbers[rows, second])[:, None])


def copy_task(size: int, delay: int, key: PRNGKey, *, count: int = 10, symbols: int = 8) -> Dataset:
    """Make token sequences [N, delay + 2 count] whose start is to be repeated at the end, after a delay.

    Inputs: `count` symbols from 1..symbols, delay - 1 blanks (0), the sign to begin (symbols + 1), and `count` blanks.
    Targets: delay + count blanks, then the symbols again. Without memory the best mean cross-entropy is
    count ln(symbols) / (delay + 2 count). The vocabulary has symbols + 2 tokens, the targets symbols + 1 classes.

    Hochreiter and Schmidhuber, 1997, Long Short-Term Memory; in this form Arjovsky, Shah, Bengio, 2016, Unitary
    Evolution Recurrent Neural Networks.

    >>> data = copy_task(1, 3, jax.random.key(0), count=2)
    >>> data.inputs[0, 2:].tolist(), data.targets[0, :-2].tolist()
    ([0, 0, 9, 0, 0], [0, 0, 0, 0, 0])
    >>> bool((data.inputs[:, :2] == data.targets[:, -2:]).all())
    True
    """
    for what, value in {"size": size, "delay": delay, "count": count, "symbols": symbols}.items():
        checks.positive_int("copy_task", what, value)
    (symbol_key,) = _keys("copy_task", key, 1)
    words = np.asarray(jax.random.randint(symbol_key, (size, count), 1, symbols + 1, jnp.int32))
    inputs = np.zeros((size, delay + 2 * count), np.int32)
    targets = np.zeros_like(inputs)
    inputs[:, :count] = targets[:, -count:] = words
    inputs[:, count + delay - 1] = symbols + 1
    return Dataset(inputs, targets)


def spirals(size: int, key: PRNGKey, *, classes: int = 2, turns: float = 1.5, noise: float = 0.02) -> Dataset:
    """Make points [N, 2] on interleaved spirals from the centre to radius 1, with the spiral as class [N].

    At radius r, spiral k of K has the angle 2 pi (turns r + k / K); r is uniform in [0, 1], and `noise` is the standard
    deviation of what is added to both coordinates. The classes are of equal size, but for a remainder. The problem is
    after Lang and Witbrock, 1988, Learning to Tell Two Spirals Apart.

    >>> data = spirals(300, jax.random.key(0), classes=3)
    >>> data.inputs.shape, np.bincount(data.targets).tolist()
    ((300, 2), [100, 100, 100])
    """
    checks.positive_int("spirals", "size", size)
    checks.positive_int("spirals", "classes", classes)
    checks.finite_positive("spirals", "turns", turns)
    checks.in_range("spirals", "noise", noise, 0, np.inf, open_high=True)
    radius_key, noise_key, order_key = _keys("spirals", key, 3)
    radius = np.asarray(jax.random.uniform(radius_key, (size,)))
    labels = np.asarray(jax.random.permutation(order_key, np.arange(size, dtype=np.int32) % classes))
    angle = 2 * np.pi * (turns * radius + labels / classes)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return Dataset((points + _noise(noise_key, size, noise)).astype(np.float32), labels)


def moons(size: int, key: PRNGKey, *, noise: float = 0.1) -> Dataset:
    """Make points [N, 2] on two half circles that reach into one another, with the half circle as class [N].

    Class 0 is (cos a, sin a), class 1 is (1 - cos a, 1/2 - sin a), with a uniform in [0, pi]; `noise` is the standard
    deviation of what is added to both coordinates. The curves are those of scikit-learn's `make_moons`. The classes are
    of equal size, but for a remainder.

    >>> data = moons(200, jax.random.key(0))
    >>> data.inputs.shape, np.bincount(data.targets).tolist()
    ((200, 2), [100, 100])
    """
    checks.positive_int("moons", "size", size)
    checks.in_range("moons", "noise", noise, 0, np.inf, open_high=True)
    angle_key, noise_key, order_key = _keys("moons", key, 3)
    angle = np.pi * np.asarray(jax.random.uniform(angle_key, (size,)))
    labels = np.asarray(jax.random.permutation(order_key, np.arange(size, dtype=np.int32) % 2))
    upper = np.stack([np.cos(angle), np.sin(angle)], -1)
    points = np.where(labels[:, None] == 0, upper, np.array([1, 0.5]) - upper)
    return Dataset((points + _noise(noise_key, size, noise)).astype(np.float32), labels)


def _keys(function: str, key: PRNGKey, count: int) -> list[PRNGKey]:
    checks.random_key(function, key)
    return [jax.random.fold_in(key, i) for i in range(count)]


def _noise(key: PRNGKey, size: int, noise: float) -> np.ndarray:
    return noise * np.asarray(jax.random.normal(key, (size, 2)))
