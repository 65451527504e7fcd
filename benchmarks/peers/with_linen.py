"""The networks in Flax linen, as its MNIST and lm1b examples write them: a jitted step over a `TrainState`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

from benchmarks.peers import work
from benchmarks.peers.work import Data, Peer


class MLP(nn.Module):
    """The guide's perceptron."""

    dropout: float

    @nn.compact
    def __call__(self, x, train: bool):
        """Compute the logits."""
        for size in work.SIZES[1:-1]:
            x = nn.relu(nn.Dense(size)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(work.CLASSES)(x)


class CNN(nn.Module):
    """The guide's convolutional network."""

    dropout: float

    @nn.compact
    def __call__(self, x, train: bool):
        """Compute the logits."""
        for block, channels in enumerate(work.CHANNELS):
            x = nn.Conv(channels, (3, 3))(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x))
            x = nn.max_pool(x, (2, 2), (2, 2)) if block < len(work.CHANNELS) - 1 else x.mean((1, 2))
        x = nn.relu(nn.Dense(work.HIDDEN)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(work.CLASSES)(x)


class Recurrent(nn.Module):
    """The guide's RNN or LSTM: the last step is classified."""

    cell: Any
    dropout: float

    @nn.compact
    def __call__(self, x: Any, train: bool):
        """Compute the logits."""
        for layer in range(work.LAYERS):
            x = nn.RNN(self.cell(work.UNITS))(x)
            if layer < work.LAYERS - 1:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(work.CLASSES)(x[:, -1])


class EncoderLayer(nn.Module):
    """Attention and a feed-forward network, each with dropout, the sum with its input, and a norm."""

    feed_forward: int
    dropout: float

    @nn.compact
    def __call__(self, x, train: bool):
        """Encode [B, T, D]."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = nn.MultiHeadDotProductAttention(
            work.HEADS, dropout_rate=self.dropout, broadcast_dropout=False, deterministic=not train
        )(x)
        x = nn.LayerNorm(epsilon=1e-5)(x + drop(y))
        y = drop(nn.relu(nn.Dense(self.feed_forward)(x)))
        return nn.LayerNorm(epsilon=1e-5)(x + drop(nn.Dense(work.WIDTH)(y)))


class Transformer(nn.Module):
    """The guide's Transformer classifier: learned positions, the mean over the tokens."""

    feed_forward: int
    dropout: float

    @nn.compact
    def __call__(self, x, train: bool):
        """Compute the logits."""
        positions = self.param("positions", nn.initializers.normal(1.0), (work.LONGEST, work.WIDTH))
        y = nn.Embed(work.VOCABULARY, work.WIDTH)(x) + positions[: x.shape[1]]
        for _ in range(work.LAYERS):
            y = EncoderLayer(self.feed_forward, self.dropout)(y, train)
        return nn.Dense(work.CLASSES)(y.mean(1))


def model(network: str, dropout: float) -> nn.Module:
    if network == "mlp":
        return MLP(dropout)
    if network == "cnn":
        return CNN(dropout)
    if network in ("rnn", "lstm"):
        return Recurrent({"rnn": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell}[network], dropout)
    return Transformer(work.FEED_FORWARD[network], dropout)


def taken_params(network: str, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrange jaxnn's weights as linen's parameters; of two biases of a recurrent layer, their sum."""

    def dense(path: str) -> dict[str, np.ndarray]:
        return {"kernel": weights[f"{path}.weight"], "bias": weights[f"{path}.bias"]}

    def norm(path: str) -> dict[str, np.ndarray]:
        return {"scale": weights[f"{path}.scale"], "bias": weights[f"{path}.bias"]}

    if network == "mlp":
        return {f"Dense_{i}": dense(path) for i, path in enumerate(("1", "3", "5"))}
    if network == "cnn":
        return (
            {f"Conv_{i}": dense(path) for i, path in enumerate(("0", "4", "8"))}
            | {f"BatchNorm_{i}": norm(path) for i, path in enumerate(("1", "5", "9"))}
            | {f"Dense_{i}": dense(path) for i, path in enumerate(("13", "16"))}
        )
    if network in ("rnn", "lstm"):
        params: dict[str, Any] = {"Dense_0": dense("2")}
        for i in range(work.LAYERS):
            into, back = weights[f"0.{i}.input_weight"], weights[f"0.{i}.recurrent_weight"]
            bias = weights[f"0.{i}.input_bias"] + weights[f"0.{i}.recurrent_bias"]
            if network == "rnn":
                params[f"SimpleCell_{i}"] = {"i": {"kernel": into, "bias": bias}, "h": {"kernel": back}}
            else:
                into, back, bias = (np.split(array, 4, -1) for array in (into, back, bias))
                params[f"OptimizedLSTMCell_{i}"] = {f"i{gate}": {"kernel": into[k]} for k, gate in enumerate("ifgo")}
                params[f"OptimizedLSTMCell_{i}"] |= {
                    f"h{gate}": {"kernel": back[k], "bias": bias[k]} for k, gate in enumerate("ifgo")
                }
        return params
    params = {"Dense_0": dense("classifier"), "positions": weights["positions.positions"]}
    params["Embed_0"] = {"embedding": weights["embedding.embedding"]}
    for i in range(work.LAYERS):
        at = f"encoder.layers.{i}"
        into = np.split(weights[f"{at}.attention.in_weight"], 3, -1)
        bias = np.split(weights[f"{at}.attention.in_bias"], 3, -1)
        heads = work.HEADS, work.WIDTH // work.HEADS
        attention: dict[str, Any] = {
            name: {"kernel": into[k].reshape(work.WIDTH, *heads), "bias": bias[k].reshape(heads)}
            for k, name in enumerate(("query", "key", "value"))
        }
        out = dense(f"{at}.attention.out")
        attention["out"] = out | {"kernel": out["kernel"].reshape(*heads, work.WIDTH)}
        params[f"EncoderLayer_{i}"] = {
            "MultiHeadDotProductAttention_0": attention,
            "LayerNorm_0": norm(f"{at}.norm1"),
            "Dense_0": dense(f"{at}.linear1"),
            "Dense_1": dense(f"{at}.linear2"),
            "LayerNorm_1": norm(f"{at}.norm2"),
        }
    return params


class TrainState(train_state.TrainState):
    """Flax's own with running statistics, and the key of dropout."""

    batch_stats: Any
    key: Any


@jax.jit
def train_step(state: TrainState, inputs: np.ndarray, labels: np.ndarray) -> TrainState:
    """Take one step of Adam."""
    key = jax.random.fold_in(state.key, state.step)

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updates = state.apply_fn(variables, inputs, train=True, rngs={"dropout": key}, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates

    (_, updates), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads, batch_stats=updates.get("batch_stats", {}))


@jax.jit
def pred_step(state: TrainState, inputs: np.ndarray) -> jax.Array:
    """Compute the logits in evaluation mode."""
    return state.apply_fn({"params": state.params, "batch_stats": state.batch_stats}, inputs, train=False)


def start(network: str, data: Data, batch: int, *, dropout: float, rate: float, weights: dict[str, np.ndarray]) -> Peer:
    """Make the network with these weights."""
    module = model(network, dropout)
    variables = jax.jit(module.init, static_argnames="train")(jax.random.key(0), data.inputs[:1], train=False)
    state = TrainState.create(
        apply_fn=module.apply,
        params=jax.tree.map(jnp.asarray, taken_params(network, weights)),
        tx=optax.adam(rate),
        batch_stats=variables.get("batch_stats", {}),
        key=jax.random.key(1),
    )
    order = np.random.default_rng(0)

    def train() -> None:
        nonlocal state
        for rows in work.batches_of_rows(order, len(data.labels), batch):
            state = train_step(state, data.inputs[rows], data.labels[rows])
        jax.block_until_ready(state)

    def predict() -> np.ndarray:
        parts = [pred_step(state, data.inputs[i : i + batch]) for i in range(0, len(data.inputs), batch)]
        return np.concatenate(parts)

    return Peer(train, predict)
