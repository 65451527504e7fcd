"""The devices and processes of an experiment: its options, and what they set up before JAX looks what there is."""

import os
import sys
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from jaxnn import checks
from jaxnn.training.parallel import data_mesh, initialize


@dataclass(frozen=True)
class Devices:
    """What an experiment is trained on."""

    devices: int | None = None
    """Split each batch among so many devices (of each process); a CPU is made into so many."""
    distributed: bool = False
    """Train with other processes, each by this command: Slurm, Open MPI, Kubernetes, TPU pods are recognised."""
    coordinator: str | None = None
    """With --distributed elsewhere: host:port of process 0."""
    processes: int | None = None
    """With --distributed elsewhere: how many processes there are."""
    process_id: int | None = None
    """With --distributed elsewhere: the number of this one, from 0."""


def set_up(config: Devices) -> None:
    """Make a CPU into the devices that were asked for and join the other processes; before anything is computed."""
    if config.devices is not None:
        checks.positive_int("the command", "--devices", config.devices)
        jax.config.update("jax_num_cpu_devices", config.devices)
    if not config.distributed:
        for name in ("coordinator", "processes", "process_id"):
            if getattr(config, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is an option of --distributed: give that too")
        return
    # What connects the processes on a CPU prints lines of its own on stdout; they go where other messages go.
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    initialize(config.coordinator, config.processes, config.process_id)


def mesh_of(config: Devices) -> Mesh | None:
    """Return the mesh for `fit`; none where nothing was asked for."""
    return None if config.devices is None and not config.distributed else data_mesh(config.devices)


def is_first() -> bool:
    """Say whether this process writes and speaks: of several, number 0 alone."""
    return jax.process_index() == 0
