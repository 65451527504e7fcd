"""Functions of single examples, computed where the examples lie on a mesh of devices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from jaxnn.types import Size

DATA = "data"  # the axis of a mesh that batches are split along


def by_shard(
    function: Callable[..., Any], in_axes: Sequence[int], out_axes: Sequence[int], params: Any, *args: Any
) -> Any:
    """Compute `function(params, *args)` on each device for its own part of the batch.

    The batch is the axis `in_axes[i]` of every array in the i-th of `args` and `out_axes[j]` of those in the j-th
    result, and no example may depend on another. XLA splits a program among devices by itself, but not where time and
    batch become the rows of one matrix: there it computes the whole batch on every device. Which devices, the mesh of
    the context says, as `fit(mesh=...)` or `jax.set_mesh(data_mesh())` sets it: with "data" as its only axis, which is
    left to XLA (`AxisType.Auto`) and divides the batch. Else it is `function(params, *args)` as it stands.

    >>> weight, x = jax.numpy.ones((3, 2)), jax.numpy.ones((5, 4, 3))
    >>> by_shard(lambda weight, x: (x @ weight,), (1,), (1,), weight, x)[0].shape
    (5, 4, 2)
    """
    mesh = jax.sharding.get_abstract_mesh()
    batch = {leaf.shape[axis] for arg, axis in zip(args, in_axes, strict=True) for leaf in jax.tree.leaves(arg)}
    if not _divides(mesh, batch):
        return function(params, *args)
    # As one array, so that the gradient is one sum over the devices: each sum waits for all of them.
    packed, unpack = ravel_pytree(params)
    on_each = jax.shard_map(
        lambda packed, *args: function(unpack(packed), *args),
        mesh=mesh,
        in_specs=(PartitionSpec(), *map(_split, in_axes)),
        out_specs=tuple(map(_split, out_axes)),
        check_vma=False,
    )
    return on_each(packed, *args)


def _divides(mesh: AbstractMesh, batch: set[Size]) -> bool:
    """Say whether the mesh has the axis of the batch alone, left to XLA, and divides it."""
    automatic = mesh.axis_names == (DATA,) and mesh.axis_types == (AxisType.Auto,)
    return automatic and mesh.size > 1 and all(size % mesh.size == 0 for size in batch)


def _split(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, DATA)
