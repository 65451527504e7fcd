"""`python tests/shards_run.py OUT`: networks on one device and on four, in float64; what came out as JSON."""

import json
import os
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import layers
from jaxnn.data import Dataset
from jaxnn.functional import winograd
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import cnn, gru_classifier, lstm_classifier, rnn_classifier
from jaxnn.training import evaluate, fit, predict
from jaxnn.training.parallel import data_mesh, device_per_core


def float64(layer):
    return layer._replace(init=lambda key: jax.tree.map(lambda leaf: leaf.astype(float), layer.init(key)))


def trained(model, inputs, targets, mesh):
    """Train two epochs with dropout and a last batch that cannot be split; return losses and answers."""
    data = Dataset(inputs, targets)
    optimizer = optax.sgd(0.1, momentum=0.9)
    result = fit(
        *(float64(model), softmax_cross_entropy, optimizer, data),
        **{"epochs": 2, "batch_size": 16, "validation": data, "mesh": mesh, "verbose": False},
    )
    params, state = result.train_state.params, result.train_state.model_state
    if mesh is not None:  # where inputs are split, or under a mesh of the caller, all devices compute
        split = jax.device_put(inputs[:16], jax.NamedSharding(mesh, jax.P("data")))
        with jax.set_mesh(mesh):
            under_mesh = predict(model, params, state, inputs[:16], batch_size=8)
        np.testing.assert_allclose(predict(model, params, state, split, batch_size=8), under_mesh, rtol=1e-12)
    names = ("loss", "validation_loss", "gradient_norm")
    return {
        "history": [[record[name] for name in names] for record in result.history],
        "loss": evaluate(model, params, state, data, softmax_cross_entropy, batch_size=8)["loss"],
        "logits": predict(model, params, state, inputs, batch_size=8).tolist(),
    }


def collectives(mesh):
    """Count what the devices send one another for the gradient of recurrent networks on rows of 16 examples."""
    x = jax.device_put(jnp.ones((16, 5, 8), jnp.float32), jax.NamedSharding(mesh, jax.P("data")))
    found = {}
    for name, model in {"lstm": layers.lstm(8, 16, 2), "rnn with head": rnn_classifier(8, 16, 2, 3)}.items():
        params, state = jax.device_put(model.init(jax.random.key(0)), jax.NamedSharding(mesh, jax.P()))
        with jax.set_mesh(mesh):
            gradient = jax.jit(
                jax.grad(lambda params, model=model, state=state: model.apply(params, state, x)[0].sum())
            )
            program = gradient.lower(params).compile().as_text()
        sums = re.findall(r" = (\S.*) all-reduce(?:-start)?\(", program)
        found[name] = {
            "sums": len(sums),
            "arrays": [shape for one in sums for shape in re.findall(r"\w+\[([\d,]*)\]", one)],
            "other": len(re.findall(r" (all-gather|collective-permute|all-to-all|reduce-scatter)(-start)?\(", program)),
        }
    return found


def main(out: Path) -> None:
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_enable_x64", True)
    if cache := os.environ.get("TEST_XLA_CACHE"):
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    random = np.random.default_rng(0)
    rows, tokens = random.normal(size=(53, 7, 8)), random.integers(0, 5, (53, 7))
    targets = random.integers(0, 3, 53)
    lstm, gru = lstm_classifier(8, 16, 2, 3), gru_classifier(8, 16, 2, 3, vocabulary_size=5, pad_id=0)
    found = {"collectives": collectives(data_mesh())}
    images, convolutions = random.normal(size=(53, 6, 6, 1)), cnn(3, channels=(4, 6), hidden=8)
    rnn = rnn_classifier(8, 16, 2, 3)
    cases = ("lstm", lstm, rows), ("rnn", rnn, rows), ("gru with padding", gru, tokens), ("cnn", convolutions, images)
    for name, model, inputs in cases:
        found[name] = [trained(model, inputs, targets, mesh) for mesh in (None, data_mesh())]
    winograd.saves_time = lambda x, kernel, ends: kernel[:2] == (3, 3)  # however small
    small = cnn(3, channels=(4, 6), hidden=8)
    found["cnn by tiles"] = [trained(small, images, targets, mesh) for mesh in (None, data_mesh())]
    try:
        device_per_core()
    except RuntimeError as error:
        found["too late"] = str(error)
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
