"""The networks in jaxnn: the model is two pure functions, and a pass over the data is one compiled program.

A CPU is made into a device a core. Networks whose operations are too small for two cores are trained on all of them,
each with its part of the batch, as `fit(mesh=data_mesh())` does it. A program is compiled as `fit` compiles its own.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import work
from benchmarks.peers.work import Data, Peer
from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import cnn, lstm_classifier, mlp, rnn_classifier, transformer_classifier
from jaxnn.optimizers import adam
from jaxnn.training import (
    compiled_init,
    compiler_options,
    epoch_order,
    epoch_program,
    init_train_state,
    keep_freed_memory,
    no_progress,
    predict,
    return_freed_memory,
    run_keys,
    train_step,
)
from jaxnn.training.parallel import data_mesh, device_per_core
from jaxnn.training.placement import ONE_DEVICE, place_state, place_whole, placement, split_inputs, split_step
from jaxnn.types import Layer

SPLIT = ("cnn", "rnn", "lstm")
LARGE = 256  # examples in a batch whose arrays are tens of megabytes


def set_up(batch: int) -> None:
    """Do what we advise for the main of a program, before anything is computed."""
    keep_freed_memory(one_arena=batch >= LARGE)
    device_per_core()


def model(network: str, dropout: float) -> Layer:
    """Make the network."""
    recurrent = work.FEATURES, work.UNITS, work.LAYERS, work.CLASSES
    if network == "mlp":
        return mlp(work.SIZES, dropout=dropout)
    if network == "cnn":
        return cnn(work.CLASSES, dropout=dropout)
    if network == "rnn":
        return rnn_classifier(*recurrent)
    if network == "lstm":
        return lstm_classifier(*recurrent, dropout=dropout)
    sizes = work.VOCABULARY, work.WIDTH, work.HEADS, work.LAYERS, work.CLASSES
    return transformer_classifier(*sizes, dim_feedforward=work.FEED_FORWARD[network], dropout=dropout)


def first_weights(network: str) -> dict[str, np.ndarray]:
    """Draw the first weights, by their paths: all peers start from them."""
    params, _ = jax.jit(model(network, 0.0).init)(jax.random.key(0))
    return {path: np.asarray(leaf) for path, leaf in tree.paths(params).items()}


def start(network: str, data: Data, batch: int, *, dropout: float, rate: float, weights: dict[str, np.ndarray]) -> Peer:
    """Make the network with these weights, and put the data on the device."""
    layer, keys = model(network, dropout), run_keys(0)
    optimizer = adam(rate)
    fresh, state = compiled_init(layer.init)(jax.random.key(0))
    # Layers of dropout have a place in the tree and no parameters, so the leaves are the same without them.
    params = jax.tree.unflatten(jax.tree.structure(fresh), [jnp.asarray(leaf) for leaf in weights.values()])
    devices = math.gcd(batch, jax.device_count()) if network in SPLIT else 1  # as many as divide the batch
    place = ONE_DEVICE if devices == 1 else placement(data_mesh(devices), None, batch, 1)
    step = split_step(place, train_step(split_inputs(place, layer), softmax_cross_entropy, optimizer))
    dataset = place_whole(place, Dataset(data.inputs, data.labels))
    run = None
    first = Dataset(data.inputs[:batch], data.labels[:batch])
    now = place_state(place, init_train_state(lambda _: (params, state), optimizer, keys.init))
    empty, keys = place_whole(place, (no_progress(step, now, first, keys.step), keys))
    epoch = 0

    def train() -> None:
        nonlocal now, epoch, run
        order, _ = epoch_order(keys.order, epoch, size=len(data.labels), batch_size=batch)
        given = now, empty, dataset, place_whole(place, order), keys, jnp.int32(0), jnp.int32(len(order))
        if run is None:
            run = jax.jit(epoch_program(step)).lower(*given).compile(compiler_options=compiler_options())
            return_freed_memory()
        now, _ = run(*given)
        jax.block_until_ready(now)
        epoch += 1

    def answer() -> np.ndarray:
        return predict(layer, now.params, now.model_state, data.inputs, batch_size=batch)

    return Peer(train, answer)
