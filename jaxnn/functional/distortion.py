"""The geometry of images that are distorted: where each pixel comes from, and its value there."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from jaxnn.functional.randomness import threefry
from jaxnn.types import Array, PRNGKey


def affine_map(
    rotate: Float[Array, " B"],
    shear: Float[Array, " B"],
    factors: Float[Array, "B 2"],
    offset: Float[Array, "B 2"],
) -> Float[Array, "B 2 3"]:
    """Compute the maps from places in the new image to places in the old one: in = M out - M t, as [M, -M t].

    Both places are (row, column) from the centre. M is the inverse of R S D: scaling by D = diag(factors), shearing
    by S = [[1, 0], [tan(shear), 1]], rotating by R = [[cos, -sin], [sin, cos]], angles in degrees; t is the offset.

    >>> zero = jnp.zeros(1)
    >>> affine_map(zero, zero, jnp.full((1, 2), 2.0), jnp.array([[3.0, 0.0]]))
    Array([[[ 0.5,  0. , -1.5],
            [-0. ,  0.5, -0. ]]], dtype=float32)
    """
    cos, sin, tan = jnp.cos(jnp.radians(rotate)), jnp.sin(jnp.radians(rotate)), jnp.tan(jnp.radians(shear))
    rows = jnp.stack([cos, sin], -1) / factors[:, :1]
    columns = jnp.stack([-sin - tan * cos, cos - tan * sin], -1) / factors[:, 1:]
    matrix = jnp.stack([rows, columns], 1)
    return jnp.concatenate([matrix, -jnp.sum(matrix * offset[:, None], -1, keepdims=True)], -1)


def affine_positions(
    maps: Float[Array, "B 2 3"], height: int, width: int
) -> tuple[Float[Array, "B H W"], Float[Array, "B H W"]]:
    """Compute for each pixel of the new image its row and its column in the old one, [B, 2, 3] -> two of [B, H, W].

    `maps` count places from the centre, the positions from pixel 0. They are those of
    `scipy.ndimage.affine_transform` with the matrix M and the offset centre + b - M centre, for maps [M, b].

    >>> rows, columns = affine_positions(jnp.array([[[1.0, 0, 0.5], [0, 1, 0]]]), 2, 1)
    >>> rows.ravel(), columns.ravel()
    (Array([0.5, 1.5], dtype=float32), Array([0., 0.], dtype=float32))
    """
    y, x = np.indices((height, width), np.float32).reshape(2, -1)
    places = np.stack([y - (height - 1) / 2, x - (width - 1) / 2, np.ones_like(y)]).astype(np.float32)

    # A product each: as sums, XLA fuses them into the resampling, and before a layer that begins with a sum (batch
    # norm) computes all anew for each pixel, 1.6 ms in place of 0.5; as one product, slices of it are slow to read.
    def moved(axis: int, centre: float) -> jax.Array:
        return (jnp.matmul(maps[:, axis], places, precision="highest") + centre).reshape(-1, height, width)

    return moved(0, (height - 1) / 2), moved(1, (width - 1) / 2)


def displacements(
    key: PRNGKey, shape: tuple[int, int, int], alpha: float | Array, sigma: float
) -> tuple[Float[Array, "B H W"], Float[Array, "B H W"]]:
    """Draw smooth displacements of rows and of columns for `shape` = (B, H, W): alpha times a Gaussian of noise.

    The noise is uniform in (-1, 1) at each pixel, and 0 outside of the image. Away from the edges a displacement has a
    standard deviation of alpha / (2 sigma sqrt(3 pi)), 0.163 alpha / sigma pixels. Simard, Steinkraus, Platt, 2003.

    >>> down, right = displacements(jax.random.key(0), (8, 28, 28), 34.0, 4.0)
    >>> down.shape, right.shape
    ((8, 28, 28), (8, 28, 28))
    """
    rows, columns = (smooth(_noise(jax.random.fold_in(key, axis), shape), sigma) for axis in (0, 1))
    return alpha * rows, alpha * columns


def smooth(field: Float[Array, "*B H W"], sigma: float) -> Float[jax.Array, "*B H W"]:
    """Compute the convolution of the last two axes with a Gaussian, zero outside, [..., H, W] -> [..., H, W].

    Equal to `scipy.ndimage.gaussian_filter(field, sigma, mode="constant")` on those axes: cut at 4 sigma. It is two
    products with the band matrices of the weights, which for images of this size is faster than convolutions.

    >>> smooth(jnp.ones((9, 9)), 1.0)[4, 4].round(3)
    Array(1., dtype=float32)
    """
    across, down = (_gaussian(n, sigma).astype(field.dtype) for n in (field.shape[-1], field.shape[-2]))
    return jnp.einsum("ij,...jk,lk->...il", down, jnp.asarray(field), across, precision="highest")


def resample(
    images: Num[Array, "B H W C"],
    rows: Float[Array, "B h w"],
    columns: Float[Array, "B h w"],
    *,
    fill: float | None = 0.0,
) -> Num[jax.Array, "B h w C"]:
    """Compute images [B, h, w, C] by bilinear interpolation of [B, H, W, C] at the given rows and columns.

    Around the image lies `fill`, or its nearest pixel for None. Equal to `scipy.ndimage.map_coordinates` of order 1
    with mode "grid-constant" or "nearest". Integer images come back rounded.

    >>> half = jnp.full((1, 1, 1), 0.5)
    >>> resample(jnp.arange(4.0).reshape(1, 2, 2, 1), half, half).item()
    1.5
    """
    count, height, width, channels = images.shape
    # From here on in the padded images, in which the old ones begin at (1, 1).
    rows, columns = jnp.clip(rows, -1, height) + 1, jnp.clip(columns, -1, width) + 1
    row, column = jnp.minimum(rows.astype(jnp.int32), height), jnp.minimum(columns.astype(jnp.int32), width)
    down, right = (rows - row)[..., None], (columns - column)[..., None]
    place = (jnp.arange(count)[:, None, None] * (height + 2) + row) * (width + 2) + column
    pixels = pad_images(jnp.asarray(images), 1, fill).reshape(-1, channels)
    kind = jnp.promote_types(images.dtype, jnp.float32)

    def neighbour(step: int) -> jax.Array:
        return pixels.at[place + step].get(mode="promise_in_bounds").astype(kind)

    upper = neighbour(0) + right * (neighbour(1) - neighbour(0))
    lower = neighbour(width + 2) + right * (neighbour(width + 3) - neighbour(width + 2))
    new = upper + down * (lower - upper)
    new = jnp.round(new) if jnp.issubdtype(images.dtype, jnp.integer) else new
    return new.astype(images.dtype)


def _gaussian(n: int, sigma: float) -> jax.Array:
    """Return the weights of a Gaussian between n places, cut at 4 sigma and then scaled to the sum 1, [n, n]."""
    radius = int(4 * sigma + 0.5)
    total = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).sum()
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    return jnp.asarray(np.where(distance <= radius, np.exp(-0.5 * (distance / sigma) ** 2) / total, 0))


def _noise(key: PRNGKey, shape: tuple[int, ...]) -> jax.Array:
    """Draw uniform numbers in (-1, 1), of 16 bits each and symmetric about 0: a fourth of the work of 32 bits."""
    count = math.prod(shape)
    words = threefry(key, jnp.arange((count + 3) // 4, dtype=jnp.uint32))
    halves = jax.lax.bitcast_convert_type(words, jnp.int16).reshape(-1)[:count].reshape(shape)
    return (halves.astype(jnp.float32) + 0.5) / 2**15


def pad_images(images: Num[Array, "B H W C"], by: int, fill: float | None) -> Num[jax.Array, "B h w C"]:
    """Put `by` pixels of `fill`, or for None of the nearest pixel, around images.

    >>> pad_images(jnp.ones((1, 1, 1, 1)), 1, 0.0)[0, :, :, 0].sum().item()
    1.0
    """
    around = ((0, 0), (by, by), (by, by), (0, 0))
    if fill is None:
        return jnp.pad(images, around, mode="edge")
    return jnp.pad(images, around, constant_values=jnp.asarray(fill).astype(images.dtype))
