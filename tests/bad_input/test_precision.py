"""What a user gets for a cast to what is no float, of what is no float."""

import jax
import jax.numpy as jnp
import numpy as np
from refusal import refused

from jaxnn.layers import cast


def test_dtypes():
    for wrong in (jnp.int8, "int32", bool, complex, None, "bfloat17", 16, jnp.ones(2), [jnp.bfloat16]):
        refused(TypeError, lambda wrong=wrong: cast(wrong), "cast expected a dtype of floats such as jnp.bfloat16")
    refused(ValueError, lambda: cast(np.float64), "cast expected jax_enable_x64 to be set for float64")
    with jax.enable_x64(True):
        assert cast(np.float64).apply((), (), jnp.ones(2, jnp.float32))[0].dtype == np.float64


def test_integers():
    layer = cast(jnp.bfloat16)
    refused(
        TypeError, lambda: layer.apply((), (), np.zeros((2, 3), np.uint8)), "cast(bfloat16)", "normalize(mean, std)"
    )
    refused(TypeError, lambda: layer.apply((), (), np.zeros((2, 3), int)), "cast(bfloat16) expected floats", "(2, 3)")
    refused(TypeError, lambda: layer.apply((), (), [1.0]), "cast(bfloat16) expected x to be an array")
