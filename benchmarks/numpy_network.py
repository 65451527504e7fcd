"""The guide's neural network in NumPy, whole and honest: the reference in tests and the rival of `jit_vs_numpy`.

Forward and backward pass and the optimizers are written by hand, vectorised, in float32; the gradients are written into
arrays that stay, the optimizers change theirs in place, and all parameters lie in one flat array, so that an update is
a few operations over one array and not over each weight and bias. The guide's own code is the same mathematics in
float64 with a new array for each result; it also drops the factor 1/outputs from the gradient of the binary
cross-entropy, which is right for one output only.

>>> rng = np.random.default_rng(1)
>>> network = make((2, 4, 1), rng)
>>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
>>> y = np.array([[0], [1], [1], [0]], np.float32)
>>> losses = train(network, x, y, gradient_descent(0.5), epochs=5000)
>>> losses[-1] < 0.01, predict(network.layers, x, sigmoid).round().ravel()
(True, array([0., 1., 1., 0.], dtype=float32))
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]
"""(weight [in, out], bias [out]) of each layer: views of one flat array."""

Activation = Callable[[np.ndarray], np.ndarray]
Loss = Callable[[np.ndarray, np.ndarray], float]
Update = Callable[[np.ndarray, np.ndarray], None]
"""An optimizer: it changes the flat parameters in place by the flat gradients, which are used up."""

EPSILON = np.finfo(np.float32).eps  # the guide's 1e-15 is nothing in float32: 1 - 1e-15 == 1


class Network(NamedTuple):
    """Flat parameters and gradients, and the same arrays cut into layers."""

    parameters: np.ndarray
    gradients: np.ndarray
    layers: Layers
    layer_gradients: Layers


def views(flat: np.ndarray, sizes: Sequence[int]) -> Layers:
    """Cut a flat array into the weights and biases of each layer, without a copy."""
    layers, start = [], 0
    for inputs, outputs in pairwise(sizes):
        middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
        layers.append((flat[start:middle].reshape(inputs, outputs), flat[middle:end]))
        start = end
    return layers


def empty(sizes: Sequence[int]) -> Network:
    """Make a network of zeros."""
    count = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    parameters, gradients = np.zeros((2, count), np.float32)
    return Network(parameters, gradients, views(parameters, sizes), views(gradients, sizes))


def make(sizes: Sequence[int], rng: np.random.Generator) -> Network:
    """Draw a network as the guide does: weights N(0, 2/in), biases 0. He et al., 2015, Delving Deep into Rectifiers."""
    network = empty(sizes)
    for weight, _ in network.layers:
        weight[...] = rng.standard_normal(weight.shape, np.float32)
        weight *= math.sqrt(2 / len(weight))
    return network


def relu(z: np.ndarray) -> np.ndarray:
    """Compute max(z, 0)."""
    return np.maximum(z, 0)


def leaky_relu(z: np.ndarray) -> np.ndarray:
    """Compute z where it is positive and 0.01 z elsewhere."""
    return np.maximum(z, np.float32(0.01) * z)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Compute 1 / (1 + exp(-z)) as (1 + tanh(z / 2)) / 2, which cannot overflow and takes half the time."""
    y = np.multiply(z, np.float32(0.5))
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y


def softmax(z: np.ndarray) -> np.ndarray:
    """Compute exp(z) / sum(exp(z)) over the last axis, after the largest entry of each row is taken off."""
    y = z - z.max(axis=-1, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def forward(layers: Layers, x: np.ndarray, output: Activation) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Compute and keep the pre-activations z and the activations of all layers; the first activation is x, [B, in]."""
    pre_activations, activations = [], [x]
    for i, (weight, bias) in enumerate(layers):
        z = activations[-1] @ weight
        z += bias
        pre_activations.append(z)
        activations.append(relu(z) if i < len(layers) - 1 else output(z))
    return pre_activations, activations


def predict(layers: Layers, x: np.ndarray, output: Activation) -> np.ndarray:
    """Compute the output alone, [B, in] -> [B, out], keeping nothing."""
    *hidden, (last_weight, last_bias) = layers
    for weight, bias in hidden:
        x = x @ weight
        x += bias
        np.maximum(x, 0, out=x)
    z = x @ last_weight
    z += last_bias
    return output(z)


def binary_cross_entropy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Compute the mean of -(y log p + (1 - y) log(1 - p)) over examples and outputs, [B, out] with [B, out]."""
    p = np.clip(probabilities, EPSILON, 1 - EPSILON)
    return -float(np.mean(targets * np.log(p) + (1 - targets) * np.log1p(-p)))


def categorical_cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute the mean of -log p[label] over examples, [B, classes] with integers [B]."""
    p = probabilities[np.arange(len(labels)), labels]
    return -float(np.mean(np.log(np.maximum(p, EPSILON))))


def output_delta(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute the gradient of the mean loss with respect to the last z, [B, out]; the loss follows from the targets.

    Integer labels [B] mean softmax and categorical cross-entropy: (p - onehot) / B. Floats [B, out] mean sigmoid and
    binary cross-entropy: (p - y) / (B outputs).
    """
    if targets.ndim == 1:
        delta = predictions.copy()
        delta[np.arange(len(targets)), targets] -= 1
        delta /= len(targets)
        return delta
    delta = predictions - targets
    delta /= delta.size
    return delta


def backward(
    layers: Layers,
    gradients: Layers,
    pre_activations: list[np.ndarray],
    activations: list[np.ndarray],
    targets: np.ndarray,
) -> None:
    """Write the gradient of the mean loss into `gradients`, layer by layer from the last, by the chain rule."""
    delta = output_delta(activations[-1], targets)
    for i in reversed(range(len(layers))):
        weight_gradient, bias_gradient = gradients[i]
        np.matmul(activations[i].T, delta, out=weight_gradient)
        np.sum(delta, axis=0, out=bias_gradient)
        if i > 0:
            delta = delta @ layers[i][0].T
            delta *= pre_activations[i - 1] > 0  # relu'


def gradient_descent(learning_rate: float) -> Update:
    """Make the update w <- w - lr g."""

    def update(parameters: np.ndarray, gradients: np.ndarray) -> None:
        gradients *= learning_rate
        parameters -= gradients

    return update


def momentum(learning_rate: float, mass: float = 0.9) -> Update:
    """Make the guide's momentum, v <- m v - lr g; w <- w + v. Polyak, 1964."""
    velocity: np.ndarray | None = None

    def update(parameters: np.ndarray, gradients: np.ndarray) -> None:
        nonlocal velocity
        velocity = np.zeros_like(parameters) if velocity is None else velocity
        velocity *= mass
        gradients *= learning_rate
        velocity -= gradients
        parameters += velocity

    return update


def adam(learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Update:
    """Make Adam with moments that start at zero. Kingma and Ba, 2015, Adam: A Method for Stochastic Optimization."""
    first: np.ndarray | None = None
    second: np.ndarray | None = None
    t = 0

    def update(parameters: np.ndarray, gradients: np.ndarray) -> None:
        nonlocal first, second, t
        if first is None or second is None:
            first, second = np.zeros((2, parameters.size), np.float32)
        t += 1
        adam_step(parameters, gradients, first, second, t, learning_rate, beta1, beta2, epsilon)

    return update


def adam_step(
    parameters: np.ndarray,
    gradients: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    t: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """Take step t = 1, 2, ... of Adam in ten passes over flat arrays, in place; the gradients are used up.

    The moments are kept as plain decaying sums, without the factors 1 - beta, and these, the bias corrections
    c = 1 - beta**t and the square root of the second go into two scalars: with k1 = (1 - beta1) / c1 and
    k2 = sqrt((1 - beta2) / c2), lr * m_hat / (sqrt(v_hat) + eps) = (lr * k1 / k2) * first / (sqrt(second) + eps / k2).
    """
    k1, k2 = (1 - beta1) / (1 - beta1**t), math.sqrt((1 - beta2) / (1 - beta2**t))
    first *= beta1
    first += gradients
    second *= beta2
    np.square(gradients, out=gradients)
    second += gradients
    np.sqrt(second, out=gradients)
    gradients += epsilon / k2
    np.divide(first, gradients, out=gradients)
    gradients *= learning_rate * k1 / k2
    parameters -= gradients


def step(network: Network, x: np.ndarray, targets: np.ndarray, update: Update, output: Activation) -> np.ndarray:
    """Take one step of training on a batch and return the predictions before it."""
    pre_activations, activations = forward(network.layers, x, output)
    backward(network.layers, network.layer_gradients, pre_activations, activations, targets)
    update(network.parameters, network.gradients)
    return activations[-1]


def train(network: Network, x: np.ndarray, y: np.ndarray, update: Update, *, epochs: int) -> list[float]:
    """Train on the whole of x, [B, in], and y, [B, out], as the guide does for XOR; return the loss of each epoch."""
    return [binary_cross_entropy(step(network, x, y, update, sigmoid), y) for _ in range(epochs)]


def train_epoch(
    network: Network,
    x: np.ndarray,
    targets: np.ndarray,
    order: np.ndarray,
    update: Update,
    output: Activation = softmax,
    loss: Loss = categorical_cross_entropy,
) -> float:
    """Train on the batches whose rows `order` [batches, batch] names; return the mean loss."""
    total = 0.0
    for rows in order:
        batch_targets = targets[rows]
        total += loss(step(network, x[rows], batch_targets, update, output), batch_targets)
    return total / len(order)
