"""Make torch_averaging.npz: PyTorch's moving average of the parameters over 60 steps of momentum, in float32.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_averaging_golden.py

Start and gradients are those of torch_optimizers.npz. The file in the repository was made with PyTorch 2.13.0 on a CPU;
the array `torch_version` inside says so too. A key reads `decay/leaf` [60, ...], the average after each step.
"""

from pathlib import Path

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

FILE = Path(__file__).with_name("torch_averaging.npz")
DECAYS = (0.0, 0.9, 0.999)


def averages(start: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor], decay: float) -> dict[str, np.ndarray]:
    """Return the average of each leaf after each step."""
    # A module's parameters have no dot in their names.
    model = torch.nn.ParameterDict({name.replace(".", "_"): value.clone() for name, value in start.items()})
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    places: dict[str, list[np.ndarray]] = {name: [] for name in start}
    for step in range(len(next(iter(gradients.values())))):
        for name, gradient in gradients.items():
            model[name.replace(".", "_")].grad = gradient[step].clone()
        optimizer.step()
        averaged.update_parameters(model)
        for name in start:
            places[name].append(averaged.module[name.replace(".", "_")].detach().numpy().copy())
    return {name: np.stack(steps) for name, steps in places.items()}


def golden() -> dict[str, np.ndarray]:
    """Compute the averages of every decay."""
    given = np.load(FILE.with_name("torch_optimizers.npz"))
    start, gradients = (
        {key.removeprefix(prefix): torch.from_numpy(given[key]) for key in given if key.startswith(prefix)}
        for prefix in ("start/", "gradients/")
    )
    arrays = {"torch_version": np.array(torch.__version__)}
    for decay in DECAYS:
        arrays |= {f"{decay}/{name}": value for name, value in averages(start, gradients, decay).items()}
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden())
    print(f"{FILE.name}: {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
