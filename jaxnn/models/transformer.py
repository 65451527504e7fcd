"""The Transformer as a classifier of token sequences, and the attention inside it."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks, functional, layers
from jaxnn.layers.transformer import written_options
from jaxnn.types import Array, Layer, LayerLike


def transformer_classifier(
    vocabulary_size: int,
    d_model: int,
    nhead: int,
    num_layers: int,
    num_classes: int,
    *,
    dim_feedforward: int = 2048,
    dropout: float | Array = 0.1,
    activation: LayerLike = jax.nn.relu,
    norm_first: bool = False,
    max_length: int = 512,
    pad_id: int | None = None,
) -> Layer:
    """Make a Transformer that classifies token sequences, integers [B, T] -> logits [B, classes].

    Embedding plus learned positions, a stack of encoder layers, the mean over time, a linear layer: with the defaults
    the guide's TransformerClassifier. Hidden there in PyTorch's defaults: post-norm, ReLU, 2048 hidden units, dropout
    0.1 (also of the attention weights), embedding and positions from N(0, 1); see `layers.transformer_encoder`.

    `pad_id=None` is the guide's model, which attends to padding and takes the mean over it. With `pad_id=0` steps with
    the token 0 are used by no query and are left out of the mean, so that padding changes nothing; a row of padding
    alone has a mean of zeros, and its logits are the bias of the last layer.

    params: embedding, positions, encoder, classifier. Raises ValueError for a token outside the vocabulary (under
    `jit` its row's logits are NaN), for a sequence longer than `max_length`, naming both lengths, and for heads that
    do not divide d_model; TypeError for floats. `attention_maps` shows the attention.

    >>> model = transformer_classifier(1000, 32, 4, 2, 6, dim_feedforward=64, pad_id=0)
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jnp.ones((3, 20), int))[0].shape
    (transformer_classifier(1000, 32, 4, 2, 6, dim_feedforward=64, pad_id=0), (3, 6))
    """
    checks.positive_int("transformer_classifier", "vocabulary_size", vocabulary_size)
    checks.positive_int("transformer_classifier", "num_classes", num_classes)
    checks.positive_int("transformer_classifier", "max_length", max_length)
    checks.pad_index("transformer_classifier", pad_id, vocabulary_size)
    options = written_options(dim_feedforward, dropout, activation, norm_first)
    options += f", max_length={max_length}" if max_length != 512 else ""
    options += f", pad_id={pad_id}" if pad_id is not None else ""
    sizes = f"{vocabulary_size}, {d_model}, {nhead}, {num_layers}, {num_classes}"
    name = f"transformer_classifier({sizes}{options})"
    parts: dict[str, Any] = {
        "embedding": layers.embedding(vocabulary_size, d_model, pad_id=pad_id),
        "positions": layers.learned_positions(max_length, d_model),
        "encoder": layers.transformer_encoder(
            d_model,
            nhead,
            num_layers,
            dim_feedforward=dim_feedforward,
            dropout=dropout,
            activation=activation,
            norm_first=norm_first,
        ),
        "classifier": layers.linear(d_model, num_classes),
    }

    def init(key, /):
        checks.random_key(name, key)
        return {part: layer.init(jax.random.fold_in(key, i))[0] for i, (part, layer) in enumerate(parts.items())}, ()

    def apply(params, state, x, /, *, key=None, train=False):
        checks.named_parts(name, params, parts)
        tokens = checks.token_ids(name, x, vocabulary_size)
        checks.sequences(name, "x", tokens)
        checks.within_positions(name, tokens.shape[1], max_length)
        used = None if pad_id is None else tokens != pad_id  # [B, T]
        x, _ = parts["embedding"].apply(params["embedding"], (), tokens)
        x, _ = parts["positions"].apply(params["positions"], (), x)
        x, _ = parts["encoder"].apply(params["encoder"], (), x, key=key, train=train, mask=used)
        x = functional.masked_mean(x, used)  # [B, D]
        return parts["classifier"].apply(params["classifier"], (), x)[0], state

    return Layer(init, apply, name)


def attention_maps(
    vocabulary_size: int,
    d_model: int,
    nhead: int,
    num_layers: int,
    num_classes: int,
    *,
    dim_feedforward: int = 2048,
    dropout: float | Array = 0.1,
    activation: LayerLike = jax.nn.relu,
    norm_first: bool = False,
    max_length: int = 512,
    pad_id: int | None = None,
) -> Layer:
    """Make the layer that shows where a `transformer_classifier` looks, [B, T] -> weights [B, layers, heads, T, T].

    Called with the arguments of the classifier, it takes the classifier's params. The last axis is the step looked
    at and sums to 1; steps of padding are not looked at. Always in evaluation mode. Raises what the classifier raises.

    >>> sizes = (1000, 32, 4, 2, 6)
    >>> params, state = transformer_classifier(*sizes, dim_feedforward=64).init(jax.random.key(0))
    >>> attention_maps(*sizes, dim_feedforward=64).apply(params, state, jnp.ones((3, 20), int))[0].shape
    (3, 2, 4, 20, 20)
    """
    stack: dict[str, Any] = {
        "dim_feedforward": dim_feedforward,
        "dropout": dropout,
        "activation": activation,
        "norm_first": norm_first,
    }
    model = transformer_classifier(
        vocabulary_size, d_model, nhead, num_layers, num_classes, **stack, max_length=max_length, pad_id=pad_id
    )
    block: Any = layers.transformer_encoder_layer(d_model, nhead, **stack)
    name = model.name.replace("transformer_classifier", "attention_maps", 1)

    def apply(params, state, x, /, *, key=None, train=False):
        tokens = checks.token_ids(name, x, vocabulary_size)
        checks.sequences(name, "x", tokens)
        checks.within_positions(name, tokens.shape[1], max_length)
        used = None if pad_id is None else (tokens != pad_id)[:, None]  # [B, 1, T]
        x = functional.embed(tokens, params["embedding"]["embedding"]) + params["positions"]["positions"][: x.shape[1]]
        weights = []
        for block_params in params["encoder"]["layers"]:
            looking = functional.layer_norm(x, **block_params["norm1"]) if norm_first else x
            weights.append(functional.multi_head_weights(looking, looking, block_params["attention"], nhead, used))
            x, _ = block.apply(block_params, (), x, mask=None if used is None else used[:, 0])
        return jnp.stack(weights, 1), state

    return Layer(model.init, apply, name)
