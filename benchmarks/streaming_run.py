"""One training of `benchmarks.streaming`, in a process of its own; prints what was measured as one line of JSON.

    python -m benchmarks.streaming_run mlp stream FOLDER --steps 20000

The folder holds inputs.npy and targets.npy; "memory" trains on their first 60,000 examples.
"""

import argparse
import importlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data import from_arrays, from_npy_files
from jaxnn.layers import normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import cnn, mlp
from jaxnn.optimizers import adam
from jaxnn.training import FitInterrupted, fit
from jaxnn.training.display import Display

IN_MEMORY = 60_000  # examples, as many as MNIST has
NETWORKS = {"mlp": lambda: mlp((784, 512, 256, 10), dropout=0.2), "cnn": cnn}
SAMPLE_SECONDS = 0.02  # between two looks at the memory


def memory() -> dict[str, int]:
    """Return this process's memory in bytes: resident, and of that anonymous and of files."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {line[0]: 1024 * int(line[1]) for line in lines if line[0] in ("VmRSS:", "RssAnon:", "RssFile:")}
    return {"rss": found["VmRSS:"], "anonymous": found["RssAnon:"], "files": found["RssFile:"]}


@contextmanager
def peaks() -> Iterator[dict[str, int]]:
    """Watch the memory; the most of each kind is in what is given."""
    most, done = memory(), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            for name, value in memory().items():
                most[name] = max(most[name], value)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def forget(folder: Path) -> None:
    """Ask the system to drop what it keeps of the files, so that they are read from the disk again."""
    for path in folder.glob("*.npy"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("kind", choices=("memory", "stream", "cold"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a command in a shell's background ignores it

    files = options.folder / "inputs.npy", options.folder / "targets.npy"
    if options.kind == "memory":
        data = from_arrays(*(np.array(np.load(file, mmap_mode="r")[:IN_MEMORY]) for file in files))
    else:
        data = from_npy_files(*files)
    seen: list[tuple[float, int]] = []

    def advance(step: int, _: Mapping[str, float]) -> None:
        seen.append((time.perf_counter(), step))
        if step >= options.steps:
            signal.raise_signal(signal.SIGINT)

    @contextmanager
    def recording(*_: Any) -> Iterator[Display]:
        yield Display(lambda _: None, advance, lambda _: None, lambda _: None)

    module = importlib.import_module("jaxnn.training.fit")  # the name in the package is the function
    vars(module)["training_display"] = recording
    if options.kind == "cold":
        forget(options.folder)
    start = time.perf_counter()
    model = sequential(normalize(0.5, 0.29), NETWORKS[options.network]())
    with peaks() as most:
        try:
            fit(model, softmax_cross_entropy, adam(1e-3), data, epochs=10**6, batch_size=64)
            raise SystemExit("the training ended before it was told to")
        except FitInterrupted as stopped:
            compiled = stopped.result.compile_seconds
    warm = next(i for i, (_, step) in enumerate(seen) if step >= options.steps / 10)
    (first_time, first_step), (last_time, last_step) = seen[warm], seen[-1]
    measured = {
        "steps_per_second": (last_step - first_step) / (last_time - first_time),
        "seconds_before_first_steps": seen[0][0] - start - compiled,
        "peak": most,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
