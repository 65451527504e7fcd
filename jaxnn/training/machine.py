"""What the machine has for a training: cores and memory."""

import ctypes
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import jax

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # in glibc's malloc.h
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


@cache
def compiler_options() -> dict[str, Any] | None:
    """Return what XLA should know of this machine when it compiles a program that runs long; None if nothing.

    XLA asks LLVM for vectors of 256 bits on every CPU. AMD's cores with AVX-512 are the ones on which LLVM itself takes
    512. `fit` and `fit_many` compile with it, unless XLA_FLAGS says which vectors to take.

    >>> square = jax.jit(lambda x: x * x, compiler_options=compiler_options())
    >>> print(square(3.0))
    9.0
    """
    options = {"xla_cpu_prefer_vector_width": 512}
    if jax.default_backend() != "cpu" or not _has_wide_vectors() or "vector_width" in os.environ.get("XLA_FLAGS", ""):
        return None
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0).compile()
    except jax.errors.JaxRuntimeError:  # an XLA that has no such option
        return None
    return options


def _has_wide_vectors() -> bool:
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        return False
    return "AuthenticAMD" in described and "avx512f" in described


def keep_freed_memory(*, one_arena: bool = False) -> bool:
    """Let this process keep the memory of large arrays that are freed; say whether it can, which glibc alone does.

    glibc takes every block above 32 MiB from the system and gives it back at once, so a program that needs one at each
    call, as inference of a wide Transformer does, gets its pages anew, cleared one by one. Afterwards the process holds
    the most that it needed since the latest `return_freed_memory`.

    Each thread takes memory from an arena of its own, which still gives back blocks of up to 64 MiB. With `one_arena`
    all share the one that keeps everything: for programs with arrays of tens of megabytes, as large batches in
    `benchmarks.peers` have. With small arrays it is slower: threads then share a lock and each other's memory.

    For the main of a program, before it computes anything or starts a thread, which would keep its arena, as
    `benchmarks.peers` calls it; it holds until the process ends. See mallopt(3).

    >>> keep_freed_memory()  # doctest: +SKIP
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1} | ({M_ARENA_MAX: 1} if one_arena else {})
    return all(library.mallopt(name, value) for name, value in settings.items())


def return_freed_memory() -> bool:
    """Give the system back what this process has freed; say whether there was something, which glibc alone tells.

    For after a compilation: what LLVM frees glibc keeps for the threads that compiled. `fit` and `fit_many` do it. See
    malloc_trim(3).

    >>> return_freed_memory()  # doctest: +SKIP
    True
    """
    return platform.libc_ver()[0] == "glibc" and bool(ctypes.CDLL(None).malloc_trim(0))


def on_each_core(program: Callable[[Any], Any], given: Sequence[Any]) -> list[Any]:
    """Call a compiled program with each of what is given, by a thread a core of a CPU; results on the host, in order.

    XLA computes outside of Python's lock, and a small program leaves cores idle (inference in `python -m
    benchmarks.peers`). As many calls as cores run at a time, so there is memory for as many. An accelerator, which has
    a queue, is called by this thread alone, and so is a program on several devices, which wait for one another, and
    what runs under a context manager of JAX (a mesh, a precision), which is this thread's own. Something must be given.

    >>> [int(y) for y in on_each_core(jax.jit(lambda x: 2 * x), [1, 2, 3])]
    [2, 4, 6]
    """
    first = program(given[0])  # compiles
    rest = given[1:]
    alone = all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(first) if isinstance(leaf, jax.Array))
    threads = min(cores(), len(rest)) if jax.default_backend() == "cpu" and alone else 1
    if threads < 2:
        return jax.device_get([first, *map(program, rest)])
    with ThreadPoolExecutor(threads) as pool:
        if pool.submit(_configuration).result() != _configuration():
            return jax.device_get([first, *map(program, rest)])
        return [jax.device_get(first), *pool.map(lambda one: jax.device_get(program(one)), rest)]


def _configuration() -> dict[str, Any]:
    """Return JAX's configuration as it is for this thread, with its mesh."""
    values = {name: getattr(jax.config, name, None) for name in jax.config.values}
    return values | {"mesh": jax.sharding.get_abstract_mesh()}
