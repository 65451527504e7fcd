"""Element-wise activations, each with its derivative written by hand beside it.

All take floats of any shape and give that shape and dtype; bfloat16 is widened inside, and rounded once at the end.
All are finite wherever their limit is, at +-1e4 and at +-inf, and so are their automatic derivatives; NaN stays NaN.
At a kink the derivative is the one from the left, in the hand-written form and under `jax.grad` alike.
Integers are a TypeError (`step` takes them).
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.types import Array

Floats: TypeAlias = Float[Array, "*shape"] | float
Result: TypeAlias = Float[Array, "*shape"]


def identity(x: Floats) -> Result:
    """Return x as it is: the linear output of a regression.

    >>> identity(jnp.array([-2.0, 3.0])).tolist()
    [-2.0, 3.0]
    """
    return checks.float_input("identity", x)


def identity_derivative(x: Floats) -> Result:
    """Compute the derivative of the identity: 1.

    >>> identity_derivative(jnp.array([-2.0, 3.0])).tolist()
    [1.0, 1.0]
    """
    return jnp.ones_like(checks.float_input("identity_derivative", x))


def step(x: Floats | Integer[Array, "*shape"]) -> Result | Integer[Array, "*shape"]:
    """Compute the threshold of the perceptron: 1 where x >= 0, else 0. Integers stay integers.

    McCulloch and Pitts, 1943, A Logical Calculus of the Ideas Immanent in Nervous Activity.

    >>> step(jnp.array([-0.5, 0.0, 2.0])).tolist()
    [0.0, 1.0, 1.0]
    """
    x = checks.number_input("step", x)
    return jnp.where(x >= 0, 1, jnp.where(x < 0, 0, jax.lax.stop_gradient(x)))  # the last x is NaN


def step_derivative(x: Floats) -> Result:
    """Compute the derivative of the step: 0, and 0 by convention at the jump. So no gradient passes it.

    >>> step_derivative(jnp.array([-0.5, 0.0, 2.0])).tolist()
    [0.0, 0.0, 0.0]
    """
    return jnp.zeros_like(checks.float_input("step_derivative", x))


def sigmoid(x: Floats) -> Result:
    """Compute the logistic function 1 / (1 + exp(-x)), which lies in (0, 1).

    >>> sigmoid(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    x = checks.float_input("sigmoid", x)
    # Written out, its automatic derivative at -1e4 is inf / inf.
    return jax.lax.logistic(wide(x)).astype(x.dtype)


def sigmoid_derivative(x: Floats) -> Result:
    """Compute the derivative of the sigmoid, s (1 - s), which is at most 1/4.

    1 - s is taken as sigmoid(-x): beyond x = 17 the float32 number s is 1, and the difference nothing.

    >>> sigmoid_derivative(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.25, 0.0]
    """
    x = checks.float_input("sigmoid_derivative", x)
    return (sigmoid(wide(x)) * sigmoid(-wide(x))).astype(x.dtype)


def tanh(x: Floats) -> Result:
    """Compute the hyperbolic tangent (e^x - e^-x) / (e^x + e^-x), which lies in (-1, 1) and is zero-centred.

    >>> tanh(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-1.0, 0.0, 1.0]
    """
    x = checks.float_input("tanh", x)
    return jnp.tanh(wide(x)).astype(x.dtype)


def tanh_derivative(x: Floats) -> Result:
    """Compute the derivative of tanh, 1 - tanh(x)^2, which is at most 1.

    It is taken as 4 s(2x) s(-2x) with the sigmoid s: beyond |x| = 9 the float32 number tanh(x)^2 is 1.

    >>> tanh_derivative(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 1.0, 0.0]
    """
    x = checks.float_input("tanh_derivative", x)
    return (4 * sigmoid_derivative(2 * wide(x))).astype(x.dtype)


def relu(x: Floats) -> Result:
    """Compute the rectified linear unit max(0, x).

    Nair and Hinton, 2010, Rectified Linear Units Improve Restricted Boltzmann Machines.

    >>> relu(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.0, 10000.0]
    """
    x = checks.float_input("relu", x)
    return jnp.where(x <= 0, 0, x)  # the automatic derivative of a maximum is 1/2 at 0


def relu_derivative(x: Floats) -> Result:
    """Compute the derivative of ReLU: 1 where x > 0, else 0, so 0 at the kink.

    >>> relu_derivative(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.0, 1.0]
    """
    x = checks.float_input("relu_derivative", x)
    return jnp.where(x <= 0, 0, jnp.ones_like(x))


def leaky_relu(x: Floats, slope: float | Array = 0.01) -> Result:
    """Compute x where x > 0, else slope * x. Raises ValueError for a slope that is not finite.

    Maas, Hannun, Ng, 2013, Rectifier Nonlinearities Improve Neural Network Acoustic Models.

    >>> leaky_relu(jnp.array([-100.0, 0.0, 100.0])).tolist()
    [-1.0, 0.0, 100.0]
    """
    x = checks.float_input("leaky_relu", x)
    checks.in_range("leaky_relu", "slope", slope, -math.inf, math.inf, open_low=True, open_high=True)
    return jnp.where(x > 0, wide(x), slope * wide(x)).astype(x.dtype)


def leaky_relu_derivative(x: Floats, slope: float | Array = 0.01) -> Result:
    """Compute the derivative of the leaky ReLU: 1 where x > 0, else the slope, also at the kink.

    >>> leaky_relu_derivative(jnp.array([-100.0, 0.0, 100.0]), 0.25).tolist()
    [0.25, 0.25, 1.0]
    """
    x = checks.float_input("leaky_relu_derivative", x)
    checks.in_range("leaky_relu_derivative", "slope", slope, -math.inf, math.inf, open_low=True, open_high=True)
    return jnp.where(x > 0, 1, slope).astype(x.dtype)


def elu(x: Floats, alpha: float | Array = 1.0) -> Result:
    """Compute x where x > 0, else alpha (exp(x) - 1). Raises ValueError for an alpha that is not finite.

    Clevert, Unterthiner, Hochreiter, 2016, Fast and Accurate Deep Network Learning by Exponential Linear Units.

    >>> elu(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [-1.0, 0.0, 10000.0]
    """
    x = checks.float_input("elu", x)
    checks.in_range("elu", "alpha", alpha, -math.inf, math.inf, open_low=True, open_high=True)
    # Two selections: 0 * inf, the derivative of the branch that was not taken, is NaN.
    not_positive = jnp.where(x > 0, 0, wide(x))
    return jnp.where(x > 0, wide(x), alpha * jnp.expm1(not_positive)).astype(x.dtype)


def elu_derivative(x: Floats, alpha: float | Array = 1.0) -> Result:
    """Compute the derivative of ELU: 1 where x > 0, else alpha exp(x), so alpha at the kink.

    >>> elu_derivative(jnp.array([-1e4, 0.0, 1e4]), 2.0).tolist()
    [0.0, 2.0, 1.0]
    """
    x = checks.float_input("elu_derivative", x)
    checks.in_range("elu_derivative", "alpha", alpha, -math.inf, math.inf, open_low=True, open_high=True)
    return jnp.where(x > 0, 1, alpha * jnp.exp(jnp.where(x > 0, 0, wide(x)))).astype(x.dtype)


def softplus(x: Floats) -> Result:
    """Compute log(1 + exp(x)), a smooth ReLU.

    Dugas, Bengio, Belisle, Nadeau, Garcia, 2001, Incorporating Second-Order Functional Knowledge.

    >>> softplus(jnp.array([-1e4, 1e4])).tolist(), round(float(softplus(0.0)), 4)
    ([0.0, 10000.0], 0.6931)
    """
    x = checks.float_input("softplus", x)
    return jnp.logaddexp(wide(x), 0).astype(x.dtype)


def softplus_derivative(x: Floats) -> Result:
    """Compute the derivative of softplus: the sigmoid.

    >>> softplus_derivative(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return sigmoid(checks.float_input("softplus_derivative", x))


def gelu(x: Floats) -> Result:
    """Compute x P(x) with the normal distribution P(x) = (1 + erf(x / sqrt(2))) / 2: the exact form, as in PyTorch.

    Hendrycks and Gimpel, 2016, Gaussian Error Linear Units.

    >>> gelu(jnp.array([-1e4, 0.0, 1e4])).tolist(), round(float(gelu(1.0)), 4)
    ([0.0, 0.0, 10000.0], 0.8413)
    """
    x = checks.float_input("gelu", x)
    near, far = _near(x)
    return jnp.where(far, relu(wide(x)), near * _normal_distribution(near)).astype(x.dtype)


def gelu_derivative(x: Floats) -> Result:
    """Compute the derivative of GELU: P(x) + x p(x) with the normal density p(x) = exp(-x^2 / 2) / sqrt(2 pi).

    >>> gelu_derivative(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    x = checks.float_input("gelu_derivative", x)
    near, far = _near(x)
    density = jnp.exp(-jnp.square(near) / 2) / math.sqrt(2 * math.pi)
    return jnp.where(far, relu_derivative(wide(x)), _normal_distribution(near) + near * density).astype(x.dtype)


def silu(x: Floats) -> Result:
    """Compute x s(x) with the sigmoid s, also called swish.

    Elfwing, Uchibe, Doya, 2018, Sigmoid-Weighted Linear Units for Neural Network Function Approximation.

    >>> silu(jnp.array([-1e4, 0.0, 1e4])).tolist(), round(float(silu(1.0)), 4)
    ([0.0, 0.0, 10000.0], 0.7311)
    """
    x = checks.float_input("silu", x)
    near, far = _near(x)
    return jnp.where(far, relu(wide(x)), near * sigmoid(near)).astype(x.dtype)


def silu_derivative(x: Floats) -> Result:
    """Compute the derivative of SiLU: s + x s (1 - s).

    >>> silu_derivative(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    x = checks.float_input("silu_derivative", x)
    near, far = _near(x)
    slope = sigmoid(near) + near * sigmoid_derivative(near)
    return jnp.where(far, relu_derivative(wide(x)), slope).astype(x.dtype)


def _near(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return x with 0 where |x| > 1000, and where that is: there x P(x) and x s(x) are ReLU to the last bit.

    Without it -inf * 0 would be NaN, and so would inf * 0 in the derivatives.
    """
    far = jnp.abs(x) > 1000
    return jnp.where(far, 0, wide(x)), far


def _normal_distribution(x: jax.Array) -> jax.Array:
    # erfc keeps the digits of the left tail, which 1 + erf loses.
    return jax.scipy.special.erfc(-x / math.sqrt(2)) / 2


DERIVATIVES: Mapping[Callable[..., Any], Callable[..., Any]] = MappingProxyType(
    {
        identity: identity_derivative,
        step: step_derivative,
        sigmoid: sigmoid_derivative,
        tanh: tanh_derivative,
        relu: relu_derivative,
        leaky_relu: leaky_relu_derivative,
        elu: elu_derivative,
        softplus: softplus_derivative,
        gelu: gelu_derivative,
        silu: silu_derivative,
    }
)
"""The hand-written derivative of each element-wise activation."""
