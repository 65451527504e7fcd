"""Scaled dot-product attention, with one head and with several."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxnn import checks
from jaxnn.functional.dense import linear, wide
from jaxnn.functional.randomness import dropout
from jaxnn.types import Array, Params, PRNGKey

# What a masked logit becomes: so low that its weight is exactly 0, yet finite, because -inf - -inf is NaN.
MASKED = -1e30


def causal_mask(length: int) -> Bool[Array, "length length"]:
    """Make the mask that lets step t use the steps 0..t, [T, T], True = use.

    >>> causal_mask(2).tolist()
    [[True, False], [True, True]]
    """
    checks.non_negative_int("causal_mask", "length", length)
    return jnp.tri(length, dtype=bool)


def attention_weights(
    query: Float[Array, "*batch queries size"],
    key: Float[Array, "*batch keys size"],
    mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "*batch queries keys"]:
    """Compute how much each query uses each key, softmax(Q K^T / sqrt(D)): [..., Tq, D], [..., Tk, D] -> [..., Tq, Tk].

    `mask` is boolean, True = use, and must broadcast to the result. A query that may use no key has weights of zero,
    and gradients of zero. The softmax is computed, and the weights come, in at least float32. Raises ValueError for
    shapes that do not agree. Vaswani et al., 2017, Attention Is All You Need.

    >>> weights = attention_weights(jnp.zeros((2, 4)), jnp.ones((2, 4)), causal_mask(2))
    >>> weights.tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    query, key = checks.float_input("attention_weights", query), checks.float_input("attention_weights", key)
    if query.ndim < 2 or query.shape[:-2] != key.shape[:-2] or query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "attention_weights expected queries [..., Tq, D] and keys [..., Tk, D] "
            f"but got {query.shape} and {key.shape}"
        )
    accumulate = jnp.promote_types(query.dtype, jnp.float32)
    query = query / math.sqrt(query.shape[-1])
    logits = jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=accumulate)  # [..., Tq, Tk]
    if mask is None:
        return jax.nn.softmax(logits)
    checks.mask_over("attention_weights", mask, logits.shape)
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, logits, MASKED)), 0)


def attention(
    query: Float[Array, "*batch queries size"],
    key: Float[Array, "*batch keys size"],
    value: Float[Array, "*batch keys out"],
    mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "*batch queries out"]:
    """Compute the mean of the values under the weights of each query, softmax(Q K^T / sqrt(size)) V -> [..., Tq, Dv].

    The mask is that of `attention_weights`; a query that may use no key gives zeros. The result has the dtype of the
    values. Raises ValueError for shapes that do not agree.

    >>> attention(jnp.zeros((1, 4)), jnp.ones((2, 4)), jnp.array([[1.0], [3.0]])).tolist()
    [[2.0]]
    """
    value = checks.float_input("attention", value)
    weights = attention_weights(query, key, mask)
    if value.ndim < 2 or value.shape[:-1] != key.shape[:-1]:
        raise ValueError(f"attention expected as many values as keys but got {value.shape} for keys {key.shape}")
    return weights.astype(value.dtype) @ value


def heads_of(
    x: Float[Array, "batch queries size"],
    memory: Float[Array, "batch keys size"],
    params: Params,
    nhead: int,
) -> tuple[
    Float[Array, "batch heads queries head"],
    Float[Array, "batch heads keys head"],
    Float[Array, "batch heads keys head"],
]:
    """Project x to queries, and memory to keys and values, of several heads: [B, T, D] -> three of [B, H, T, D/H].

    params: in_weight [D, 3D] and in_bias [3D], whose columns make queries, keys and values in this order.
    Self-attention (`memory is x`) is one matrix product. Raises ValueError for heads that do not divide D.

    >>> x, params = jnp.ones((2, 5, 8)), {"in_weight": jnp.ones((8, 24)), "in_bias": jnp.zeros(24)}
    >>> [heads.shape for heads in heads_of(x, x, params, 4)]
    [(2, 4, 5, 2), (2, 4, 5, 2), (2, 4, 5, 2)]
    """
    checks.heads_divide("heads_of", x.shape[-1], nhead)
    weight, bias, size = params["in_weight"], params["in_bias"], x.shape[-1]
    if memory is x:
        parts = jnp.split(linear(x, weight, bias), 3, -1)
    else:
        parts = [linear(x, weight[:, :size], bias[:size])]
        parts += jnp.split(linear(memory, weight[:, size:], bias[size:]), 2, -1)
    query, key, value = (part.reshape(*part.shape[:2], nhead, size // nhead).swapaxes(1, 2) for part in parts)
    return query, key, value


def multi_head_weights(
    x: Float[Array, "batch queries size"],
    memory: Float[Array, "batch keys size"],
    params: Params,
    nhead: int,
    mask: Bool[Array, "#batch #queries keys"] | None = None,
) -> Float[Array, "batch heads queries keys"]:
    """Compute the attention weights of each head, [B, Tq, D], [B, Tk, D] -> [B, H, Tq, Tk], for a picture of them.

    They are what `multi_head_attention` uses for the same arguments, without dropout.

    >>> x, params = jnp.ones((1, 2, 4)), {"in_weight": jnp.ones((4, 12)), "in_bias": jnp.zeros(12)}
    >>> multi_head_weights(x, x, params, 1).tolist()
    [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    query, key, _ = heads_of(x, memory, params, nhead)
    return attention_weights(query, key, None if mask is None else mask[:, None])


def multi_head_attention(
    x: Float[Array, "batch queries size"],
    memory: Float[Array, "batch keys size"],
    params: Params,
    nhead: int,
    mask: Bool[Array, "#batch #queries keys"] | None = None,
    key: PRNGKey | None = None,
    rate: float | Array = 0.0,
) -> Float[Array, "batch queries size"]:
    """Compute attention of x over memory with several heads, [B, Tq, D], [B, Tk, D] -> [B, Tq, D].

    Each head attends with D/H columns of the projected queries, keys and values; the heads side by side go through
    a last linear map. With a key the weights go through dropout. A query that may use no key gives zeros. params are
    those of `layers.multi_head_attention`: in_weight [D, 3D], in_bias [3D], out {weight [D, D], bias [D]}.

    >>> params = {"in_weight": jnp.ones((4, 12)), "in_bias": jnp.zeros(12),
    ...           "out": {"weight": jnp.eye(4), "bias": jnp.zeros(4)}}
    >>> x = jnp.ones((1, 2, 4))
    >>> multi_head_attention(x, x, params, 2)[0, 0].tolist()
    [4.0, 4.0, 4.0, 4.0]
    """
    query, keys, value = heads_of(x, memory, params, nhead)
    each = None if mask is None else mask[:, None]  # [B, 1, Tq, Tk]
    if key is None:
        heads = attention(query, keys, value, each)
    else:
        heads = dropout(attention_weights(query, keys, each), key, rate).astype(value.dtype) @ value
    joined = heads.swapaxes(1, 2).reshape(x.shape)  # [B, Tq, D]
    y = linear(joined, params["out"]["weight"], params["out"]["bias"])
    return y if mask is None else jnp.where(mask.any(-1, keepdims=True), y, 0)


def masked_mean(
    x: Float[Array, "batch time size"], mask: Bool[Array, "batch time"] | None = None
) -> Float[Array, "batch size"]:
    """Compute the mean over the time steps in use, [B, T, D] -> [B, D], in at least float32; zeros where none is.

    `mask` is boolean, True = use; without it all steps are used.

    >>> masked_mean(jnp.array([[[1.0], [3.0], [9.0]]]), jnp.array([[True, True, False]])).tolist()
    [[2.0]]
    """
    if mask is None:
        return wide(x).mean(1).astype(x.dtype)
    count = jnp.maximum(mask.sum(1), 1)[:, None]
    return (jnp.where(mask[..., None], wide(x), 0).sum(1) / count).astype(x.dtype)
