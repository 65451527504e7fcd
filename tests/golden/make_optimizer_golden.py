"""Make torch_optimizers.npz: where PyTorch's optimizers go in 60 steps of given random gradients, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_optimizer_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. A key
reads `start/leaf`, `gradients/leaf` [60, ...] or `case/leaf` [60, ...], the parameters after each step. The gradients
are rounded to bfloat16, so that a run in bfloat16 is given the same ones.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).with_name("torch_optimizers.npz")
STEPS = 60
SHAPES = {"0.weight": (5, 4), "0.bias": (4,), "1.scale": (3,), "1.shift": (), "1.still": (2,)}
SCALES = {"0.weight": 1.0, "0.bias": 1.0, "1.scale": 1e-3, "1.shift": 3.0, "1.still": 0.0}
CLIP = 5.5  # about half of the gradients are longer

Parameters = dict[str, torch.Tensor]
Make = Callable[[Parameters], torch.optim.Optimizer]


def schedule(step: int) -> float:
    """Give a learning rate that rises, falls and is never the same twice."""
    return 0.05 * (1 + 0.9 * math.sin(step / 5)) / (1 + step / 30)


def decay_groups(parameters: Parameters) -> list[dict[str, object]]:
    """Decay weights only."""
    weights = [value for name, value in parameters.items() if name.endswith("weight")]
    others = [value for name, value in parameters.items() if not name.endswith("weight")]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


def values(parameters: Parameters) -> Iterable[torch.Tensor]:
    return parameters.values()


CASES: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(values(p), lr=0.1),
    "momentum": lambda p: torch.optim.SGD(values(p), lr=0.05, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(values(p), lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(values(p), lr=0.01, alpha=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(values(p), lr=0.1),
    "adagrad_from_a_tenth": lambda p: torch.optim.Adagrad(values(p), lr=0.1, initial_accumulator_value=0.1),
    "adam": lambda p: torch.optim.Adam(values(p), lr=0.01),
    "adam_other_options": lambda p: torch.optim.Adam(values(p), lr=0.01, betas=(0.5, 0.9), eps=1e-3),
    "adamw": lambda p: torch.optim.AdamW(values(p), lr=0.01, weight_decay=0.1),
    "adamw_weights_only": lambda p: torch.optim.AdamW(decay_groups(p), lr=0.01, weight_decay=0.1),
}
SCHEDULED = ("sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw")


def path(start: Parameters, gradients: Parameters, make: Make, *, scheduled: bool, clip: bool) -> dict[str, np.ndarray]:
    """Return the parameters after each step."""
    parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = make(parameters)
    places: dict[str, list[np.ndarray]] = {name: [] for name in start}
    for step in range(STEPS):
        for name, value in parameters.items():
            value.grad = gradients[name][step].clone()
        for group in optimizer.param_groups:
            group["lr"] = schedule(step) if scheduled else group["lr"]
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        optimizer.step()
        for name, value in parameters.items():
            places[name].append(value.detach().numpy().copy())
    return {name: np.stack(steps) for name, steps in places.items()}


def golden() -> dict[str, np.ndarray]:
    """Compute every case from one seed."""
    torch.manual_seed(0)
    start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    start["0.bias"] = torch.zeros(SHAPES["0.bias"])
    gradients = {name: (SCALES[name] * torch.randn(STEPS, *shape)).bfloat16().float() for name, shape in SHAPES.items()}
    arrays = {"torch_version": np.array(torch.__version__)}
    arrays |= {"schedule": np.array([schedule(step) for step in range(STEPS)], np.float32)}
    arrays |= {f"start/{name}": value.numpy() for name, value in start.items()}
    arrays |= {f"gradients/{name}": value.numpy() for name, value in gradients.items()}
    runs = [(case, case, False, False) for case in CASES]
    runs += [(f"{case}_scheduled", case, True, False) for case in SCHEDULED]
    runs += [("sgd_clipped", "sgd", False, True)]
    for name, case, scheduled, clip in runs:
        places = path(start, gradients, CASES[case], scheduled=scheduled, clip=clip)
        arrays |= {f"{name}/{leaf}": value for leaf, value in places.items()}
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
