"""Several processes of one run: what all of them agree on, and how each one ends when another is lost."""

import atexit
import errno
import json
import os
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from jaxnn import checks

PULSE_SECONDS = 2.0  # between the signs of life that a process gives and looks for
LOST_SECONDS = 20.0  # without a sign of life; a machine with too much to do gives one late
# JAX looks too, and its word, which aborts with no process named, comes after half of this at the earliest: ours is
# first, and with a process 0 that hangs, where there is no word but JAX's, all have ended within a minute.
JAX_LOST_SECONDS = 56
WAIT_SECONDS = 24 * 3600  # at the end for the others: the first process may be long at its report
PULSE, ENDED, FAILED = "jaxnn/pulse/", "ended", "failed"


def initialize(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None, *, timeout: int = 60
) -> None:
    """Join this process to the others of a run, by `jax.distributed.initialize`; before anything is computed.

    Slurm, Open MPI, Kubernetes and Cloud TPU are recognised by JAX, and nothing need be given. Elsewhere every process
    gives the address host:port of process 0, the number of processes, and its own number from 0. Afterwards
    `jax.devices()` are the devices of all processes, `data_mesh()` is a mesh over them, and all processes make the same
    calls with the same values.

    A process that is killed, fails, or gives no sign of life for 20 seconds ends the others too: each says so on stderr
    and exits with 1; where it is process 0, JAX may say so first, and abort, within a minute. That an error in one of
    them may reach the others, an uncaught exception ends a process at once, without its functions for the exit.

    Raises ValueError for a part of the three, or an address that is none; TimeoutError where no process 0 answers for
    `timeout` seconds; RuntimeError when JAX has computed already.

    >>> initialize("10.0.0.1")
    Traceback (most recent call last):
    ValueError: initialize expected the coordinator as host:port but got '10.0.0.1'
    """
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise ValueError(f"initialize expected the coordinator as host:port but got {coordinator!r}")
    given = {"coordinator": coordinator, "processes": processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise ValueError(f"initialize got no {' and no '.join(missing)}: give all of {', '.join(given)}, or none")
    if processes is not None and process_id is not None:
        checks.positive_int("initialize", "processes", processes)
        checks.non_negative_int("initialize", "process_id", process_id)
        if process_id >= processes:
            raise ValueError(f"initialize expected process_id below processes={processes} but got {process_id}")
    if coordinator is not None and process_id:
        _await_coordinator(coordinator, timeout)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from fit
    alarm = threading.Timer(timeout - 1, _say, ["initialize has waited in vain for the other processes"])
    alarm.daemon = True
    alarm.start()  # JAX does not raise then but abort
    try:
        jax.distributed.initialize(
            *(coordinator, processes, process_id),
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=JAX_LOST_SECONDS,
            shutdown_timeout_seconds=WAIT_SECONDS,
        )
    except ValueError as error:
        raise ValueError(
            "initialize recognised no cluster (Slurm, Open MPI, Kubernetes, Cloud TPU): give the coordinator's address "
            f"host:port, the number of processes and this one's number ({error})"
        ) from error
    finally:
        alarm.cancel()
    _watch_the_others()


def _await_coordinator(coordinator: str, timeout: float) -> None:
    """Wait until process 0 listens."""
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=max(end - time.monotonic(), 1)).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"initialize reached no coordinator at {coordinator} within {timeout} s: is process 0 running "
                    f"there, with this port open? ({error})"
                ) from error
            time.sleep(0.2)


def _joined() -> Any:
    """Return JAX's own record of the others: client, process_id, num_processes; it has no public name for them."""
    from jax._src import distributed

    return distributed.global_state


def _watch_the_others() -> None:
    """Give signs of life and look for those of the others in a thread, to the end of this process."""
    client, me, count = _joined().client, _joined().process_id, _joined().num_processes
    ending = threading.Event()

    def pulse(sign: str) -> None:
        client.key_value_set(f"{PULSE}{me}", sign, allow_overwrite=True)

    def watch() -> None:
        signs: dict[int, tuple[str, float]] = {i: ("", time.monotonic()) for i in range(count)}
        beat = 0
        while not ending.wait(PULSE_SECONDS):
            beat += 1
            try:
                pulse(str(beat))
                found = {int(path.rpartition("/")[2]): sign for path, sign in client.key_value_dir_get(PULSE)}
            except RuntimeError as error:
                if not ending.is_set():
                    _leave(f"process 0 is lost: its coordination service does not answer ({str(error).split('.')[0]})")
                return
            now = time.monotonic()
            signs |= {i: (sign, now) for i, sign in found.items() if signs[i][0] != sign}
            failed = [i for i, (sign, _) in signs.items() if sign == FAILED]
            silent = [i for i, (sign, at) in signs.items() if sign != ENDED and now - at > LOST_SECONDS]
            if failed or silent:
                which = ", ".join(map(str, failed or silent))
                how = "ended with an error" if failed else f"gave no sign of life for {LOST_SECONDS:.0f} s"
                _leave(f"process {which} of {count} is lost: it {how}")

    def end() -> None:
        ending.set()
        thread.join()  # it may be asking just now
        with suppress(RuntimeError):
            pulse(ENDED)

    thread = threading.Thread(target=watch, name="jaxnn-watch", daemon=True)
    thread.start()
    atexit.register(end)  # before what JAX has registered, which waits for the others
    sys.excepthook = _fail


def _fail(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """End after an exception that nobody caught; the one that a lost process has made is explained by its name."""
    sys.__excepthook__(kind, error, traceback)
    try:
        if issubclass(kind, jax.errors.JaxRuntimeError):
            _say(f"a computation has failed ({checks.first_line(error)}): looking whether another process is lost")
            time.sleep(LOST_SECONDS + 3 * PULSE_SECONDS)  # the thread that watches ends this process before, if one is
    finally:  # Ctrl-C while it waits
        end_at_once(130 if issubclass(kind, KeyboardInterrupt) else 1)


def end_at_once(code: int) -> int:
    """End this process, and so all of a run of several, without waiting for them; alone, only return the code.

    >>> end_at_once(2)
    2
    """
    joined = _joined()
    if joined.client is None:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        joined.client.key_value_set(f"{PULSE}{joined.process_id}", FAILED, allow_overwrite=True)
    finally:
        os._exit(code)


def _leave(reason: str) -> None:
    _say(f"{reason}. Ending here; the run goes on from its last checkpoint with resume, on fewer processes too")
    os._exit(1)


def _say(text: str) -> None:
    """Write one line in one piece, since other processes write too."""
    os.write(2, f"error: {text}\n".encode())


def speaks(shared: bool) -> bool:
    """Say whether this process is the one that writes and speaks for all.

    >>> speaks(False), speaks(True)
    (True, True)
    """
    return not shared or jax.process_index() == 0


def agree(shared: bool, number: int) -> int:
    """Return the largest number of all processes, each of which has to ask; alone, the number.

    >>> agree(False, 3)
    3
    """
    if not shared:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(number)).max())


def refuse_differing(shared: bool, number: int, message: str) -> None:
    """Raise ValueError in all processes where one has another number.

    >>> refuse_differing(False, 3, "the processes read different data")
    """
    if agree(shared, number) != -agree(shared, -number):
        raise ValueError(message)


def number_of(settings: Mapping[str, Any]) -> int:
    """Return a number that is another one for other settings.

    >>> number_of({"seed": 0}) == number_of({"seed": 1})
    False
    """
    return zlib.crc32(json.dumps(settings, default=str).encode()) >> 1


def all_or_none(shared: bool, action: Callable[[], Any], *, first_alone: bool = False) -> None:
    """Do it, in process 0 alone or in each; where it fails in one with OSError, raise that in all.

    >>> all_or_none(False, lambda: print("done"))
    done
    """
    failure = None
    if not first_alone or speaks(shared):
        try:
            action()
        except OSError as error:
            failure = error
    number = agree(shared, 0 if failure is None else failure.errno or errno.EIO)
    if failure is not None:
        raise failure
    if number:
        raise OSError(number, f"{os.strerror(number)} (in another process)")
