"""Backpropagate one batch of digits by hand and compare every gradient with jax.grad and with central differences.

The exit code is 1 when an error is above its limit.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments import harness
from experiments.backpropagation_figures import page
from jaxnn import checks, losses, tree
from jaxnn.activations import identity, relu, sigmoid, softmax, tanh
from jaxnn.backprop import LayerTrace, backward, forward, trace
from jaxnn.data.images import load
from jaxnn.models import mlp
from jaxnn.report import write_report
from jaxnn.training import run_keys

HIDDEN_SIZES = (32, 16)
STEP = 1e-5  # of central differences in float64: truncation about step**2, rounding about 2**-52 / step
HIDDEN = {"relu": (relu, jax.nn.relu), "tanh": (tanh, jnp.tanh)}  # ours, and the one that jax.grad differentiates
PAIRS = {  # output function and loss of the backward pass, and the loss from the network's logits for jax.grad
    "softmax_cce": (softmax, losses.categorical_cross_entropy, losses.softmax_cross_entropy),
    "sigmoid_bce": (sigmoid, losses.binary_cross_entropy, losses.sigmoid_binary_cross_entropy),
    "linear_mse": (identity, losses.mean_squared_error, losses.mean_squared_error),
}
LIMITS = {"jax_grad_float32": 1e-5, "jax_grad_float64": 1e-10, "central_differences_float64": 1e-7}
"""For each comparison the largest max|a - b| / max|b| over a leaf that is let pass."""

Errors = dict[str, dict[str, float]]
"""Comparison -> leaf (W1, b1, W2, ...) -> max|a - b| / max|b|."""


@dataclass(frozen=True)
class Config:
    """Options."""

    batch_size: int = 64
    """Digits in the batch."""
    seed: int = 0
    """Of the parameters and of the choice of digits."""
    out: Path = Path("runs/backpropagation")
    """Folder for the report and the numbers."""
    quiet: bool = False
    """Print nothing but errors."""


def draw_batch(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images as numbers of mean about 0 and deviation about 1, float64 [B, 64], and labels [B]."""
    images, labels, _ = load("digits").train
    if size > len(labels):
        raise ValueError(f"backpropagation expected batch_size of at most {len(labels)}, the digits, but got {size}")
    chosen = np.random.default_rng(seed).permutation(len(labels))[:size]
    return (images[chosen].reshape(size, -1) / 255 - 0.3053) / 0.3760, labels[chosen]


def named(gradients: Any) -> dict[str, np.ndarray]:
    """Name the leaves of a network's tree by layer: W1, b1, W2, ..."""
    layers = [part for part in gradients if part]
    return {f"{'W' if kind == 'weight' else 'b'}{i}": np.asarray(layer[kind], np.float64)
            for i, layer in enumerate(layers, 1) for kind in ("weight", "bias")}  # fmt: skip


def relative_errors(a: Any, b: Any, keep: Any) -> dict[str, float]:
    """Compute max|a - b| / max|b| of each leaf over the entries to keep."""
    a, b, keep = named(a), named(b), named(keep)
    return {leaf: float(np.abs((a[leaf] - b[leaf]) * keep[leaf]).max() / np.abs(b[leaf]).max()) for leaf in b}


def central_differences(mean_loss: Callable, signs: Callable, params: Any) -> tuple[Any, Any]:
    """Compute (L(w + h) - L(w - h)) / 2h for every parameter w, and where no hidden z changes its sign in between.

    Where one does, ReLU has a kink between the two points: the difference then averages two slopes and is no
    derivative.
    """
    flat, tree_of = ravel_pytree(params)

    @jax.jit
    def all_of_them(flat):
        def one(i):
            there, back = tree_of(flat.at[i].add(STEP)), tree_of(flat.at[i].add(-STEP))
            same = [(a == b).all() for a, b in zip(signs(there), signs(back), strict=True)]
            return (mean_loss(there) - mean_loss(back)) / (2 * STEP), jnp.stack(same).all()

        # Whole batches alone: what is left over would be a second program to compile.
        padded = jnp.arange(-(-flat.size // 64) * 64) % flat.size
        return jax.tree.map(lambda values: values[: flat.size], jax.lax.map(one, padded, batch_size=64))

    slopes, smooth = all_of_them(flat)
    return tree_of(slopes), jax.tree.map(np.asarray, tree_of(smooth.astype(flat.dtype)))


def compare(hidden: str, pair: str, params: Any, x: np.ndarray, labels: np.ndarray) -> tuple[Errors, int]:
    """Compute the errors of the hand-written gradients of one network, and the parameters left out for a kink."""
    ours, theirs = HIDDEN[hidden]
    output, loss, loss_of_logits = PAIRS[pair]
    by_hand = partial(backward, hidden=ours, output=output, loss=loss)
    model = mlp((x.shape[1], *HIDDEN_SIZES, 10), activation=theirs)
    state = ((),) * len(model.parts)
    errors: Errors = {}
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            batch = jnp.asarray(x, dtype)
            targets = jnp.asarray(labels) if pair == "softmax_cce" else jnp.asarray(np.eye(10)[labels], dtype)

            def mean_loss(params, batch=batch, targets=targets):
                return loss_of_logits(model.apply(params, state, batch)[0], targets).mean()

            def both(params, batch=batch, targets=targets, mean_loss=mean_loss):
                return by_hand(params, batch, targets), jax.grad(mean_loss)(params)

            params = jax.tree.map(lambda leaf, dtype=dtype: np.asarray(leaf, dtype), params)
            gradients, by_jax = jax.jit(both)(params)
            errors[f"jax_grad_{dtype}"] = relative_errors(gradients, by_jax, jax.tree.map(np.ones_like, params))
    with jax.enable_x64(True):

        def signs(params):
            # tanh has no kink, so all of its differences count
            return [z > 0 for z in forward(params, batch).pre_activations[:-1]] if hidden == "relu" else [jnp.ones(1)]

        slopes, smooth = central_differences(mean_loss, signs, params)
        errors["central_differences_float64"] = relative_errors(gradients, slopes, smooth)
    return errors, sum(int((leaf == 0).sum()) for leaf in jax.tree.leaves(smooth))


def layers_of(hidden: str, params: Any, x: np.ndarray, labels: np.ndarray) -> tuple[LayerTrace, ...]:
    """Trace the network with softmax and cross-entropy in float32: z, a, delta, dW and db of every layer."""
    options = {"hidden": HIDDEN[hidden][0], "output": softmax, "loss": losses.categorical_cross_entropy}
    return jax.device_get(jax.jit(partial(trace, **options))(params, jnp.asarray(x, jnp.float32), jnp.asarray(labels)))


def worst(results: Mapping[tuple[str, str], Errors]) -> dict[str, float]:
    """Return the largest error of each comparison over all networks and leaves."""
    return {name: max(max(errors[name].values()) for errors in results.values()) for name in LIMITS}


def broken_limits(largest: Mapping[str, float]) -> list[str]:
    """Say which comparison is above its limit (NaN is)."""
    return [
        f"{name}: an error of {error:.2g}, the limit is {LIMITS[name]:g}"
        for name, error in largest.items()
        if not error <= LIMITS[name]
    ]


def main(config: Config) -> int:
    checks.positive_int("backpropagation", "batch_size", config.batch_size)
    x, labels = draw_batch(config.batch_size, config.seed)
    params, _ = jax.jit(mlp((x.shape[1], *HIDDEN_SIZES, 10)).init)(run_keys(config.seed).init)
    out = harness.open_output(config.out, config)
    traces = {hidden: layers_of(hidden, params, x, labels) for hidden in HIDDEN}
    results, kinks = {}, {}
    for hidden in HIDDEN:
        for pair in PAIRS:
            results[hidden, pair], kinks[hidden, pair] = compare(hidden, pair, params, x, labels)
            largest = worst({(hidden, pair): results[hidden, pair]})
            text = ", ".join(f"{name} {error:.1e}" for name, error in largest.items())
            harness.say(config.quiet, f"{hidden}, {pair}: {text}")
    largest = worst(results)
    broken = broken_limits(largest)
    summary = {
        **{f"max_relative_error_{name}": error for name, error in largest.items()},
        **{
            f"{hidden}_{pair}_max_relative_error_{name}": max(leaves.values())
            for (hidden, pair), errors in results.items()
            for name, leaves in errors.items()
        },
        **{f"limit_{name}": limit for name, limit in LIMITS.items()},
        "limits_broken": len(broken),
        "parameters": tree.size(params),
        "batch_size": config.batch_size,
        "largest_number_left_out_at_kinks": max(kinks.values()),
        "seed": config.seed,
    }
    harness.write_json(out / "summary.json", summary)
    write_report(out, page(config, results, kinks, traces, LIMITS, STEP, summary, broken))
    for text in broken:
        print(f"above its limit: {text}", file=sys.stderr)
    verdict = "above a limit" if broken else "all within their limits"
    harness.say(config.quiet, f"{len(results)} networks, {verdict}; report: {out / 'report.html'}")
    return 1 if broken else 0


if __name__ == "__main__":
    harness.main(Config, main)
