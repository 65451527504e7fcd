"""The networks in Equinox, as its examples (MNIST, RNN, BERT, stateful operations) write them.

A model is written for one example and mapped over the batch by `jax.vmap`; a step is one `eqx.filter_jit`.
"""

from typing import Any

import equinox as eqx  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peers import work
from benchmarks.peers.equinox_weights import take_weights
from benchmarks.peers.work import Data, Peer

KEY = jax.random.key(0)


class MLP(eqx.Module):
    """The guide's perceptron."""

    layers: list
    dropout: eqx.nn.Dropout

    def __init__(self, dropout):
        sizes = zip(work.SIZES[:-1], work.SIZES[1:], strict=True)
        self.layers = [eqx.nn.Linear(a, b, key=KEY) for a, b in sizes]
        self.dropout = eqx.nn.Dropout(dropout)

    def __call__(self, x, state, key):
        """Compute the logits of one example."""
        for layer, layer_key in zip(self.layers[:-1], split(key, 2), strict=True):
            x = self.dropout(jax.nn.relu(layer(x)), key=layer_key)
        return self.layers[-1](x), state


class CNN(eqx.Module):
    """The guide's convolutional network."""

    convolutions: list
    norms: list
    pool: eqx.nn.MaxPool2d
    hidden: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    classifier: eqx.nn.Linear

    def __init__(self, dropout):
        pairs = zip((1, *work.CHANNELS[:-1]), work.CHANNELS, strict=True)
        self.convolutions = [eqx.nn.Conv2d(a, b, 3, padding=1, key=KEY) for a, b in pairs]
        self.norms = [eqx.nn.BatchNorm(c, "batch", momentum=0.9, mode="batch") for c in work.CHANNELS]
        self.pool = eqx.nn.MaxPool2d(2, 2)
        self.hidden = eqx.nn.Linear(work.CHANNELS[-1], work.HIDDEN, key=KEY)
        self.dropout = eqx.nn.Dropout(dropout)
        self.classifier = eqx.nn.Linear(work.HIDDEN, work.CLASSES, key=KEY)

    def __call__(self, x, state, key):
        """Compute the logits of one image [1, 28, 28]."""
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x, state = norm(convolution(x), state)
            x = jax.nn.relu(x)
            x = self.pool(x) if i < len(self.norms) - 1 else x.mean((1, 2))
        x = self.dropout(jax.nn.relu(self.hidden(x)), key=key)
        return self.classifier(x), state


class RNNCell(eqx.Module):
    """tanh(W x + U h + b); Equinox brings GRU and LSTM cells only."""

    into: eqx.nn.Linear
    back: eqx.nn.Linear

    def __init__(self, features, units, key):
        self.into = eqx.nn.Linear(features, units, key=key)
        self.back = eqx.nn.Linear(units, units, use_bias=False, key=key)

    def __call__(self, x, h):
        """Take one step."""
        return jnp.tanh(self.into(x) + self.back(h))


class Recurrent(eqx.Module):
    """The guide's RNN or LSTM: the last step is classified."""

    cells: list
    dropout: eqx.nn.Dropout
    classifier: eqx.nn.Linear

    def __init__(self, cell, dropout):
        sizes = (work.FEATURES, *[work.UNITS] * (work.LAYERS - 1))
        self.cells = [cell(size, work.UNITS, key=KEY) for size in sizes]
        self.dropout = eqx.nn.Dropout(dropout)
        self.classifier = eqx.nn.Linear(work.UNITS, work.CLASSES, key=KEY)

    def __call__(self, x, state, key):
        """Compute the logits of one sequence [T, D]."""
        zeros = jnp.zeros(work.UNITS)
        for i, cell in enumerate(self.cells):
            long = isinstance(cell, eqx.nn.LSTMCell)

            def step(carry, at, cell=cell, long=long):
                carry = cell(at, carry)
                return carry, carry[0] if long else carry

            _, x = jax.lax.scan(step, (zeros, zeros) if long else zeros, x)
            if i < len(self.cells) - 1:
                x = self.dropout(x, key=key)
        return self.classifier(x[-1]), state


class EncoderLayer(eqx.Module):
    """Attention and a feed-forward network, each with dropout, the sum with its input, and a norm."""

    attention: eqx.nn.MultiheadAttention
    linear1: eqx.nn.Linear
    linear2: eqx.nn.Linear
    norm1: eqx.nn.LayerNorm
    norm2: eqx.nn.LayerNorm
    dropout: eqx.nn.Dropout

    def __init__(self, feed_forward, dropout):
        biases = {f"use_{what}_bias": True for what in ("query", "key", "value", "output")}
        self.attention = eqx.nn.MultiheadAttention(work.HEADS, work.WIDTH, **biases, dropout_p=dropout, key=KEY)
        self.linear1 = eqx.nn.Linear(work.WIDTH, feed_forward, key=KEY)
        self.linear2 = eqx.nn.Linear(feed_forward, work.WIDTH, key=KEY)
        self.norm1, self.norm2 = eqx.nn.LayerNorm(work.WIDTH), eqx.nn.LayerNorm(work.WIDTH)
        self.dropout = eqx.nn.Dropout(dropout)

    def __call__(self, x, key):
        """Encode one sequence [T, D]."""
        keys = split(key, 4)
        y = self.attention(x, x, x, key=keys[0])
        x = jax.vmap(self.norm1)(x + self.dropout(y, key=keys[1]))
        y = self.dropout(jax.nn.relu(jax.vmap(self.linear1)(x)), key=keys[2])
        y = self.dropout(jax.vmap(self.linear2)(y), key=keys[3])
        return jax.vmap(self.norm2)(x + y)


class Transformer(eqx.Module):
    """The guide's Transformer classifier: learned positions, the mean over the tokens."""

    embedding: eqx.nn.Embedding
    positions: jax.Array
    layers: list
    classifier: eqx.nn.Linear

    def __init__(self, feed_forward, dropout):
        self.embedding = eqx.nn.Embedding(work.VOCABULARY, work.WIDTH, key=KEY)
        self.positions = jax.random.normal(KEY, (work.LONGEST, work.WIDTH))
        self.layers = [EncoderLayer(feed_forward, dropout) for _ in range(work.LAYERS)]
        self.classifier = eqx.nn.Linear(work.WIDTH, work.CLASSES, key=KEY)

    def __call__(self, x, state, key):
        """Compute the logits of one sequence of tokens [T]."""
        y = jax.vmap(self.embedding)(x) + self.positions[: len(x)]
        for layer, layer_key in zip(self.layers, split(key, work.LAYERS), strict=True):
            y = layer(y, layer_key)
        return self.classifier(y.mean(0)), state


def split(key, count: int):
    """Split the key of training; in evaluation there is none."""
    return [None] * count if key is None else jax.random.split(key, count)


def model(network: str, dropout: float) -> tuple[Any, Any]:
    if network == "mlp":
        return eqx.nn.make_with_state(MLP)(dropout)
    if network == "cnn":
        return eqx.nn.make_with_state(CNN)(dropout)
    if network in ("rnn", "lstm"):
        return eqx.nn.make_with_state(Recurrent)({"rnn": RNNCell, "lstm": eqx.nn.LSTMCell}[network], dropout)
    return eqx.nn.make_with_state(Transformer)(work.FEED_FORWARD[network], dropout)


def batched(module: Any) -> Any:
    return jax.vmap(module, axis_name="batch", in_axes=(0, None, 0), out_axes=(0, None))


def start(network: str, data: Data, batch: int, *, dropout: float, rate: float, weights: dict[str, np.ndarray]) -> Peer:
    """Make the network with these weights."""
    module, state = model(network, dropout)
    module = take_weights(network, module, weights)
    inputs = data.inputs
    if network == "cnn":
        inputs = inputs.transpose(0, 3, 1, 2).copy()
        for norm in module.norms:
            # Equinox starts the running variance at 1 and divides it by 1 - momentum^steps too, so that evaluation is
            # what it is elsewhere only after many steps; the check looks at the loss after the first one.
            state = state.set(norm.batch_counter, jnp.array(10_000))
    optimizer = optax.adam(rate)
    opt_state = optimizer.init(eqx.filter(module, eqx.is_inexact_array))
    key, order = jax.random.key(1), np.random.default_rng(0)

    def loss_fn(module, state, inputs, labels, keys):
        logits, state = batched(module)(inputs, state, keys)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state

    @eqx.filter_jit
    def make_step(module, state, opt_state, inputs, labels, key):
        key, dropout_key = jax.random.split(key)
        keys = jax.random.split(dropout_key, len(inputs))
        grads, state = eqx.filter_grad(loss_fn, has_aux=True)(module, state, inputs, labels, keys)
        updates, opt_state = optimizer.update(grads, opt_state)
        return eqx.apply_updates(module, updates), state, opt_state, key

    @eqx.filter_jit
    def evaluate(module, state, inputs):
        return jax.vmap(lambda x: eqx.nn.inference_mode(module)(x, state, None)[0])(inputs)

    def train() -> None:
        nonlocal module, state, opt_state, key
        for rows in work.batches_of_rows(order, len(data.labels), batch):
            module, state, opt_state, key = make_step(module, state, opt_state, inputs[rows], data.labels[rows], key)
        jax.block_until_ready(eqx.filter(module, eqx.is_array))

    def predict() -> np.ndarray:
        return np.concatenate([evaluate(module, state, inputs[i : i + batch]) for i in range(0, len(inputs), batch)])

    return Peer(train, predict)
