"""Random bits that depend on the key and the place in the array alone, and dropout."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt32

from jaxnn.types import Array, PRNGKey


def threefry(key: PRNGKey, counters: UInt32[Array, " n"]) -> UInt32[Array, "n 2"]:
    """Compute two random words for each counter, [N] -> [N, 2]: Threefry-2x32 with 20 rounds, on (counter, 0).

    They are the words of JAX's own `jax.extend.random.threefry_2x32`, which on a CPU runs its rounds as a loop over
    arrays; written out they become one pass. Salmon, Moraes, Dror, Shaw, 2011, Parallel Random Numbers: As Easy as 1,
    2, 3.

    >>> threefry(jax.random.key(0), jnp.arange(3, dtype=jnp.uint32)).shape
    (3, 2)
    """
    first, second = jax.random.key_data(key)
    return jnp.stack(threefry_words(first, second, counters, jnp.zeros_like(counters)), -1)


def threefry_words(first: Any, second: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    """Compute the words of the counters (x0, x1) under the key (first, second), arrays of JAX or of NumPy, uint32.

    A round is x0 += x1, x1 = (x1 rotated left) ^ x0; after every four a part of the key is added.

    >>> [hex(word[0]) for word in threefry_words(*np.zeros((4, 1), np.uint32))]  # the authors' own test vector
    ['0x6b200159', '0x99ba4efe']
    """
    parts = (first, second, first ^ second ^ np.uint32(0x1BD11BDA))
    x0, x1 = x0 + parts[0], x1 + parts[1]
    for i in range(5):
        for distance in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
            x0 = x0 + x1
            x1 = x0 ^ ((x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance)))
        x0 = x0 + parts[(i + 1) % 3]
        x1 = x1 + parts[(i + 2) % 3] + np.uint32(i + 1)
    return x0, x1


def mixed(words: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Mix the bits of each word, one to one: each bit of the result depends on all bits of the word.

    Two multiplications and three shifts, whose constants leave the least bias that a search found: Wellons, 2018,
    Prospecting for Hash Functions, and its list of better constants. It is no cipher.

    >>> [hex(word) for word in mixed(jnp.array([1, 2], jnp.uint32)).tolist()]
    ['0x6d3fa73', '0xda7f4e7']
    """
    for distance, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        words = (words ^ (words >> jnp.uint32(distance))) * jnp.uint32(factor)
    return words ^ (words >> jnp.uint32(15))


def keep_mask(
    key: PRNGKey, shape: tuple[int, ...], keep: float | Array
) -> tuple[Bool[Array, "*shape"], Float[Array, ""]]:
    """Draw independent decisions, True with probability `keep`, and return them with the *realised* probability.

    The decision of place i is 24 bits of mixed(mixed(i ^ k0) ^ k1), with the two words k0, k1 of the key: some
    twenty operations in the same pass as what is decided; a call of Threefry takes over a hundred, in its own pass. So
    `keep` is rounded to a multiple of 2**-24. The bits depend on the key and the place in the array alone.

    >>> kept, probability = keep_mask(jax.random.key(0), (1000,), 0.8)
    >>> kept.shape, round(float(probability), 4)
    ((1000,), 0.8)
    """
    first, second = jax.random.key_data(key)
    places = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    bits = mixed(mixed(places ^ first) ^ second) >> jnp.uint32(8)
    threshold = jnp.round(jnp.asarray(keep, jnp.float32) * 2**24).astype(jnp.uint32)
    return bits < threshold, threshold.astype(jnp.float32) / 2**24


def dropout(x: Float[Array, "*shape"], key: PRNGKey, rate: float | Array) -> Float[Array, "*shape"]:
    """Set each element to zero with probability `rate` and divide the others by the probability of keeping them.

    The mean stays what it was. At rate 1 all is zero, and so is the gradient. Srivastava, Hinton, Krizhevsky,
    Sutskever, Salakhutdinov, 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting.

    >>> y = dropout(jnp.ones(1000), jax.random.key(0), 0.5)
    >>> sorted({float(v) for v in y})
    [0.0, 2.0]
    """
    kept, probability = keep_mask(key, x.shape, 1 - rate)
    scale = jnp.where(probability > 0, 1 / jnp.where(probability > 0, probability, 1), 0)
    return jnp.where(kept, x * scale.astype(x.dtype), 0)
