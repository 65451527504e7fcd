"""jaxnn against twins in Flax linen: the same parameters must give the same numbers.

Both run on XLA in float32 but not through the same operations, so the bound is 1e-5 of the largest entry of an array.
"""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxnn import layers, models, tree

TOLERANCE = 1e-5
SIZES = (12, 16, 8, 5)
BATCH = 9


class Twin(nn.Module):
    """The guide's MNISTClassifier or NetworkWithBatchNorm in linen."""

    batch_norm: bool
    dropout: float

    @nn.compact
    def __call__(self, x, train):
        for i, size in enumerate(SIZES[1:-1]):
            x = nn.Dense(size, name=f"dense{i}")(x)
            if self.batch_norm:
                # Flax's momentum is the weight of the OLD statistic, and its variance is one-pass by default.
                norm = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False, name=f"norm{i}")
                x = norm(x)
            x = nn.relu(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(SIZES[-1], name=f"dense{len(SIZES) - 2}")(x)


def to_flax(model, params):
    """Name our parameters (or their gradients) as Flax does; only the names differ."""
    dense = [p for p in params if "weight" in p]
    norms = [p for p in params if "scale" in p]
    named = {f"dense{i}": {"kernel": p["weight"], "bias": p["bias"]} for i, p in enumerate(dense)}
    return named | {f"norm{i}": p for i, p in enumerate(norms)}


def to_flax_statistics(state, steps):
    """Name our running statistics as Flax does, and turn the unbiased running variance into Flax's biased one.

    running = 0.9**n * 1 + (a weighted sum of the n batch variances), and only that sum is scaled by (B - 1) / B.
    """
    start = 0.9**steps
    return {
        f"norm{i}": {"mean": s["mean"], "var": start + (s["variance"] - start) * (BATCH - 1) / BATCH}
        for i, s in enumerate(s for s in state if s)
    }


def assert_trees_close(actual, expected, what):
    actual, expected = tree.paths(actual), tree.paths(expected)
    assert actual.keys() == expected.keys(), what
    largest = max(np.abs(leaf).max() for leaf in expected.values())
    for path, leaf in expected.items():
        # A batch norm removes the bias before it: that gradient is zero, and both sides compute rounding error, so it
        # is compared on the scale of the largest gradient.
        removed = "norm0.scale" in expected and path in ("dense0.bias", "dense1.bias") and what == "gradients"
        scale = largest if removed else np.abs(leaf).max()
        assert np.abs(actual[path] - leaf).max() <= TOLERANCE * scale, f"{what} {path}"


def drawn(model):
    """Draw parameters, all of them random, also those that begin as ones and zeros."""
    params, state = model.init(jax.random.key(0))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noisy), state


@pytest.mark.parametrize("batch_norm", [False, True])
def test_outputs_and_gradients_in_evaluation(batch_norm):
    model = models.mlp(SIZES, batch_norm=batch_norm, dropout=0.2)
    twin = Twin(batch_norm, 0.2)
    params, state = drawn(model)
    x, cotangent = jax.random.normal(jax.random.key(2), (BATCH, 12)), jax.random.normal(jax.random.key(3), (BATCH, 5))
    y, backward = jax.vjp(lambda p, x: model.apply(p, state, x)[0], params, x)
    gradients, x_gradient = backward(cotangent)

    def flax_forward(p, x):
        return twin.apply({"params": p, "batch_stats": to_flax_statistics(state, 0)}, x, train=False)

    flax_y, flax_backward = jax.vjp(flax_forward, to_flax(model, params), x)
    flax_gradients, flax_x_gradient = flax_backward(cotangent)
    assert_trees_close({"y": y, "x": x_gradient}, {"y": flax_y, "x": flax_x_gradient}, "outputs, input gradients")
    # In evaluation the statistics are constants, so a bias before a batch norm has a gradient like any other.
    assert_trees_close(to_flax(model, gradients), flax_gradients, "gradients in evaluation")


@pytest.mark.slow
def test_batch_norm_over_three_batches_in_training_and_then_in_evaluation():
    model = models.mlp(SIZES, batch_norm=True)
    twin = Twin(batch_norm=True, dropout=0.0)
    params, state = drawn(model)
    flax_params, statistics = to_flax(model, params), to_flax_statistics(state, 0)
    for i in range(3):
        x = 2 * jax.random.normal(jax.random.key(10 + i), (BATCH, 12)) + i + 1
        cotangent = jax.random.normal(jax.random.key(20 + i), (BATCH, 5))

        def forward(params, x, state=state):
            return model.apply(params, state, x, train=True)

        def flax_forward(params, x, statistics=statistics):
            variables = {"params": params, "batch_stats": statistics}
            y, changed = twin.apply(variables, x, train=True, mutable=["batch_stats"])
            return y, changed["batch_stats"]

        y, backward, state = jax.vjp(forward, params, x, has_aux=True)
        gradients, x_gradient = backward(cotangent)
        flax_y, flax_backward, statistics = jax.vjp(flax_forward, flax_params, x, has_aux=True)
        flax_gradients, flax_x_gradient = flax_backward(cotangent)
        assert_trees_close({"y": y, "x": x_gradient}, {"y": flax_y, "x": flax_x_gradient}, "outputs, input gradients")
        assert_trees_close(to_flax(model, gradients), flax_gradients, "gradients")
        assert_trees_close(to_flax_statistics(state, i + 1), statistics, "running statistics")

    x = jax.random.normal(jax.random.key(30), (BATCH, 12))
    variables = {"params": flax_params, "batch_stats": to_flax_statistics(state, 0) | statistics}
    flax_y = twin.apply(variables, x, train=False)
    # The same running statistics on both sides: here Flax's, put into our state.
    taken = iter(statistics[f"norm{i}"] for i in range(2))
    state = tuple({"mean": s["mean"], "variance": s["var"]} if old and (s := next(taken)) else old for old in state)
    assert_trees_close({"y": model.apply(params, state, x)[0]}, {"y": flax_y}, "outputs in evaluation")


def test_linear_on_more_axes():
    x, weight = jax.random.normal(jax.random.key(0), (2, 3, 7)), jax.random.normal(jax.random.key(1), (7, 4))
    ours, _ = layers.linear(7, 4, bias=False).apply({"weight": weight}, (), x)
    flax = nn.Dense(4, use_bias=False).apply({"params": {"kernel": weight}}, x)
    assert_trees_close({"y": ours}, {"y": flax}, "outputs")
    assert ours.shape == (2, 3, 4)
