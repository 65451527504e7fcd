"""The encoder of the Transformer: one layer, and a stack of them."""

from typing import Any

import jax

from jaxnn import checks
from jaxnn.layers.attention import multi_head_attention
from jaxnn.layers.dense import linear
from jaxnn.layers.normalization import layer_norm
from jaxnn.layers.regularization import dropout as dropout_layer
from jaxnn.types import Array, Layer, LayerLike


def written_options(dim_feedforward: int, dropout: float | Array, activation: LayerLike, norm_first: bool) -> str:
    """Write the options of an encoder that differ from their defaults, as they stand in a call.

    >>> written_options(64, 0.1, jax.nn.relu, True)
    ', dim_feedforward=64, norm_first=True'
    """
    default_dropout = checks.is_concrete(dropout) and dropout == 0.1
    options = [
        f", dim_feedforward={dim_feedforward}" if dim_feedforward != 2048 else "",
        "" if default_dropout else f", dropout={checks.number(dropout)}",
        f", activation={checks.as_layer('transformer', activation)}" if activation is not jax.nn.relu else "",
        ", norm_first=True" if norm_first else "",
    ]
    return "".join(options)


def transformer_encoder_layer(
    d_model: int,
    nhead: int,
    *,
    dim_feedforward: int = 2048,
    dropout: float | Array = 0.1,
    activation: LayerLike = jax.nn.relu,
    norm_first: bool = False,
) -> Layer:
    """Make one encoder layer, [B, T, D] -> [B, T, D]: self-attention, then two linear maps on each time step.

    With f(x) = linear2(dropout(activation(linear1(x)))), and dropout after both parts:

    - as in the guide (post-norm): x = norm1(x + attention(x)), then norm2(x + f(x));
    - norm_first (pre-norm): x = x + attention(norm1(x)), then x + f(norm2(x)), which trains without a warm-up.

    The defaults are those that PyTorch's TransformerEncoderLayer(d_model, nhead) hides: post-norm, ReLU, 2048 hidden
    units, dropout 0.1 (also of the attention weights), epsilon 1e-5. `apply` takes `mask` as `multi_head_attention`
    does. params: attention, linear1, linear2, norm1, norm2. Raises ValueError for heads that do not divide d_model.
    Vaswani et al., 2017, Attention Is All You Need; Xiong et al., 2020, On Layer Normalization in the Transformer
    Architecture.

    >>> import jax.numpy as jnp
    >>> layer = transformer_encoder_layer(8, 2, dim_feedforward=16)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer.apply(params, state, jnp.ones((3, 5, 8)))[0].shape, sorted(params)
    ((3, 5, 8), ['attention', 'linear1', 'linear2', 'norm1', 'norm2'])
    """
    checks.positive_int("transformer_encoder_layer", "dim_feedforward", dim_feedforward)
    options = written_options(dim_feedforward, dropout, activation, norm_first)
    name = f"transformer_encoder_layer({d_model}, {nhead}{options})"
    attention = multi_head_attention(d_model, nhead, dropout=dropout)
    activate = checks.as_layer("transformer_encoder_layer", activation)
    drop, norm = dropout_layer(dropout), layer_norm(d_model)
    parts: dict[str, Any] = {
        "attention": attention,
        "linear1": linear(d_model, dim_feedforward),
        "linear2": linear(dim_feedforward, d_model),
        "norm1": norm,
        "norm2": norm,
    }

    def init(key, /):
        checks.random_key(name, key)
        return {part: layer.init(jax.random.fold_in(key, i))[0] for i, (part, layer) in enumerate(parts.items())}, ()

    def apply(params, state, x, /, *, key=None, train=False, mask=None):
        x = checks.float_input(name, x)
        checks.sequences(name, "x", x, d_model)
        checks.named_parts(name, params, parts)
        keys = [None] * 4 if key is None else [jax.random.fold_in(key, i) for i in range(4)]

        def use(part, x, **options):
            return parts[part].apply(params[part], (), x, **options)[0]

        def dropped(x, key):
            return drop.apply((), (), x, key=key, train=train)[0]

        def attend(x):
            return dropped(use("attention", x, key=keys[0], train=train, mask=mask), keys[1])

        def feed_forward(x):
            hidden = activate.apply((), (), use("linear1", x))[0]  # [B, T, dim_feedforward]
            return dropped(use("linear2", dropped(hidden, keys[2])), keys[3])

        if norm_first:
            x = x + attend(use("norm1", x))
            return x + feed_forward(use("norm2", x)), state
        x = use("norm1", x + attend(x))
        return use("norm2", x + feed_forward(x)), state

    return Layer(init, apply, name)


def transformer_encoder(
    d_model: int,
    nhead: int,
    num_layers: int,
    *,
    dim_feedforward: int = 2048,
    dropout: float | Array = 0.1,
    activation: LayerLike = jax.nn.relu,
    norm_first: bool = False,
) -> Layer:
    """Make a stack of encoder layers, [B, T, D] -> [B, T, D]; with norm_first a layer norm comes after the last.

    The options are those of `transformer_encoder_layer`. params: layers (a tuple) and, with norm_first, norm. Each
    layer is drawn by itself; PyTorch's TransformerEncoder starts all of them as copies of one. `apply` takes `mask` as
    `multi_head_attention` does. Vaswani et al., 2017, Attention Is All You Need.

    >>> import jax.numpy as jnp
    >>> encoder = transformer_encoder(8, 2, 3, dim_feedforward=16)
    >>> params, state = encoder.init(jax.random.key(0))
    >>> encoder.apply(params, state, jnp.ones((3, 5, 8)))[0].shape, len(params["layers"])
    ((3, 5, 8), 3)
    """
    checks.positive_int("transformer_encoder", "num_layers", num_layers)
    options = written_options(dim_feedforward, dropout, activation, norm_first)
    name = f"transformer_encoder({d_model}, {nhead}, {num_layers}{options})"
    layer: Any = transformer_encoder_layer(
        d_model,
        nhead,
        dim_feedforward=dim_feedforward,
        dropout=dropout,
        activation=activation,
        norm_first=norm_first,
    )
    norm = layer_norm(d_model)

    def init(key, /):
        checks.random_key(name, key)
        params: dict[str, Any] = {"layers": tuple(layer.init(jax.random.fold_in(key, i))[0] for i in range(num_layers))}
        return params | ({"norm": norm.init(key)[0]} if norm_first else {}), ()

    def apply(params, state, x, /, *, key=None, train=False, mask=None):
        checks.named_parts(name, params, ("layers", "norm") if norm_first else ("layers",))
        checks.one_entry_per_part(name, params["layers"], ((),) * num_layers, num_layers)
        for i, layer_params in enumerate(params["layers"]):
            layer_key = None if key is None else jax.random.fold_in(key, i)
            x, _ = layer.apply(layer_params, (), x, key=layer_key, train=train, mask=mask)
        return norm.apply(params["norm"], (), x)[0] if norm_first else x, state

    return Layer(init, apply, name)
