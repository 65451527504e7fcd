"""3x3 convolutions by tiles against lax, which sums the products as they stand, and against PyTorch."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import test_convolution as plain
import test_torch_convolution as torch_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import functional
from jaxnn.functional import winograd

LARGE = (24, 8, 8, 64), (3, 3, 64, 64), (64,)  # x, kernel and bias of a convolution that tiles make faster
reference = partial(plain.reference, padding=1)


def lax_with_ends(x, kernel, bias=None, *, ends):
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), ends, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return y if bias is None else y + bias


@pytest.fixture
def every_3x3(monkeypatch):
    """Compute every convolution of that form by tiles, small as it is, and image by image."""
    monkeypatch.setattr(winograd, "saves_time", lambda x, kernel, ends: len(x) == 4 and kernel[:2] == (3, 3))
    monkeypatch.setattr(winograd, "BLOCK_BYTES", 2**12)


@st.composite
def shapes(draw):
    """Draw B, (height, its ends), (width, its ends) with at least one output, in and out."""
    axis = st.tuples(st.integers(1, 9), st.integers(0, 3), st.integers(0, 3)).filter(lambda a: sum(a) >= 3)
    batch, inputs, outputs = (draw(st.integers(1, n)) for n in (5, 3, 3))
    return batch, draw(axis), draw(axis), inputs, outputs


@settings(max_examples=10, deadline=None)
@given(shapes(), st.booleans(), st.sampled_from([1, 2**12, 2**21]))
def test_value_and_first_derivatives_are_those_of_lax(shape, biased, block_bytes):
    batch, (height, *high), (width, *wide), inputs, outputs = shape
    options = {"ends": (tuple(high), tuple(wide))}
    sizes = ((batch, height, width, inputs), (3, 3, inputs, outputs), (outputs,))[: 2 + biased]
    ours = winograd.convolve_3x3 if biased else partial(winograd.convolve_3x3, bias=None)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "BLOCK_BYTES", block_bytes)
        at, direction = (tuple(plain.normal(seed + i, *size) for i, size in enumerate(sizes)) for seed in (0, 3))
        actual, expected = (plain.derivatives(f, options, second=False) for f in (ours, lax_with_ends))
        plain.assert_close(actual(at, direction), expected(at, direction))


def test_derivatives_of_second_order_are_those_of_lax(every_3x3):
    with jax.enable_x64(True):
        sizes = (3, 5, 6, 2), (3, 3, 2, 3), (3,)
        at, direction = (tuple(plain.normal(seed + i, *size) for i, size in enumerate(sizes)) for seed in (0, 3))
        actual, expected = (plain.derivatives(f, {"padding": 1}, second=True) for f in (plain.ours, plain.reference))
        plain.assert_close(actual(at, direction), expected(at, direction))


def test_vmap_over_inputs_and_over_kernels(every_3x3):
    plain.test_vmap_over_inputs_and_over_kernels({"padding": 1})


def test_gradients_inside_a_loop(every_3x3):
    plain.test_gradients_inside_a_loop({"padding": 1})


def test_outputs_and_gradients_are_those_of_pytorch(every_3x3):
    torch_golden.test_outputs_and_gradients("conv2d")


def test_the_cnn_is_that_of_pytorch(every_3x3, monkeypatch):
    as_written = torch_golden.cnn_pass.__wrapped__
    monkeypatch.setattr(torch_golden, "cnn_pass", jax.jit(lambda *args: as_written(*args)))  # traced anew
    torch_golden.test_the_cnn_over_three_training_batches_and_in_evaluation()


def value_and_gradients(convolve, cotangent, *at):
    y, backward = jax.vjp(convolve, *at)
    return y, *backward(cotangent)


def test_rounding_in_float32_is_a_few_times_that_of_the_plain_sum():
    random = np.random.default_rng(0)
    *at, cotangent = (random.standard_normal(size, np.float32) for size in (*LARGE, (24, 8, 8, 64)))
    ours = jax.jit(partial(value_and_gradients, partial(functional.conv2d, padding=1)))(cotangent, *at)
    with jax.enable_x64(True):
        wide = [np.asarray(a, np.float64) for a in (cotangent, *at)]
        exact = jax.device_get(jax.jit(partial(value_and_gradients, reference))(*wide))
    for actual, expected in zip(ours, exact, strict=True):
        assert actual.dtype == np.float32
        assert np.abs(actual - expected).max() <= 3e-6 * np.abs(expected).max()  # 1.6e-6; lax: 0.8e-6


def lowered(platform, sizes, dtype=jnp.float32, **options):
    f = lambda kernel, x: functional.conv2d(x, kernel, **{"padding": 1} | options).sum()  # noqa: E731
    x, kernel = (jax.ShapeDtypeStruct(size, dtype) for size in sizes)
    program = jax.export.export(jax.jit(jax.grad(f, (0, 1))), platforms=[platform])(kernel, x).mlir_module()
    return program.count("stablehlo.convolution")


def test_only_a_cpu_and_large_3x3_kernels_have_tiles():
    assert lowered("cpu", LARGE[:2]) == 0
    assert lowered("cuda", LARGE[:2]) == 2  # the gradients; a sum needs no values
    (batch, *_), kernel = LARGE[:2]
    for others in (
        {"dtype": jnp.bfloat16},
        {"stride": 2},
        {"dilation": 2},
        {"sizes": [LARGE[0], (3, 3, 32, 64)], "groups": 2},
        {"sizes": [LARGE[0], (1, 3, 64, 64)]},
        {"sizes": [(batch, 8, 8, 4), (3, 3, 4, 64)]},  # few channels
        {"sizes": [(1, 8, 8, 64), kernel]},  # the kernel's own transform takes longer
        {"sizes": [(batch, 5, 5, 64), kernel]},  # the tiles cover 8x8
    ):
        assert lowered("cpu", **{"sizes": LARGE[:2]} | others) > 0, others


def test_a_batch_of_any_size_has_none():
    batch = jax.export.symbolic_shape("batch, 8, 8, 64")
    x, kernel = jax.ShapeDtypeStruct(batch, jnp.float32), jnp.ones((3, 3, 64, 64))
    program = jax.export.export(jax.jit(partial(functional.conv2d, padding=1)), platforms=["cpu"])(x, kernel)
    assert program.mlir_module().count("stablehlo.convolution") == 1


def test_the_backward_pass_is_given_x_and_the_kernel_alone():
    at = [jnp.zeros(size) for size in LARGE]
    _, backward = jax.vjp(partial(functional.conv2d, padding=1), *at)
    kept = [leaf.shape for leaf in jax.tree.leaves(backward) if np.size(leaf) > 36 * 9]  # what is larger than G x G
    assert sorted(kept) == sorted(LARGE[:2])


def test_nan_and_infinity_are_not_lost(every_3x3):
    x = jnp.zeros((1, 8, 8, 2)).at[0, 1, 1, 0].set(jnp.nan).at[0, 6, 6, 1].set(jnp.inf)
    y = functional.conv2d(x, jnp.ones((3, 3, 2, 1)), padding=1)[0, ..., 0]
    plainly = np.isfinite(reference(x, jnp.ones((3, 3, 2, 1)))[0, ..., 0])
    assert (~plainly).sum() == 18  # 3x3 places around each
    assert not np.isfinite(y)[~plainly].any()
    assert np.isfinite(y[:4, 4:]).all()  # other tiles than those two
