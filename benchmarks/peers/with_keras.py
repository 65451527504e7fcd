"""The networks in Keras 3 on the JAX backend, as its guides write them: layers, `compile`, `fit`, `predict`."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it when it is imported

import keras  # pyright: ignore[reportMissingImports]
import numpy as np
from keras import layers  # pyright: ignore[reportMissingImports]

from benchmarks.peers import work
from benchmarks.peers.work import Data, Peer


class Positions(layers.Layer):
    """Learned positions, added to [B, T, D]."""

    def build(self, input_shape):
        """Make the table."""
        self.table = self.add_weight(shape=(work.LONGEST, work.WIDTH), initializer="random_normal", name="positions")

    def call(self, x):
        """Add the first T positions."""
        return x + self.table[: x.shape[1]]


def mlp(dropout: float) -> keras.Model:
    hidden = [part for size in work.SIZES[1:-1] for part in (layers.Dense(size, "relu"), layers.Dropout(dropout))]
    return keras.Sequential([layers.Input((work.SIZES[0],)), *hidden, layers.Dense(work.CLASSES)])


def cnn(dropout: float) -> keras.Model:
    x = inputs = layers.Input((28, 28, 1))
    for block, channels in enumerate(work.CHANNELS):
        x = layers.Conv2D(channels, 3, padding="same")(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D(2)(x) if block < len(work.CHANNELS) - 1 else layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(work.HIDDEN, "relu")(x)
    return keras.Model(inputs, layers.Dense(work.CLASSES)(layers.Dropout(dropout)(x)))


def recurrent(kind: type, dropout: float) -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((work.STEPS, work.FEATURES)),
            kind(work.UNITS, return_sequences=True),
            layers.Dropout(dropout),
            kind(work.UNITS),
            layers.Dense(work.CLASSES),
        ]
    )


def encoder_layer(x, feed_forward: int, dropout: float):
    """Attention and a feed-forward network, each with dropout, the sum with its input, and a norm."""
    y = layers.MultiHeadAttention(work.HEADS, work.WIDTH // work.HEADS, dropout=dropout)(x, x)
    x = layers.LayerNormalization(epsilon=1e-5)(layers.Add()([x, layers.Dropout(dropout)(y)]))
    y = layers.Dropout(dropout)(layers.Dense(feed_forward, "relu")(x))
    y = layers.Dropout(dropout)(layers.Dense(work.WIDTH)(y))
    return layers.LayerNormalization(epsilon=1e-5)(layers.Add()([x, y]))


def transformer(feed_forward: int, dropout: float) -> keras.Model:
    inputs = layers.Input((work.TOKENS,), dtype="int32")
    x = Positions()(layers.Embedding(work.VOCABULARY, work.WIDTH)(inputs))
    for _ in range(work.LAYERS):
        x = encoder_layer(x, feed_forward, dropout)
    return keras.Model(inputs, layers.Dense(work.CLASSES)(layers.GlobalAveragePooling1D()(x)))


def model(network: str, dropout: float) -> keras.Model:
    if network == "mlp":
        return mlp(dropout)
    if network == "cnn":
        return cnn(dropout)
    if network in ("rnn", "lstm"):
        return recurrent({"rnn": layers.SimpleRNN, "lstm": layers.LSTM}[network], dropout)
    return transformer(work.FEED_FORWARD[network], dropout)


def taken_weights(network: str, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Put jaxnn's weights in the order of Keras's `trainable_variables`, with its order of gates: i, f, g, o too."""

    def dense(path: str) -> list[np.ndarray]:
        return [weights[f"{path}.weight"], weights[f"{path}.bias"]]

    def norm(path: str) -> list[np.ndarray]:
        return [weights[f"{path}.scale"], weights[f"{path}.bias"]]

    if network == "mlp":
        return [array for path in ("1", "3", "5") for array in dense(path)]
    if network == "cnn":
        blocks = [array for at in (0, 4, 8) for array in dense(f"{at}") + norm(f"{at + 1}")]
        return blocks + dense("13") + dense("16")
    if network in ("rnn", "lstm"):
        found = []
        for i in range(work.LAYERS):
            found += [weights[f"0.{i}.input_weight"], weights[f"0.{i}.recurrent_weight"]]
            found.append(weights[f"0.{i}.input_bias"] + weights[f"0.{i}.recurrent_bias"])
        return found + dense("2")
    found = [weights["embedding.embedding"], weights["positions.positions"]]
    heads = work.HEADS, work.WIDTH // work.HEADS
    for i in range(work.LAYERS):
        at = f"encoder.layers.{i}"
        into = np.split(weights[f"{at}.attention.in_weight"], 3, -1)
        bias = np.split(weights[f"{at}.attention.in_bias"], 3, -1)
        for k in range(3):  # query, key, value
            found += [into[k].reshape(work.WIDTH, *heads), bias[k].reshape(heads)]
        out, out_bias = dense(f"{at}.attention.out")
        found += [out.reshape(*heads, work.WIDTH), out_bias, *norm(f"{at}.norm1")]
        found += dense(f"{at}.linear1") + dense(f"{at}.linear2") + norm(f"{at}.norm2")
    return found + dense("classifier")


def start(network: str, data: Data, batch: int, *, dropout: float, rate: float, weights: dict[str, np.ndarray]) -> Peer:
    """Make the network with these weights."""
    keras.utils.set_random_seed(0)
    module = model(network, dropout)
    for variable, value in zip(module.trainable_variables, taken_weights(network, weights), strict=True):
        variable.assign(value)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    module.compile(optimizer=keras.optimizers.Adam(rate, epsilon=1e-8), loss=loss)
    whole = len(data.labels) // batch * batch
    inputs, labels = data.inputs[:whole], data.labels[:whole]

    def train() -> None:
        module.fit(inputs, labels, batch_size=batch, epochs=1, shuffle=True, verbose=0)

    def predict() -> np.ndarray:
        return module.predict(data.inputs, batch_size=batch, verbose=0)

    return Peer(train, predict)
