"""Make torch_convolution.npz: what PyTorch computes for convolutions, pools and the guide's CNN, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_convolution_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. Weights
are as PyTorch has them ([out, in, KH, KW]); x, y and their gradients are channels-last on both sides. A key reads
`case/pass/what/name`, such as `cnn/train0/gradients/features.0.weight`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

Arrays = dict[str, np.ndarray]
FILE = Path(__file__).with_name("torch_convolution.npz")


class CNN(nn.Module):
    """The guide's network with blocks of 4, 6 and 8 channels and 7 hidden units, and without dropout in training."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, kernel_size=3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, kernel_size=3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(8, 7), nn.ReLU(), nn.Dropout(0.0), nn.Linear(7, num_classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x))


IMAGES, SEQUENCES = (2, 9, 8, 4), (2, 11, 4)
# case -> (module, shape of x); the test has the same names.
CASES = {
    "conv2d": (nn.Conv2d(4, 6, 3, padding=1), IMAGES),
    "conv2d strided": (nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), bias=False), IMAGES),
    "conv2d dilated": (nn.Conv2d(4, 6, 3, padding=2, dilation=(2, 1)), IMAGES),
    "conv2d groups": (nn.Conv2d(4, 6, 3, stride=2, groups=2), IMAGES),
    "conv2d depthwise": (nn.Conv2d(4, 8, 3, padding=1, groups=4), IMAGES),
    "conv2d same": (nn.Conv2d(4, 6, (4, 3), padding="same"), IMAGES),
    "conv2d valid": (nn.Conv2d(4, 6, 5, padding="valid"), IMAGES),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1), SEQUENCES),
    "conv1d all": (nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2, bias=False), SEQUENCES),
    "max_pool2d": (nn.MaxPool2d(2), IMAGES),
    "max_pool2d ties": (nn.MaxPool2d(2), IMAGES),
    "max_pool2d overlapping ties": (nn.MaxPool2d((3, 2), stride=(2, 1), padding=1), IMAGES),
    "max_pool1d": (nn.MaxPool1d(3, stride=2, padding=1), SEQUENCES),
    "average_pool2d": (nn.AvgPool2d(2), IMAGES),
    "average_pool2d padded": (nn.AvgPool2d(3, stride=2, padding=1), IMAGES),
    "average_pool2d not counted": (nn.AvgPool2d((3, 2), stride=(2, 1), padding=1, count_include_pad=False), IMAGES),
    "average_pool1d": (nn.AvgPool1d(3, stride=2, padding=1), SEQUENCES),
    "average_pool1d not counted": (nn.AvgPool1d(2, padding=1, count_include_pad=False), SEQUENCES),
    "adaptive_average_pool2d": (nn.AdaptiveAvgPool2d(1), IMAGES),
    "adaptive_average_pool2d bins": (nn.AdaptiveAvgPool2d((4, 3)), IMAGES),
    "adaptive_average_pool2d more bins than entries": (nn.AdaptiveAvgPool2d(12), IMAGES),
    "adaptive_average_pool1d": (nn.AdaptiveAvgPool1d(4), SEQUENCES),
}


def one_pass(case: str, module: nn.Module, x: torch.Tensor) -> Arrays:
    """Record x, y, a random cotangent, what backward makes of it, and the running statistics afterwards."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    y = module(x.movedim(-1, 1))
    y = y.movedim(1, -1) if y.ndim > 2 else y
    cotangent = torch.randn(y.shape)
    y.backward(cotangent)
    arrays = {f"{case}/x": x, f"{case}/y": y, f"{case}/cotangent": cotangent, f"{case}/x_gradient": x.grad}
    arrays |= {f"{case}/gradients/{name}": value.grad for name, value in module.named_parameters()}
    arrays |= {f"{case}/buffers/{name}": value for name, value in module.named_buffers() if "running" in name}
    return {name: value.detach().numpy().copy() for name, value in arrays.items()}


def golden() -> Arrays:
    """Compute every case from one seed."""
    torch.manual_seed(0)
    arrays = {"torch_version": np.array(torch.__version__)}
    network = CNN()
    for case, (module, shape) in {**CASES, "cnn": (network, (6, 12, 13, 1))}.items():
        for name, value in module.named_parameters():
            # Drawn anew, since modules that were made on import know no seed, and batch norm begins with ones.
            value.data = torch.randn(value.shape) / (value[0].numel() ** 0.5 if value.ndim > 1 else 2)
            arrays[f"{case}/parameters/{name}"] = value.detach().numpy().copy()
        x = torch.randn(shape)
        if "ties" in case:
            x = torch.round(x).clamp(min=0)
        if module is not network:
            arrays |= one_pass(f"{case}/evaluation", module.eval(), x)
    for i in range(3):
        arrays |= one_pass(f"cnn/train{i}", network.train(), 2 * torch.randn(6, 12, 13, 1) + i)
    return arrays | one_pass("cnn/evaluation", network.eval(), torch.randn(6, 12, 13, 1))


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
