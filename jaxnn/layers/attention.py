"""Multi-head attention as a layer."""

import jax
import jax.numpy as jnp

from jaxnn import checks, functional, tree
from jaxnn.initializers import fan_in_uniform, xavier_uniform
from jaxnn.types import Array, Layer


def multi_head_attention(d_model: int, nhead: int, *, causal: bool = False, dropout: float | Array = 0.0) -> Layer:
    """Make attention with several heads, [B, T, D] -> [B, T, D]: of x over itself, or over `memory`.

    Each of the H heads computes softmax(Q K^T / sqrt(D/H)) V from D/H columns of Q = x W_q + b_q, K and V; the heads
    side by side go through a linear map. `apply` takes two more arguments, both by name:

    - memory [B, Tk, D], from which keys and values are made (cross-attention); without it that is x itself;
    - mask, boolean, True = use: [B, Tk] (which steps) or [B, T, Tk] (which steps by each query).

    A query that may use no key gives zeros, with zero gradient. `causal` lets step t use the steps 0..t alone.
    `dropout` is PyTorch's, of the weights, in training.

    params: in_weight [D, 3D] (columns for Q, K, V in this order) from Xavier's uniform distribution on the packed
    matrix, as in PyTorch, in_bias [3D] of zeros; out: weight [D, D] from U(-1/sqrt(D), 1/sqrt(D)), bias [D] of zeros.
    Raises ValueError for heads that do not divide D, and for shapes that do not agree. Vaswani et al., 2017, Attention
    Is All You Need. `functional.multi_head_weights` gives the weights.

    >>> layer = multi_head_attention(8, 2)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.ones((3, 5, 8)), mask=jnp.ones((3, 5), bool))[0].shape
    (multi_head_attention(8, 2), (3, 5, 8))
    """
    checks.positive_int("multi_head_attention", "d_model", d_model)
    checks.positive_int("multi_head_attention", "nhead", nhead)
    checks.heads_divide("multi_head_attention", d_model, nhead)
    checks.in_range("multi_head_attention", "dropout", dropout, 0, 1)
    with_dropout = not checks.is_concrete(dropout) or dropout != 0
    options = ", causal=True" if causal else ""
    options += f", dropout={checks.number(dropout)}" if with_dropout else ""
    name = f"multi_head_attention({d_model}, {nhead}{options})"
    shapes = {
        "in_bias": (3 * d_model,),
        "in_weight": (d_model, 3 * d_model),
        "out.bias": (d_model,),
        "out.weight": (d_model, d_model),
    }

    def init(key, /):
        checks.random_key(name, key)
        in_key, out_key = jax.random.split(key)
        params = {
            "in_weight": xavier_uniform(in_key, (d_model, 3 * d_model)),
            "in_bias": jnp.zeros(3 * d_model),
            "out": {"weight": fan_in_uniform(out_key, (d_model, d_model)), "bias": jnp.zeros(d_model)},
        }
        return params, ()

    def apply(params, state, x, /, *, key=None, train=False, memory=None, mask=None):
        x = checks.float_input(name, x)
        checks.sequences(name, "x", x, d_model)
        if memory is None:
            memory = x
        else:
            memory = checks.float_input(name, memory)
            checks.sequences(name, "memory", memory, d_model)
            checks.same_batch(name, x, memory)
        checks.own_entries(name, "params", tree.paths(params), shapes)
        mask = checks.attention_mask(name, mask, x.shape[0], x.shape[1], memory.shape[1])
        if causal:
            checks.same_length(name, x, memory)
            past = functional.causal_mask(x.shape[1])[None]  # [1, T, T]
            mask = past if mask is None else mask & past
        drop_key = checks.given_key(name, key) if train and with_dropout else None
        return functional.multi_head_attention(x, memory, params, nhead, mask, drop_key, dropout), state

    return Layer(init, apply, name)
