"""What an activation says to input that it cannot take."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import activations
from jaxnn.activations import DERIVATIVES

FLOATS_ONLY = [f for f in (*DERIVATIVES, *DERIVATIVES.values()) if f.__name__ != "step"]
ROWWISE = [getattr(activations, f"{name}{end}") for name in ("softmax", "log_softmax") for end in ("", "_jacobian")]
PRODUCTS = [activations.softmax_vjp, activations.log_softmax_vjp]


def name(function):
    return function.__name__


@pytest.mark.parametrize("function", FLOATS_ONLY + ROWWISE, ids=name)
@pytest.mark.parametrize("x", [np.arange(3, dtype=np.int32), np.zeros(3, np.uint8), np.array([True]), jnp.arange(3)])
def test_integers_and_booleans(function, x):
    with pytest.raises(TypeError, match=rf"^{function.__name__} expected floats but got {x.dtype} .*convert with"):
        function(x)


@pytest.mark.parametrize("function", FLOATS_ONLY + ROWWISE + [activations.step], ids=name)
@pytest.mark.parametrize("x", [None, "1.0", [1.0, 2.0], np.array(["a"])])
def test_no_array(function, x):
    with pytest.raises(TypeError, match=rf"^{function.__name__} expected x to be"):
        function(x)


@pytest.mark.parametrize("x", [np.array([1j]), np.array([True]), True])
def test_step_without_order(x):
    with pytest.raises(TypeError, match=r"^step expected"):
        activations.step(x)


@pytest.mark.parametrize("function", [activations.leaky_relu, activations.leaky_relu_derivative], ids=name)
@pytest.mark.parametrize("slope", [math.nan, math.inf, -math.inf])
def test_slope(function, slope):
    with pytest.raises(ValueError, match=rf"^{function.__name__} expected slope in \(-inf, inf\)"):
        function(np.zeros(3), slope)


@pytest.mark.parametrize("function", [activations.elu, activations.elu_derivative], ids=name)
@pytest.mark.parametrize("alpha", [math.nan, math.inf, np.ones(3)])
def test_alpha(function, alpha):
    with pytest.raises(ValueError, match=rf"^{function.__name__} expected alpha "):
        function(np.zeros(3), alpha)
    with pytest.raises(TypeError, match=rf"^{function.__name__} expected alpha to be a number"):
        function(np.zeros(3), "1")


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_rows_without_classes(shape):
    for function in ROWWISE:
        with pytest.raises(ValueError, match=rf"^{function.__name__} expected x of shape \[\.\.\., classes\] but got"):
            function(np.zeros(shape))
    for function in PRODUCTS:
        with pytest.raises(ValueError, match=rf"^{function.__name__} expected x of shape \[\.\.\., classes\] but got"):
            function(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("function", PRODUCTS, ids=name)
def test_gradient_of_another_shape(function):
    with pytest.raises(
        ValueError, match=rf"^{function.__name__} expected g of the shape of x, \(4, 3\), but got \(3,\)"
    ):
        function(np.zeros((4, 3)), np.zeros(3))
    with pytest.raises(TypeError, match=rf"^{function.__name__} expected floats"):
        function(np.zeros((4, 3)), np.zeros((4, 3), int))
