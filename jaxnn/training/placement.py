"""Where the arrays of a run lie on a mesh of devices: batches split, the state whole or split by a rule."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxnn import checks, tree
from jaxnn.data import Dataset
from jaxnn.functional.shards import DATA
from jaxnn.training.epoch import Augment
from jaxnn.training.state import TrainState
from jaxnn.training.step import Step
from jaxnn.types import Layer

Rule: TypeAlias = Callable[[Any, str, Any], PartitionSpec]
"""`rule(mesh, path, leaf) -> PartitionSpec`: how an array of the parameters or the optimizer's state is split."""


class Placement(NamedTuple):
    """A mesh with an axis "data" and the rule for parameters and optimizer state; without a mesh, one device."""

    mesh: Mesh | None = None
    rule: Rule | None = None

    @property
    def ways(self) -> int:
        """The number of parts that a batch is split into."""
        return 1 if self.mesh is None else self.mesh.shape[DATA]

    @property
    def shared(self) -> bool:
        """Whether other processes hold a part of the mesh, so that all have to do the same."""
        return self.mesh is not None and any(d.process_index != jax.process_index() for d in self.mesh.devices.flat)


ONE_DEVICE = Placement()


def placement(mesh: Mesh | None, rule: Rule | None, batch_size: int, accumulate: int) -> Placement:
    """Check what `fit` was given and make the placement.

    Raises TypeError for what is no mesh or rule; ValueError for a mesh without the axis "data" or without the devices
    of some processes, and for batches that the axis does not divide.

    >>> from jaxnn.training.parallel import data_mesh
    >>> placement(data_mesh(1), None, 64, 1).ways
    1
    """
    if rule is not None:
        checks.callables("fit", sharding=rule)
    if mesh is None:
        if rule is not None:
            raise ValueError("fit got sharding without a mesh: give mesh=data_mesh() as well")
        return ONE_DEVICE
    if not isinstance(mesh, Mesh):
        raise TypeError(f"fit expected mesh to be a jax.sharding.Mesh such as data_mesh(4) but got {mesh!r}")
    if DATA not in mesh.axis_names:
        raise ValueError(f"fit expected a mesh with an axis '{DATA}' but got the axes {mesh.axis_names}")
    owners = {device.process_index for device in mesh.devices.flat}
    if len(owners) not in (1, jax.process_count()) or jax.process_index() not in owners:
        raise ValueError(
            f"fit expected a mesh over devices of all {jax.process_count()} processes, or of this one "
            f"({jax.process_index()}) alone, but got devices of the processes {sorted(owners)}"
        )
    ways, part = mesh.shape[DATA], -(-batch_size // accumulate)
    if part % ways:
        parts = f", computed in {accumulate} parts of {part}," if accumulate > 1 else ""
        near = [size * accumulate for size in (part // ways * ways, -(-part // ways) * ways) if size]
        raise ValueError(
            f"fit cannot split batch_size={batch_size}{parts} evenly among the {ways} devices of the axis '{DATA}': "
            f"take {' or '.join(f'batch_size={size}' for size in near)}"
        )
    # Of the meshes that are spoken of in types, as jax.make_mesh makes them, only the devices and names are wanted.
    return Placement(Mesh(mesh.devices, mesh.axis_names), rule)


def place_whole(place: Placement, values: Any) -> Any:
    """Put every array of a tree whole on every device.

    >>> print(place_whole(ONE_DEVICE, np.ones(2)))
    [1. 1.]
    """
    if place.mesh is None:
        return jax.device_put(values)
    whole = NamedSharding(place.mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: _put(leaf, whole), values)


def place_state(place: Placement, train_state: TrainState) -> TrainState:
    """Put parameters and the optimizer's state where the rule says, and the rest on every device.

    Raises TypeError where the rule gives no `PartitionSpec`, ValueError for one that does not fit the array.

    >>> state = TrainState({"weight": jnp.ones((4, 2))}, (), (), jnp.int32(0))
    >>> place_state(ONE_DEVICE, state) is state
    True
    """
    if place.mesh is None:
        return train_state
    return jax.tree.map(_put, train_state, _state_shardings(place.mesh, place.rule, train_state))


def place_rows(place: Placement, batch: Dataset) -> Dataset:
    """Split a batch of the host, so that each process reads its own rows alone; one that does not divide stays whole.

    >>> place_rows(ONE_DEVICE, Dataset(np.ones((4, 2)), np.ones(4))).size
    4
    """
    if place.mesh is None:
        return batch
    mesh = place.mesh
    return jax.tree.map(lambda field: _put(field, _rows(mesh, field)), batch)


def split_inputs(place: Placement, model: Layer) -> Layer:
    """Return the model that computes each part of a batch on its own devices, with its parameters put together there.

    A function of the whole batch stays one (batch norm): XLA adds what has to be added between the devices.

    >>> from jaxnn.layers import linear
    >>> split_inputs(ONE_DEVICE, linear(2, 3))
    linear(2, 3)
    """
    mesh, rule = place.mesh, place.rule
    if mesh is None:
        return model

    def apply(params, state, x, *, key=None, train=False):
        # What `functional.shards` asks for; with other axes it would not use it, but `jax.shard_map` in a layer would.
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh) if mesh.axis_names == (DATA,) else nullcontext():
            return model.apply(_at_use(mesh, rule, params), state, _split(mesh, x), key=key, train=train)

    return model._replace(apply=apply)


def split_augment(place: Placement, augment: Augment | None) -> Augment | None:
    """Return the augmentation that changes each part of a batch on its own devices.

    >>> split_augment(ONE_DEVICE, None)
    """
    mesh = place.mesh
    if mesh is None or augment is None:
        return augment
    return lambda key, inputs: _split(mesh, augment(key, _split(mesh, inputs)))


def split_step(place: Placement, step: Step) -> Step:
    """Return the step that leaves the state where it lay.

    >>> step = lambda train_state, batch, key: (train_state, {})
    >>> split_step(ONE_DEVICE, step) is step
    True
    """
    mesh, rule = place.mesh, place.rule
    if mesh is None:
        return step

    def placed(train_state, batch, key):
        new, totals = step(train_state, batch, key)
        return jax.lax.with_sharding_constraint(new, _state_shardings(mesh, rule, new)), totals

    return placed


def _state_shardings(mesh: Mesh | AbstractMesh, rule: Rule | None, train_state: TrainState) -> Any:
    """Return where each array of a train state lies."""

    def sharding(path, leaf):
        name = tree.path_string(path)
        by_rule = name.split(".")[0] in ("params", "opt_state")
        return NamedSharding(mesh, _spec(mesh, rule if by_rule else None, name, leaf))

    return jax.tree.map_with_path(sharding, train_state)


def _spec(mesh: Mesh | AbstractMesh, rule: Rule | None, name: str, leaf: Any) -> PartitionSpec:
    if rule is None:
        return PartitionSpec()
    spec = rule(mesh, name, leaf)
    if not isinstance(spec, PartitionSpec):
        raise TypeError(f"fit expected sharding to return a jax.sharding.PartitionSpec for {name} but got {spec!r}")
    try:
        NamedSharding(mesh, spec).shard_shape(leaf.shape)
    except ValueError as error:
        raise ValueError(
            f"fit: sharding gave {spec} for {name} of shape {leaf.shape}, which does not fit {dict(mesh.shape)}"
        ) from error
    return spec


def _at_use(mesh: Mesh | AbstractMesh, rule: Rule | None, params: Any) -> Any:
    """Put together what is split along the axis of the data, whose devices all need it; other axes stay split."""

    def whole(path, leaf):
        spec = _spec(mesh, rule, f"params.{tree.path_string(path)}", leaf)
        entries = (entry if isinstance(entry, tuple) else (entry,) for entry in spec)
        kept = (tuple(axis for axis in axes if axis not in (DATA, None)) or None for axes in entries)
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, PartitionSpec(*kept)))

    return jax.tree.map_with_path(whole, params)


def _split(mesh: Mesh | AbstractMesh, values: Any) -> Any:
    return jax.tree.map(lambda field: jax.lax.with_sharding_constraint(field, _rows(mesh, field)), values)


def _rows(mesh: Mesh | AbstractMesh, field: Any) -> NamedSharding:
    """Return the sharding of a batch: its examples split if they can be."""
    split = field.ndim and field.shape[0] % mesh.shape[DATA] == 0
    return NamedSharding(mesh, PartitionSpec(DATA) if split else PartitionSpec())


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Put an array there; where devices of other processes are, each process gives its own parts of it."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
