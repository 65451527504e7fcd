"""jaxnn against PyTorch, number by number: golden/torch_dense.npz, made by golden/make_torch_golden.py.

Two float32 programs that add the same terms in another order differ by a few units in the last place of the largest
term, so errors are taken relative to the largest entry of the array, and 1e-5 (84 units of 2**-23) is the bound.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bits import assert_same_arrays
from regeneration import regenerated

from jaxnn import layers, losses, models, tree
from jaxnn.interop.torch import from_torch, to_torch

FOLDER = Path(__file__).with_name("golden")
GOLDEN = dict(np.load(FOLDER / "torch_dense.npz"))
TOLERANCE = 1e-5

MODELS = {
    "linear_2d": layers.linear(7, 4),
    "linear_3d": layers.linear(7, 4),
    "linear_without_bias": layers.linear(7, 4, bias=False),
    "batch_norm_features": layers.batch_norm(6),
    "batch_norm_images": layers.batch_norm(6),
    "simple_nn": models.mlp((12, 16, 16, 5), dropout=0.2),
    "sequential": layers.sequential(
        layers.linear(12, 16),
        jax.nn.relu,
        layers.dropout(0.3),
        layers.linear(16, 10),
        jax.nn.relu,
        layers.dropout(0.3),
        layers.linear(10, 8),
        jax.nn.relu,
        layers.linear(8, 5),
    ),
    "mnist_classifier": models.mlp((12, 16, 8, 5), dropout=0.2),
    "network_with_batch_norm": models.mlp((12, 16, 8, 5), batch_norm=True),
}
PASSES = [
    (case, name)
    for case in MODELS
    for name in ("train0", "train1", "train2", "evaluation")
    if f"{case}/{name}/x" in GOLDEN
]


def assert_close(actual, expected, what, scale=None):
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    scale = np.abs(expected).max() if scale is None else scale
    assert np.abs(actual - expected).max() <= TOLERANCE * scale, what


def assert_trees_close(actual, expected, what, scale=None):
    assert jax.tree.structure(actual) == jax.tree.structure(expected), what
    for (path, a), e in zip(tree.paths(actual).items(), jax.tree.leaves(expected), strict=True):
        assert_close(a, e, f"{what} {path}", scale)


def under(prefix):
    return {key.removeprefix(f"{prefix}/"): GOLDEN[key] for key in GOLDEN if key.startswith(f"{prefix}/")}


def statistics(case, name):
    """Return PyTorch's running statistics after a pass; before the first one they are zeros and ones."""
    if name == "start":
        after = under(f"{case}/train0/buffers")
        return {key: np.full_like(array, key.endswith("running_var")) for key, array in after.items()}
    return under(f"{case}/{name}/buffers")


def state_before(case, name):
    """Return the running statistics that PyTorch had before the pass, so that every pass stands by itself."""
    return statistics(case, {"train1": "train0", "train2": "train1", "evaluation": "train2"}.get(name, "start"))


@pytest.mark.parametrize(("case", "name"), PASSES)
def test_outputs_gradients_and_running_statistics(case, name):
    model, prefix, train = MODELS[case], f"{case}/{name}", name != "evaluation"
    params, state = from_torch(under(f"{case}/parameters") | state_before(case, name), model)

    def forward(params, x):
        return model.apply(params, state, x, train=train)

    y, backward, new_state = jax.vjp(forward, params, jnp.asarray(GOLDEN[f"{prefix}/x"]), has_aux=True)
    gradients, x_gradient = backward(jnp.asarray(GOLDEN[f"{prefix}/cotangent"]))
    assert_close(y, GOLDEN[f"{prefix}/y"], "outputs")
    assert_close(x_gradient, GOLDEN[f"{prefix}/x_gradient"], "input gradients")
    expected, expected_state = from_torch(under(f"{prefix}/gradients") | statistics(case, name), model)
    assert_trees_close(new_state, expected_state, "running statistics")
    if train and model.parts:
        # A batch norm removes the bias of the linear layer before it: the gradient is zero, and what either side
        # computes is rounding error, so it is compared on the scale of the largest gradient of the network.
        scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
        for i, part in enumerate(model.parts[:-1]):
            if model.parts[i + 1].name.startswith("batch_norm"):
                assert_close(gradients[i].pop("bias"), expected[i].pop("bias"), f"{part} bias", scale)
                assert "weight" in gradients[i]
    assert_trees_close(gradients, expected, "gradients")


@pytest.mark.parametrize("case", MODELS)
def test_the_weights_go_back_bit_for_bit(case):
    arrays = under(f"{case}/parameters") | statistics(case, "train2")
    assert_same_arrays(to_torch(*from_torch(arrays, MODELS[case]), MODELS[case], like=arrays), arrays)


def test_running_statistics_over_three_batches_of_our_own():
    case = "network_with_batch_norm"
    model = MODELS[case]
    parameters = under(f"{case}/parameters")
    params, state = from_torch(parameters | statistics(case, "start"), model)
    for name in ("train0", "train1", "train2"):
        _, state = model.apply(params, state, jnp.asarray(GOLDEN[f"{case}/{name}/x"]), train=True)
    expected = from_torch(parameters | statistics(case, "train2"), model)
    assert_trees_close(state, expected[1], "running statistics")
    y, same = model.apply(params, state, jnp.asarray(GOLDEN[f"{case}/evaluation/x"]))
    assert_close(y, GOLDEN[f"{case}/evaluation/y"], "outputs in evaluation")
    assert_trees_close(same, state, "state in evaluation", scale=0)


def mean_loss(logits, labels, label_smoothing=0.0, class_weights=None):
    values = losses.softmax_cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if class_weights is None:
        return values.mean()
    weights = class_weights[labels]  # PyTorch divides by the sum of the weights, not by the number of examples
    return (weights * values).sum() / weights.sum()


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("cross_entropy", {}),
        ("cross_entropy_smoothed", {"label_smoothing": 0.1}),
        ("cross_entropy_class_weights", {"class_weights": GOLDEN["cross_entropy_class_weights/weights"]}),
    ],
)
def test_cross_entropy(case, options):
    logits, labels = jnp.asarray(GOLDEN[f"{case}/logits"]), GOLDEN[f"{case}/labels"].astype(np.int32)
    loss, gradient = jax.value_and_grad(mean_loss)(logits, labels, **options)
    assert_close(loss, GOLDEN[f"{case}/loss"], "loss")
    assert_close(gradient, GOLDEN[f"{case}/gradient"], "gradient of the logits")


def test_three_steps_of_adam():
    model = models.mlp((12, 16, 8, 5))
    params, state = from_torch(under("adam/parameters"), model)
    optimizer = optax.adam(0.001)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, opt_state, x, labels):
        def loss_of(params):
            logits, _ = model.apply(params, state, x, train=True)
            return mean_loss(logits, labels)

        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    for i in range(3):
        x, labels = GOLDEN[f"adam/step{i}/x"], GOLDEN[f"adam/step{i}/labels"].astype(np.int32)
        params, opt_state, loss = step(params, opt_state, x, labels)
        assert_close(loss, GOLDEN[f"adam/step{i}/loss"], f"loss of step {i}")
        expected, _ = from_torch(under(f"adam/step{i}/parameters"), model)
        assert_trees_close(params, expected, f"params after step {i}")


def test_the_file_is_what_pytorch_computes_here():
    fresh = regenerated("make_torch_golden", GOLDEN)
    for key in fresh.keys() - {"torch_version"}:
        scale = np.abs(GOLDEN[key]).max() if ".bias" not in key else 1.0  # biases before batch norm: see above
        assert_close(fresh[key], GOLDEN[key], key, scale)
