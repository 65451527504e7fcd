"""Made data: what each promises, checked on the host in other words."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn.data import check_dataset
from jaxnn.data.synthetic import adding_problem, copy_task, moons, spirals

KEY = jax.random.key(3)
MAKERS = {
    "adding_problem": lambda size, key: adding_problem(size, 10, key),
    "copy_task": lambda size, key: copy_task(size, 5, key),
    "spirals": spirals,
    "moons": moons,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_function_of_its_key(make):
    data, again, other = make(20, KEY), make(20, KEY), make(20, jax.random.key(4))
    check_dataset("test", data)
    for a, b, c in zip(data[:2], again[:2], other[:2], strict=True):
        assert isinstance(a, np.ndarray)
        assert a.dtype in (np.float32, np.int32)
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


@settings(max_examples=6, deadline=None)
@given(st.integers(2, 30))
def test_adding_problem_has_one_mark_in_each_half(length):
    data = adding_problem(8, length, KEY)
    numbers, marks = data.inputs[..., 0], data.inputs[..., 1]
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert np.isin(marks, (0, 1)).all()
    assert (marks[:, : length // 2].sum(1) == 1).all()
    assert (marks[:, length // 2 :].sum(1) == 1).all()
    for row in range(8):
        a, b = numbers[row][marks[row] == 1]
        assert data.targets[row, 0] == a + b


def test_adding_problem_reaches_every_place_and_has_the_known_error_of_a_constant():
    data = adding_problem(20_000, 7, KEY)
    marked = data.inputs[..., 1].mean(0)
    # A third in each of 3 places and a quarter in each of 4: the standard error is below 0.0035.
    np.testing.assert_allclose(marked, [1 / 3] * 3 + [1 / 4] * 4, atol=0.015)
    # The variance of a sum of two uniform numbers is 1/6; the standard error of the estimate is 0.0014.
    np.testing.assert_allclose(((data.targets - 1) ** 2).mean(), 1 / 6, atol=0.006)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 9))
def test_copy_task(delay, count, symbols):
    data = copy_task(6, delay, KEY, count=count, symbols=symbols)
    for given_row, wanted in zip(data.inputs.tolist(), data.targets.tolist(), strict=True):
        words = given_row[:count]
        assert all(1 <= word <= symbols for word in words)
        assert given_row == words + [0] * (delay - 1) + [symbols + 1] + [0] * count
        assert wanted == [0] * (delay + count) + words


def test_copy_task_uses_every_symbol():
    assert set(np.unique(copy_task(100, 3, KEY).inputs)) == set(range(10))


def test_spirals_without_noise_lie_on_their_curves():
    data = spirals(99, KEY, classes=3, turns=2.0, noise=0.0)
    x, y = data.inputs.T.astype(np.float64)
    radius = np.hypot(x, y)
    turned = np.arctan2(y, x) / (2 * np.pi) - 2.0 * radius - data.targets / 3
    assert np.abs(turned - np.round(turned))[radius > 0.01].max() < 1e-5
    assert radius.max() <= 1 + 1e-6
    assert radius.max() > 0.9
    assert np.bincount(data.targets).tolist() == [33, 33, 33]


def test_moons_without_noise_lie_on_the_curves_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    points, labels = datasets.make_moons(4000, shuffle=False, noise=None)
    data = moons(101, KEY, noise=0.0)
    for label in (0, 1):
        ours, theirs = data.inputs[data.targets == label], points[labels == label]
        nearest = np.linalg.norm(ours[:, None] - theirs[None], axis=-1).min(1)
        assert nearest.max() < np.pi / 2000  # 2000 points on a half circle of radius 1
        assert np.ptp(ours[:, 0]) > 1.9
    assert np.bincount(data.targets).tolist() == [51, 50]


@pytest.mark.parametrize("make", [spirals, moons])
def test_noise_is_the_standard_deviation(make):
    exact, noisy = make(5000, KEY, noise=0.0), make(5000, KEY, noise=0.3)
    assert np.array_equal(exact.targets, noisy.targets)
    np.testing.assert_allclose((noisy.inputs - exact.inputs).std(0), 0.3, rtol=0.05)  # its standard error is 1 %


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: adding_problem(0, 10, KEY), ValueError, "adding_problem expected size to be a positive integer"),
        (lambda: adding_problem(4, 1, KEY), ValueError, "adding_problem expected length of at least 2"),
        (lambda: copy_task(4, 0, KEY), ValueError, "copy_task expected delay to be a positive integer"),
        (lambda: copy_task(4, 3, KEY, symbols=0), ValueError, "copy_task expected symbols to be a positive integer"),
        (lambda: spirals(4, KEY, classes=0), ValueError, "spirals expected classes to be a positive integer"),
        (lambda: spirals(4, KEY, noise=-0.1), ValueError, "spirals expected noise in"),
        (lambda: spirals(4, KEY, turns=float("nan")), ValueError, "spirals expected turns in"),
        (lambda: moons(4, KEY, noise=float("inf")), ValueError, "moons expected noise in"),
    ],
)
def test_bad_sizes(call, error, words):
    with pytest.raises(error, match=words):
        call()
