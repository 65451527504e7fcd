"""Kill a run again and again and let it go on: `python tests/soak_run.py OUT KILLS SEED mlp|cnn|saving...`.

Every life is a fork of this process, which has imported everything and computed nothing: a life costs a second. It
writes a letter into a pipe when it begins to train, save or evaluate and when it is done with that, so this process
kills it (SIGKILL) at a random moment of the phase it aims at, and knows what it hit. Prints JSON: how many kills hit
which phase, how many runs came to their end, and in what they differ from the run that nobody killed, if in anything.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a fork copies one thread, so there may be no other

import importlib
import json
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint  # noqa: F401  (imported once, for all lives)

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.layers import batch_norm, conv2d, dropout, flatten, linear, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import checkpoint, early_stopping, fit, loop, resume
from jaxnn.training.checkpoint import checkpoints, restore_checkpoint, save_checkpoint

PHASES = {"t": "steps", "S": "steps", "E": "steps", "s": "saving", "e": "evaluation"}
ROUNDS = 40  # of lives for one kill, before something must be wrong


def images(size: int, seed: int) -> Dataset:
    """Return noisy images [size, 8, 8, 1] of four classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, size).astype(np.int32)
    patterns = np.random.default_rng(0).standard_normal((4, 8, 8, 1))
    return Dataset((patterns[labels] + generator.standard_normal((size, 8, 8, 1))).astype(np.float32), labels)


DATA, VALIDATION = images(200, 1), images(20_000, 2)  # 7 steps an epoch, the last of 8; evaluation takes a while


def shifted(key, inputs):
    """Move all images of a batch by the same random number of columns."""
    return jnp.roll(inputs, jax.random.randint(key, (), -1, 2), axis=2)


def train(kind: str, **options) -> dict:
    """Train, and return what has to be the same however often the run was killed."""
    if kind == "mlp":
        model, optimizer = sequential(flatten(), mlp((64, 16, 4), dropout=0.2)), optax.adam(3e-3)
        options["accumulate"] = 2
    else:
        model = sequential(conv2d(1, 4, 3), batch_norm(4), jax.nn.relu, flatten(), dropout(0.2), linear(144, 4))
        optimizer, options["augment"] = optax.sgd(0.02, momentum=0.9), shifted
    result = fit(
        *(model, softmax_cross_entropy, optimizer, DATA),
        **{"epochs": 3, "batch_size": 32, "validation": VALIDATION, "verbose": False},
        early_stopping=early_stopping(patience=2, min_delta=0.01),
        **options,
    )
    times = {"seconds", "examples_per_second"}
    return {
        **{name: tree.sha256(part) for name, part in result.train_state._asdict().items()},
        "history": [{name: record[name] for name in record.keys() - times} for record in result.history],
        "best_epoch": result.best_epoch,
    }


def save_on(folder: Path, acknowledged: int) -> None:
    """Restore the newest checkpoint, which may not be older than the last one acknowledged, and save more of them."""

    def values(count: int) -> dict:
        return {"weight": jnp.full((50, 50), count, jnp.float32), "half": jnp.full(7, count, jnp.bfloat16)}

    step = 0
    if checkpoints(folder):
        found = restore_checkpoint(folder, values(0))
        step = found.notes["count"]
        assert step >= acknowledged, f"{step} was restored after {acknowledged} had been saved"
        assert tree.sha256(found.tree) == tree.sha256(values(step)), f"other values in {found.path}"
    for count in range(step + 1, step + 30):  # two of each step, so that one takes the place of another
        save_checkpoint(folder, count // 2, values(count), {"count": count})
        names = sorted(path.name for path in folder.iterdir())
        assert names == [f"step_{step:08d}" for step in range(max(0, count // 2 - 1), count // 2 + 1)], names


def announced(function: Callable, begin: str, end: str, pipe: int) -> Callable:
    """Return the function that writes a letter before it is called and another one after."""

    def announce(*args, **options):
        os.write(pipe, begin.encode())
        result = function(*args, **options)
        os.write(pipe, end.encode())
        return result

    return announce


def born(work: Callable[[], object], outcome: Path) -> tuple[int, int]:
    """Fork a life that does the work and writes what comes out; return its id and the pipe it writes letters into."""
    reading, pipe = os.pipe()
    child = os.fork()
    if child:
        os.close(pipe)
        return child, reading
    code = 1
    try:
        os.close(reading)
        jax.devices()
        module: Any = importlib.import_module("jaxnn.training.fit")  # the name in the package is the function
        module.save_reached = announced(resume.save_reached, "s", "S", pipe)
        module.train = announced(loop.train, "t", "", pipe)
        loop._validated = announced(loop._validated, "e", "E", pipe)
        globals()["save_checkpoint"] = announced(checkpoint.save_checkpoint, "s", "S", pipe)
        outcome.write_text(json.dumps(work()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def live(work: Callable, outcome: Path, target: str, generator: np.random.Generator, spans: dict) -> tuple[str, str]:
    """Let one life be; return all its letters, and the phase it was killed in: "" if it came to its end.

    It is killed at a random moment of the target, "steps", "saving" or "evaluation", one of the first three times that
    it gets there; `spans` keeps how long each takes.
    """
    child, pipe = born(work, outcome)
    wait = int(generator.integers(1, 4))
    letters, killed, last = "", False, time.perf_counter()
    with os.fdopen(pipe, "rb", buffering=0) as stream:
        while letter := stream.read(1).decode():
            now = time.perf_counter()
            spans.setdefault(letters[-1:], []).append(now - last)
            letters, last = letters + letter, now
            wait -= PHASES[letter] == target
            if target and wait == 0 and not killed:
                usual = statistics.median(spans.get(letter, [0.02]))
                time.sleep(generator.uniform(0, usual))
                os.kill(child, signal.SIGKILL)
                killed = True
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return letters, PHASES[letters[-1]]
    if os.WEXITSTATUS(status):
        raise SystemExit(f"a life failed after {letters[-20:]!r}")
    return letters, ""


def soak(out: Path, kind: str, kills: int, seed: int) -> dict:
    """Kill until there were `kills` of them and the last run came to its end; return what is to be said about it."""
    out.mkdir(parents=True, exist_ok=True)
    generator, outcome, spans = np.random.default_rng(seed), out / "outcome.json", {}
    hit = dict.fromkeys(PHASES.values(), 0)
    expected, difference, runs, acknowledged = {}, "", 1, 0
    if kind != "saving":
        live(partial(train, kind), outcome, "", generator, {})
        expected = json.loads(outcome.read_text())
    loop.SAVE_SECONDS, loop.PIECE_SECONDS = 0.1, 0.002
    phases = ["steps", "saving"] if kind == "saving" else ["steps", "saving", "evaluation"]
    for _ in range(ROUNDS * (kills + 1)):
        left = kills - sum(hit.values())
        folder = out / f"run_{runs}"
        work = partial(train, kind, checkpoints=folder, resume=True)
        if kind == "saving":
            work = partial(save_on, folder, acknowledged)
        target = phases[left % len(phases)] if left else ""
        letters, phase = live(work, outcome, target, generator, spans)
        acknowledged += letters.count("S")
        if phase:
            hit[phase] += 1
            continue
        if kind != "saving" and (found := json.loads(outcome.read_text())) != expected:
            difference = "; ".join(name for name in expected if found[name] != expected[name])
        if not left or difference:
            return {"kills": hit, "runs": runs, "differs": difference}
        runs += kind != "saving"
    raise SystemExit(f"{sum(hit.values())} of {kills} kills after {ROUNDS * (kills + 1)} lives")


def main(out: str, kills: str, seed: str, *kinds: str) -> None:
    """Do it for every kind."""
    tasks = Path("/proc/self/task")
    assert not tasks.exists() or len(list(tasks.iterdir())) == 1, "a process of several threads cannot be forked"
    jax.config.update("jax_compilation_cache_dir", str(Path(out) / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    print(json.dumps({kind: soak(Path(out) / kind, kind, int(kills), int(seed)) for kind in kinds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
