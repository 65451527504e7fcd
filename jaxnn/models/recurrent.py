"""Recurrent classifiers: a recurrent network, its last time step, and a linear layer."""

from typing import Any

import jax

from jaxnn import checks, functional, layers
from jaxnn.types import Array, Layer


def rnn_classifier(
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_classes: int,
    *,
    dropout: float | Array = 0.0,
    vocabulary_size: int | None = None,
    pad_id: int | None = None,
) -> Layer:
    """Make the guide's RNN: `rnn`, the last time step, and a linear layer, [B, T, D] -> logits [B, classes].

    What the guide leaves to PyTorch: tanh, two biases a layer, all of `nn.RNN` drawn from U(-1/sqrt(H), 1/sqrt(H)) and
    the linear layer from U(-1/sqrt(H), 1/sqrt(H)) too, zeros as the initial carry. `dropout` acts between the layers.

    With `vocabulary_size` the input is tokens, integers [B, T], and an embedding with vectors of `input_size`, drawn
    from N(0, 1), stands before the network. With `pad_id` too, the last *valid* step is taken, that of a row's last
    token other than `pad_id`; the features of a row of nothing but padding are zeros. Without `pad_id` the padding is
    read like any token. Raises ValueError for another shape of x or no time steps, and for a token outside the
    vocabulary.

    >>> model = rnn_classifier(28, 128, 2, 10)
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jax.numpy.ones((32, 28, 28)))[0].shape
    (rnn_classifier(28, 128, 2, 10), (32, 10))
    """
    return _classifier("rnn", input_size, hidden_size, num_layers, num_classes, dropout, 0.0, vocabulary_size, pad_id)


def lstm_classifier(
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_classes: int,
    *,
    dropout: float | Array = 0.2,
    vocabulary_size: int | None = None,
    pad_id: int | None = None,
) -> Layer:
    """Make the guide's LSTM: `lstm`, the last time step, and a linear layer, [B, T, D] -> logits [B, classes].

    Its dropout of 0.2 acts between the layers alone: not after the last one, and so not at all with one layer. What the
    guide leaves to PyTorch: gates i, f, g, o, no larger bias for the forget gate, zeros as the initial h and c, and the
    rest as in `rnn_classifier`, which has the words on tokens too.

    >>> model = lstm_classifier(64, 128, 1, 6, vocabulary_size=1000, pad_id=0)
    >>> params, state = model.init(jax.random.key(0))
    >>> model.apply(params, state, jax.numpy.array([[5, 7, 0], [2, 3, 4]]))[0].shape
    (2, 6)
    """
    return _classifier("lstm", input_size, hidden_size, num_layers, num_classes, dropout, 0.2, vocabulary_size, pad_id)


def gru_classifier(
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_classes: int,
    *,
    dropout: float | Array = 0.2,
    vocabulary_size: int | None = None,
    pad_id: int | None = None,
) -> Layer:
    """Make the guide's LSTM model with `gru` in its place, [B, T, D] -> logits [B, classes].

    PyTorch's GRU: gates r, z, n, the reset gate after the product. The rest is as in `lstm_classifier` and
    `rnn_classifier`.

    >>> model = gru_classifier(28, 128, 2, 10)
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jax.numpy.ones((32, 28, 28)))[0].shape
    (gru_classifier(28, 128, 2, 10), (32, 10))
    """
    return _classifier("gru", input_size, hidden_size, num_layers, num_classes, dropout, 0.2, vocabulary_size, pad_id)


def _classifier(
    kind: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    num_classes: int,
    dropout: float | Array,
    default: float,
    vocabulary_size: int | None,
    pad_id: int | None,
) -> Layer:
    function = f"{kind}_classifier"
    sizes = {
        "input_size": input_size,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_classes": num_classes,
    }
    if vocabulary_size is not None:
        sizes["vocabulary_size"] = vocabulary_size
        checks.pad_index(function, pad_id, vocabulary_size)
    elif pad_id is not None:
        raise ValueError(f"{function} expected vocabulary_size with pad_id={pad_id}: only tokens have padding")
    for what, size in sizes.items():
        checks.positive_int(function, what, size)
    checks.in_range(function, "dropout", dropout, 0, 1)
    options = [
        f", dropout={checks.number(dropout)}" if not checks.is_concrete(dropout) or dropout != default else "",
        f", vocabulary_size={vocabulary_size}" if vocabulary_size is not None else "",
        f", pad_id={pad_id}" if pad_id is not None else "",
    ]
    name = f"{function}({input_size}, {hidden_size}, {num_layers}, {num_classes}{''.join(options)})"
    parts = [
        {"rnn": layers.rnn, "lstm": layers.lstm, "gru": layers.gru}[kind](
            input_size, hidden_size, num_layers, dropout=dropout
        ),
        layers.last_step(),
        layers.linear(hidden_size, num_classes),
    ]
    if vocabulary_size is not None:
        parts.insert(0, layers.embedding(vocabulary_size, input_size, pad_id=pad_id))
    model = layers.sequential(*parts, name=name)
    return model if pad_id is None else _to_last_token(model, pad_id)


def _to_last_token(model: Layer, pad_id: int) -> Layer:
    """Make the model of the same params that stops each row after its last token: a sequential knows no lengths."""
    applies: list[Any] = [part.apply for part in model.parts]  # two of them take lengths
    embedding, recurrent, last, head = applies

    def apply(params, state, x, /, *, key=None, train=False):
        checks.one_entry_per_part(model.name, params, state, len(model.parts))
        part_key = None if key is None else jax.random.fold_in(checks.random_key(model.name, key), 1)  # as sequential
        vectors, _ = embedding(params[0], (), x)
        checks.time_steps(model.name, vectors, vectors.shape[-1])
        lengths = functional.valid_lengths(x, pad_id)
        outputs, _ = recurrent(params[1], (), vectors, key=part_key, train=train, lengths=lengths)
        return head(params[3], (), last((), (), outputs, lengths=lengths)[0])[0], state

    return Layer(model.init, apply, model.name)
