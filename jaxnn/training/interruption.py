"""Ctrl-C and SIGTERM in the middle of training: noted, and obeyed at the next safe place."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list while the block runs; a second one interrupts at once.

    Only Python's and the system's default handlers are replaced, only in the main thread, and they are put back at
    the end: a program that handles signals itself keeps doing so.

    >>> with noted_signals() as received:
    ...     signal.raise_signal(signal.SIGINT)
    >>> received == [signal.SIGINT]
    True
    """
    received: list[int] = []

    def note(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
                previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
