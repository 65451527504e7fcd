"""Recurrent networks over whole sequences and step by step: the simple RNN, the LSTM and the GRU.

The parameters of a network are a tuple with one entry a layer. An entry is a dict of `input_weight` [D, gates * H],
`recurrent_weight` [H, gates * H], `input_bias` and `recurrent_bias` [gates * H], with D = H (or 2 H) after the first
layer; a bidirectional layer has two such dicts, `forward` and `backward`. A carry is what a network remembers of a
sequence: h [layers, B, H], or the pair (h, c) for the LSTM; bidirectional networks have 2 entries a layer there,
forward before backward. All of it is as PyTorch has it, but for the weights, which PyTorch keeps transposed.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.functional.cells import gru_cell, lstm_cell, rnn_cell
from jaxnn.functional.recurrence import GATES, directions, network, one_step
from jaxnn.types import Array, Params, PRNGKey


def rnn(
    params: Params,
    x: Float[Array, "batch time in"],
    carry: Float[Array, "layers batch hidden"] | None = None,
    lengths: Integer[Array, " batch"] | None = None,
    *,
    activation: Callable[[Any], Any] = jnp.tanh,
    dropout: float | Array = 0.0,
    key: PRNGKey | None = None,
) -> tuple[Float[Array, "batch time out"], Float[Array, "layers batch hidden"]]:
    """Run a simple recurrent network over x, [B, T, D] -> outputs [B, T, H] and the final carry h [layers, B, H].

    h_t = tanh(x_t W + b + h_{t-1} U + b'), or another activation (`jax.nn.relu`).

    `carry` is h_0, zeros by default. With `lengths` [B], row b ends after lengths[b] steps: its outputs from there on
    are zero, and its final carry is that of its last step; a row of length 0 keeps its initial carry. Under jit a
    length above T counts as T and a negative one as 0. A sequence of no steps, T = 0, gives no outputs and the initial
    carry. With a key, `dropout` is the rate between layers. A bidirectional network gives [B, T, 2 H].

    Raises ValueError for params, x, carry or lengths of shapes that do not fit, and for lengths outside 0..T.
    Elman, 1990, Finding Structure in Time.

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.rnn(3, 5, 2).init(jax.random.key(0))
    >>> outputs, h = rnn(params, jnp.ones((4, 7, 3)))
    >>> outputs.shape, h.shape, bool((outputs[:, -1] == h[-1]).all())
    ((4, 7, 5), (2, 4, 5), True)
    """
    outputs, (h,) = network(
        "rnn", rnn_cell(activation), params, x, None if carry is None else (carry,), lengths, dropout, key
    )
    return outputs, h


def lstm(
    params: Params,
    x: Float[Array, "batch time in"],
    carry: tuple[Float[Array, "layers batch hidden"], Float[Array, "layers batch hidden"]] | None = None,
    lengths: Integer[Array, " batch"] | None = None,
    *,
    dropout: float | Array = 0.0,
    key: PRNGKey | None = None,
) -> tuple[
    Float[Array, "batch time out"], tuple[Float[Array, "layers batch hidden"], Float[Array, "layers batch hidden"]]
]:
    """Run an LSTM over x, [B, T, D] -> outputs [B, T, H] and the final carry (h, c), each [layers, B, H].

    (i, f, g, o) = x_t W + b + h_{t-1} U + b', side by side in this order;
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g); h_t = sigmoid(o) tanh(c_t).

    `carry`, `lengths`, `dropout` and the errors are those of `rnn`. Hochreiter and Schmidhuber, 1997, Long Short-Term
    Memory; Gers, Schmidhuber, Cummins, 2000, Learning to Forget (the gate f).

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.lstm(3, 5).init(jax.random.key(0))
    >>> x = jnp.ones((4, 7, 3))
    >>> outputs, carry = lstm(params, x[:, :2])
    >>> rest, _ = lstm(params, x[:, 2:], carry)  # the carry goes on where the first part ended
    >>> bool(jnp.allclose(rest, lstm(params, x)[0][:, 2:], atol=1e-6))
    True
    """
    outputs, (h, c) = network("lstm", lstm_cell, params, x, carry, lengths, dropout, key)
    return outputs, (h, c)


def gru(
    params: Params,
    x: Float[Array, "batch time in"],
    carry: Float[Array, "layers batch hidden"] | None = None,
    lengths: Integer[Array, " batch"] | None = None,
    *,
    dropout: float | Array = 0.0,
    key: PRNGKey | None = None,
) -> tuple[Float[Array, "batch time out"], Float[Array, "layers batch hidden"]]:
    """Run a GRU over x, [B, T, D] -> outputs [B, T, H] and the final carry h [layers, B, H].

    (r, z, n) = x_t W + b and (r', z', n') = h_{t-1} U + b', side by side in this order;
    r = sigmoid(r + r'); z = sigmoid(z + z'); n = tanh(n + r n'); h_t = (1 - z) n + z h_{t-1}.

    The reset gate acts after the product, as in PyTorch and cuDNN; in the paper it acts on h before. `carry`,
    `lengths`, `dropout` and the errors are those of `rnn`. Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares,
    Schwenk, Bengio, 2014, Learning Phrase Representations using RNN Encoder-Decoder.

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.gru(3, 5).init(jax.random.key(0))
    >>> outputs, h = gru(params, jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4]))
    >>> outputs.shape, bool((outputs[1, 4:] == 0).all()), bool((outputs[1, 3] == h[0, 1]).all())
    ((2, 7, 5), True, True)
    """
    outputs, (h,) = network("gru", gru_cell, params, x, None if carry is None else (carry,), lengths, dropout, key)
    return outputs, h


def rnn_step(
    params: Params,
    carry: Float[Array, "layers batch hidden"],
    x: Float[Array, "batch in"],
    *,
    activation: Callable[[Any], Any] = jnp.tanh,
) -> tuple[Float[Array, "layers batch hidden"], Float[Array, "batch hidden"]]:
    """Run one time step of `rnn` in evaluation mode, carry and x [B, D] -> the new carry and y [B, H].

    For inputs that come one by one, or depend on the output before; `zero_carry` starts. Raises ValueError for a
    bidirectional network, which needs the whole sequence.

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.rnn(3, 5).init(jax.random.key(0))
    >>> carry, y = rnn_step(params, zero_carry(params, 4), jnp.ones((4, 3)))
    >>> carry.shape, y.shape
    ((1, 4, 5), (4, 5))
    """
    (h,), y = one_step("rnn_step", rnn_cell(activation), params, (carry,), x)
    return h, y


def lstm_step(
    params: Params,
    carry: tuple[Float[Array, "layers batch hidden"], Float[Array, "layers batch hidden"]],
    x: Float[Array, "batch in"],
) -> tuple[
    tuple[Float[Array, "layers batch hidden"], Float[Array, "layers batch hidden"]], Float[Array, "batch hidden"]
]:
    """Run one time step of `lstm` in evaluation mode, carry (h, c) and x [B, D] -> the new carry and y [B, H].

    For use and errors see `rnn_step`. The order of arguments and results is that of `jax.lax.scan`.

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.lstm(3, 5).init(jax.random.key(0))
    >>> step = lambda carry, x: lstm_step(params, carry, x)
    >>> (h, c), y = jax.lax.scan(step, zero_carry(params, 4), jnp.ones((7, 4, 3)))  # over the time axis
    >>> h.shape, y.shape
    ((1, 4, 5), (7, 4, 5))
    """
    (h, c), y = one_step("lstm_step", lstm_cell, params, carry, x)
    return (h, c), y


def gru_step(
    params: Params, carry: Float[Array, "layers batch hidden"], x: Float[Array, "batch in"]
) -> tuple[Float[Array, "layers batch hidden"], Float[Array, "batch hidden"]]:
    """Run one time step of `gru` in evaluation mode, carry and x [B, D] -> the new carry and y [B, H].

    For use and errors see `rnn_step`.

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.gru(3, 5).init(jax.random.key(0))
    >>> gru_step(params, zero_carry(params, 4), jnp.ones((4, 3)))[1].shape
    (4, 5)
    """
    (h,), y = one_step("gru_step", gru_cell, params, (carry,), x)
    return h, y


def zero_carry(params: Params, batch: int) -> Any:
    """Make the carry before the first step for a batch of this size: zeros, h, or the pair (h, c) for an LSTM.

    >>> import jax
    >>> from jaxnn import layers
    >>> params, _ = layers.lstm(3, 5, 2).init(jax.random.key(0))
    >>> [part.shape for part in zero_carry(params, 4)]
    [(2, 4, 5), (2, 4, 5)]
    """
    checks.positive_int("zero_carry", "batch", batch)
    weights = [weights for layer in params for weights in directions(layer)]
    hidden, width = weights[0]["recurrent_weight"].shape
    h = jnp.zeros((len(weights), batch, hidden), weights[0]["recurrent_weight"].dtype)
    return (h, h) if width == GATES["lstm"] * hidden else h


def last_step(
    x: Float[Array, "batch time out"], lengths: Integer[Array, " batch"] | None = None
) -> Float[Array, "batch out"]:
    """Take the last time step, or with `lengths` [B] the last valid one, [B, T, D] -> [B, D]; zeros for a length of 0.

    Raises ValueError for a sequence of no steps, and for lengths as `rnn` does.

    >>> last_step(jnp.arange(6.0).reshape(2, 3, 1), jnp.array([3, 0])).tolist()
    [[2.0], [0.0]]
    """
    checks.array("last_step", "x", x)
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(f"last_step expected x of shape [B, T, D] with at least one step but got {x.shape}")
    if lengths is None:
        return jnp.asarray(x[:, -1])
    checks.sequence_lengths("last_step", lengths, *x.shape[:2])
    lengths = jnp.clip(jnp.asarray(lengths), 0, x.shape[1])
    last = jnp.take_along_axis(x, jnp.maximum(lengths - 1, 0)[:, None, None], axis=1)[:, 0]
    return jnp.where((lengths > 0)[:, None], last, 0)


def valid_lengths(tokens: Integer[Array, "batch time"], pad_id: int) -> Integer[Array, " batch"]:
    """Count the steps up to the last token that is not padding, [B, T] -> [B]; 0 for a row of nothing but padding.

    Padding before that token counts as a step. Raises ValueError for tokens of another shape.

    >>> valid_lengths(jnp.array([[5, 0, 6, 0], [0, 0, 0, 0]]), pad_id=0).tolist()
    [3, 0]
    """
    checks.array("valid_lengths", "tokens", tokens)
    if tokens.ndim != 2:
        raise ValueError(f"valid_lengths expected tokens of shape [B, T] but got {tokens.shape}")
    steps = jnp.arange(tokens.shape[1] + 1)  # [1 + T]: a 0 first, which is the maximum of a row of no tokens
    used = jnp.pad(jnp.asarray(tokens) != pad_id, ((0, 0), (1, 0)))
    return jnp.max(jnp.where(used, steps, 0), axis=1)
