"""The guide's CNN program in PyTorch, the rival of `experiments.images`: same images, same ten epochs, same seeds.

    python -m benchmarks.cnn_torch --dataset fashion_mnist --seeds 0 1 2 3 4

trains on the images that `experiments.images` trains on for the same seed (its validation images stay out), in the
memory layout channels-last, which is PyTorch's fastest here. It prints one JSON line a seed, as
{"dataset", "seed", "seconds_per_epoch", "test_accuracy"}; the test images are looked at once, at the end.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.mnist_torch import LEARNING_RATE, test_accuracy, train_epoch
from jaxnn.data import split
from jaxnn.data.images import load
from jaxnn.training import run_keys

MEAN_STD = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}
VALIDATION_SHARE = 1 / 12


class CNN(nn.Module):
    """The guide's network: blocks of 32, 64 and 128 channels, then 64 hidden units with dropout 0.5."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))

    def forward(self, x):
        """Compute the logits, [B, 1, 28, 28] -> [B, 10]."""
        return self.classifier(self.features(x))


def tensors(name: str, part) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise uint8 images [N, 28, 28, 1] and return them as [N, 1, 28, 28] in channels-last, with int64 labels."""
    mean, std = MEAN_STD[name]
    images = (np.asarray(part.inputs, np.float32) / 255 - mean) / std
    images = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(np.array(part.targets, np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=MEAN_STD, default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    data = load(options.dataset)
    test = tensors(data.name, data.test)
    for seed in options.seeds:
        train = tensors(data.name, split(data.train, VALIDATION_SHARE, run_keys(seed).split)[0])
        torch.manual_seed(seed)
        model = CNN().to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
        seconds = []
        for _ in range(options.epochs):
            start = time.perf_counter()
            train_epoch(model, optimizer, *train)
            seconds.append(time.perf_counter() - start)
        record = {
            "dataset": data.name,
            "seed": seed,
            "epochs": options.epochs,
            "seconds_per_epoch": round(statistics.median(seconds), 2),
            "test_accuracy": test_accuracy(model, *test),
        }
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
