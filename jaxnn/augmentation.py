"""Random changes of inputs that keep their meaning: images shifted, rotated, scaled, sheared, elastically distorted;
words of a text replaced by the unknown one.

Each constructor returns a pure function `augment(key, inputs) -> inputs` of the same shape and dtype, for use inside
the compiled step, with the key of that step. Every example gets its own change, which depends on the key and on the
example's place in the batch alone: neither on the batch size nor on the other examples.

`distort` draws one map of positions for all that it is asked for, so pixels are interpolated once. `compose` runs
several functions after each other. Milliseconds a batch of 64 MNIST images in a compiled loop on one core: shift 0.1,
distort without `elastic` 0.3, with it 0.9; 64 texts of 50 words 0.02. Compile them: outside of jit they are slow.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from jaxnn import checks
from jaxnn.functional.randomness import keep_mask, threefry
from jaxnn.types import Array, PRNGKey

Augmentation: TypeAlias = Callable[[PRNGKey, Array], jax.Array]
"""`augment(key, inputs) -> inputs`, of the same shape and dtype."""


def shift(pixels: int, *, fill: float | None = 0.0) -> Augmentation:
    """Make the shift of images [B, H, W, C] by whole pixels, drawn from -pixels..pixels for rows and for columns.

    What comes in from outside is `fill`, or the nearest pixel for None; nothing is interpolated. Raises ValueError
    for a negative number of pixels, TypeError for a fraction (`distort` takes one), both for what are no images.

    >>> augment = shift(2)
    >>> augment(jax.random.key(0), np.ones((8, 28, 28, 1), np.uint8)).shape
    (8, 28, 28, 1)
    """
    checks.non_negative_int("shift", "pixels", pixels)
    _check_fill("shift", fill)
    name = f"shift({pixels})"

    def augment(key: PRNGKey, images: Array) -> jax.Array:
        images, key = checks.images(name, images), checks.random_key(name, key)
        size = images.shape[1:]
        starts = (_words(key, len(images), 2) % (2 * pixels + 1)).astype(jnp.int32)
        padded = _pad(images, pixels, fill)
        return jax.vmap(lambda image, start: jax.lax.dynamic_slice(image, (*start, 0), size))(padded, starts)

    return augment


def distort(
    *,
    shift: float | Array = 0.0,
    rotate: float | Array = 0.0,
    scale: float | Array = 0.0,
    shear: float | Array = 0.0,
    elastic: float | Array = 0.0,
    sigma: float = 4.0,
    fill: float | None = 0.0,
) -> Augmentation:
    """Make the affine and elastic distortion of images [B, H, W, C], in one bilinear interpolation.

    Each image is scaled (rows and columns apart, by a factor in 1 +- scale), sheared (columns along the rows, by an
    angle of +- shear degrees) and rotated (+- rotate degrees), all about its centre, then shifted (+- shift pixels,
    fractions too), each uniform; see `affine_map`. `elastic` adds the displacements of `displacements`, in which
    it is the alpha of Simard, Steinkraus and Platt. All zero gives the images back exactly. Strengths may be
    traced, sigma not.

    uint8 images come back rounded. Around an image lies `fill`, or its nearest pixel for None. Raises ValueError for
    negative strengths, rotate above 180, shear of 90, scale of 1, and as `shift` does for what are no images.

    For digits: distort(shift=1, rotate=10, scale=0.1, elastic=34, sigma=4); Simard, Steinkraus, Platt, 2003, Best
    Practices for Convolutional Neural Networks Applied to Visual Document Analysis, for the last two numbers.

    >>> augment = jax.jit(distort(rotate=15, scale=0.1))
    >>> augment(jax.random.key(0), jnp.ones((8, 28, 28, 1))).shape
    (8, 28, 28, 1)
    """
    name = "distort"
    for what, value in (("shift", shift), ("elastic", elastic)):
        checks.in_range(name, what, value, 0, np.inf, open_high=True)
    checks.in_range(name, "rotate", rotate, 0, 180)
    checks.in_range(name, "scale", scale, 0, 1, open_high=True)
    checks.in_range(name, "shear", shear, 0, 90, open_high=True)
    checks.finite_positive(name, "sigma", sigma)
    _check_fill(name, fill)
    strengths = (rotate, shear, scale, scale, shift, shift)

    def augment(key: PRNGKey, images: Array) -> jax.Array:
        images, key = checks.images(name, images), checks.random_key(name, key)
        count, height, width, _ = images.shape
        signed = jax.lax.bitcast_convert_type(_words(key, count, 6), jnp.int32).astype(jnp.float32) / 2.0**31
        angle, slant, *factors_and_offset = (signed * jnp.stack([jnp.float32(s) for s in strengths])).T
        factors, offset = 1 + jnp.stack(factors_and_offset[:2], -1), jnp.stack(factors_and_offset[2:], -1)
        rows, columns = affine_positions(affine_map(angle, slant, factors, offset), height, width)
        if not checks.is_concrete(elastic) or elastic != 0:
            down, right = displacements(jax.random.fold_in(key, 1), (count, height, width), elastic, sigma)
            rows, columns = rows + down, columns + right
        return resample(images, rows, columns, fill=fill)

    return augment


def compose(*augmentations: Augmentation) -> Augmentation:
    """Make the augmentation that runs the given ones in turn, each with a key of its own, fold_in(key, its index).

    `distort` and `compose(distort(...), distort(...))` differ: the second interpolates, and so blurs, twice. Raises
    TypeError for what is no function.

    >>> augment = jax.jit(compose(shift(1), distort(rotate=10)))
    >>> augment(jax.random.key(0), np.ones((2, 8, 8, 1), np.uint8)).dtype
    dtype('uint8')
    """
    checks.callables("compose", **{f"augmentations[{i}]": part for i, part in enumerate(augmentations)})

    def augment(key: PRNGKey, inputs: Array) -> jax.Array:
        key, changed = checks.random_key("compose", key), jnp.asarray(inputs)
        for i, part in enumerate(augmentations):
            changed = part(jax.random.fold_in(key, i), changed)
        return changed

    return augment


def word_dropout(rate: float | Array, unknown_id: int, pad_id: int = 0) -> Augmentation:
    """Make the function that sets each token of [B, T] to `unknown_id` with probability `rate`, but never padding.

    Raises ValueError for a rate outside [0, 1] and an `unknown_id` that is padding, TypeError for tokens that are no
    integers. Iyyer, Manjunatha, Boyd-Graber, Daume, 2015, Deep Unordered Composition Rivals Syntactic Methods for
    Text Classification (there words are left out; here they stay as unknown ones, and keep the others' places).

    >>> augment = word_dropout(1.0, unknown_id=1)
    >>> augment(jax.random.key(0), jnp.array([[5, 7, 0]]))
    Array([[1, 1, 0]], dtype=int32)
    """
    checks.in_range("word_dropout", "rate", rate, 0, 1)
    checks.non_negative_int("word_dropout", "unknown_id", unknown_id)
    checks.non_negative_int("word_dropout", "pad_id", pad_id)
    if unknown_id == pad_id:
        raise ValueError(f"word_dropout expected unknown_id to differ from pad_id but got {unknown_id} for both")
    name = f"word_dropout({checks.number(rate)}, {unknown_id})"

    def augment(key: PRNGKey, tokens: Array) -> jax.Array:
        tokens, key = checks.token_ids(name, tokens, 2**31), checks.random_key(name, key)
        checks.sequences(name, "tokens", tokens)
        if max(unknown_id, pad_id) > jnp.iinfo(tokens.dtype).max:
            raise ValueError(f"{name} expected tokens of a dtype that holds {max(unknown_id, pad_id)}: {tokens.dtype}")
        kept, _ = keep_mask(key, tokens.shape, 1 - rate)
        return jnp.where(kept | (tokens == pad_id), tokens, unknown_id).astype(tokens.dtype)

    return augment


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
    pixels = _pad(jnp.asarray(images), 1, fill).reshape(-1, channels)
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


def _words(key: PRNGKey, count: int, each: int) -> jax.Array:
    """Draw random words [count, each] (an even number for each), the same for an example whatever the count."""
    return jnp.reshape(threefry(key, jnp.arange(count * each // 2, dtype=jnp.uint32)), (count, each))


def _noise(key: PRNGKey, shape: tuple[int, ...]) -> jax.Array:
    """Draw uniform numbers in (-1, 1), of 16 bits each and symmetric about 0: a fourth of the work of 32 bits."""
    count = math.prod(shape)
    words = threefry(key, jnp.arange((count + 3) // 4, dtype=jnp.uint32))
    halves = jax.lax.bitcast_convert_type(words, jnp.int16).reshape(-1)[:count].reshape(shape)
    return (halves.astype(jnp.float32) + 0.5) / 2**15


def _pad(images: jax.Array, by: int, fill: float | None) -> jax.Array:
    around = ((0, 0), (by, by), (by, by), (0, 0))
    if fill is None:
        return jnp.pad(images, around, mode="edge")
    return jnp.pad(images, around, constant_values=jnp.asarray(fill).astype(images.dtype))


def _check_fill(name: str, fill: float | None) -> None:
    if fill is not None:
        checks.in_range(name, "fill", fill, -np.inf, np.inf, open_low=True, open_high=True)
