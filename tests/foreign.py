"""The same small CNN, with batch norm and dropout, in linen, nnx and Equinox; and a run of it that can be killed.

`python tests/foreign.py KIND FOLDER` trains it, going on where an earlier run in FOLDER was killed, and prints the
SHA-256 of all that came out.
"""

import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import sequential, tree
from jaxnn.data import Dataset
from jaxnn.interop.equinox import from_equinox
from jaxnn.interop.flax import from_linen, from_nnx
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import fit, loop
from jaxnn.types import Layer

KINDS = ("linen", "nnx", "equinox")
SHAPE, CLASSES, CHANNELS = (6, 6, 1), 3, 4


def linen_cnn(rate: float):
    from flax import linen as nn

    class CNN(nn.Module):
        rate: float

        @nn.compact
        def __call__(self, x, train: bool):
            x = nn.Conv(CHANNELS, (3, 3))(x)
            x = jnp.tanh(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.avg_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
            return nn.Dense(CLASSES)(nn.Dropout(self.rate, deterministic=not train)(x))

    return CNN(rate)


def nnx_cnn(rate: float):
    from flax import nnx

    class CNN(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.blocks = nnx.List([nnx.Conv(1, CHANNELS, (3, 3), rngs=rngs)])
            self.norm = nnx.BatchNorm(CHANNELS, momentum=0.9, rngs=rngs)
            self.dropout = nnx.Dropout(rate, rngs=rngs)
            self.out = nnx.Linear(9 * CHANNELS, CLASSES, rngs=rngs)

        def __call__(self, x):
            x = jnp.tanh(self.norm(self.blocks[0](x)))
            return self.out(self.dropout(nnx.avg_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)))

    return CNN


@cache  # one class, since its name is a part of the params' structure
def equinox_cnn(rate: float):
    import equinox as eqx

    class CNN(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.BatchNorm
        pool: eqx.nn.AvgPool2d
        dropout: eqx.nn.Dropout
        out: eqx.nn.Linear
        counts: jax.Array

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.conv = eqx.nn.Conv2d(1, CHANNELS, 3, padding=1, key=first)
            self.norm = eqx.nn.BatchNorm(CHANNELS, axis_name="batch", mode="batch", momentum=0.9)
            self.pool = eqx.nn.AvgPool2d(2, 2)
            self.dropout = eqx.nn.Dropout(rate)
            self.out = eqx.nn.Linear(9 * CHANNELS, CLASSES, key=second)
            self.counts = jnp.arange(3)  # not trained

        def __call__(self, x, state, *, key=None):
            x, state = self.norm(self.conv(jnp.moveaxis(x, -1, 0)), state)
            x = self.pool(jnp.tanh(x)).reshape(-1)
            return self.out(self.dropout(x, key=key)), state

    return CNN


def layer(kind: str, rate: float) -> Layer:
    if kind == "linen":
        return from_linen(linen_cnn(rate), np.zeros((1, *SHAPE), np.float32))
    return from_nnx(nnx_cnn(rate)) if kind == "nnx" else from_equinox(equinox_cnn(rate))


def images(size: int) -> Dataset:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, CLASSES, size).astype(np.int32)
    patterns = np.random.default_rng(0).standard_normal((CLASSES, *SHAPE))
    return Dataset((patterns[labels] + generator.standard_normal((size, *SHAPE))).astype(np.float32), labels)


def train(kind: str, **options):
    """Train with dropout, in batches of which the last one is short."""
    options = {"epochs": 8, "batch_size": 16, "validation": images(20), "verbose": False} | options
    model = sequential(layer(kind, 0.2), lambda x: x)
    return fit(model, softmax_cross_entropy, optax.adam(1e-2), images(70), **options)


def fingerprint(result) -> str:
    times = {"seconds", "examples_per_second"}
    history = [{name: record[name] for name in record.keys() - times} for record in result.history]
    return " ".join([*(tree.sha256(part)[:16] for part in result.train_state), str(sorted(history[-1].items()))])


if __name__ == "__main__":
    loop.SAVE_SECONDS, loop.PIECE_SECONDS = 0.0, 0.001
    print(fingerprint(train(sys.argv[1], epochs=6, checkpoints=sys.argv[2], resume=True)))
