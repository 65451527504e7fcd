"""The comparison with peers: its arithmetic against XLA's count, its table, and jaxnn's own part of it."""

import jax
import numpy as np
import pytest

from benchmarks.peers import with_jaxnn, work
from benchmarks.peers.__main__ import summarised, table
from benchmarks.peers.worker import cross_entropy
from jaxnn.losses import softmax_cross_entropy


@pytest.mark.parametrize("network", ["mlp", "lstm", "transformer"])
def test_the_multiply_adds_are_those_that_xla_counts(network):
    """XLA counts a multiply-add as two, and the bodies of loops once; so the recurrent networks have one step."""
    model = with_jaxnn.model(network, 0.0)
    form = jax.eval_shape(model.init, jax.random.key(0))
    steps = work.STEPS if network in ("rnn", "lstm") else 1
    inputs = work.data(network, 4).inputs
    inputs = inputs[:, :1] if steps > 1 else inputs
    compiled = jax.jit(lambda p, s, x: model.apply(p, s, x)[0]).lower(*form, inputs).compile()
    counted = compiled.cost_analysis()["flops"] / 2 / 4  # of one example
    once = work.UNITS * work.CLASSES if steps > 1 else 0  # the last layer is outside of the loop
    ours = (work.multiply_adds(network) - once) / steps + once
    assert ours <= counted <= 1.1 * ours  # activations and norms are counted too


def test_the_check_sees_the_loss_of_the_first_weights():
    data = work.data("mlp", 8)
    weights = with_jaxnn.first_weights("mlp")
    peer = with_jaxnn.start("mlp", data, 8, dropout=0.0, rate=1e-4, weights=weights)
    before = peer.predict()
    expected = np.maximum(data.inputs @ weights["1.weight"] + weights["1.bias"], 0)
    expected = (
        np.maximum(expected @ weights["3.weight"] + weights["3.bias"], 0) @ weights["5.weight"] + weights["5.bias"]
    )
    np.testing.assert_allclose(before, expected, atol=1e-5)
    loss = cross_entropy(before, data.labels)
    assert loss == pytest.approx(float(softmax_cross_entropy(before, data.labels).mean()), rel=1e-6)
    peer.train()
    assert cross_entropy(peer.predict(), data.labels) < loss


def test_ratios_are_those_within_a_round():
    def found(step):
        one = {"step_seconds": step, "first_pass_seconds": 1.0}
        return {"train": one, "predict": one, "peak_megabytes": 100}

    rounds = [{"jaxnn": found(1.0), "torch": found(2.0)}, {"jaxnn": found(3.0), "torch": found(3.0)}]
    rounds.append({"jaxnn": found(1.0), "torch": found(4.0)})
    ours, theirs = summarised("mlp", 64, rounds, [1e9])
    assert (ours["train_jaxnn_over_peer"], ours["train_range"]) == (1.0, [1.0, 1.0])
    assert (theirs["train_jaxnn_over_peer"], theirs["train_range"]) == (0.5, [0.25, 1.0])
    assert theirs["train_share_of_product"] == round(3 * 535040 * 64 / 3.0 / 1e9, 3)
    assert len(table([ours, theirs]).splitlines()) == 4
