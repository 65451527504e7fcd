"""Convolutions, pools and the CNN against PyTorch: golden/torch_convolution.npz, made by the script beside it.

Errors are relative to the largest entry of the array, as in test_torch_golden.py, and 1e-5 is the bound.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bits import assert_same_arrays
from regeneration import regenerated

from jaxnn import layers, models, tree
from jaxnn.interop.torch import from_torch, to_torch

FOLDER = Path(__file__).with_name("golden")
GOLDEN = dict(np.load(FOLDER / "torch_convolution.npz"))
TOLERANCE = 1e-5

LAYERS = {
    "conv2d": layers.conv2d(4, 6, 3, padding=1),
    "conv2d strided": layers.conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), bias=False),
    "conv2d dilated": layers.conv2d(4, 6, 3, padding=2, dilation=(2, 1)),
    "conv2d groups": layers.conv2d(4, 6, 3, stride=2, groups=2),
    "conv2d depthwise": layers.conv2d(4, 8, 3, padding=1, groups=4),
    "conv2d same": layers.conv2d(4, 6, (4, 3), padding="SAME"),
    "conv2d valid": layers.conv2d(4, 6, 5, padding="VALID"),
    "conv1d": layers.conv1d(4, 6, 3, padding=1),
    "conv1d all": layers.conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2, bias=False),
    "max_pool2d": layers.max_pool2d(2),
    "max_pool2d ties": layers.max_pool2d(2),
    "max_pool2d overlapping ties": layers.max_pool2d((3, 2), stride=(2, 1), padding=1),
    "max_pool1d": layers.max_pool1d(3, stride=2, padding=1),
    "average_pool2d": layers.average_pool2d(2),
    "average_pool2d padded": layers.average_pool2d(3, stride=2, padding=1),
    "average_pool2d not counted": layers.average_pool2d((3, 2), stride=(2, 1), padding=1, count_padding=False),
    "average_pool1d": layers.average_pool1d(3, stride=2, padding=1),
    "average_pool1d not counted": layers.average_pool1d(2, padding=1, count_padding=False),
    "adaptive_average_pool2d": layers.adaptive_average_pool2d(1),
    "adaptive_average_pool2d bins": layers.adaptive_average_pool2d((4, 3)),
    "adaptive_average_pool2d more bins than entries": layers.adaptive_average_pool2d(12),
    "adaptive_average_pool1d": layers.adaptive_average_pool1d(4),
}
CNN = models.cnn(5, channels=(4, 6, 8), hidden=7, dropout=0.0)


def assert_close(actual, expected, what, scale=None):
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    scale = np.abs(expected).max() if scale is None else scale
    assert np.abs(actual - expected).max() <= TOLERANCE * scale, what


def under(prefix):
    return {key.removeprefix(f"{prefix}/"): GOLDEN[key] for key in GOLDEN if key.startswith(f"{prefix}/")}


def statistics(name):
    """Return the running statistics after a pass of the CNN; before the first one they are zeros and ones."""
    if name == "start":
        return {key: np.full_like(a, key.endswith("running_var")) for key, a in statistics("train0").items()}
    return under(f"cnn/{name}/buffers")


def test_every_case_of_the_file_is_compared():
    assert {key.split("/")[0] for key in GOLDEN} - {"torch_version"} == {*LAYERS, "cnn"}


@pytest.mark.parametrize("case", LAYERS)
def test_outputs_and_gradients(case):
    params, _ = from_torch(under(f"{case}/parameters"), LAYERS[case])
    x, cotangent = (jnp.asarray(GOLDEN[f"{case}/evaluation/{what}"]) for what in ("x", "cotangent"))

    @jax.jit
    def run(params, x):
        y, backward = jax.vjp(lambda params, x: LAYERS[case].apply(params, (), x)[0], params, x)
        return y, *backward(cotangent)

    y, gradients, x_gradient = run(params, x)
    assert_close(y, GOLDEN[f"{case}/evaluation/y"], "outputs")
    assert_close(x_gradient, GOLDEN[f"{case}/evaluation/x_gradient"], "input gradients")
    expected, _ = from_torch(under(f"{case}/evaluation/gradients"), LAYERS[case])
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    for name, gradient in tree.paths(gradients).items():
        assert_close(gradient, expected[name], name)


@pytest.mark.parametrize("case", [*LAYERS, "cnn"])
def test_the_weights_go_back_bit_for_bit(case):
    model, arrays = LAYERS.get(case, CNN), under(f"{case}/parameters")
    arrays |= statistics("train2") if case == "cnn" else {}
    assert_same_arrays(to_torch(*from_torch(arrays, model), model, like=arrays), arrays)


def test_ties_are_in_the_file():
    for case in ("max_pool2d ties", "max_pool2d overlapping ties"):
        x, gradient = GOLDEN[f"{case}/evaluation/x"], GOLDEN[f"{case}/evaluation/x_gradient"]
        assert np.unique(x).size <= 5
        assert ((x == 0) & (gradient != 0)).any()


@jax.jit
def cnn_pass(params, state, x, cotangent):
    forward = lambda params, x: CNN.apply(params, state, x, train=True)  # noqa: E731
    y, backward, state = jax.vjp(forward, params, x, has_aux=True)
    return y, backward(cotangent), state


def test_the_cnn_over_three_training_batches_and_in_evaluation():
    params, state = from_torch(under("cnn/parameters") | statistics("start"), CNN)
    for name in ("train0", "train1", "train2"):
        x, cotangent = (jnp.asarray(GOLDEN[f"cnn/{name}/{what}"]) for what in ("x", "cotangent"))
        y, (gradients, x_gradient), state = cnn_pass(params, state, x, cotangent)
        assert_close(y, GOLDEN[f"cnn/{name}/y"], "outputs")
        assert_close(x_gradient, GOLDEN[f"cnn/{name}/x_gradient"], "input gradients")
        expected, running = from_torch(under(f"cnn/{name}/gradients") | statistics(name), CNN)
        for (path, leaf), other in zip(tree.paths(state).items(), jax.tree.leaves(running), strict=True):
            assert_close(leaf, other, path)
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
        for (path, leaf), other in zip(tree.paths(gradients).items(), jax.tree.leaves(expected), strict=True):
            # A batch norm removes the bias of the convolution before it: that gradient is zero, and both sides compute
            # rounding error.
            assert_close(leaf, other, path, largest if path in ("0.bias", "4.bias", "8.bias") else None)
    y, same = jax.jit(CNN.apply)(params, state, jnp.asarray(GOLDEN["cnn/evaluation/x"]))
    assert_close(y, GOLDEN["cnn/evaluation/y"], "outputs in evaluation")
    jax.tree.map(np.testing.assert_array_equal, same, state)


def test_the_file_is_what_pytorch_computes_here():
    fresh = regenerated("make_convolution_golden", GOLDEN)
    for key in fresh.keys() - {"torch_version"}:
        assert_close(fresh[key], GOLDEN[key], key, 1.0 if "gradients" in key and ".bias" in key else None)
