"""What the machine has for a training: cores and memory."""

import os

import jax

USUAL_MEMORY = 8 * 2**30  # bytes, where the system does not say how much it has


def cores() -> int:
    """Count the cores that this process may use, which in a container are fewer than the machine's.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_memory() -> float:
    """Return the bytes of memory of the device that programs run on.

    >>> device_memory() > 2**20
    True
    """
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system without them
        return USUAL_MEMORY
