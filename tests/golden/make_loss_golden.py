"""Make torch_losses.npz: what PyTorch computes for every loss and its gradient, and for backpropagation, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_loss_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. A loss
has the keys `case/predictions`, `case/targets`, `case/values` (one an example: PyTorch's own values, the mean taken
over all axes but the first) and `case/gradient` (of the sum of the values). A network has `network/x`, the weights
`network/layerI.weight` [in, out] and `network/layerI.bias`, and for each output pair its targets, its loss (the mean
over the batch) and its gradients.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

Arrays = dict[str, np.ndarray]
FILE = Path(__file__).with_name("torch_losses.npz")
SHAPES = {"flat": (13,), "matrix": (9, 4), "images": (5, 3, 2, 2)}


def detached(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def per_example(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def record(case: str, loss: Callable, predictions: torch.Tensor, targets: torch.Tensor) -> Arrays:
    predictions = predictions.clone().requires_grad_()
    values = loss(predictions, targets)
    values.sum().backward()
    arrays = {"predictions": predictions, "targets": targets, "values": values, "gradient": predictions.grad}
    return {f"{case}/{name}": detached(array) for name, array in arrays.items()}


def elementwise(name: str, loss: Callable, draw: Callable, targets: Callable) -> Arrays:
    arrays: Arrays = {}
    for kind, shape in SHAPES.items() if "/" not in name else [("matrix", SHAPES["matrix"])]:
        arrays |= record(f"{name}/{kind}", lambda p, y: per_example(loss(p, y)), draw(shape), targets(shape))
    return arrays


def soft_rows(*shape: int) -> torch.Tensor:
    return torch.rand(shape).pow(3).softmax(-1)


def softmax_cases() -> Arrays:
    arrays: Arrays = {}
    labels, soft = torch.randint(5, (11,)), soft_rows(11, 5)
    extreme = torch.tensor([[1e4, -1e4, 0.0, 3.0, 1e4]]).repeat(5, 1)
    for smoothing in (0.0, 0.1):

        def loss(z, y, smoothing=smoothing):
            return functional.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)

        name = f"softmax_cross_entropy/smoothing{smoothing}"
        arrays |= record(f"{name}/labels", loss, 3 * torch.randn(11, 5), labels)
        arrays |= record(f"{name}/soft", loss, 3 * torch.randn(11, 5), soft)
        arrays |= record(f"{name}/extreme", loss, extreme, torch.arange(5))
        arrays |= record(f"{name}/not_normal", loss, torch.randn(7, 5), torch.rand(7, 5))
    return arrays


def probability_cases() -> Arrays:
    labels, soft = torch.randint(5, (11,)), soft_rows(11, 5)
    rows = torch.randn(11, 5).mul(2).softmax(-1)
    likelihood = lambda log_p, y: functional.nll_loss(log_p, y, reduction="none")  # noqa: E731
    return {
        **record("categorical_cross_entropy/labels", lambda p, y: likelihood(p.log(), y), rows, labels),
        **record("categorical_cross_entropy/soft", lambda p, y: -(y * p.log()).sum(-1), rows, soft),
        **record("negative_log_likelihood/labels", likelihood, rows.log(), labels),
    }


def element_cases() -> Arrays:
    none = {"reduction": "none"}
    between = lambda shape: torch.rand(shape) * 0.98 + 0.01  # noqa: E731
    yes_or_no = lambda shape: torch.randint(2, shape).float()  # noqa: E731
    sign = lambda shape: 2 * torch.randint(2, shape).float() - 1  # noqa: E731
    wide = lambda shape: 3 * torch.randn(shape)  # noqa: E731
    huge = lambda shape: (1e4 * torch.randn(shape)).round()  # noqa: E731
    with_logits = lambda z, y: functional.binary_cross_entropy_with_logits(z, y, **none)  # noqa: E731
    probabilities = lambda p, y: functional.binary_cross_entropy(p, y, **none)  # noqa: E731
    return {
        **elementwise("binary_cross_entropy", probabilities, between, yes_or_no),
        **elementwise("binary_cross_entropy/soft", probabilities, between, torch.rand),
        **elementwise("sigmoid_binary_cross_entropy", with_logits, wide, yes_or_no),
        **elementwise("sigmoid_binary_cross_entropy/soft", with_logits, wide, torch.rand),
        **elementwise("sigmoid_binary_cross_entropy/extreme", with_logits, huge, yes_or_no),
        **elementwise("mean_squared_error", lambda p, y: functional.mse_loss(p, y, **none), wide, wide),
        **elementwise("mean_absolute_error", lambda p, y: functional.l1_loss(p, y, **none), wide, wide),
        **elementwise("huber", lambda p, y: functional.huber_loss(p, y, **none), wide, wide),
        **elementwise("huber/delta2.5", lambda p, y: functional.huber_loss(p, y, delta=2.5, **none), wide, wide),
        **elementwise("hinge", lambda s, y: (1 - y * s).clamp(min=0), wide, sign),
    }


def network() -> Arrays:
    """Backpropagate through 6-9-7-4 with tanh and each of the three output pairs, written with PyTorch's own losses."""
    sizes, batch = (6, 9, 7, 4), 8
    x = torch.randn(batch, sizes[0])
    parameters = {}
    for i in range(3):
        parameters[f"layer{i}.weight"] = torch.randn(sizes[i], sizes[i + 1]) / sizes[i] ** 0.5
        parameters[f"layer{i}.bias"] = torch.randn(sizes[i + 1]) / 4
    arrays = {f"network/{name}": detached(value) for name, value in parameters.items()} | {"network/x": detached(x)}
    pairs = {
        "sigmoid": (functional.binary_cross_entropy_with_logits, torch.randint(2, (batch, 4)).float()),
        "softmax": (functional.cross_entropy, torch.randint(4, (batch,))),
        "identity": (functional.mse_loss, torch.randn(batch, 4)),
    }
    for pair, (loss, targets) in pairs.items():
        leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        hidden = x
        for i in range(2):
            hidden = torch.tanh(hidden @ leaves[f"layer{i}.weight"] + leaves[f"layer{i}.bias"])
        value = loss(hidden @ leaves["layer2.weight"] + leaves["layer2.bias"], targets)
        value.backward()
        arrays |= {f"network/{pair}/targets": detached(targets), f"network/{pair}/loss": detached(value)}
        arrays |= {f"network/{pair}/gradients/{name}": detached(leaf.grad) for name, leaf in leaves.items()}
    return arrays


def golden() -> Arrays:
    """Compute every case from one seed."""
    torch.manual_seed(0)
    version = {"torch_version": np.array(torch.__version__)}
    return version | element_cases() | softmax_cases() | probability_cases() | network()


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
