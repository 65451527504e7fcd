"""The networks in Flax nnx, as its MNIST tutorial and its notes on performance write them.

A step is one `nnx.jit` that changes the modules in place; `nnx.cached_partial` saves their traversal at each call.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.peers import work
from benchmarks.peers.work import Data, Peer


class MLP(nnx.Module):
    """The guide's perceptron."""

    def __init__(self, dropout: float, *, rngs: nnx.Rngs):
        a, b, c, d = work.SIZES
        self.linear1, self.linear2 = nnx.Linear(a, b, rngs=rngs), nnx.Linear(b, c, rngs=rngs)
        self.linear3 = nnx.Linear(c, d, rngs=rngs)
        self.dropout1, self.dropout2 = nnx.Dropout(dropout, rngs=rngs), nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        """Compute the logits."""
        x = self.dropout1(nnx.relu(self.linear1(x)))
        x = self.dropout2(nnx.relu(self.linear2(x)))
        return self.linear3(x)


class CNN(nnx.Module):
    """The guide's convolutional network."""

    def __init__(self, dropout: float, *, rngs: nnx.Rngs):
        c1, c2, c3 = work.CHANNELS
        self.conv1, self.norm1 = nnx.Conv(1, c1, (3, 3), rngs=rngs), batch_norm(c1, rngs)
        self.conv2, self.norm2 = nnx.Conv(c1, c2, (3, 3), rngs=rngs), batch_norm(c2, rngs)
        self.conv3, self.norm3 = nnx.Conv(c2, c3, (3, 3), rngs=rngs), batch_norm(c3, rngs)
        self.linear1 = nnx.Linear(c3, work.HIDDEN, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.linear2 = nnx.Linear(work.HIDDEN, work.CLASSES, rngs=rngs)

    def __call__(self, x):
        """Compute the logits."""
        x = nnx.max_pool(nnx.relu(self.norm1(self.conv1(x))), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.norm2(self.conv2(x))), (2, 2), (2, 2))
        x = nnx.relu(self.norm3(self.conv3(x))).mean((1, 2))
        return self.linear2(self.dropout(nnx.relu(self.linear1(x))))


def batch_norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)


class Recurrent(nnx.Module):
    """The guide's RNN or LSTM: the last step is classified."""

    def __init__(self, cell: Any, dropout: float, *, rngs: nnx.Rngs):
        self.rnn1 = nnx.RNN(cell(work.FEATURES, work.UNITS, rngs=rngs), rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.rnn2 = nnx.RNN(cell(work.UNITS, work.UNITS, rngs=rngs), rngs=rngs)
        self.linear = nnx.Linear(work.UNITS, work.CLASSES, rngs=rngs)

    def __call__(self, x):
        """Compute the logits."""
        outputs: Any = self.rnn2(self.dropout(self.rnn1(x)))
        return self.linear(outputs[:, -1])


class EncoderLayer(nnx.Module):
    """Attention and a feed-forward network, each with dropout, the sum with its input, and a norm."""

    def __init__(self, feed_forward: int, dropout: float, *, rngs: nnx.Rngs):
        self.attention = nnx.MultiHeadAttention(
            work.HEADS,
            work.WIDTH,
            dropout_rate=dropout,
            broadcast_dropout=False,
            deterministic=False,
            decode=False,
            rngs=rngs,
        )
        self.linear1 = nnx.Linear(work.WIDTH, feed_forward, rngs=rngs)
        self.linear2 = nnx.Linear(feed_forward, work.WIDTH, rngs=rngs)
        self.norm1 = nnx.LayerNorm(work.WIDTH, epsilon=1e-5, rngs=rngs)
        self.norm2 = nnx.LayerNorm(work.WIDTH, epsilon=1e-5, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        """Encode [B, T, D]."""
        x = self.norm1(x + self.dropout(self.attention(x)))
        y = self.dropout(nnx.relu(self.linear1(x)))
        return self.norm2(x + self.dropout(self.linear2(y)))


class Transformer(nnx.Module):
    """The guide's Transformer classifier: learned positions, the mean over the tokens."""

    def __init__(self, feed_forward: int, dropout: float, *, rngs: nnx.Rngs):
        self.embed = nnx.Embed(work.VOCABULARY, work.WIDTH, rngs=rngs)
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (work.LONGEST, work.WIDTH)))
        self.layers = nnx.List([EncoderLayer(feed_forward, dropout, rngs=rngs) for _ in range(work.LAYERS)])
        self.linear = nnx.Linear(work.WIDTH, work.CLASSES, rngs=rngs)

    def __call__(self, x):
        """Compute the logits."""
        y = self.embed(x) + self.positions[: x.shape[1]]
        for layer in self.layers:
            y = layer(y)
        return self.linear(y.mean(1))


def model(network: str, dropout: float) -> nnx.Module:
    rngs = nnx.Rngs(0)
    if network == "mlp":
        return MLP(dropout, rngs=rngs)
    if network == "cnn":
        return CNN(dropout, rngs=rngs)
    if network in ("rnn", "lstm"):
        return Recurrent({"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell}[network], dropout, rngs=rngs)
    return Transformer(work.FEED_FORWARD[network], dropout, rngs=rngs)


def taken_params(network: str, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrange jaxnn's weights as nnx's parameters; of two biases of a recurrent layer, their sum."""

    def linear(path: str) -> dict[str, np.ndarray]:
        return {"kernel": weights[f"{path}.weight"], "bias": weights[f"{path}.bias"]}

    def norm(path: str) -> dict[str, np.ndarray]:
        return {"scale": weights[f"{path}.scale"], "bias": weights[f"{path}.bias"]}

    if network == "mlp":
        return {f"linear{i}": linear(path) for i, path in enumerate(("1", "3", "5"), start=1)}
    if network == "cnn":
        return (
            {f"conv{i}": linear(path) for i, path in enumerate(("0", "4", "8"), start=1)}
            | {f"norm{i}": norm(path) for i, path in enumerate(("1", "5", "9"), start=1)}
            | {f"linear{i}": linear(path) for i, path in enumerate(("13", "16"), start=1)}
        )
    if network in ("rnn", "lstm"):
        params: dict[str, Any] = {"linear": linear("2")}
        for i in range(work.LAYERS):
            into, back = weights[f"0.{i}.input_weight"], weights[f"0.{i}.recurrent_weight"]
            bias = {"bias": weights[f"0.{i}.input_bias"] + weights[f"0.{i}.recurrent_bias"]}
            dense_i, dense_h = {"kernel": into}, {"kernel": back}
            (dense_i if network == "rnn" else dense_h).update(bias)
            params[f"rnn{i + 1}"] = {"cell": {"dense_i": dense_i, "dense_h": dense_h}}
        return params
    params = {"linear": linear("classifier"), "positions": weights["positions.positions"], "layers": {}}
    params["embed"] = {"embedding": weights["embedding.embedding"]}
    for i in range(work.LAYERS):
        at = f"encoder.layers.{i}"
        into = np.split(weights[f"{at}.attention.in_weight"], 3, -1)
        bias = np.split(weights[f"{at}.attention.in_bias"], 3, -1)
        heads = work.HEADS, work.WIDTH // work.HEADS
        attention: dict[str, Any] = {
            name: {"kernel": into[k].reshape(work.WIDTH, *heads), "bias": bias[k].reshape(heads)}
            for k, name in enumerate(("query", "key", "value"))
        }
        out = linear(f"{at}.attention.out")
        attention["out"] = out | {"kernel": out["kernel"].reshape(*heads, work.WIDTH)}
        layer = {name: linear(f"{at}.{name}") for name in ("linear1", "linear2")}
        layer |= {name: norm(f"{at}.{name}") for name in ("norm1", "norm2")}
        params["layers"][i] = layer | {"attention": attention}
    return params


def take_params(module: nnx.Module, params: dict[str, Any]) -> None:
    """Put these parameters into the module, which must have the same ones."""
    state = nnx.state(module, nnx.Param)
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, params))
    nnx.update(module, state)


@nnx.jit
def train_step(model: Any, optimizer: nnx.Optimizer, inputs: np.ndarray, labels: np.ndarray) -> None:
    """Take one step of Adam, in place."""

    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(inputs), labels).mean()

    optimizer.update(model, nnx.grad(loss_fn)(model))


@nnx.jit
def pred_step(model: Any, inputs: np.ndarray) -> jax.Array:
    """Compute the logits; the model is in evaluation mode."""
    return model(inputs)


def start(network: str, data: Data, batch: int, *, dropout: float, rate: float, weights: dict[str, np.ndarray]) -> Peer:
    """Make the network with these weights."""
    module = model(network, dropout)
    take_params(module, taken_params(network, weights))
    in_evaluation = nnx.view(module, **evaluation_mode(network))  # shares the parameters
    optimizer = nnx.Optimizer(module, optax.adam(rate), wrt=nnx.Param)
    step = nnx.cached_partial(train_step, module, optimizer)
    answer = nnx.cached_partial(pred_step, in_evaluation)
    order = np.random.default_rng(0)

    def train() -> None:
        for rows in work.batches_of_rows(order, len(data.labels), batch):
            step(data.inputs[rows], data.labels[rows])
        jax.block_until_ready(nnx.state(module))

    def predict() -> np.ndarray:
        return np.concatenate([answer(data.inputs[i : i + batch]) for i in range(0, len(data.inputs), batch)])

    return Peer(train, predict)


def evaluation_mode(network: str) -> dict[str, bool]:
    return {"deterministic": True} | ({"use_running_average": True} if network == "cnn" else {})
