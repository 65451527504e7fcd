"""Make torch_schedules.npz: the rates of PyTorch's learning rate schedulers over whole trajectories, in float64.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_schedules_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. A key is
a case; its array holds the rate of update 0, 1, ... where `scheduler.step()` follows each update. The cases
`*_momentum` and `*_beta1` hold what OneCycleLR makes of the momentum, `*/weights` where Adam goes under it.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.optim import lr_scheduler as s

FILE = Path(__file__).with_name("torch_schedules.npz")
STEPS = 100
RATE = 0.1

Make = Callable[[torch.optim.Optimizer], s.LRScheduler]

CASES: dict[str, Make] = {
    "step": lambda o: s.StepLR(o, 7, 0.5),
    "multi_step": lambda o: s.MultiStepLR(o, [10, 11, 60], 0.3),
    "exponential": lambda o: s.ExponentialLR(o, 0.83),
    "linear": lambda o: s.LinearLR(o, 1.0, 0.01, 80),
    "polynomial": lambda o: s.PolynomialLR(o, 80, 1.0),
    "square": lambda o: s.PolynomialLR(o, 80, 2.0),
    "root": lambda o: s.PolynomialLR(o, 80, 0.5),
    "cosine": lambda o: s.CosineAnnealingLR(o, STEPS - 1),
    "cosine_final": lambda o: s.CosineAnnealingLR(o, STEPS - 1, 1e-4),
    "restarts": lambda o: s.CosineAnnealingWarmRestarts(o, 13, 1, 1e-5),
    "restarts_growing": lambda o: s.CosineAnnealingWarmRestarts(o, 6, 2),
    "one_cycle": lambda o: s.OneCycleLR(o, RATE, STEPS),
    "one_cycle_odd": lambda o: s.OneCycleLR(o, RATE, STEPS, pct_start=0.237, div_factor=5.0, final_div_factor=10.0),
    "one_cycle_linear": lambda o: s.OneCycleLR(o, RATE, STEPS, pct_start=0.237, anneal_strategy="linear"),
    "warm_cosine": lambda o: s.SequentialLR(
        o, [s.LinearLR(o, 0.01, 1.0, 9), s.CosineAnnealingLR(o, STEPS - 10, 1e-4)], [9]
    ),
    "joined": lambda o: s.SequentialLR(
        o, [s.ConstantLR(o, 1.0, 0), s.ExponentialLR(o, 0.9), s.PolynomialLR(o, 20, 2.0)], [5, 40]
    ),
}
CYCLED: dict[str, tuple[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]]] = {
    "one_cycle": ("beta1", lambda p: torch.optim.Adam(p, RATE)),
    "one_cycle_odd": ("beta1", lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.1)),
    "one_cycle_linear": ("momentum", lambda p: torch.optim.SGD(p, RATE, momentum=0.9)),
}


def course(make: Make) -> np.ndarray:
    """Return the rate of each update."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], RATE, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for update in range(STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if update < STEPS - 1:
            scheduler.step()
    return np.array(rates)


def walk(
    make: Make, make_optimizer: Callable[[list[torch.Tensor]], torch.optim.Optimizer], gradients: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return the momentum or beta1 of each update, and the weights after it, float64 throughout."""
    weights = torch.linspace(-1, 1, gradients.shape[1], dtype=torch.float64).requires_grad_()
    optimizer = make_optimizer([weights])
    scheduler = make(optimizer)
    momenta, places = [], []
    for update in range(STEPS):
        group = optimizer.param_groups[0]
        momenta.append(float(group["betas"][0] if "betas" in group else group["momentum"]))
        weights.grad = gradients[update].clone()
        optimizer.step()
        places.append(weights.detach().numpy().copy())
        if update < STEPS - 1:
            scheduler.step()
    return np.array(momenta), np.stack(places)


def golden() -> dict[str, np.ndarray]:
    """Compute every case."""
    arrays = {"torch_version": np.array(torch.__version__)}
    gradients = torch.randn(STEPS, 3, generator=torch.Generator().manual_seed(0)).double()
    arrays["gradients"] = gradients.numpy().astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SequentialLR, which calls its own schedulers in a way it warns of
        for name, make in CASES.items():
            arrays[name] = course(make)
        for name, (what, make_optimizer) in CYCLED.items():
            arrays[f"{name}_{what}"], places = walk(CASES[name], make_optimizer, gradients)
            if what == "beta1":  # SGD multiplies by the rate after the sum, ours before
                arrays[f"{name}/weights"] = places
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
