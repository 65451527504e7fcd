"""Slices through the loss landscape against NumPy, and their figure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.data import Dataset
from jaxnn.layers import linear
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import evaluate
from jaxnn.training.landscape import filter_normalized, landscape, random_directions

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((1200, 3)).astype(np.float32)  # a batch of 1,000 and a short one
Y = RANDOM.integers(0, 2, 1200).astype(np.int32)


@pytest.mark.parametrize("weights", [None, RANDOM.uniform(0, 2, 1200).astype(np.float32)])
def test_losses_of_a_linear_model_are_those_of_the_formula(weights):
    targets = RANDOM.standard_normal((1200, 1)).astype(np.float32)
    params, one, two = ({"weight": RANDOM.standard_normal((3, 1)).astype(np.float32)} for _ in range(3))
    data = Dataset(X, targets, weights)
    slice_ = landscape(linear(3, 1, bias=False), mean_squared_error, params, (), data, [one, two], span=2.0, points=5)
    offsets = np.linspace(-2, 2, 5)
    np.testing.assert_allclose(slice_.offsets, offsets)
    for i, a in enumerate(offsets):
        for j, b in enumerate(offsets):
            weight = params["weight"].astype(np.float64) + a * one["weight"] + b * two["weight"]
            expected = np.average(np.square(X @ weight - targets)[:, 0], weights=weights)
            np.testing.assert_allclose(slice_.losses[i, j], expected, rtol=1e-5)


@pytest.mark.slow
def test_the_middle_is_the_network_and_a_scaled_relu_network_has_the_same_slice():
    """What the paper normalises for: ten times the first layer and a tenth of the second compute the same."""
    model = mlp((3, 8, 2), dropout=0.4)
    params, state = model.init(jax.random.key(0))
    flat, first, relu, drop, second = params
    scaled = (
        flat,
        jax.tree.map(lambda leaf: 10 * leaf, first),
        relu,
        drop,
        {"weight": second["weight"] / 10, "bias": second["bias"]},
    )
    slices = []
    for p in (params, scaled):
        directions = random_directions(jax.random.key(1), p, 1)
        slices.append(landscape(model, softmax_cross_entropy, p, state, Dataset(X, Y), directions, points=7).losses)
    np.testing.assert_allclose(slices[0], slices[1], rtol=1e-4)
    assert np.ptp(slices[0]) > 0.01
    expected = evaluate(model, params, state, Dataset(X, Y), softmax_cross_entropy)["loss"]
    np.testing.assert_allclose(slices[0][3], expected, rtol=1e-5)


def test_filters_of_a_direction_get_the_norms_of_those_of_the_network():
    params = {"bias": np.ones(4, np.float32), "weight": RANDOM.standard_normal((3, 3, 2, 4)).astype(np.float32)}
    params["weight"][..., 3] = 0  # a dead filter stays
    (direction,) = random_directions(jax.random.key(0), params, 1)
    assert not direction["bias"].any()
    for i in range(4):
        np.testing.assert_allclose(
            np.linalg.norm(direction["weight"][..., i]), np.linalg.norm(params["weight"][..., i]), rtol=1e-6
        )
    unit = params["weight"][..., :1] * 7
    same = filter_normalized({"w": unit}, {"w": params["weight"][..., :1]})["w"]
    np.testing.assert_allclose(same, params["weight"][..., :1], rtol=1e-6)
    zero = filter_normalized({"w": jnp.zeros((2, 2))}, {"w": jnp.ones((2, 2))})["w"]
    assert not zero.any()


def test_directions_are_a_function_of_the_key():
    params = {"a": jnp.ones((20, 20)), "b": jnp.ones((20, 20))}
    one, two = random_directions(jax.random.key(0), params)
    again, _ = random_directions(jax.random.key(0), params)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, one, again)))
    pairs = [(one["a"], one["b"]), (one["a"], two["a"]), (one["b"], two["b"])]
    for x, y in pairs:  # the cosine of 400 random numbers each is about 1 / 20
        assert abs(jnp.vdot(x, y)) / 400 < 0.2


# Figure


def drawn(*arguments, theme="light"):
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from jaxnn.report import loss_landscape, style
    from jaxnn.report.theme import png

    with style(theme):
        figure = loss_landscape(*arguments)
        assert png(figure)[:4] == b"\x89PNG"
    return figure


OFFSETS = np.linspace(-1, 1, 9)
BOWL = 1 + np.add.outer(4 * OFFSETS**2, OFFSETS**2)  # steep along the first direction


def test_a_curve_passes_through_the_losses_and_a_gap():
    losses = np.where(OFFSETS < -0.9, np.nan, OFFSETS**2 + 1e-3)
    panel = drawn(OFFSETS, losses).axes[0]
    line, network = panel.lines
    np.testing.assert_array_equal(line.get_ydata(), losses)
    assert (network.get_xdata()[0], network.get_ydata()[0]) == (0, 1e-3)
    assert panel.get_yscale() == "log"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_map_has_the_first_direction_to_the_right_and_labels_inside(theme):
    figure = drawn(OFFSETS, BOWL, theme=theme)
    panel = figure.axes[0]
    filled, lines = panel.collections
    widths = np.ptp(lines.get_paths()[0].vertices, axis=0)  # the innermost line, an ellipse of 1 : 2
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.05)
    assert panel.texts
    for text in panel.texts:
        assert np.abs(text.get_position()).max() < 0.9
        assert BOWL.min() < float(text.get_text()) < BOWL.max()
    assert (np.diff(filled.levels) > 0).all()


@pytest.mark.parametrize("losses", [np.full((9, 9), 0.5), np.where(BOWL > 3, np.inf, BOWL), BOWL**6, -BOWL])
@pytest.mark.slow
def test_flat_broken_and_wide_maps_are_drawn(losses):
    drawn(OFFSETS, losses)


@pytest.mark.parametrize(
    ("losses", "words"), [(np.zeros(5), "shapes"), (np.zeros((9, 5)), "shapes"), (np.full(9, np.nan), "finite")]
)
def test_what_cannot_be_drawn_is_said(losses, words):
    with pytest.raises(ValueError, match=words):
        drawn(OFFSETS, losses)
