"""The guide's MNIST program in PyTorch, as PyTorch's own documentation teaches it, without the cost of a DataLoader.

The images are normalised once and stay in memory; an epoch takes batches from a fresh permutation. From the project's
folder:

    python -m benchmarks.mnist_torch --data DATA --epochs 10 --seeds 0 1 2

prints one JSON line an epoch: {"seed", "epoch", "seconds", "test_accuracy"}; the seconds are those of
training alone. JAX is not needed.
"""

import time
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.mnist_arrays import normalized, read_mnist
from benchmarks.mnist_records import print_record, read_options

BATCH_SIZE, TEST_BATCH_SIZE, LEARNING_RATE = 64, 1000, 0.001


class MNISTClassifier(nn.Module):
    """The guide's network: 784-512-256-10, ReLU, dropout 0.2, PyTorch's default initialisation."""

    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.network = nn.Sequential(
            nn.Linear(784, 512),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(256, 10),
        )

    def forward(self, x):
        """Compute the logits, [B, 1, 28, 28] -> [B, 10]."""
        return self.network(self.flatten(x))


def load(folder: str | Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read "train" or "test" as (float32 images [N, 1, 28, 28], int64 labels [N])."""
    images, labels = read_mnist(folder, part)
    return torch.from_numpy(normalized(images)[:, None]), torch.from_numpy(labels.astype("int64"))


def make(seed: int) -> tuple[MNISTClassifier, torch.optim.Optimizer]:
    """Make the model and its optimizer; the seed also decides what follows: the order and the dropout."""
    torch.manual_seed(seed)
    model = MNISTClassifier()
    # fused=True updates all parameters in one kernel: three times as fast as the default on a CPU.
    return model, torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)


def train_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Train on every example once, in a new order; the last batch is short (32 of 64)."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    for indices in torch.randperm(len(images)).split(BATCH_SIZE):
        optimizer.zero_grad()
        loss = criterion(model(images[indices]), labels[indices])
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def test_accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Compute the fraction of the examples that the model gets right."""
    model.eval()
    batches = zip(images.split(TEST_BATCH_SIZE), labels.split(TEST_BATCH_SIZE), strict=True)
    correct = sum((model(x).argmax(dim=1) == y).sum().item() for x, y in batches)
    return correct / len(images)


test_accuracy.__test__ = False  # the name is the guide's; pytest is not to take it for a test


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments)
    train, test = load(options.data, "train"), load(options.data, "test")
    for seed in options.seeds:
        model, optimizer = make(seed)
        for epoch in range(1, options.epochs + 1):
            start = time.perf_counter()
            train_epoch(model, optimizer, *train)
            seconds = time.perf_counter() - start
            print_record(seed, epoch, seconds, test_accuracy(model, *test))


if __name__ == "__main__":
    main()
