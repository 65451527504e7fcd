"""What a user gets for strengths, images and tokens that augmentation cannot take."""

import jax
import numpy as np
import pytest
from refusal import refused

from jaxnn.augmentation import compose, distort, flip, shift, word_dropout

KEY = jax.random.key(0)
IMAGES = np.zeros((2, 8, 8, 1), np.uint8)
TOKENS = np.ones((2, 3), np.int32)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: shift(-1), ValueError, ("shift expected pixels", "at least 0 but got -1")),
        (lambda: shift(1.5), TypeError, ("shift expected pixels", "1.5")),
        (lambda: shift(1, fill=np.nan), ValueError, ("shift expected fill", "nan")),
        (lambda: distort(shift=-1.0), ValueError, ("distort expected shift in [0, inf) but got -1",)),
        (lambda: distort(elastic=-34.0), ValueError, ("distort expected elastic in [0, inf) but got -34",)),
        (lambda: distort(rotate=-10.0), ValueError, ("distort expected rotate in [0, 180] but got -10",)),
        (lambda: distort(rotate=361.0), ValueError, ("distort expected rotate in [0, 180] but got 361",)),
        (lambda: distort(scale=1.0), ValueError, ("distort expected scale in [0, 1) but got 1",)),
        (lambda: distort(shear=90.0), ValueError, ("distort expected shear in [0, 90) but got 90",)),
        (lambda: distort(rotate=np.nan), ValueError, ("distort expected rotate", "nan")),
        (lambda: distort(sigma=0.0), ValueError, ("distort expected sigma in (0, inf) but got 0",)),
        (lambda: distort(rotate=(-10, 10)), TypeError, ("distort expected rotate to be a number", "(-10, 10)")),
        (lambda: word_dropout(-0.1, 1), ValueError, ("word_dropout expected rate in [0, 1] but got -0.1",)),
        (lambda: word_dropout(1.1, 1), ValueError, ("word_dropout expected rate in [0, 1] but got 1.1",)),
        (lambda: word_dropout(0.1, 0), ValueError, ("unknown_id to differ from pad_id but got 0",)),
        (lambda: word_dropout(0.1, -1), ValueError, ("word_dropout expected unknown_id", "-1")),
        (lambda: compose(shift(1), 3), TypeError, ("compose expected augmentations[1] to be a function but got 3",)),
    ],
)
def test_options(make, error, words):
    refused(error, make, *words)


@pytest.mark.parametrize("augment", [shift(2), flip(), distort(rotate=5.0)], ids=["shift", "flip", "distort"])
@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (np.zeros((4, 1, 28, 28), np.uint8), ValueError, ("(4, 1, 28, 28)", "NCHW", "jnp.moveaxis(x, 1, -1)")),
        (np.zeros((4, 3, 32, 32), np.float32), ValueError, ("(4, 3, 32, 32)", "NCHW")),
        (np.zeros((4, 28, 28), np.uint8), ValueError, ("[B, H, W, C] but got (4, 28, 28)", "x[None]", "x[..., None]")),
        (np.zeros((4, 784), np.uint8), ValueError, ("[B, H, W, C] but got (4, 784)", "reshape")),
        (np.zeros((4, 8, 8, 1), np.int32), TypeError, ("uint8 or floats but got int32", "astype('uint8')")),
        (np.zeros((4, 8, 8, 1), bool), TypeError, ("uint8 or floats but got bool",)),
        ([[1.0]], TypeError, ("an array but got list",)),
    ],
)
def test_images(augment, images, error, words):
    refused(error, lambda: augment(KEY, images), *words)


@pytest.mark.parametrize(
    "augment", [shift(2), flip(), distort(), compose(shift(1))], ids=["shift", "flip", "distort", "compose"]
)
def test_keys(augment):
    refused(TypeError, lambda: augment(0, IMAGES), "expected a key such as jax.random.key(0) but got 0")
    refused(ValueError, lambda: augment(jax.random.split(KEY), IMAGES), "expected one key but got keys of shape (2,)")


@pytest.mark.parametrize(
    ("tokens", "error", "words"),
    [
        (TOKENS.astype(np.float32), TypeError, ("word_dropout(0.1, 1) expected integers but got float32", "int32")),
        (TOKENS[0], ValueError, ("tokens of shape [B, T] but got (3,)", "tokens[None]")),
        (np.array([[2**33]]), ValueError, ("x[0, 0] is 8589934592",)),
        (np.array([[-1]]), ValueError, ("x[0, 0] is -1",)),
    ],
)
def test_tokens(tokens, error, words):
    refused(error, lambda: word_dropout(0.1, 1)(KEY, tokens), *words)


def test_an_unknown_id_that_the_tokens_cannot_hold():
    refused(ValueError, lambda: word_dropout(0.1, 300)(KEY, TOKENS.astype(np.uint8)), "a dtype that holds 300: uint8")
