"""Convolution over images and over sequences, with gradients that are fast inside a compiled loop on a CPU."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from jaxnn import checks
from jaxnn.functional import winograd
from jaxnn.functional.shards import by_shard
from jaxnn.functional.windows import Ends, Padding, Sizes, padding_ends, shifted
from jaxnn.types import Array


def conv2d(
    x: Float[Array, "batch height width in"],
    kernel: Float[Array, "kernel_height kernel_width in_per_group out"],
    bias: Float[Array, " out"] | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Float[Array, "batch out_height out_width out"]:
    """Compute the convolution of images, [B, H, W, in] and [KH, KW, in / groups, out] -> [B, H', W', out].

    y[b, h, w] = sum over i, j of x[b, h s + i d, w s + j d] kernel[i, j] + bias on the padded x, with stride s and
    dilation d: a cross-correlation, as in every library of the field. H' = (H + padding - d (KH - 1) - 1) // s + 1,
    padding counted at both ends. `stride` and `dilation` are a number or (height, width); `padding` too, or "SAME"
    (H' = ceil(H / s)) or "VALID" (none). With groups, output channels see only the input channels of their own group.

    A CPU computes 3x3 kernels with enough channels in fewer multiplications, by tiles of 4x4 outputs: in float32 with
    an error of some 2e-6 of a tile's largest terms, and an infinity or NaN in x reaches all outputs of a tile.

    Raises ValueError for other channels than the kernel's, a kernel larger than the padded x, groups that do not
    divide the channels; TypeError for integers. LeCun, Bottou, Bengio, Haffner, 1998, Gradient-Based Learning
    Applied to Document Recognition.

    >>> conv2d(jnp.ones((2, 28, 28, 1)), jnp.ones((3, 3, 1, 8)), jnp.zeros(8), padding=1).shape
    (2, 28, 28, 8)
    """
    return _checked("conv2d", 2, x, kernel, bias, stride, padding, dilation, groups)


def conv1d(
    x: Float[Array, "batch time in"],
    kernel: Float[Array, "kernel_size in_per_group out"],
    bias: Float[Array, " out"] | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Float[Array, "batch out_time out"]:
    """Compute the convolution of sequences, [B, T, in] and [K, in / groups, out] -> [B, T', out].

    y[b, t] = sum over i of x[b, t stride + i dilation] kernel[i] + bias on the padded x; all else as in `conv2d`.

    >>> conv1d(jnp.arange(5.0)[None, :, None], jnp.array([-1.0, 0.0, 1.0])[:, None, None])[0, :, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    return _checked("conv1d", 1, x, kernel, bias, stride, padding, dilation, groups)


class _Geometry(NamedTuple):
    stride: tuple[int, ...]
    ends: Ends
    dilation: tuple[int, ...]
    groups: int


def _checked(name, axes, x, kernel, bias, stride, padding, dilation, groups):
    x = checks.float_input(name, x)
    checks.array(name, "kernel", kernel)
    checks.positive_int(name, "groups", groups)
    stride = checks.per_axis(name, "stride", stride, axes)
    dilation = checks.per_axis(name, "dilation", dilation, axes)
    padding = checks.padding(name, padding, axes)
    if kernel.ndim != axes + 2 or 0 in kernel.shape:
        window = "kernel_height, kernel_width" if axes == 2 else "kernel_size"
        raise ValueError(f"{name} expected a kernel of shape [{window}, in / groups, out] but got {kernel.shape}")
    *window, in_per_group, out = kernel.shape
    checks.window_axes(name, x, axes, in_per_group * groups)
    checks.divides(name, groups, out_channels=out)
    ends = padding_ends(padding, x.shape[1:-1], tuple(window), stride, dilation)
    checks.window_fits(name, "kernel", x, tuple(window), ends, dilation)
    if bias is not None and bias.shape != (out,):
        raise ValueError(f"{name} expected a bias of shape ({out},) but got {bias.shape}")
    bias = None if bias is None else bias.astype(x.dtype)
    kernel, geometry = kernel.astype(x.dtype), _Geometry(stride, ends, dilation, groups)
    simple = groups == 1 and set(stride + dilation) == {1} and x.dtype.itemsize >= 4
    by_tiles = simple and winograd.saves_time(x.shape, kernel.shape, ends)
    return (_by_tiles if by_tiles else _convolve)(x, kernel, bias, geometry)


def _by_tiles(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, geometry: _Geometry) -> jax.Array:
    """Convolve in fewer multiplications on a CPU; its backward pass is given x and the kernel alone."""

    def on_device(params, x):
        kernel, bias = params
        return (winograd.convolve_3x3(x, kernel, bias, geometry.ends),)

    def fast(x, kernel, bias):
        return by_shard(on_device, (0,), (0,), (kernel, bias), x)[0]

    by_platform = partial(jax.lax.platform_dependent, cpu=fast, default=partial(_affine, geometry=geometry))
    return jax.checkpoint(by_platform, prevent_cse=False)(x, kernel, bias)


# XLA computes the forward pass fast on a CPU, in a loop or not. Its lowering of the weight gradient takes 4 to 40 times
# as long inside a loop as the product below, and that of the data gradient 2 to 3 times as long as a convolution with
# the flipped kernel. So the tangent is written in forms whose *transposes* are fast; other platforms get lax's own.


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, geometry: _Geometry) -> jax.Array:
    return _affine(x, kernel, bias, geometry)


@partial(_convolve.defjvp, symbolic_zeros=True)
def _convolve_jvp(geometry, primals, tangents):
    x, kernel, bias = primals
    y = _convolve(x, kernel, bias, geometry)
    dx, dkernel, dbias = (None if isinstance(tangent, SymbolicZero) else tangent for tangent in tangents)
    dy = []
    if dx is not None:
        fast, plain = partial(_by_flipped_kernel, geometry=geometry), partial(_lax, geometry=geometry)
        dy.append(jax.lax.platform_dependent(dx, kernel, cpu=fast, default=plain))
    if dkernel is not None:
        # Beyond 64 places an axis the patches would be too many to compile and to hold.
        products = _by_products if geometry.groups == 1 else _by_products_of_groups
        fast = partial(products if max(kernel.shape[:-2]) <= 64 else _affine, geometry=geometry)
        tangent = partial(jax.lax.platform_dependent, cpu=fast, default=partial(_affine, geometry=geometry))
        # The patches are as many times larger than x as the kernel has places: taken anew in the backward pass.
        dy.append(jax.checkpoint(tangent, prevent_cse=False)(x, dkernel, dbias))
    elif dbias is not None:
        dy.append(jnp.broadcast_to(dbias, y.shape))
    return y, sum(dy[1:], dy[0])


def _affine(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, geometry: _Geometry) -> jax.Array:
    y = _lax(x, kernel, geometry)
    return y if bias is None else y + bias


def _lax(x: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        geometry.stride,
        geometry.ends,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC") if x.ndim == 4 else ("NWC", "WIO", "NWC"),
        feature_group_count=geometry.groups,
    )


def _by_products(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, geometry: _Geometry) -> jax.Array:
    """Convolve as the transpose of the gradient, which is one matrix product of the patches with dL/dy.

    dL/dkernel [KH KW in, out] = patches [KH KW in, B H' W'] @ dL/dy [B H' W', out]. Patches of one more row, of ones,
    give dL/dbias: in a pass of its own dL/dy would be read, and where nothing else needs it computed, once more.

    On a mesh the product is split among the devices by ourselves. XLA would put the sum over the devices between the
    product and its transpose, which it then cannot turn round to the order above; the other order is slow on a CPU.
    """
    *window, _, out = kernel.shape
    weights = kernel.reshape(-1, out)
    if bias is not None:
        weights = jnp.concatenate([weights, bias[None]])

    def on_device(weights, x):
        # Channels first: both operands lie as a product reads them, and what is copied are rows rather than pixels.
        patches = jnp.pad(jnp.moveaxis(x, -1, 0), ((0, 0), (0, 0), *geometry.ends))
        for i in reversed(range(len(window))):
            parts = shifted(patches, i + 2, window[i], geometry.stride[i], geometry.dilation[i])
            ones = [] if i > 0 or bias is None else [jnp.ones_like(parts[0][:1])]
            patches = jnp.concatenate([*parts, *ones])  # at last [KH KW in (+ 1), B, H', W']

        def weight_gradient(g):
            return patches.reshape(len(patches), -1) @ g.reshape(-1, out)

        y = jax.ShapeDtypeStruct((*patches.shape[1:], out), x.dtype)
        return jax.linear_transpose(weight_gradient, y)(weights)

    return by_shard(on_device, (0,), (0,), weights, x)[0]


def _by_products_of_groups(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, geometry: _Geometry) -> jax.Array:
    """Convolve as one product a group, patches [B, H', W', G, KH KW in / G] with kernel [KH KW in / G, G, out / G]."""
    *window, in_per_group, out = kernel.shape
    patches = jnp.pad(x, ((0, 0), *geometry.ends, (0, 0)))
    patches = patches.reshape(*patches.shape[:-1], geometry.groups, in_per_group)
    for i in reversed(range(len(window))):
        along = (window[i], geometry.stride[i], geometry.dilation[i])
        patches = jnp.concatenate(shifted(patches, i + 1, *along), -1)
    y = jnp.einsum("...gi,igo->...go", patches, kernel.reshape(patches.shape[-1], geometry.groups, -1))
    y = y.reshape(*y.shape[:-2], out)
    return y if bias is None else y + bias


def _by_flipped_kernel(x: jax.Array, kernel: jax.Array, geometry: _Geometry) -> jax.Array:
    """Convolve as the transpose of the data gradient, which is a convolution of the output with the flipped kernel."""
    *window, in_per_group, out = kernel.shape
    axes, groups = len(window), geometry.groups
    flipped = jnp.flip(kernel, range(axes)).reshape(*window, in_per_group, groups, out // groups)
    flipped = jnp.moveaxis(flipped, axes, -1).swapaxes(axes, axes + 1)  # [KH, KW, out / G, G, in / G]
    flipped = flipped.reshape(*window, out // groups, groups * in_per_group)
    sizes, ends = [], []
    for i, size in enumerate(x.shape[1:-1]):
        reach = (window[i] - 1) * geometry.dilation[i]
        before = reach - geometry.ends[i][0]
        sizes.append((size + sum(geometry.ends[i]) - reach - 1) // geometry.stride[i] + 1)
        spread = (sizes[i] - 1) * geometry.stride[i] + 1
        ends.append((before, size - spread - before + reach))

    def data_gradient(g):
        return jax.lax.conv_general_dilated(
            g,
            flipped,
            (1,) * axes,
            ends,
            lhs_dilation=geometry.stride,
            rhs_dilation=geometry.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC") if axes == 2 else ("NWC", "WIO", "NWC"),
            feature_group_count=groups,
        )

    y = jax.ShapeDtypeStruct((x.shape[0], *sizes, out), x.dtype)
    return jax.linear_transpose(data_gradient, y)(x)[0]
