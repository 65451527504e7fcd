"""The order of an epoch: JAX's permutation, on a CPU computed by NumPy, which has nothing to compile."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.functional.randomness import threefry_words
from jaxnn.types import PRNGKey

BLOCK = 2**16  # counters at a time: what lies between stays in the caches, and takes no memory


def epoch_order(key: PRNGKey, epoch: int | jax.Array, *, size: int, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Return the order of an epoch: indices [full batches, batch_size], and [1, rest] of the short last batch.

    Every example stands in it exactly once. A function of the key and the epoch alone: on a CPU, outside of `jit` and
    `vmap`, it is computed by NumPy, to the same numbers.

    >>> full, short = epoch_order(jax.random.key(0), 0, size=7, batch_size=3)
    >>> full.shape, short.shape, sorted([*full.ravel().tolist(), *short[0].tolist()])
    ((2, 3), (1, 1), [0, 1, 2, 3, 4, 5, 6])
    """
    full = size // batch_size * batch_size
    known = checks.is_concrete(jax.random.key_data(key)) and checks.is_concrete(epoch)  # in a program it is not
    if known and jax.default_backend() == "cpu":
        order = host_order(key, epoch, size).astype(jax.dtypes.canonicalize_dtype(int))
        return jnp.asarray(order[:full].reshape(-1, batch_size)), jnp.asarray(order[None, full:])
    order = jax.random.permutation(jax.random.fold_in(key, epoch), size)
    return order[:full].reshape(-1, batch_size), order[None, full:]


def host_order(key: PRNGKey, epoch: int | jax.Array, size: int) -> np.ndarray:
    """Return `jax.random.permutation(jax.random.fold_in(key, epoch), size)`, the same numbers, by NumPy.

    It sorts by random bits, ceil(3 log(size) / log(2^32)) times, as JAX does; NumPy sorts the bits with the places
    below them as one number, many times as fast as XLA on a CPU. Keys of another kind than JAX's own, Threefry's, are
    left to JAX.

    >>> key = jax.random.key(0)
    >>> host_order(key, 3, 5).tolist() == jax.random.permutation(jax.random.fold_in(key, 3), 5).tolist()
    True
    """
    key = checks.random_key("host_order", key)
    kind = str(jax.random.key_impl(key))
    if kind != "threefry2x32" or not getattr(jax.config, "jax_threefry_partitionable", True):
        return np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), size))
    folded = _random_words(np.asarray(jax.random.key_data(key)), np.asarray(epoch).astype(np.uint32)[None])[:, 0]
    order, drawn = np.arange(size, dtype=np.int32), np.empty(size, np.uint64)
    for _ in range(int(np.ceil(3 * np.log(max(size, 1)) / np.log(2**32 - 1)))):
        folded, now = _random_words(folded, np.arange(2, dtype=np.uint64)).T  # the two keys of a split
        for start in range(0, size, BLOCK):
            places = np.arange(start, min(start + BLOCK, size), dtype=np.uint64)
            bits = np.bitwise_xor(*_random_words(now, places))
            drawn[start : start + BLOCK] = bits.astype(np.uint64) << np.uint64(32) | places
        drawn.sort()
        drawn &= np.uint64(2**32 - 1)
        order = order[drawn.view(np.int64)]
    return order


def _random_words(key: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Compute two random words [2, N] for each counter of 64 bits."""
    upper, lower = (counters.astype(np.uint64) >> np.uint64(32)).astype(np.uint32), counters.astype(np.uint32)
    return np.stack(threefry_words(key[0], key[1], upper, lower))
