"""The comparison with peers: its arithmetic against XLA's count, its check, its turns, its tables and the README's."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.peers import readme, turns, with_jaxnn, work
from benchmarks.peers.figure import figure
from benchmarks.peers.roster import PEERS
from benchmarks.peers.tables import against_fastest, rows, tables
from benchmarks.peers.worker import cross_entropy, losses, starter
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


def test_the_multiply_adds_of_training_are_those_that_xla_counts():
    model, data = with_jaxnn.model("mlp", 0.0), work.data("mlp", 64)
    form = jax.eval_shape(model.init, jax.random.key(0))
    loss = lambda params, state: softmax_cross_entropy(  # noqa: E731
        model.apply(params, state, data.inputs)[0], data.labels
    ).mean()
    counted = jax.jit(jax.grad(loss)).lower(*form).compile().cost_analysis()["flops"] / 2 / 64
    ours = work.training_multiply_adds("mlp")
    assert ours <= counted <= 1.02 * ours


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


def same_losses(network, peers):
    """Let jaxnn and the peers take the check's step in this process."""
    weights = with_jaxnn.first_weights(network)
    ours = losses(starter("jaxnn", network, weights), network)
    assert ours["after"] < ours["before"]
    for peer in peers:
        assert losses(starter(peer, network, weights), network) == pytest.approx(ours, abs=turns.TOLERANCE)


def test_the_perceptron_of_numpy_and_flax_is_the_same_one():
    same_losses("mlp", ["numpy", "linen", "nnx"])


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in work.DROPOUT if name != "mlp"])
def test_the_networks_of_flax_are_the_same_ones(network):
    same_losses(network, ["linen", "nnx"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the memory is the system's own figure")
def test_the_peak_of_memory_is_seen():
    """In a process of its own: a large one may have room below an earlier peak."""
    code = (
        "import numpy as np; from benchmarks.peers.worker import peak_megabytes; before = peak_megabytes(); "
        "np.ones(100_000_000, np.uint8); print(peak_megabytes() - before)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True
    )
    assert 50 < float(printed.stdout) < 150


PROGRAM = """
import sys
print("a library speaks")
print('{"first_pass_seconds": {}}', flush=True)
for line in sys.stdin:
    print('{"asked": "' + line.strip() + '"}', flush=True)
    if line == "turn 2.0\\n": raise ValueError("no second turn")
"""


def test_a_peer_answers_its_turns_until_it_fails(tmp_path, monkeypatch):
    task = turns.Task("mlp", tmp_path / "mlp.npz", 64, 128)
    monkeypatch.setattr(turns, "command", lambda python, *_: [python, "-c", PROGRAM])
    live = turns.launch(sys.executable, "torch", task)
    assert live.first == {"first_pass_seconds": {}}
    assert [turns.turn(live, seconds)["asked"] for seconds in (1.0, 2.0)] == ["turn 1.0", "turn 2.0"]
    with pytest.raises(turns.PeerFailedError, match="ValueError: no second turn"):
        turns.answer(live)
    turns.close(live)
    monkeypatch.setattr(turns, "command", lambda python, *_: [python, "-c", "import no_such_library"])
    with pytest.raises(turns.PeerFailedError, match="No module named 'no_such_library'"):
        turns.launch(sys.executable, "torch", task)


def made_rows(peers=("jaxnn", "torch", "linen"), seconds=((1.0, 2.0, 4.0), (3.0, 3.0, 4.0), (1.0, 4.0, 4.0))):
    """Make the rows of rounds in which the peers' steps took so many seconds."""
    rounds = [
        {
            peer: {"step_seconds": {"train": step, "predict": step}, "peak_megabytes": 100}
            for peer, step in zip(peers, steps, strict=True)
        }
        for steps in seconds
    ]
    first = {peer: {"first_pass_seconds": {"train": 9.0, "predict": 1.0}} for peer in peers}
    speeds = [{"jax": 1e9, "numpy": 0.5e9}] * len(rounds)
    return rows("mlp", 64, 128, first, rounds, speeds)


def test_ratios_are_those_within_a_round():
    ours, torch, linen = made_rows()
    assert ours["train"]["jaxnn_over_peer"] == {"median": 1.0, "least": 1.0, "most": 1.0}
    assert torch["train"]["jaxnn_over_peer"] == {"median": 0.5, "least": 0.25, "most": 1.0}
    assert torch["train"]["compile_seconds"] == 9.0 - 2 * 3.0
    assert torch["predict"]["compile_seconds"] == 0
    needed = work.training_multiply_adds("mlp") * 64
    assert torch["train"]["share_of_product"]["median"] == pytest.approx(needed / 3.0 / 1e9, rel=1e-3)
    fastest = against_fastest([ours, torch, linen])
    assert [(one["mode"], one["fastest"]) for one in fastest] == [("train", "torch"), ("predict", "torch")]
    assert fastest[0]["jaxnn_over_fastest"] == torch["train"]["jaxnn_over_peer"]
    assert "**0.50** (0.25 to 1.00)" in tables([ours, torch, linen])
    assert len(figure([ours, torch, linen]).axes) == 2


def test_a_run_without_peers_has_its_tables():
    (ours,) = made_rows(("jaxnn",), ((1.0,),))
    assert against_fastest([ours]) == []
    assert tables([ours]).count("MLP") == 3


def test_the_readme_gets_its_tables_between_the_markers():
    result = {
        "environment": {"threads": "2", "processor": "P", "python": "3", "jax": "1", "torch": "2"},
        "product_giga_multiply_adds_per_second": {"jax": 60.0, "numpy": 61.5},
        "rows": made_rows(),
    }
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    new = readme.written(text, result)
    assert "old" not in new
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert "jax 1, torch 2" in new
    assert readme.written(new, result) == new
    with pytest.raises(ValueError, match="once each"):
        readme.written("no markers", result)


def test_the_readme_says_what_was_measured():
    if not readme.RESULTS.exists():
        pytest.skip("benchmarks/results has no run of benchmarks.peers")
    text = readme.README.read_text()
    assert readme.written(text, json.loads(readme.RESULTS.read_text())) == text


def test_every_peer_has_its_file():
    folder = readme.ROOT / "benchmarks" / "peers"
    assert {path.stem for path in folder.glob("with_*.py")} == {entry.file for entry in PEERS.values()}
