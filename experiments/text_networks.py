"""The networks of the experiment with texts. Each has its table of word vectors at params["embedding"]["embedding"]."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks, functional, layers, models, tree
from jaxnn.data.text import PAD
from jaxnn.types import Layer

MODELS = ("rnn", "lstm", "gru", "transformer")
VECTORS, HIDDEN = 128, 64  # word vectors; units of a recurrent network in each direction
VECTOR_DEVIATION = 0.1  # of the first word vectors; N(0, 1), PyTorch's default, drowns what a few thousand texts teach
VECTOR_DROPOUT, UNIT_DROPOUT = 0.5, 0.5  # of the entries of the word vectors, and of what the last layer reads
HEADS, BLOCKS, FEED_FORWARD, BLOCK_DROPOUT = 4, 2, 256, 0.1


def network(kind: str, vocabulary_size: int, classes: int, length: int) -> Layer:
    """Make the network of this kind over tokens, integers [B, T] with T up to `length` -> logits [B, classes].

    Padding changes nothing: it is left out of the recurrence, of the attention and of the pooling.
    """
    if kind == "transformer":
        return _transformer(vocabulary_size, classes, length)
    return _recurrent(kind, vocabulary_size, classes)


def attention(vocabulary_size: int, classes: int, length: int) -> Layer:
    """Make the layer that shows where the Transformer looks, [B, T] -> [B, layers, heads, T, T], from its params."""
    return models.attention_maps(*_transformer_sizes(vocabulary_size, classes), **_transformer_options(length))


def _recurrent(kind: str, vocabulary_size: int, classes: int) -> Layer:
    """Read the text in both directions and take each unit's largest output over the time steps."""
    make = {"rnn": layers.rnn, "lstm": layers.lstm, "gru": layers.gru}[kind]
    parts: dict[str, Any] = {
        "embedding": layers.embedding(vocabulary_size, VECTORS, pad_id=PAD),
        "recurrent": make(VECTORS, HIDDEN, bidirectional=True),
        "classifier": layers.linear(2 * HIDDEN, classes),
    }

    name = f"{kind}, {VECTORS} -> 2 x {HIDDEN}, maximum over time"

    def init(key, /):
        params = {part: layer.init(jax.random.fold_in(key, i))[0] for i, (part, layer) in enumerate(parts.items())}
        return _small_vectors(params), ()

    def apply(params, state, x, /, *, key=None, train=False):
        def dropped(values, rate, number):
            if not train:
                return values
            return functional.dropout(values, jax.random.fold_in(checks.given_key(name, key), number), rate)

        vectors, _ = parts["embedding"].apply(params["embedding"], (), x)
        lengths = functional.valid_lengths(x, PAD)
        outputs, _ = parts["recurrent"].apply(
            params["recurrent"], (), dropped(vectors, VECTOR_DROPOUT, 0), lengths=lengths
        )
        read = jnp.arange(x.shape[1]) < lengths[:, None]  # [B, T]
        largest = functional.global_max_pool(jnp.where(read[..., None], outputs, -1))  # outputs lie in -1..1
        return parts["classifier"].apply(params["classifier"], (), dropped(largest, UNIT_DROPOUT, 1))[0], state

    return Layer(init, apply, name)


def _transformer(vocabulary_size: int, classes: int, length: int) -> Layer:
    model = models.transformer_classifier(*_transformer_sizes(vocabulary_size, classes), **_transformer_options(length))

    def init(key, /):
        params, state = model.init(key)
        return _small_vectors(params), state

    return Layer(init, model.apply, model.name)


def _transformer_sizes(vocabulary_size: int, classes: int) -> tuple[int, int, int, int, int]:
    return vocabulary_size, VECTORS, HEADS, BLOCKS, classes


def _transformer_options(length: int) -> dict[str, Any]:
    return {
        "dim_feedforward": FEED_FORWARD,
        "dropout": BLOCK_DROPOUT,
        "norm_first": True,  # trains without a warm-up of the rate
        "max_length": length,
        "pad_id": PAD,
    }


def _small_vectors(params: Any) -> Any:
    """Scale what was drawn from N(0, 1): word vectors and positions."""
    drawn = tree.mask(params, r".*(embedding|positions)")
    return jax.tree.map(lambda w, scale: w * VECTOR_DEVIATION if scale else w, params, drawn)
