"""Activations and their derivatives by hand, against PyTorch, automatic differentiation and central differences."""

import functools
import math
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import activations
from jaxnn.activations import (
    DERIVATIVES,
    log_softmax,
    log_softmax_jacobian,
    log_softmax_vjp,
    softmax,
    softmax_jacobian,
    softmax_vjp,
)

GOLDEN = dict(np.load(Path(__file__).with_name("golden") / "activations.npz"))
NAMES = [function.__name__ for function in DERIVATIVES]
GOLDEN_NAMES = sorted({key.split("/")[1] for key in GOLDEN if key.endswith("/derivative")})
WITH_PARAMETER = {"leaky_relu_0.25": ("leaky_relu", 0.25), "elu_1.5": ("elu", 1.5)}
ROWWISE = {
    "softmax": (softmax, softmax_jacobian, softmax_vjp),
    "log_softmax": (log_softmax, log_softmax_jacobian, log_softmax_vjp),
}
DTYPES = ["float64", "float32", "bfloat16"]
# bfloat16: 2**-8 is half the distance of its numbers above 1, relative to 1, so one rounding and no more. PyTorch's erf
# loses digits of float64 where 1 + erf is small, hence an absolute part of 1e-15 beside 1e-12.
RELATIVE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 1.01 * 2**-8}
# JAX differentiates the sigmoid as s (1 - s), and exp(x) - 1 as itself plus 1: the difference is rounded to 2**-24, and
# multiplied by x in SiLU.
AUTOMATIC = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 1.01 * 2**-8}
EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 88.0, -88.0, 1000.0, -1000.0, 1e4, -1e4, 3e38, -3e38]


def pair(name):
    """Return the activation of this name and its derivative, functions of x alone."""
    name, *parameter = WITH_PARAMETER.get(name, (name,))
    function = getattr(activations, name)
    return (lambda x: function(x, *parameter)), (lambda x: DERIVATIVES[function](x, *parameter))


def automatic(function, x):
    """Return the automatic derivative of an element-wise function of any shape."""
    return jax.vjp(function, x)[1](jnp.ones_like(x))[0]


def close(actual, expected, rtol, atol):
    np.testing.assert_allclose(np.asarray(actual, np.float64), np.asarray(expected, np.float64), rtol=rtol, atol=atol)


def test_everything_has_its_derivative():
    assert all(d.__name__ == f"{f.__name__}_derivative" for f, d in DERIVATIVES.items())
    expected = [*NAMES, *(f"{name}_derivative" for name in NAMES), "DERIVATIVES"]
    expected += [f"{name}{suffix}" for name in ROWWISE for suffix in ("", "_jacobian", "_vjp")]
    assert sorted(expected) == sorted(activations.__all__)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_values_and_derivatives_are_pytorchs(name, dtype):
    """Relative to each number itself, so those of the tails count as much as the others."""
    value, slope = GOLDEN[f"float64/{name}/value"], GOLDEN[f"float64/{name}/derivative"]
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(GOLDEN["x"], dtype)
        ours, ours_slope, by_jax = compiled(name)(x)
        assert ours.dtype == ours_slope.dtype == dtype
        close(ours, value, RELATIVE[dtype], 1e-15)
        close(ours_slope, slope, RELATIVE[dtype], 1e-15)
        close(by_jax, slope, RELATIVE[dtype], AUTOMATIC[dtype])


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_bfloat16_is_no_worse_than_pytorchs(name):
    value, derivative, _ = compiled(name)(jnp.asarray(GOLDEN["x"], jnp.bfloat16))
    for what, ours in (("value", value), ("derivative", derivative)):
        exact, theirs = GOLDEN[f"float64/{name}/{what}"], GOLDEN[f"bfloat16/{name}/{what}"]
        assert np.abs(np.asarray(ours, np.float64) - exact).max() <= np.abs(theirs - exact).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ROWWISE)
def test_softmax_is_pytorchs(name, dtype):
    function, jacobian, vjp = ROWWISE[name]
    golden = {what: GOLDEN[f"float64/{name}/{what}"] for what in ("value", "jacobian", "vjp")}
    with jax.enable_x64(dtype == "float64"):
        rows, g = jnp.asarray(GOLDEN["rows"], dtype), jnp.asarray(GOLDEN["g"], dtype)
        results = function(rows), jacobian(rows), vjp(rows, g)
        assert {result.dtype for result in results} == {jnp.dtype(dtype)}
        # Where p is close to 1, p (1 - p) and g - sum(g p) are differences: an absolute part of a rounding of |g| < 4.
        atol = 4 * {"float64": 2**-52, "float32": 2**-23, "bfloat16": 2**-23}[dtype]
        # Below 1e-37 float32 is denormal, and on a CPU may be 0.
        close(results[0], golden["value"], RELATIVE[dtype], 1e-37 if name == "softmax" else atol)
        close(results[1], golden["jacobian"], RELATIVE[dtype], atol)
        close(results[2], golden["vjp"], RELATIVE[dtype], atol)
        close(jax.vjp(function, rows)[1](g)[0], golden["vjp"], RELATIVE[dtype], AUTOMATIC[dtype])


@functools.cache
def compiled(name):
    function, derivative = pair(name)
    return jax.jit(lambda x: (function(x), derivative(x), automatic(function, x)))


# Compiled once a name, shape and dtype, hence few of each and no deadline.
@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
    name=st.sampled_from(NAMES),
    shape=st.sampled_from([(), (0,), (2, 1, 3)]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 10.0, 1e4]),
    extreme=st.sampled_from(EXTREMES),
    seed=st.integers(0, 2**16),
)
def test_derivative_is_the_automatic_one(name, shape, dtype, scale, extreme, seed):
    x = np.random.default_rng(seed).normal(0, scale, shape)
    x = jnp.asarray(np.where(np.arange(x.size).reshape(shape) == 0, extreme, x), dtype)
    value, derivative, by_jax = compiled(name)(x)
    assert value.shape == derivative.shape == shape
    assert value.dtype == derivative.dtype == dtype
    assert jnp.isfinite(value).all()
    close(derivative, by_jax, *((1e-5, 1e-6) if dtype == "float32" else (2**-7, 2**-8)))


@functools.cache
def compiled_rows(name):
    function, jacobian, vjp = ROWWISE[name]

    def run(x, g):
        flat = x.reshape(-1, x.shape[-1])
        by_jax = jax.vmap(jax.jacobian(function))(flat).reshape(*x.shape, x.shape[-1])
        return (function(x), jacobian(x), vjp(x, g)), (by_jax, jax.vjp(function, x)[1](g)[0])

    return jax.jit(run)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    name=st.sampled_from(sorted(ROWWISE)),
    shape=st.sampled_from([(1,), (4,), (2, 1, 3)]),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    extreme=st.sampled_from([0.0, 1e4, -1e4, -math.inf]),
    seed=st.integers(0, 2**16),
)
@pytest.mark.slow
def test_jacobian_and_product_are_the_automatic_ones(name, shape, dtype, scale, extreme, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, scale, shape)
    x[..., 1:2] = extreme  # never all of a row, so -inf leaves a distribution
    x, g = jnp.asarray(x, dtype), jnp.asarray(rng.normal(0, 1, shape), dtype)
    (value, jacobian, product), (jacobian_by_jax, product_by_jax) = compiled_rows(name)(x, g)
    assert not jnp.isnan(value).any()
    tolerance = (1e-5, 1e-5) if dtype == "float32" else (2**-7, 2**-7)  # absolute: entries and |g| are of order 1
    close(jacobian, jacobian_by_jax, *tolerance)
    close(product, product_by_jax, *tolerance)
    exact = np.exp(np.asarray(x, np.float64) - np.asarray(x, np.float64).max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    close(value if name == "softmax" else jnp.exp(value.astype(jnp.float32)), exact, *(4 * t for t in tolerance))


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_central_differences(name):
    """In float64 with h = 1e-5: h^2 f'''/6 and a rounding of 1e-16 / h are both below 1e-10."""
    function, derivative = pair(name)
    with jax.enable_x64(True):
        x = jnp.linspace(-6, 6, 40)  # none within h of the kink
        h = 1e-5
        close(derivative(x), (function(x + h) - function(x - h)) / (2 * h), 1e-9, 1e-9)


@pytest.mark.parametrize("name", ROWWISE)
def test_central_differences_of_rows(name):
    function, jacobian, _ = ROWWISE[name]
    with jax.enable_x64(True):
        x = jnp.asarray(GOLDEN["rows"][0])
        shifts = 1e-5 * jnp.eye(5)  # row j moves entry j
        close(jacobian(x).T, (function(x + shifts) - function(x - shifts)) / 2e-5, 1e-9, 1e-9)


def test_the_tails_keep_their_digits():
    """Where s (1 - s), 1 - tanh^2 and 1 + erf are nothing in float32, against the math module in float64."""
    x = np.arange(6, 9, 0.5, dtype=np.float32)
    close(activations.sigmoid_derivative(x), [math.exp(-v) / (1 + math.exp(-v)) ** 2 for v in x], 1e-5, 0)
    close(activations.tanh_derivative(x), [1 / math.cosh(v) ** 2 for v in x], 1e-5, 0)
    close(activations.gelu(-x), [-v * math.erfc(v / math.sqrt(2)) / 2 for v in x], 1e-5, 0)
    close(activations.softplus(-x), [math.log1p(math.exp(-v)) for v in x], 1e-5, 0)


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("step", 1, 0),
        ("relu", 0, 0),
        ("leaky_relu", 0, 0.01),
        ("leaky_relu_0.25", 0, 0.25),
        ("elu", 0, 1),
        ("elu_1.5", 0, 1.5),
        ("sigmoid", 0.5, 0.25),
        ("tanh", 0, 1),
        ("gelu", 0, 0.5),
        ("silu", 0, 0.5),
    ],
)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_conventions_at_zero(name, value, slope, zero):
    function, derivative = pair(name)
    assert float(function(zero)) == value
    assert float(derivative(zero)) == float(jax.grad(function)(zero)) == float(np.float32(slope))


LIMITS = {  # (value at -inf, value at +inf, derivative at -inf, derivative at +inf)
    "identity": (-math.inf, math.inf, 1, 1),
    "step": (0, 1, 0, 0),
    "sigmoid": (0, 1, 0, 0),
    "tanh": (-1, 1, 0, 0),
    "relu": (0, math.inf, 0, 1),
    "leaky_relu": (-math.inf, math.inf, np.float32(0.01), 1),
    "elu": (-1, math.inf, 0, 1),
    "softplus": (0, math.inf, 0, 1),
    "gelu": (0, math.inf, 0, 1),
    "silu": (0, math.inf, 0, 1),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_limits(name, dtype):
    value, derivative, by_jax = compiled(name)(jnp.array([-jnp.inf, jnp.inf, jnp.nan], dtype))
    rounded = np.asarray(jnp.array(LIMITS[name], dtype), np.float64)
    close(value[:2], rounded[:2], 0, 0)
    close(derivative[:2], rounded[2:], 0, 0)
    close(by_jax[:2], rounded[2:], 0, 0)
    assert jnp.isnan(value[2])


@pytest.mark.parametrize("name", NAMES)
def test_compiled_mapped_and_differentiated_twice(name):
    function, derivative = pair(name)
    x = jnp.asarray(EXTREMES, jnp.float32)

    @jax.jit
    def run(x):
        forward = jax.jvp(function, (x,), (jnp.ones_like(x),))[1]
        # The second derivative both ways: of the hand-written first one, and of JAX's.
        twice = automatic(derivative, x), automatic(lambda x: automatic(function, x), x)
        return function(x), derivative(x), jax.vmap(function)(x), jax.vmap(derivative)(x), forward, *twice

    value, slope, mapped_value, mapped_slope, forward, twice, twice_by_jax = run(x)
    np.testing.assert_allclose(value, function(x), rtol=1e-6)
    np.testing.assert_allclose(slope, derivative(x), rtol=1e-6)
    np.testing.assert_array_equal(mapped_value, value)
    np.testing.assert_array_equal(mapped_slope, slope)
    close(forward, slope, 1e-5, 1e-6)
    assert jnp.isfinite(twice).all()
    close(twice_by_jax, twice, 1e-5, 1e-6)


@pytest.mark.parametrize("name", ROWWISE)
def test_rows_compiled_and_mapped(name):
    x, g = jnp.asarray(GOLDEN["rows"], jnp.float32), jnp.asarray(GOLDEN["g"], jnp.float32)
    for function in ROWWISE[name]:
        arguments = (x, g) if function.__name__.endswith("vjp") else (x,)
        np.testing.assert_allclose(jax.jit(function)(*arguments), function(*arguments), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(jax.vmap(function)(*arguments), function(*arguments))


def test_slope_and_alpha_may_be_traced():
    x = jnp.array([-2.0, 0.0, 3.0])
    for name, parameter in WITH_PARAMETER.values():
        function = getattr(activations, name)
        for f in (function, DERIVATIVES[function]):
            np.testing.assert_allclose(jax.jit(f)(x, parameter), f(x, parameter), rtol=1e-6)
        by_parameter = jax.grad(lambda p, f=function: f(x, p).sum())(parameter)
        np.testing.assert_allclose(by_parameter, {"leaky_relu": -2, "elu": math.expm1(-2)}[name], rtol=1e-6)


def test_rows_without_a_distribution_are_nan():
    rows = jnp.array([[-jnp.inf, -jnp.inf], [jnp.inf, 0.0], [jnp.nan, 0.0], [0.0, 0.0]])
    for function in (softmax, log_softmax):
        np.testing.assert_array_equal(jnp.isnan(function(rows)).all(-1), [True, True, True, False])


def test_probabilities_of_masked_classes_are_zero():
    assert softmax(jnp.array([0.0, -jnp.inf, 0.0])).tolist() == [0.5, 0, 0.5]
    assert log_softmax(jnp.array([0.0, -jnp.inf])).tolist() == [0, -jnp.inf]


def test_step_takes_integers_and_the_others_take_numbers():
    assert activations.step(np.array([-1, 0, 3], np.int32)).dtype == jnp.int32
    assert activations.step(-1).tolist() == 0
    assert activations.step(np.array([-1, 0, 3])).tolist() == [0, 1, 1]
    assert activations.sigmoid(0.0).tolist() == 0.5
    assert activations.relu(np.array([-1.0, 2.0])).dtype == jnp.float32


def test_the_table_is_read_only():
    with pytest.raises(TypeError, match="item assignment"):
        DERIVATIVES[jnp.tanh] = jnp.tanh
