"""Where a number was measured: versions, processor and devices, and nothing that names a person or a machine."""

import platform
from importlib import metadata
from pathlib import Path

import jax

from jaxnn.training.machine import cores


def environment() -> dict[str, str]:
    """Describe the versions of what computes, the operating system, the processor and JAX's devices, in words.

    There are no host names, user names or paths in it, so that a report can be published.

    >>> sorted(environment())
    ['cores', 'device', 'jax', 'jaxlib', 'jaxnn', 'numpy', 'operating system', 'optax', 'processor', 'python']
    """
    versions = {name: _version(name) for name in ("jaxnn", "jax", "jaxlib", "numpy", "optax")}
    return {
        "python": platform.python_version(),
        **versions,
        "operating system": _operating_system(),
        "processor": _processor(),
        "cores": str(cores()),
        "device": _devices(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        # Not a Linux distribution, or one that does not say its name.
        return f"macOS {platform.mac_ver()[0]}" if platform.mac_ver()[0] else platform.system() or "unknown"


def _processor() -> str:
    machine = platform.machine() or "unknown"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return machine
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    model = next(named, "")
    return f"{model} ({machine})" if model else machine


def _devices() -> str:
    devices = jax.devices()
    kinds = dict.fromkeys(device.device_kind for device in devices)
    count = f"{len(devices)} device{'s' if len(devices) > 1 else ''}"
    models = ", ".join(kind for kind in kinds if kind != devices[0].platform)
    return f"{devices[0].platform}, {count}{f': {models}' if models else ''}"
