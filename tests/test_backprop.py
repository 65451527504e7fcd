"""The hand-written backward pass against jax.grad of the same network, PyTorch, NumPy, and finite differences."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import numpy_network
from jaxnn import activations, losses, tree
from jaxnn.activations import DERIVATIVES, identity, relu, sigmoid, softmax, tanh
from jaxnn.backprop import backward, forward, trace
from jaxnn.models import mlp

GOLDEN = dict(np.load(Path(__file__).with_name("golden") / "torch_losses.npz"))
PAIRS = {
    "sigmoid": (sigmoid, losses.binary_cross_entropy, losses.sigmoid_binary_cross_entropy),
    "softmax": (softmax, losses.categorical_cross_entropy, losses.softmax_cross_entropy),
    "identity": (identity, losses.mean_squared_error, losses.mean_squared_error),
}
HIDDEN = {function.__name__: function for function in DERIVATIVES}


def assert_trees_close(actual, expected, tolerance):
    """Compare leaf by leaf, relative to the largest entry of the leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(tree.paths(actual).items(), jax.tree.leaves(expected), strict=True):
        assert a.shape == e.shape, path
        assert a.dtype == e.dtype, path
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert np.abs(a - e).max() <= tolerance * np.abs(e).max(), path


def data(pair, size, inputs, outputs, rng):
    x = rng.normal(0, 1, (size, inputs))
    if pair == "softmax":
        return x, rng.integers(0, outputs, size).astype(np.int32)
    y = rng.normal(0, 1, (size, outputs))
    return x, (y > 0).astype(float) if pair == "sigmoid" else y


def network(sizes, hidden, seed, dtype=np.float32):
    """Return the network and parameters of its form, drawn by NumPy: jax.random compiles anew for every shape."""
    model, rng = mlp(sizes, activation=hidden), np.random.default_rng(seed)
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0))
    bound = 1 / np.sqrt(max(sizes))
    return model, jax.tree.map(lambda leaf: rng.uniform(-bound, bound, leaf.shape).astype(dtype), shapes)


def by_grad(model, pair, params, x, y):
    """Differentiate the mean over the batch of the loss of the model's logits."""
    loss = PAIRS[pair][2]
    return jax.grad(lambda p: loss(model.apply(p, tree_of_states(p), x)[0], y).mean())(params)


def nudge(leaf, place, step):
    moved = leaf.copy()
    moved[place] += step
    return moved


def tree_of_states(params):
    return ((),) * len(params)


@cache
def compiled(sizes, hidden, pair):
    """Return one program that gives both gradients."""
    model = mlp(sizes, activation=HIDDEN[hidden])
    output, loss, _ = PAIRS[pair]

    def both(params, x, y):
        by_hand = backward(params, x, y, hidden=HIDDEN[hidden], output=output, loss=loss)
        return by_hand, by_grad(model, pair, params, x, y)

    return jax.jit(both)


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple),
    hidden=st.sampled_from(sorted(HIDDEN)),
    pair=st.sampled_from(sorted(PAIRS)),
    size=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
@hypothesis.example(sizes=(3, 1), hidden="relu", pair="softmax", size=1, seed=0)  # one class: all gradients are 0
def test_equals_jax_grad(sizes, hidden, pair, size, seed):
    x, y = data(pair, size, sizes[0], sizes[-1], np.random.default_rng(seed))
    _, params = network(sizes, HIDDEN[hidden], seed)
    y = y if pair == "softmax" else jnp.asarray(y, jnp.float32)
    by_hand, by_autodiff = compiled(sizes, hidden, pair)(params, jnp.asarray(x, jnp.float32), y)
    assert jax.tree.structure(by_hand) == jax.tree.structure(params)
    # A mean over examples, or a sum over units, may cancel to a small part of its terms, each of them rounded: the
    # errors are relative to the largest gradient of the network, not of each leaf.
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(by_autodiff))
    for a, e in zip(jax.tree.leaves(by_hand), jax.tree.leaves(by_autodiff), strict=True):
        assert a.shape == e.shape
        assert float(jnp.abs(a - e).max()) <= 1e-5 * max(scale, 1e-2)


@pytest.mark.parametrize(("hidden", "pair"), [*((name, "softmax") for name in HIDDEN), *(("tanh", p) for p in PAIRS)])
def test_equals_jax_grad_in_float64_leaf_by_leaf(hidden, pair):
    sizes = (7, 6, 5, 4)
    with jax.enable_x64(True):
        _, params = network(sizes, HIDDEN[hidden], 1, np.float64)
        x, y = data(pair, 8, 7, 4, np.random.default_rng(2))
        by_hand, by_autodiff = compiled(sizes, hidden, pair)(params, x, y)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(by_hand))
        assert_trees_close(by_hand, by_autodiff, 1e-10)


@pytest.mark.parametrize("pair", PAIRS)
def test_central_differences(pair):
    """Without jax.grad: nudge every parameter of a small tanh network both ways, in float64."""
    output, loss, _ = PAIRS[pair]
    step = 1e-5
    with jax.enable_x64(True):
        _, params = network((3, 4, 2), tanh, 0, np.float64)
        x, y = data(pair, 5, 3, 2, np.random.default_rng(0))
        leaves, structure = jax.tree.flatten(params)

        @jax.jit
        def mean_loss(leaves):
            kept = forward(jax.tree.unflatten(structure, leaves), x, hidden=tanh, output=output)
            return loss(kept.activations[-1], y).mean()

        by_hand = jax.tree.leaves(backward(params, x, y, hidden=tanh, output=output, loss=loss))
        for i, leaf in enumerate(leaves):
            differences = np.empty(leaf.shape)
            for place in np.ndindex(leaf.shape):
                there, back = ([*leaves[:i], nudge(leaf, place, s), *leaves[i + 1 :]] for s in (step, -step))
                differences[place] = (mean_loss(there) - mean_loss(back)) / (2 * step)
            # step**2 of truncation, 2**-52 / step of rounding
            assert np.abs(by_hand[i] - differences).max() <= 1e-8 * np.abs(differences).max()


@pytest.mark.parametrize("pair", PAIRS)
def test_equals_pytorch(pair):
    output, loss, _ = PAIRS[pair]
    layers = [{kind: GOLDEN[f"network/layer{i}.{kind}"] for kind in ("weight", "bias")} for i in range(3)]
    x, y = GOLDEN["network/x"], GOLDEN[f"network/{pair}/targets"]
    y = y.astype(np.int32) if pair == "softmax" else y
    value = loss(forward(tuple(layers), x, hidden=tanh, output=output).activations[-1], y).mean()
    assert float(value) == pytest.approx(float(GOLDEN[f"network/{pair}/loss"]), rel=1e-6)
    gradients = backward(tuple(layers), x, y, hidden=tanh, output=output, loss=loss)
    for i, layer in enumerate(gradients):
        for kind, gradient in layer.items():
            expected = GOLDEN[f"network/{pair}/gradients/layer{i}.{kind}"]
            assert np.abs(gradient - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("pair", ["sigmoid", "softmax"])
def test_equals_the_numpy_network(pair):
    output, loss, _ = PAIRS[pair]
    rng = np.random.default_rng(0)
    rival = numpy_network.make((6, 5, 4, 3), rng)
    x, y = data(pair, 7, 6, 3, rng)
    x, y = x.astype(np.float32), y if pair == "softmax" else y.astype(np.float32)
    z, a = numpy_network.forward(rival.layers, x, getattr(numpy_network, pair))
    numpy_network.backward(rival.layers, rival.layer_gradients, z, a, y)
    params = tuple({"weight": weight, "bias": bias} for weight, bias in rival.layers)
    kept = forward(params, x, output=output)
    for ours, theirs in zip((*kept.pre_activations, *kept.activations), (*z, *a), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    expected = tuple({"weight": weight, "bias": bias} for weight, bias in rival.layer_gradients)
    assert_trees_close(backward(params, x, y, output=output, loss=loss), expected, 1e-5)


# The guide's network


def the_guides_gradients(params, x, y):
    """Compute dW and db exactly as the guide's NeuralNetwork.backward does: delta = a - y, whatever the outputs."""
    relu_then_sigmoid = [lambda z: np.maximum(0, z)] * (len(params) - 1) + [lambda z: 1 / (1 + np.exp(-z))]
    a, z_values = [x], []
    for layer, f in zip(params, relu_then_sigmoid, strict=True):
        z_values.append(a[-1] @ layer["weight"] + layer["bias"])
        a.append(f(z_values[-1]))
    delta, gradients = a[-1] - y, []
    for i in reversed(range(len(params))):
        gradients.append({"weight": a[i].T @ delta / len(x), "bias": delta.sum(0) / len(x)})
        if i > 0:
            delta = delta @ params[i]["weight"].T * (z_values[i - 1] > 0)
    return tuple(reversed(gradients))


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_the_guides_dropped_factor_is_right_for_one_output_only(outputs):
    """The guide's loss is the mean over examples *and* outputs; its delta, a - y, is `outputs` times too large."""
    rng = np.random.default_rng(0)
    sizes = (3, 6, outputs)
    params = tuple({"weight": rng.normal(0, 1, (i, o)), "bias": rng.normal(0, 1, o)} for i, o in pairwise(sizes))
    x, y = data("sigmoid", 9, 3, outputs, rng)
    guides = the_guides_gradients(params, x, y)
    with jax.enable_x64(True):
        ours = backward(params, x, y)
        assert_trees_close(jax.tree.map(lambda g: outputs * g, ours), guides, 1e-12)
        # The mean of NumPy's own is the judge: the guide's loss, nudged both ways at one weight.
        step, nudged = 1e-6, []
        for sign in (1, -1):
            moved = jax.tree.map(np.array, params)
            moved[0]["weight"][1, 2] += sign * step
            p = np.asarray(forward(moved, x).activations[-1])
            nudged.append(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
        slope = (nudged[0] - nudged[1]) / (2 * step)
        assert float(ours[0]["weight"][1, 2]) == pytest.approx(slope, rel=1e-6)
    agrees = guides[0]["weight"][1, 2] == pytest.approx(slope, rel=1e-6)
    assert agrees == (outputs == 1)


def test_gradient_descent_by_hand_learns_xor():
    x, y = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([[0], [1], [1], [0]])
    _, params = network((2, 8, 1), relu, 2)

    @jax.jit
    def train(params):
        def step(_, params):
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, backward(params, x, y))

        return jax.lax.fori_loop(0, 2000, step, params)

    predicted = forward(train(params), x).activations[-1]
    np.testing.assert_allclose(predicted, y, atol=0.05)


# The trace, and forms of input


def test_trace_holds_what_the_chain_rule_says():
    _, params = network((5, 4, 3, 2), tanh, 0)
    x, y = (jnp.asarray(array, jnp.float32) for array in data("identity", 6, 5, 2, np.random.default_rng(0)))
    options = {"hidden": tanh, "output": identity, "loss": losses.mean_squared_error}
    layers = jax.jit(lambda p: trace(p, x, y, **options))(params)
    kept = jax.jit(lambda p: forward(p, x, hidden=tanh, output=identity))(params)
    for i, layer in enumerate(layers):
        np.testing.assert_allclose(layer.inputs, kept.activations[i], rtol=1e-6)
        np.testing.assert_allclose(layer.z, kept.pre_activations[i], rtol=1e-6)
        np.testing.assert_allclose(layer.a, kept.activations[i + 1], rtol=1e-6)
        outer = np.stack([np.outer(a, d) for a, d in zip(layer.inputs, layer.delta, strict=True)])
        np.testing.assert_allclose(layer.dW, outer.mean(0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(layer.db, layer.delta.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(layers[-1].delta, losses.mean_squared_error_gradient(layers[-1].a, y), rtol=1e-6)
    for i, part in enumerate(part for part in backward(params, x, y, **options) if part):
        np.testing.assert_allclose(part["weight"], layers[i].dW, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(part["bias"], layers[i].db, rtol=1e-5, atol=1e-7)

    # delta of layer i is the derivative of each example's loss with respect to that example's z of layer i
    def loss_from(z, i):
        weights = [part for part in params if part]
        for layer in weights[i + 1 :]:
            z = jnp.tanh(z) @ layer["weight"] + layer["bias"]
        return losses.mean_squared_error(z, y).sum()

    for i, layer in enumerate(layers):
        np.testing.assert_allclose(
            layer.delta, jax.jit(jax.grad(loss_from), static_argnums=1)(layer.z, i), rtol=1e-5, atol=1e-6
        )


def test_the_tree_of_mlp_with_images_comes_back():
    model = mlp((12, 5, 3), dropout=0.2)
    params, state = model.init(jax.random.key(0))
    x, labels = jax.random.normal(jax.random.key(1), (4, 2, 6, 1)), jnp.array([0, 1, 2, 2])
    by_hand = backward(params, x, labels, output=softmax, loss=losses.categorical_cross_entropy)
    mean_loss = jax.jit(jax.grad(lambda p: losses.softmax_cross_entropy(model.apply(p, state, x)[0], labels).mean()))
    expected = mean_loss(params)
    assert_trees_close(by_hand, expected, 1e-5)
    np.testing.assert_allclose(
        forward(params, x, output=identity).activations[-1], model.apply(params, state, x)[0], rtol=1e-6
    )


@pytest.mark.parametrize("rows", [[0.2, 0.3, 0.5], [0.4, 0.3, 0.1]])
def test_soft_targets_also_where_they_do_not_add_up_to_one(rows):
    _, params = network((4, 6, 3), tanh, 0)
    x = jax.random.normal(jax.random.key(0), (5, 4))
    y = jnp.tile(jnp.array(rows), (5, 1))
    assert_trees_close(*compiled((4, 6, 3), "tanh", "softmax")(params, x, y), 1e-5)


def test_a_derivative_of_ones_own():
    model, params = network((4, 6, 3), jnp.sin, 0)
    x, y = (jnp.asarray(array, jnp.float32) for array in data("sigmoid", 5, 4, 3, np.random.default_rng(0)))
    by_hand = jax.jit(lambda p: backward(p, x, y, hidden=jnp.sin, hidden_derivative=jnp.cos))(params)
    assert_trees_close(by_hand, jax.jit(lambda p: by_grad(model, "sigmoid", p, x, y))(params), 1e-5)


def test_saturated_outputs_still_have_their_delta():
    """The clipped loss over probabilities is flat there; (a - y) is the gradient of the loss from logits."""
    params = ({"weight": jnp.full((1, 1), 100.0), "bias": jnp.zeros(1)},)
    x, y = jnp.ones((1, 1)), jnp.zeros((1, 1))
    flat = jax.jit(jax.grad(lambda p: losses.binary_cross_entropy(forward(p, x).activations[-1], y).mean()))(params)
    assert (float(flat[0]["weight"][0, 0]), float(backward(params, x, y)[0]["weight"][0, 0])) == (0, 1)


def test_dtypes_and_transformations():
    _, params = network((4, 6, 3), relu, 0)
    x, y = (jnp.asarray(array, jnp.float32) for array in data("sigmoid", 8, 4, 3, np.random.default_rng(0)))
    once = jax.jit(backward)
    full = once(params, x, y)
    assert_trees_close(backward(params, x, y), full, 1e-6)
    coarse = once(params, x.astype(jnp.bfloat16), y)  # computed in bfloat16, as the layers do
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(coarse))
    assert_trees_close(coarse, full, 0.05)  # 2**-8 a rounding, a few of them in a row
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(network((4, 6, 3), relu, i)[1] for i in range(3)))
    together = jax.jit(jax.vmap(backward, (0, None, None)))(many, x, y)
    for i in range(3):
        assert_trees_close(
            jax.tree.map(lambda g, i=i: g[i], together), once(network((4, 6, 3), relu, i)[1], x, y), 1e-5
        )


def test_the_activations_of_jax_give_the_same_network():
    _, params = network((4, 6, 3), relu, 0)
    x = jax.random.normal(jax.random.key(0), (5, 4))
    ours, theirs = forward(params, x), forward(params, x, hidden=jax.nn.relu, output=jax.nn.sigmoid)
    np.testing.assert_allclose(ours.activations[-1], theirs.activations[-1], rtol=1e-6)
    assert activations.DERIVATIVES[relu] is activations.relu_derivative
