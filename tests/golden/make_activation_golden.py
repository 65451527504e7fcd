"""Make activations.npz: what PyTorch computes for every activation and its derivative, in float64 and in bfloat16.

Run it where PyTorch is installed (jaxnn and JAX are not needed):

    python tests/golden/make_activation_golden.py

The file in the repository was made with PyTorch 2.13.0 on a CPU; the array `torch_version` inside says so too. `x`
holds the kinks, ordinary numbers and +-1e4; each number is one of bfloat16, so every dtype holds it exactly. A key
reads `dtype/function/what`, `what` being value, derivative, jacobian or vjp; bfloat16 is stored as float32.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

FILE = Path(__file__).with_name("activations.npz")
DTYPES = {"float64": torch.float64, "bfloat16": torch.bfloat16}

ELEMENTWISE = {
    "identity": lambda x: x * 1,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "leaky_relu_0.25": lambda x: functional.leaky_relu(x, 0.25),
    "elu": functional.elu,
    "elu_1.5": lambda x: functional.elu(x, 1.5),
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),  # functional.softplus is linear from 20 on
    "gelu": functional.gelu,
    "silu": functional.silu,
}
ROWWISE = {"softmax": torch.softmax, "log_softmax": torch.log_softmax}


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x [N], rows of logits [R, 5] and gradients [R, 5], all exact in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    extremes = torch.tensor([0.0, -0.0, 1e-3, -1e-3, 20, -20, 50, -50, 90, -90, 1000, -1000, 1e4, -1e4])
    x = torch.cat([extremes, torch.linspace(-6, 6, 49), 3 * torch.randn(40, generator=generator)])
    ordinary = torch.randn(4, 5, generator=generator)
    special = torch.tensor(
        [
            [1e4, -1e4, 0, 1e4, 5],
            [-1e4] * 5,
            [0.0, 20, -20, 3, 3],
            [-torch.inf, 1, 2, -torch.inf, 0],
            [88.0, 0, 0, 0, 1],
        ]
    )
    rows = torch.cat([ordinary, 10 * ordinary, special])
    g = torch.randn(rows.shape, generator=generator)
    x, rows, g = (a.to(torch.bfloat16).double().numpy() for a in (x, rows, g))
    return x, rows, g


def array(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


def main() -> None:
    x, rows, g = inputs()
    arrays = {"x": x, "rows": rows, "g": g, "torch_version": np.array(torch.__version__)}
    for dtype_name, dtype in DTYPES.items():
        for name, function in ELEMENTWISE.items():
            leaf = torch.tensor(x, dtype=dtype, requires_grad=True)
            value = function(leaf)
            (derivative,) = torch.autograd.grad(value.sum(), leaf)
            arrays[f"{dtype_name}/{name}/value"] = array(value)
            arrays[f"{dtype_name}/{name}/derivative"] = array(derivative)
        for name, function in ROWWISE.items():
            leaf = torch.tensor(rows, dtype=dtype, requires_grad=True)
            value = function(leaf, -1)
            (vjp,) = torch.autograd.grad(value, leaf, torch.tensor(g, dtype=dtype))
            jacobians = [
                torch.autograd.functional.jacobian(lambda row, f=function: f(row, -1), row.detach()) for row in leaf
            ]
            arrays[f"{dtype_name}/{name}/value"] = array(value)
            arrays[f"{dtype_name}/{name}/vjp"] = array(vjp)
            arrays[f"{dtype_name}/{name}/jacobian"] = array(torch.stack(jacobians))
    assert all(np.isfinite(a).all() for key, a in arrays.items() if "derivative" in key)
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE}: {len(arrays)} arrays, {FILE.stat().st_size:,} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
