"""Recurrent networks against PyTorch, number by number: golden/torch_recurrent.npz, by make_recurrent_golden.py.

Errors are relative to the largest entry of the array; two float32 programs add the same terms in another order.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bits import assert_same_arrays
from regeneration import regenerated

from jaxnn import functional, layers, losses, models, tree
from jaxnn.interop.torch import from_torch, to_torch

FOLDER = Path(__file__).with_name("golden")
GOLDEN = dict(np.load(FOLDER / "torch_recurrent.npz"))
TOLERANCE = 1e-5
NETWORKS = sorted({key.split("/")[0] for key in GOLDEN if key.endswith("/final0")})
RUN = {
    "rnn": functional.rnn,
    "relu": lambda *args: functional.rnn(*args, activation=jax.nn.relu),
    "lstm": functional.lstm,
    "gru": functional.gru,
}


def assert_close(actual, expected, what):
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max(), what


def assert_trees_close(actual, expected, what):
    assert jax.tree.structure(actual) == jax.tree.structure(expected), what
    for (path, a), e in zip(tree.paths(actual).items(), jax.tree.leaves(expected), strict=True):
        assert_close(a, e, f"{what} {path}")


def under(prefix):
    return {key.removeprefix(f"{prefix}/"): GOLDEN[key] for key in GOLDEN if key.startswith(f"{prefix}/")}


def network(case):
    """Return the layer of a case such as `lstm_2_bidirectional_lengths`, and `relu_1` for the RNN with ReLU."""
    kind, count, *words = case.split("_")
    options = {"activation": jax.nn.relu} if kind == "relu" else {}
    layer = layers.rnn if kind == "relu" else getattr(layers, kind)
    return layer(3, 5, int(count), bidirectional="bidirectional" in words, **options)


@pytest.mark.parametrize("case", NETWORKS)
def test_outputs_carries_and_gradients(case):
    arrays = under(case)
    params, _ = from_torch(under(f"{case}/parameters"), network(case))
    run = RUN[case.split("_")[0]]
    parts = [name for name in ("carry0", "carry1") if name in arrays]
    start = tuple(jnp.asarray(arrays[name]) for name in parts)
    lengths = arrays["lengths"].astype(np.int32) if "lengths" in arrays else None

    def forward(params, x, start):
        outputs, final = run(params, x, (start if len(start) > 1 else start[0]) if start else None, lengths)
        return outputs, *(final if isinstance(final, tuple) else (final,))

    @jax.jit
    def both_ways(params, x, start, cotangents):
        results, backward = jax.vjp(forward, params, x, start)
        return results, backward(cotangents)

    names = [name for name in ("y", "final0", "final1") if name in arrays]
    cotangents = tuple(arrays[f"cotangent_{name}"] for name in names)
    results, (gradients, x_gradient, start_gradient) = both_ways(params, arrays["x"], start, cotangents)
    for name, result in zip(names, results, strict=True):
        assert_close(result, arrays[name], name)
    assert_close(x_gradient, arrays["x_gradient"], "input gradients")
    for name, gradient in zip(parts, start_gradient, strict=True):
        assert_close(gradient, arrays[f"{name}_gradient"], f"gradient of {name}")
    assert_trees_close(gradients, from_torch(under(f"{case}/gradients"), network(case))[0], "gradients")
    parameters = under(f"{case}/parameters")
    assert_same_arrays(to_torch(params, (), network(case), like=parameters), parameters)


def test_there_is_a_case_for_each_network():
    assert len(NETWORKS) == 3 * 6 + 3
    assert sum("carry0" in under(case) for case in NETWORKS) == 3 * 4 + 2
    assert sum("lengths" in under(case) for case in NETWORKS) == 3 * 3 + 1
    assert sum("final1" in under(case) for case in NETWORKS) == 6  # LSTM


@pytest.mark.parametrize(
    "case", ["rnn_classifier", "lstm_classifier", "gru_classifier", "rnn_classifier_rows", "lstm_classifier_rows"]
)
def test_classifiers_of_the_guide(case):
    arrays, parameters = under(case), under(f"{case}/parameters")
    sizes = (28, 8, 2, 10) if case.endswith("rows") else (3, 5, 2, 4)
    model = getattr(models, case.removesuffix("_rows"))(*sizes)
    params, state = from_torch(parameters, model)
    assert_same_arrays(to_torch(params, state, model, like=parameters), parameters)

    @jax.jit
    def both_ways(params, x, cotangent):
        y, backward = jax.vjp(lambda params, x: model.apply(params, state, x)[0], params, x)
        return y, backward(cotangent)

    y, (gradients, x_gradient) = both_ways(params, arrays["x"], arrays["cotangent_y"])
    assert_close(y, arrays["y"], "logits")
    assert_close(x_gradient, arrays["x_gradient"], "input gradients")
    assert_trees_close(gradients, from_torch(under(f"{case}/gradients"), model)[0], "gradients")


def test_three_steps_of_training_with_two_biases():
    """One bias of the same sum would take half of PyTorch's step."""
    model = models.lstm_classifier(3, 5, 2, 4, dropout=0.0)
    params, state = from_torch(under("sgd/parameters"), model)

    @jax.jit
    def step(params, x, labels):
        loss = lambda p: losses.softmax_cross_entropy(model.apply(p, state, x, train=True)[0], labels).mean()  # noqa: E731
        value, gradients = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients), value

    for i in range(3):
        arrays = under(f"sgd/step{i}")
        params, loss = step(params, arrays["x"], arrays["labels"].astype(np.int32))
        assert_close(loss, arrays["loss"], f"loss of step {i}")
        expected, _ = from_torch(under(f"sgd/step{i}/parameters"), model)
        assert_trees_close(params, expected, f"params after step {i}")


def test_the_file_is_what_pytorch_computes_here():
    fresh = regenerated("make_recurrent_golden", GOLDEN)
    for key in fresh.keys() - {"torch_version"}:
        assert_close(fresh[key], GOLDEN[key], key)
