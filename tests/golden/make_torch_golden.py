"""Make torch_dense.npz: what PyTorch computes for dense layers, losses and the guide's networks, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_torch_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. Arrays
are as PyTorch has them (linear weights [out, in]); only images are channels-last, [B, H, W, C], on both sides. A key
reads `case/pass/what/name`, such as `simple_nn/evaluation/gradients/layer1.weight`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Arrays = dict[str, np.ndarray]
FILE = Path(__file__).with_name("torch_dense.npz")


class SimpleNN(nn.Module):
    """The guide's first network; its three sizes are arguments there too."""

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.layer1 = nn.Linear(input_size, hidden_size)
        self.layer2 = nn.Linear(hidden_size, hidden_size)
        self.layer3 = nn.Linear(hidden_size, output_size)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        x = self.dropout(self.relu(self.layer1(x)))
        x = self.dropout(self.relu(self.layer2(x)))
        return self.layer3(x)


class NetworkWithBatchNorm(nn.Module):
    """The guide's network with batch normalisation: 12-16-8-5 instead of 784-256-128-10."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(12, 16)
        self.bn1 = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, 8)
        self.bn2 = nn.BatchNorm1d(8)
        self.fc3 = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.fc1(x)))
        x = torch.relu(self.bn2(self.fc2(x)))
        return self.fc3(x)


class MNISTClassifier(nn.Module):
    """The guide's last network: 12-16-8-5 instead of 784-512-256-10."""

    def __init__(self, dropout=0.2):
        super().__init__()
        self.flatten = nn.Flatten()
        self.network = nn.Sequential(
            nn.Linear(12, 16),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(16, 8),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(8, 5),
        )

    def forward(self, x):
        return self.network(self.flatten(x))


def guide_sequential() -> nn.Sequential:
    """Build the guide's Sequential with sizes 12-16-10-8-5 instead of 784-256-128-64-10."""
    return nn.Sequential(
        nn.Linear(12, 16),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(16, 10),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(10, 8),
        nn.ReLU(),
        nn.Linear(8, 5),
    )


class ChannelsLast(nn.Module):
    """Feed [B, H, W, C] to a module of PyTorch that expects [B, C, H, W], and back if its output has four axes."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        y = self.inner(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1) if y.ndim == 4 else y


def detached(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def parameters(case: str, module: nn.Module) -> Arrays:
    return {f"{case}/parameters/{name}": detached(value) for name, value in module.named_parameters()}


def one_pass(case: str, module: nn.Module, x: torch.Tensor) -> Arrays:
    """Record x, y, a random cotangent, what backward makes of it, and the running statistics afterwards."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    y = module(x)
    cotangent = torch.randn(y.shape)
    y.backward(cotangent)
    arrays = {f"{case}/x": x, f"{case}/y": y, f"{case}/cotangent": cotangent, f"{case}/x_gradient": x.grad}
    arrays |= {f"{case}/gradients/{name}": value.grad for name, value in module.named_parameters()}
    arrays |= {f"{case}/buffers/{name}": value for name, value in module.named_buffers() if "running" in name}
    return {name: detached(value) for name, value in arrays.items()}


def in_evaluation(case: str, module: nn.Module, *shape: int) -> Arrays:
    """Record one pass in evaluation mode, in which dropout does nothing."""
    module.eval()
    return parameters(case, module) | one_pass(f"{case}/evaluation", module, torch.randn(*shape))


def in_training(case: str, module: nn.Module, *shape: int) -> Arrays:
    """Record three batches in training mode, far from mean 0 and variance 1, and then evaluation."""
    for name, value in module.named_parameters():
        if value.ndim == 1 and name.endswith("weight"):  # the scale of a batch norm: all ones by default
            nn.init.uniform_(value, 0.5, 1.5)
        elif value.ndim == 1:
            nn.init.uniform_(value, -1, 1)
    arrays = parameters(case, module)
    module.train()
    for i in range(3):
        arrays |= one_pass(f"{case}/train{i}", module, 2 * torch.randn(*shape) + i + 1)
    module.eval()
    return arrays | one_pass(f"{case}/evaluation", module, torch.randn(*shape))


def cross_entropy(case: str, loss: Callable[..., torch.Tensor]) -> Arrays:
    """Record a mean loss of random logits, and its gradient."""
    logits = (3 * torch.randn(11, 5)).requires_grad_()
    labels = torch.randint(5, (11,))
    value = loss(logits, labels)
    value.backward()
    arrays = {"logits": logits, "labels": labels, "loss": value, "gradient": logits.grad}
    return {f"{case}/{name}": detached(array) for name, array in arrays.items()}


def adam(case: str) -> Arrays:
    """Record three steps of Adam with the guide's learning rate, without dropout, a new batch each."""
    model = ChannelsLast(MNISTClassifier(dropout=0.0)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    arrays = parameters(case, model)
    for i in range(3):
        x, labels = torch.randn(7, 3, 4, 1), torch.randint(5, (7,))
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        arrays |= {f"{case}/step{i}/{k}": detached(v) for k, v in (("x", x), ("labels", labels), ("loss", loss))}
        arrays |= parameters(f"{case}/step{i}", model)
    return arrays


def golden() -> Arrays:
    """Compute every case from one seed."""
    torch.manual_seed(0)
    class_weights = torch.tensor([0.5, 1.0, 2.0, 0.25, 3.0])
    return {
        "torch_version": np.array(torch.__version__),
        **in_evaluation("linear_2d", nn.Linear(7, 4), 5, 7),
        **in_evaluation("linear_3d", nn.Linear(7, 4), 2, 3, 7),
        **in_evaluation("linear_without_bias", nn.Linear(7, 4, bias=False), 5, 7),
        **in_training("batch_norm_features", nn.BatchNorm1d(6), 9, 6),
        **in_training("batch_norm_images", ChannelsLast(nn.BatchNorm2d(6)), 3, 4, 5, 6),
        **cross_entropy("cross_entropy", nn.CrossEntropyLoss()),
        **cross_entropy("cross_entropy_smoothed", nn.CrossEntropyLoss(label_smoothing=0.1)),
        **cross_entropy("cross_entropy_class_weights", nn.CrossEntropyLoss(weight=class_weights)),
        "cross_entropy_class_weights/weights": class_weights.numpy(),
        **in_evaluation("simple_nn", SimpleNN(12, 16, 5), 9, 12),
        **in_evaluation("sequential", guide_sequential(), 9, 12),
        **in_evaluation("mnist_classifier", ChannelsLast(MNISTClassifier()), 9, 3, 4, 1),
        **in_training("network_with_batch_norm", NetworkWithBatchNorm(), 9, 12),
        **adam("adam"),
    }


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
