"""Beyond one device: meshes for `fit(mesh=...)`, the rule that splits the state, and arrays brought together again.

`initialize` joins several processes. Which of them this is, `jax.process_index()` says; process 0 writes and speaks.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxnn import checks
from jaxnn.functional.shards import DATA
from jaxnn.training.machine import cores
from jaxnn.training.processes import initialize

__all__ = ["data_mesh", "device_per_core", "fully_sharded", "gathered", "initialize"]

SMALLEST = 1024  # numbers in an array that is worth splitting: less is sent in no less time


def data_mesh(devices: int | None = None) -> Mesh:
    """Make a mesh with the one axis "data", over the first `devices` devices of each process (by default all).

    A CPU is one device; `jax.config.update("jax_num_cpu_devices", 4)`, before anything is computed, makes it four.

    Raises ValueError for more devices than there are.

    >>> dict(data_mesh(1).shape)
    {'data': 1}
    """
    by_process: dict[int, list[Any]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    if devices is not None:
        checks.positive_int("data_mesh", "devices", devices)
        for process, own in by_process.items():
            if len(own) < devices:
                where = f" in process {process}" if len(by_process) > 1 else ""
                cpu = f": jax.config.update('jax_num_cpu_devices', {devices}) before anything is computed makes more"
                raise ValueError(
                    f"data_mesh got devices={devices} but there {'is' if len(own) == 1 else 'are'} {len(own)} "
                    f"{own[0].platform} device{'s' * (len(own) > 1)}{where}{cpu if own[0].platform == 'cpu' else ''}"
                )
    return Mesh(np.array([device for own in by_process.values() for device in own[:devices]]), (DATA,))


def device_per_core() -> None:
    """Make a CPU as many devices as this process has cores; for the main of a program, before anything is computed.

    `fit(mesh=data_mesh())` then computes a part of each batch on each core, with a sum over the cores once a step. For
    the recurrent and the convolutional networks that is faster than one device, whose products and convolutions of a
    small batch are too small to be shared between cores (`python -m benchmarks.peers`); not for a perceptron, whose
    update takes longer than its gradient. An accelerator stays as it is.

    Raises RuntimeError if JAX has computed something.

    >>> device_per_core()  # doctest: +SKIP
    """
    try:
        jax.config.update("jax_num_cpu_devices", cores())
    except RuntimeError as error:
        raise RuntimeError(
            "device_per_core came too late: JAX has made its devices; call it before anything is computed"
        ) from error


def fully_sharded(mesh: Mesh | AbstractMesh, path: str, leaf: Any) -> PartitionSpec:
    """Split an array along its longest axis that the mesh's axis "data" divides; for `fit(sharding=fully_sharded)`.

    Each device then keeps its part of the parameters and of the optimizer's state, and they are put together while
    they are used. Arrays of fewer than 1,024 numbers stay whole. Rajbhandari et al., 2020, ZeRO: Memory Optimizations
    Toward Training Trillion Parameter Models.

    >>> tuple(fully_sharded(data_mesh(1), "params.0.weight", np.zeros((32, 64))))
    (None, 'data')
    """
    ways = mesh.shape[DATA]
    axes = [axis for axis, size in enumerate(leaf.shape) if size % ways == 0]
    if leaf.size < SMALLEST or not axes:
        return PartitionSpec()
    longest = max(axes, key=lambda axis: leaf.shape[axis])
    return PartitionSpec(*[None] * longest, DATA)


def gathered(values: Any) -> Any:
    """Bring every array of a tree together, whole, on one device of each process; every process has to ask.

    What `fit` gives on a mesh lies on all of its devices. Gathered it can be computed with, saved and shown in one
    process alone.

    >>> gathered({"weight": np.ones(2)})["weight"].tolist()
    [1.0, 1.0]
    """

    leaves, form = jax.tree.flatten(values)
    places = [i for i, leaf in enumerate(leaves) if isinstance(getattr(leaf, "sharding", None), NamedSharding)]
    split = [leaves[i] for i in places]
    everywhere = [NamedSharding(leaf.sharding.mesh, PartitionSpec()) for leaf in split]
    for i, whole in zip(places, jax.jit(lambda x: x, out_shardings=everywhere)(split), strict=True):
        leaves[i] = whole.addressable_data(0)
    return jax.tree.unflatten(form, leaves)
