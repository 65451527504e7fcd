"""Convolution against lax, which differentiates it by rules of its own; Kaiming's rule; the guide's network."""

import math

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxnn import functional, layers, models, tree
from jaxnn.data import Dataset
from jaxnn.initializers import kaiming, kaiming_uniform
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import epoch_program, init_train_state, no_progress, run_keys, train_step

# In float64 two orders of the same sum agree to a few units of 1e-16 of its terms.
TOLERANCE = 1e-12


def reference(x, kernel, bias=None, *, stride=1, padding=0, dilation=1, groups=1):
    axes = x.ndim - 2
    each = lambda value: (value,) * axes if isinstance(value, int) else tuple(value)  # noqa: E731
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        each(stride),
        padding if isinstance(padding, str) else [(p, p) for p in each(padding)],
        rhs_dilation=each(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC") if axes == 2 else ("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def ours(x, kernel, bias=None, **options):
    return (functional.conv2d if x.ndim == 4 else functional.conv1d)(x, kernel, bias, **options)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def compiled(f):
    """Compile without LLVM's optimizations, which would take most of the time of these tests."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def derivatives(convolve, options, second):
    """Return a compiled function of (arrays, directions): the value and its derivatives, with those of second order."""

    def compute(at, direction):
        f = lambda at: jnp.sin(convolve(*at, **options)).sum()  # noqa: E731
        along = lambda at: sum(map(jnp.vdot, jax.grad(f)(at), direction))  # noqa: E731
        first = {
            "value and jvp": jax.jvp(lambda at: convolve(*at, **options), (at,), (direction,)),
            "grad": jax.grad(f)(at),
        }
        return (
            first
            if not second
            else first
            | {
                "jvp of grad": jax.jvp(jax.grad(f), (at,), (direction,))[1],
                "grad of grad": jax.grad(along)(at),
                "grad of the data alone": jax.grad(lambda x: f((x, *at[1:])))(at[0]),
                "grad of the kernel alone": jax.grad(lambda kernel: f((at[0], kernel, *at[2:])))(at[1]),
                "grad of the last alone": jax.grad(lambda last: f((*at[:-1], last)))(at[-1]),
                "jvp of the kernel and the bias": jax.jvp(
                    lambda *params: convolve(at[0], *params, **options), at[1:], direction[1:]
                )[1],
            }
        )

    return compiled(compute)


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(tree.paths(actual).items(), jax.tree.leaves(expected), strict=True):
        assert a.shape == e.shape, path
        assert np.abs(a - e).max() <= tolerance * (1 + np.abs(e).max()), path


axis = st.tuples(*[st.integers(1, 3)] * 3, st.integers(0, 3), st.integers(1, 6))  # window, stride, dilation, padding, x


@settings(max_examples=10, deadline=None)
@given(
    st.lists(axis, min_size=1, max_size=2),
    st.sampled_from(("numbers", "SAME", "VALID")),
    st.sampled_from([(1, 1, 1), (1, 2, 3), (2, 4, 2), (3, 3, 3), (2, 2, 4)]),
    st.booleans(),
)
def test_value_and_first_derivatives_are_those_of_lax(along, kind, sizes, biased):
    window, stride, dilation, padding, spatial = (tuple(values) for values in zip(*along, strict=True))
    groups, inputs, outputs = sizes
    padding = padding if kind == "numbers" else kind
    added = padding if kind == "numbers" else (0,) * len(along)
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    assume(kind == "SAME" or all(n + 2 * p >= k for n, p, k in zip(spatial, added, spans, strict=True)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    shapes = ((2, *spatial, inputs), (*window, inputs // groups, outputs), (outputs,))[: 2 + biased]
    with jax.enable_x64(True):
        at, direction = (tuple(normal(seed + i, *shape) for i, shape in enumerate(shapes)) for seed in (0, 3))
        actual, expected = (derivatives(convolve, options, second=False) for convolve in (ours, reference))
        assert_close(actual(at, direction), expected(at, direction))


CASES = [
    {"padding": 1},
    {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    {"stride": 3, "padding": "SAME", "groups": 2},
]


@pytest.mark.parametrize(("options", "biased"), [*zip(CASES, (True, False, True), strict=True)], ids=str)
def test_derivatives_of_second_order_are_those_of_lax(options, biased):
    shapes = ((2, 7, 6, 4), (3, 3, 4 // options.get("groups", 1), 4), (4,))[: 2 + biased]
    with jax.enable_x64(True):
        at, direction = (tuple(normal(seed + i, *shape) for i, shape in enumerate(shapes)) for seed in (0, 3))
        actual, expected = (derivatives(convolve, options, second=True) for convolve in (ours, reference))
        assert_close(actual(at, direction), expected(at, direction))


@pytest.mark.parametrize("options", CASES, ids=str)
def test_vmap_over_inputs_and_over_kernels(options):
    groups = options.get("groups", 1)
    with jax.enable_x64(True):
        xs, kernels, biases = normal(0, 3, 2, 7, 6, 4), normal(1, 3, 3, 3, 4 // groups, 4), normal(2, 3, 4)

        def gradients(convolve):
            each = jax.grad(lambda *at: jnp.sin(convolve(*at, **options)).sum(), (0, 1, 2))
            both = lambda xs, kernels, biases: {  # noqa: E731
                "inputs": jax.vmap(each, (0, None, None))(xs, kernels[0], biases[0]),
                "kernels": jax.vmap(each, (None, 0, 0))(xs[0], kernels, biases),
                "both": jax.vmap(each)(xs, kernels, biases),
            }
            return compiled(both)(xs, kernels, biases)

        assert_close(gradients(ours), gradients(reference))


@pytest.mark.parametrize("options", CASES, ids=str)
def test_gradients_inside_a_loop(options):
    groups = options.get("groups", 1)
    with jax.enable_x64(True):
        start = normal(0, 2, 7, 6, 4), normal(1, 3, 3, 4 // groups, 4)

        def run(convolve):
            f = lambda at: jnp.tanh(convolve(*at, **options)).sum()  # noqa: E731

            def body(carry):
                i, at = carry
                return i + 1, jax.tree.map(lambda leaf, g: leaf - 0.01 * g, at, jax.grad(f)(at))

            return compiled(lambda at: jax.lax.while_loop(lambda carry: carry[0] < 5, body, (0, at)))(start)

        assert_close(run(ours), run(reference))


def lowered(platform, apply):
    f = lambda kernel, x: (apply(x, kernel, padding=1) ** 2).sum()  # noqa: E731
    shapes = jnp.zeros((3, 3, 4, 8)), jnp.zeros((2, 8, 8, 4))
    return jax.export.export(jax.jit(jax.grad(f)), platforms=[platform])(*shapes).mlir_module()


def test_a_cpu_gets_a_matrix_product_and_accelerators_get_what_lax_writes():
    assert lowered("cpu", ours).count("stablehlo.convolution") == 1
    assert lowered("cpu", ours).count("stablehlo.dot_general") == 1
    for platform in ("cuda", "tpu"):
        assert lowered(platform, ours).count("stablehlo.dot_general") == 0
        expected = lowered(platform, reference).count("stablehlo.convolution")
        assert lowered(platform, ours).count("stablehlo.convolution") == expected == 2


def epoch_module(platform, model):
    optimizer = optax.adam(1e-3)
    step = train_step(model, softmax_cross_entropy, optimizer, {})
    state = init_train_state(model.init, optimizer, jax.random.key(0))
    data = Dataset(jnp.zeros((8, 8, 8, 1)), jnp.zeros(8, jnp.int32))
    progress = no_progress(step, state, jax.tree.map(lambda field: field[:4], data), jax.random.key(1))
    arguments = state, progress, data, jnp.zeros((2, 4), jnp.int32), run_keys(1), jnp.int32(0), jnp.int32(2)
    return jax.export.export(jax.jit(epoch_program(step)), platforms=[platform])(*arguments).mlir_module()


@pytest.mark.slow
def test_the_training_step_of_the_cnn_has_no_convolution_too_many():
    """On a GPU: forward and weight gradient of three, data gradient of two, since the images need none."""
    assert epoch_module("cuda", models.cnn(3)).count("stablehlo.convolution") == 8
    assert epoch_module("cpu", models.cnn(3)).count("stablehlo.convolution") == 5


def test_padding_in_words():
    x, kernel = normal(0, 2, 7, 8, 3), normal(1, 3, 4, 3, 5)
    same = functional.conv2d(x, kernel, padding="SAME", stride=(2, 3))
    assert same.shape == (2, 4, 3, 5)
    by_hand = functional.conv2d(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel, stride=(2, 3))
    np.testing.assert_array_equal(same, by_hand)
    valid = functional.conv2d(x, kernel, padding="VALID")
    np.testing.assert_array_equal(valid, functional.conv2d(x, kernel))


def test_dtypes():
    x, kernel, bias = jnp.ones((2, 34, 34, 3), jnp.bfloat16), jnp.ones((3, 3, 3, 4)) / 27, jnp.ones(4)
    y, gradients = jax.value_and_grad(lambda *at: functional.conv2d(*at).sum(), (0, 1, 2))(x, kernel, bias)
    assert [leaf.dtype for leaf in (y, *gradients)] == [jnp.bfloat16, jnp.bfloat16, jnp.float32, jnp.float32]
    assert float(y) == pytest.approx(2 * 32 * 32 * 4 * 2, rel=0.01)
    np.testing.assert_array_equal(gradients[2], 2 * 32 * 32)  # ones added up in bfloat16 would stop at 256


def test_default_initialisation_is_uniform_within_one_over_the_root_of_fan_in():
    layer = layers.conv2d(16, 200, (3, 5), groups=2)
    params, state = layer.init(jax.random.key(0))
    bound = 1 / math.sqrt(3 * 5 * 8)
    assert state == ()
    assert params["weight"].shape == (3, 5, 8, 200)
    assert params["bias"].shape == (200,)
    for leaf in params.values():
        assert np.abs(leaf).max() <= bound
        assert np.abs(leaf).max() > 0.95 * bound
    # The deviation of a uniform distribution is its bound over the root of 3; 24000 draws know it to 0.4 %.
    assert float(params["weight"].std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("layer", [layers.conv2d(8, 60, 3, groups=4), layers.conv1d(9, 90, 9)])
def test_kaiming_draws_convolutions_with_fan_out(layer):
    default, _ = layer.init(jax.random.key(0))
    params, _ = kaiming(layer)(jax.random.key(0))
    *window, _, out = params["weight"].shape
    # torch.nn.init's fan_out: the number of output channels times the places of the window, whatever the groups.
    expected = math.sqrt(2 / (out * math.prod(window)))
    assert float(params["weight"].std()) == pytest.approx(expected, rel=0.1)
    np.testing.assert_array_equal(params["bias"], default["bias"])
    bounded, _ = kaiming(layer, kaiming_uniform)(jax.random.key(0))
    assert np.abs(bounded["weight"]).max() <= math.sqrt(3) * expected


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": "SAME"}, {"padding": "VALID", "dilation": 2}, {"groups": 2, "bias": False}]
)
def test_flax_twin(options):
    layer = layers.conv2d(4, 6, 3, **({"padding": 1} | options))
    params, _ = layer.init(jax.random.key(0))
    flax_options = {"padding": options.get("padding", 1), "strides": options.get("stride", 1)}
    flax_options |= {"kernel_dilation": options.get("dilation", 1), "feature_group_count": options.get("groups", 1)}
    twin = nn.Conv(6, (3, 3), use_bias=options.get("bias", True), **flax_options)
    x = jax.random.normal(jax.random.key(1), (2, 8, 7, 4))

    def ours(params, x):
        return layer.apply(params, (), x)[0]

    def flax(params, x):
        named = {"kernel": params["weight"]} | {k: v for k, v in params.items() if k == "bias"}
        return twin.apply({"params": named}, x)

    def outputs_and_gradients(f):
        y, backward = jax.vjp(f, params, x)
        return y, backward(jnp.cos(y))

    assert_close(outputs_and_gradients(ours), outputs_and_gradients(flax), 1e-5)


def test_the_guides_cnn():
    model = models.cnn()
    expected = (
        "conv2d(1, 32, 3, padding=1) batch_norm(32) relu max_pool2d(2) "
        "conv2d(32, 64, 3, padding=1) batch_norm(64) relu max_pool2d(2) "
        "conv2d(64, 128, 3, padding=1) batch_norm(128) relu adaptive_average_pool2d(1) "
        "flatten() linear(128, 64) relu dropout(0.5) linear(64, 10)"
    )
    assert " ".join(part.name for part in model.parts) == expected
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    # 3 x 3 x in x out + out a convolution, two a channel of batch norm, and the two linear layers: PyTorch's count.
    assert tree.size(params) == 320 + 18496 + 73856 + 2 * 224 + 8256 + 650
    assert jax.eval_shape(model.apply, params, state, jnp.zeros((2, 28, 28, 1)))[0].shape == (2, 10)
    other = models.cnn(3, in_channels=2, channels=(4, 5), hidden=6, dropout=0.1)
    assert other.name == "cnn(3, in_channels=2, channels=(4, 5), hidden=6, dropout=0.1)"
    variables = jax.eval_shape(other.init, jax.random.key(0))
    assert jax.eval_shape(other.apply, *variables, jnp.zeros((2, 9, 5, 2)))[0].shape == (2, 3)


def test_names():
    assert layers.conv2d(2, 4, (3, 1), stride=2, padding="SAME", dilation=(1, 2), groups=2, bias=False).name == (
        "conv2d(2, 4, (3, 1), stride=2, padding='SAME', dilation=(1, 2), groups=2, bias=False)"
    )
    assert layers.conv1d(2, 4, 3).name == "conv1d(2, 4, 3)"
