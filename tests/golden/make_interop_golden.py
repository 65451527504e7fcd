"""Make torch_interop.npz: whole state_dicts of PyTorch and what their modules compute, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_interop_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. Arrays
are as PyTorch has them; images and sequences in x are channels-last. A key reads `case/state_dict/name`, `case/x` or
`case/y`, in the order of the state_dict. All of it is in evaluation mode, after two batches of training.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

Arrays = dict[str, np.ndarray]
FILE = Path(__file__).with_name("torch_interop.npz")


class Flattening(nn.Module):
    """A network that flattens what is no square, 3 x 2 with 6 channels; defined in another order than used."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3)
        self.conv2 = nn.Conv2d(4, 6, 3, groups=2)
        self.fc1 = nn.Linear(36, 6)
        self.fc2 = nn.Linear(6, 6)
        self.fc3 = nn.Linear(6, 3)
        self.bn2 = nn.BatchNorm2d(6)
        self.bn1 = nn.BatchNorm2d(4)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(torch.max_pool2d(x, 2))))
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x.flatten(1))))))


class Sequences(nn.Module):
    """Tokens and positions of the same count, a recurrent network in both directions, attention, norms."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(9, 6)
        self.positions = nn.Embedding(9, 6)
        self.lstm = nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.rms = nn.RMSNorm(8)
        self.head = nn.Linear(8, 9, bias=False)

    def forward(self, x):
        x = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        x = self.norm(self.lstm(x)[0])
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.rms(self.block(x)))


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


CASES = {
    "flattening": (Flattening, lambda: images(3, 13, 11, 2)),
    "sequence flattened": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2)),
        lambda: images(3, 7, 3),
    ),
    "colours flattened": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(60, 5), nn.Tanh(), nn.Linear(5, 2)),
        lambda: images(3, 4, 5, 3),
    ),
    "sequences": (Sequences, lambda: torch.randint(9, (3, 5))),
}


def golden() -> Arrays:
    """Compute every case, each from a seed of its own."""
    arrays = {"torch_version": np.array(torch.__version__)}
    for seed, (case, (make, draw)) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        module = make()
        with torch.no_grad():  # zeros and ones would hide an exchange
            for parameter in module.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.3 * torch.randn_like(parameter))
            for _ in range(2):
                forward(module.train(), draw())
            x = draw()
            y = forward(module.eval(), x)
        arrays |= {f"{case}/state_dict/{name}": value.numpy().copy() for name, value in module.state_dict().items()}
        arrays |= {f"{case}/x": x.numpy(), f"{case}/y": y.numpy()}
    return arrays


def forward(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x.movedim(-1, 1) if x.is_floating_point() else x)


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
