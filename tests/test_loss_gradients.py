"""Every loss and its hand-written gradient: against PyTorch, jax.grad, and central differences in float64."""

from functools import cache, partial
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regeneration import regenerated

from jaxnn import losses

FOLDER = Path(__file__).with_name("golden")
GOLDEN = dict(np.load(FOLDER / "torch_losses.npz"))
CASES = sorted({key.rpartition("/")[0] for key in GOLDEN if key.endswith("/values")})
OPTIONS = {"smoothing0.1": {"label_smoothing": 0.1}, "delta2.5": {"delta": 2.5}}

# What a loss takes, drawn from a NumPy generator: predictions by the shape, then targets.
REGRESSION = ["mean_squared_error", "mean_absolute_error", "huber"]
BINARY = ["binary_cross_entropy", "sigmoid_binary_cross_entropy", "hinge"]
CATEGORICAL = ["softmax_cross_entropy", "categorical_cross_entropy"]
NAMES = [*REGRESSION, *BINARY, *CATEGORICAL, "negative_log_likelihood"]


def softmax(x):
    shifted = np.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def drawn(name, shape, rng, *, scale=3.0, soft=False):
    """Draw predictions and targets that the loss takes, in float64."""
    x = rng.normal(0, scale, shape)
    if name in REGRESSION:
        return x, rng.normal(0, scale, shape)
    if name in BINARY:
        targets = rng.uniform(0, 1, shape) if soft and name != "hinge" else rng.integers(0, 2, shape).astype(float)
        predictions = rng.uniform(1e-3, 1 - 1e-3, shape) if name == "binary_cross_entropy" else x
        return predictions, 2 * targets - 1 if name == "hinge" else targets
    targets = softmax(rng.normal(0, 1, shape)) if soft else rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
    if name == "categorical_cross_entropy":
        return softmax(x), targets
    return np.log(softmax(x)) if name == "negative_log_likelihood" else x, targets


def both(name, **options):
    """Return the loss and its hand-written gradient."""
    return partial(getattr(losses, name), **options), partial(getattr(losses, f"{name}_gradient"), **options)


def by_grad(loss, predictions, targets):
    return jax.grad(lambda p: loss(p, targets).sum())(jnp.asarray(predictions))


@cache
def compiled(name, options=()):
    """Return one program for the values and both gradients, by hand and by jax.grad."""
    loss, gradient = both(name, **dict(options))
    return jax.jit(lambda p, y: (loss(p, y), gradient(p, y), by_grad(loss, p, y)))


def assert_close(actual, expected, tolerance=1e-5, what=""):
    assert actual.shape == expected.shape, what
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert np.isfinite(expected).all(), what
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-30), what


def test_every_loss_has_its_gradient():
    public = {name for name in losses.__all__ if not name.endswith("_gradient")}
    assert public == set(NAMES)
    assert {f"{name}_gradient" for name in public} | public == set(losses.__all__)


# PyTorch


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case):
    name, *rest = case.split("/")
    options = next((tuple(OPTIONS[part].items()) for part in rest if part in OPTIONS), ())
    predictions, targets = GOLDEN[f"{case}/predictions"], GOLDEN[f"{case}/targets"]
    targets = targets.astype(np.int32) if targets.dtype == np.int64 else targets
    values, by_hand, by_autodiff = compiled(name, options)(predictions, targets)
    assert values.dtype == jnp.float32
    assert_close(values, GOLDEN[f"{case}/values"], what="values")
    assert_close(by_hand, GOLDEN[f"{case}/gradient"], what="gradient by hand")
    assert_close(by_autodiff, GOLDEN[f"{case}/gradient"], what="jax.grad")


def test_the_file_holds_every_loss():
    assert {case.split("/")[0] for case in CASES} == set(NAMES)


def test_the_file_is_what_pytorch_computes_here():
    fresh = regenerated("make_loss_golden", GOLDEN)
    for key in fresh.keys() - {"torch_version"}:
        assert_close(fresh[key], GOLDEN[key], what=key)


# jax.grad

SHAPES = [(7,), (3, 1), (2, 3, 2)]
CLASS_SHAPES = [(3, 1), (5, 7), (2, 3, 4)]


@pytest.mark.parametrize("name", NAMES)
# The shapes are few, so that each is compiled once.
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    place=st.integers(0, 2),
    soft=st.booleans(),
    scale=st.sampled_from([0.01, 1.0, 30.0, 1e4]),
    dtype=st.sampled_from([np.float32, jnp.bfloat16]),
    seed=st.integers(0, 2**16),
)
def test_gradient_by_hand_equals_jax_grad(name, place, soft, scale, dtype, seed):
    shapes = SHAPES if name in REGRESSION + BINARY else CLASS_SHAPES
    soft = soft and name != "negative_log_likelihood"
    with np.errstate(divide="ignore"):  # log(0): log-probabilities of -inf are legal
        predictions, targets = drawn(name, shapes[place], np.random.default_rng(seed), scale=scale, soft=soft)
    predictions = jnp.asarray(predictions, dtype)
    targets = targets if targets.dtype == np.int32 else jnp.asarray(targets, np.float32)
    _, actual, expected = compiled(name)(predictions, targets)
    assert actual.dtype == dtype
    # In bfloat16 both are rounded once, to 8 bits, from float32 numbers that differ in their last digits.
    assert_close(actual, expected, 1e-5 if dtype == np.float32 else 2**-8)


@pytest.mark.parametrize(("name", "options"), [("huber", {"delta": 0.3}), ("huber", {"delta": 20.0})])
def test_huber_of_another_delta(name, options):
    predictions, targets = drawn(name, (40,), np.random.default_rng(0))
    _, by_hand, by_autodiff = compiled(name, tuple(options.items()))(predictions, targets)
    assert_close(by_hand, by_autodiff)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize("soft", [False, True])
def test_smoothed_gradient(smoothing, soft):
    predictions, targets = drawn("softmax_cross_entropy", (6, 5), np.random.default_rng(0), soft=soft)
    _, by_hand, by_autodiff = compiled("softmax_cross_entropy", (("label_smoothing", smoothing),))(predictions, targets)
    assert_close(by_hand, by_autodiff)


# Kinks and ends: the conventions that the docstrings state, the same by hand and by jax.grad


@pytest.mark.parametrize(
    ("name", "predictions", "targets", "expected"),
    [
        ("mean_absolute_error", [1.0, 1.0], [1.0, 2.0], [0, -1]),
        ("huber", [1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [1, -1, 0]),
        ("hinge", [1.0, -1.0, 0.5], [1.0, -1.0, -1.0], [0, 0, 1]),
        ("binary_cross_entropy", [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0, 0, 0, 0]),
        ("categorical_cross_entropy", [[0.0, 1.0]], [[1.0, 0.0]], [[0, 0]]),
    ],
)
def test_conventions(name, predictions, targets, expected):
    _, by_hand, by_autodiff = compiled(name)(jnp.array(predictions), jnp.array(targets))
    np.testing.assert_array_equal(by_hand, expected)
    np.testing.assert_array_equal(by_autodiff, expected)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "categorical_cross_entropy"])
@pytest.mark.parametrize("ulps", [-1, 0, 1])
@pytest.mark.parametrize("end", [2.0**-23, 1 - 2.0**-23])
def test_probabilities_beside_the_clipped_ends(name, ulps, end):
    direction = np.float32(ulps * np.inf) if ulps else np.float32(end)
    p = np.nextafter(np.float32(end), direction)
    predictions = np.full((1, 2), p)
    targets = np.array([[1.0, 0.0]], np.float32)
    _, by_hand, by_autodiff = compiled(name)(predictions, targets)
    outside = p <= np.float32(2.0**-23) or p >= np.float32(1 - 2.0**-23)
    assert (by_hand[0, 0] == 0) == outside
    assert_close(by_hand, by_autodiff)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["binary_cross_entropy", "categorical_cross_entropy"])
def test_certain_and_wrong_is_finite(name, dtype):
    p = jnp.array([[0, 1], [1, 0]], dtype)
    targets = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    values, by_hand, _ = compiled(name)(p, targets)
    np.testing.assert_allclose(values, [-np.log(2.0**-23), 2.0**-23], rtol=1e-6)
    assert jnp.isfinite(by_hand).all()


def test_from_logits_what_is_certain_and_wrong_is_learned_from():
    """A clipped probability has no gradient: sigmoid and cross-entropy in one step have it."""
    logits, targets = jnp.array([-200.0]), jnp.array([1.0])
    in_two = jax.grad(lambda z: losses.binary_cross_entropy(jax.nn.sigmoid(z), targets).sum())(logits)
    in_one = jax.grad(lambda z: losses.sigmoid_binary_cross_entropy(z, targets).sum())(logits)
    assert (in_two.tolist(), in_one.tolist()) == ([0.0], [-1.0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["sigmoid_binary_cross_entropy", "softmax_cross_entropy"])
def test_logits_of_ten_thousand(name, dtype):
    logits = jnp.array([[9984.0, -9984.0], [-9984.0, 9984.0]], dtype)  # 39 * 2**8: a number of bfloat16 too
    targets = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    values, by_hand, by_autodiff = compiled(name)(logits, targets)
    wrong = (
        9984 if name.startswith("sigmoid") else 2 * 9984
    )  # the mean over two outputs, and one distance of two logits
    np.testing.assert_allclose(values, [0, wrong], rtol=1e-6)
    expected = np.array([[0, 0], [-1, 1]]) / (2 if name.startswith("sigmoid") else 1)
    np.testing.assert_allclose(by_hand, expected, atol=1e-6)
    np.testing.assert_allclose(by_autodiff, expected, atol=1e-6)


# Central differences in float64


@pytest.mark.parametrize(
    ("name", "soft"),
    [*((name, False) for name in NAMES), *((name, True) for name in (*CATEGORICAL, *BINARY[:2]))],
)
def test_central_differences(name, soft):
    rng = np.random.default_rng(3)
    predictions, targets = drawn(name, (4, 3), rng, soft=soft)
    if name in ("binary_cross_entropy", "categorical_cross_entropy"):
        predictions = predictions.clip(0.1, 0.9)  # near 0 the curvature, 1/p^2, is too large for the step
    step = 1e-5
    nudges = step * np.eye(predictions.size).reshape(-1, *predictions.shape)
    with jax.enable_x64(True):
        loss, _ = both(name)
        total = jax.jit(jax.vmap(lambda p: loss(p, targets).sum()))
        differences = (total(predictions + nudges) - total(predictions - nudges)).reshape(predictions.shape) / (
            2 * step
        )
        _, by_hand, by_autodiff = compiled(name)(predictions, targets)
        assert by_hand.dtype == jnp.float64
        # step**2 of truncation times a third derivative of at most 1e3, and 2**-52 / step of rounding.
        assert_close(by_hand, differences, 1e-7)
        assert_close(by_hand, by_autodiff, 1e-12)


# Transformations, dtypes and what must not be plausible


@pytest.mark.parametrize("name", NAMES)
def test_jit_vmap_and_forward_mode(name):
    rng = np.random.default_rng(5)
    predictions, targets = (
        np.stack(parts) for parts in zip(*(drawn(name, (4, 3), rng) for _ in range(3)), strict=True)
    )
    predictions = jnp.asarray(predictions, jnp.float32)
    targets = jnp.asarray(targets, jnp.int32 if targets.dtype == np.int32 else jnp.float32)
    loss, gradient = both(name)
    for function, position in ((loss, 0), (gradient, 1)):
        one_by_one = [np.asarray(compiled(name)(p, y)[position]) for p, y in zip(predictions, targets, strict=True)]
        assert_close(jax.jit(jax.vmap(function))(predictions, targets), np.stack(one_by_one), 1e-6)
        assert_close(function(predictions[0], targets[0]), one_by_one[0], 1e-6, "without jit")

    @jax.jit
    def derivatives(p, y, direction):
        """Return the derivative along a direction and that of the gradient: forward, forward over reverse, by hand."""
        first = jax.jvp(lambda p: loss(p, y), (p,), (direction,))[1]
        second = jax.jvp(lambda p: by_grad(loss, p, y), (p,), (direction,))[1]
        return first, second, *jax.jvp(lambda p: gradient(p, y), (p,), (direction,))

    direction = jnp.asarray(rng.normal(size=predictions[0].shape), jnp.float32)
    first, second, by_hand, second_by_hand = derivatives(predictions[0], targets[0], direction)
    assert_close(first, (by_hand * direction).sum(-1))
    assert_close(second, second_by_hand)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_computed_in_float32(name):
    predictions, targets = drawn(name, (8, 6), np.random.default_rng(7))
    predictions = jnp.asarray(predictions, jnp.bfloat16)
    targets = targets if targets.dtype == np.int32 else targets.astype(np.float32)
    values, gradient, _ = compiled(name)(predictions, targets)
    exact_values, exact_gradient, _ = compiled(name)(predictions.astype(jnp.float32), targets)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, exact_values, rtol=1e-6)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(jnp.float32), exact_gradient, rtol=2**-8)  # rounded once


ILLEGAL = [
    ("softmax_cross_entropy", [[0.1, 0.2], [0.3, 0.4]], [1, 2]),
    ("softmax_cross_entropy", [[0.1, 0.2], [0.3, 0.4]], [1, -1]),
    ("softmax_cross_entropy", [[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.5], [2.0, -1.0]]),
    ("categorical_cross_entropy", [[0.1, 0.9], [0.4, 0.6]], [1, 2]),
    ("categorical_cross_entropy", [[0.1, 0.9], [-3.0, 0.6]], [1, 1]),
    ("categorical_cross_entropy", [[0.1, 0.9], [0.4, 0.6]], [[0.0, 1.0], [0.0, 7.0]]),
    ("negative_log_likelihood", [[-0.1, -0.2], [-0.3, -0.4]], [1, 2]),
    ("binary_cross_entropy", [[0.1, 0.9], [0.4, 1.6]], [[0.0, 1.0], [0.0, 1.0]]),
    ("binary_cross_entropy", [[0.1, 0.9], [0.4, 0.6]], [[0.0, 1.0], [0.0, -1.0]]),
    ("sigmoid_binary_cross_entropy", [[0.1, 0.9], [0.4, 0.6]], [[0.0, 1.0], [0.0, 255.0]]),
    ("hinge", [[0.1, 0.9], [0.4, 0.6]], [[-1.0, 1.0], [0.0, 1.0]]),
]


@pytest.mark.parametrize(("name", "predictions", "targets"), ILLEGAL)
def test_illegal_values_under_jit_are_nan_and_never_plausible(name, predictions, targets):
    arrays = compiled(name)(jnp.array(predictions), jnp.array(targets))
    values, by_hand, by_autodiff = (np.asarray(array) for array in arrays)
    assert np.isnan(values).tolist() == [False, True]
    assert np.isfinite(by_hand[0]).all()
    assert np.isnan(by_hand[1]).any()
    np.testing.assert_array_equal(np.isnan(by_hand), np.isnan(by_autodiff))


@pytest.mark.parametrize("name", NAMES)
def test_nan_predictions_give_nan(name):
    predictions, targets = drawn(name, (3, 2), np.random.default_rng(0))
    predictions[1] = np.nan
    for function in (both(name)[0], jax.jit(both(name)[0])):
        assert np.isnan(function(predictions, targets)).tolist() == [False, True, False]
