"""Logic gates: threshold units set by hand, the perceptron, and XOR by a thousand small networks trained at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import gates_figures, harness
from jaxnn import activations, checks
from jaxnn.backprop import backward, forward
from jaxnn.initializers import kaiming
from jaxnn.losses import sigmoid_binary_cross_entropy
from jaxnn.models import mlp
from jaxnn.models.perceptron import (
    CORNERS,
    HAND_SET,
    TRUTH_TABLES,
    PerceptronResult,
    perceptron,
    perceptron_rule,
    predict,
    threshold_gate,
)
from jaxnn.report import Table, write_report
from jaxnn.training import run_keys
from jaxnn.types import Params, PRNGKey

X, Y = CORNERS.astype(np.float32), TRUTH_TABLES["XOR"].astype(np.float32)[:, None]  # [4, 2], [4, 1]
HIDDEN, EPOCHS, LEARNING_RATE = 4, 5000, 0.5  # the guide's
WIDEST = 16
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid")


@dataclass(frozen=True)
class Config:
    """Options."""

    networks: int = 1000
    """Networks 2-4-1 trained on XOR at once; a fifth as many for each other width and activation."""
    seed: int = 0
    """The whole run is a function of it; its first perceptron and network are the ones printed."""
    out: Path = Path("runs/gates")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


class Trained(NamedTuple):
    """One network after training, and at which corners each of its hidden units puts out more than zero."""

    params: Params
    loss: Any  # [], the mean binary cross-entropy in nats
    solved: Any  # [], whether all four answers are right
    active: Any  # [4, units]


def start(units: int, key: PRNGKey, width: Any) -> Params:
    """Draw the network 2-units-1 as the guide does, sqrt(2 / inputs) N(0, 1) and zero biases."""
    params, _ = kaiming(mlp((2, units, 1)))(key)
    params[3]["weight"] *= jnp.sqrt(units / width)  # the second layer has `width` inputs
    return params


def train(activation: Callable[[Any], Any], params: Params, width: Any) -> Trained:
    """Train one network on XOR as the guide does, with `width` of its hidden units in use.

    A unit out of use puts out zero, so no gradient reaches it: one compiled program serves every width.
    """
    in_use = jnp.arange(len(params[1]["bias"])) < width

    def hidden(z):
        return jnp.where(in_use, activation(z), 0)

    def hidden_derivative(z):
        return jnp.where(in_use, activations.DERIVATIVES[activation](z), 0)

    def epoch(params, _):
        gradients = backward(params, X, Y, hidden=hidden, hidden_derivative=hidden_derivative)
        return jax.tree.map(lambda w, g: w - LEARNING_RATE * g, params, gradients), None

    params, _ = jax.lax.scan(epoch, params, length=EPOCHS)
    z, logits = forward(params, X, hidden=hidden).pre_activations
    loss = sigmoid_binary_cross_entropy(logits, Y).mean()
    return Trained(params, loss, ((logits > 0) == Y).all(), (z > 0) & in_use)


@partial(jax.jit, static_argnums=0)
def draw(units: int, keys: Any, widths: Any) -> Params:
    """Draw a network for each key and width."""
    return jax.vmap(partial(start, units))(keys, widths)


def train_many(name: str, units: int, keys: Any, widths: Any) -> tuple[Trained, float, float]:
    """Train a network for each key and width in one program; return them, and the seconds to compile and to run."""
    params = jax.block_until_ready(draw(units, keys, widths))
    started = time.perf_counter()
    program = jax.jit(jax.vmap(partial(train, getattr(activations, name)))).lower(params, widths).compile()
    compiled = time.perf_counter()
    trained = jax.block_until_ready(program(params, widths))
    return jax.device_get(trained), compiled - started, time.perf_counter() - compiled


def learn_gates(keys: Any) -> dict[str, PerceptronResult]:
    """Train a perceptron on each gate from each key; the results have the keys on axis 0."""
    params = jax.vmap(lambda key: perceptron(2).init(key)[0])(keys)
    return {
        gate: jax.device_get(jax.vmap(partial(perceptron_rule, x=X, labels=table, epochs=100))(params))
        for gate, table in TRUTH_TABLES.items()
    }


def first(results: Any) -> Any:
    """Return what was trained from the first key, that of the chosen seed."""
    return jax.tree.map(lambda leaf: leaf[0], results)


def tell_gates(say: Callable[[str], None], learned: dict[str, PerceptronResult]) -> None:
    """Print the threshold units, and the perceptrons' training as the guide prints it."""
    for gate, (weights, threshold) in HAND_SET.items():
        inputs = CORNERS if len(weights) == 2 else CORNERS[:2, 1:]
        say(f"{gate} set by hand: weights {weights}, threshold {threshold} -> {threshold_gate(gate, inputs)}")
    say(f"XOR set by hand: AND(OR, NAND) -> {threshold_gate('XOR', CORNERS)}")
    for gate, results in learned.items():
        result = first(results)
        say(f"\n{gate} by the perceptron")
        for epoch, errors in enumerate(result.errors[result.errors >= 0]):
            if epoch % 10 == 0:
                say(f"Epoch {epoch}: Accuracy = {1 - errors / len(CORNERS):.2%}")
        end = result.converged_at
        say(f"Converged at epoch {end}" if end >= 0 else f"No convergence in {len(result.errors)} epochs")
        if gate == "AND":
            for corner, answer in zip(CORNERS, predict(result.params, CORNERS), strict=True):
                say(f"Input: {corner} -> Prediction: {answer}")


def probabilities(params: Params, x: np.ndarray) -> np.ndarray:
    """Return what a trained network of ReLU units answers, [..., 2] -> [...]."""
    return np.asarray(forward(params, x.reshape(-1, 2)).activations[-1]).reshape(x.shape[:-1])


def mean(values: Any) -> float:
    """Return the share of True, 0 of none."""
    return float(values.mean()) if values.size else 0.0


def main(config: Config) -> int:
    checks.positive_int("gates", "networks", config.networks)
    key = run_keys(config.seed).init
    out = harness.open_output(config.out, config)
    say = partial(harness.say, config.quiet)
    keys = jax.vmap(partial(jax.random.fold_in, key))(np.arange(config.networks))

    learned = learn_gates(keys)
    tell_gates(say, learned)

    thousand, compile_seconds, seconds = {}, {}, {}
    for name in ACTIVATIONS:
        widths = np.full(config.networks, HIDDEN)
        thousand[name], compile_seconds[name], seconds[name] = train_many(name, HIDDEN, keys, widths)
    relu = thousand["relu"]
    say(f"\nXOR by the network 2-4-1, seed {config.seed}")
    answers = probabilities(first(relu).params, X)
    for corner, p in zip(CORNERS, answers, strict=True):
        say(f"Input: {corner} -> Prediction: {p:.4f} -> Class: {int(p > 0.5)}")
    if not relu.solved[0]:
        say("This network does not solve XOR: the report says why.")
    share = {name: float(result.solved.mean()) for name, result in thousand.items()}
    say(
        f"\n{config.networks:,} networks in one program: {share['relu']:.1%} solve XOR "
        f"({seconds['relu']:.2f} s, and {compile_seconds['relu']:.2f} s of compiling)"
    )

    each = max(config.networks // 5, 1)  # networks of every width
    widths = np.repeat(np.arange(1, WIDEST + 1), each)
    by_width = {}
    for name in ACTIVATIONS:
        trained, _, _ = train_many(name, WIDEST, jnp.tile(keys[:each], WIDEST), widths)
        by_width[name] = trained.solved.reshape(WIDEST, each).mean(1)
        say(f"{name}: width 2 {by_width[name][1]:.0%}, 4 {by_width[name][3]:.0%}, {WIDEST} {by_width[name][-1]:.0%}")

    failed, dead = ~relu.solved, ~relu.active.any(1)
    blind, linear = gates_figures.blind(relu.active), gates_figures.linear(relu.active)
    levels = np.array(list(gates_figures.LEVELS.values()))
    summary = {
        "xor_solved_share": share["relu"],
        **{f"xor_solved_share_{name}": share[name] for name in ACTIVATIONS[1:]},
        "xor_solved_share_width_16": float(by_width["relu"][-1]),
        "xor_networks": config.networks,
        "xor_seconds": seconds["relu"],
        "xor_compile_seconds": compile_seconds["relu"],
        "xor_first_network_solved": bool(relu.solved[0]),
        "xor_failed_share": mean(failed),
        "xor_failed_at_levels": mean(np.abs(relu.loss[failed, None] - levels).min(1) < 0.01),
        "xor_failed_with_dead_units": mean(dead[failed].any(1)),
        "xor_solved_with_dead_units": mean(dead[~failed].any(1)),
        "xor_failed_blind": mean(blind[failed]),
        "xor_solved_blind": mean(blind[~failed]),
        "xor_failed_linear": mean((linear & ~blind)[failed]),
        **{f"{gate.lower()}_converged_share": mean(result.converged_at >= 0) for gate, result in learned.items()},
        **{f"{gate.lower()}_converged_at": int(result.converged_at[0]) for gate, result in learned.items()},
        "seed": config.seed,
    }
    harness.write_json(out / "summary.json", summary)
    at_once = Table(
        ("activation", "2-4-1 networks", "solve XOR", "seconds", "seconds of compiling"),
        [
            (name, config.networks, gates_figures.percent(share[name]), seconds[name], compile_seconds[name])
            for name in ACTIVATIONS
        ],
    )
    write_report(out, gates_figures.page(config, summary, learned, relu, by_width, at_once, probabilities, answers))
    say(f"report: {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    harness.main(Config, main)
