"""How long until a program trains: imports, and from the start of the process to the first training step.

    python -m benchmarks.startup
    python -m benchmarks.startup --networks mlp --rounds 3

Imports are timed inside of fresh processes: jax, jaxnn (which loads a name when it is first used, so once by itself
and once with what trains a network), Flax, PyTorch. The first step is timed from outside, from the
start of the process to its word that it has taken one step of Adam on 64 examples: jaxnn, Flax linen and PyTorch, and
the first two once more with JAX's persistent compilation cache, filled before. Programs take turns; ratios are those
within a round. Writes startup.json. About five minutes on two quiet cores.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.jit_vs_numpy_timing import busy_cores
from benchmarks.output import write_results
from benchmarks.peers import work
from benchmarks.peers.roster import TITLES
from benchmarks.peers.tables import markdown
from jaxnn.report import environment

RESULTS = Path(__file__).with_name("results") / "startup.json"
IMPORTS = {
    "jax": "import jax",
    "jaxnn": "import jaxnn",
    "jaxnn, with names to train": "from jaxnn import accuracy, adam, fit, load, mlp, softmax_cross_entropy",
    "Flax linen": "import flax.linen",
    "Flax nnx": "import flax.nnx",
    "PyTorch": "import torch",
}
IMPORT = "import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
STEPS = {"jaxnn": "jaxnn", "Flax linen": "linen", "PyTorch": "torch"}
CACHED = {"jaxnn": "jaxnn, cached", "Flax linen": "Flax linen, cached"}


class FailedError(Exception):
    """A program ended with an error; the message is its last line."""


def output_of(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise FailedError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message")
    return done.stdout


def import_seconds(python: str, statement: str) -> float:
    return float(output_of([python, "-c", IMPORT.format(statement=statement)], os.environ))


def step_seconds(python: str, program: str, network: str, cache: str | None) -> float:
    """Start the program and wait for its end; with a folder as cache, every compiled program is kept in it."""
    settings = dict(os.environ)
    settings.pop("JAX_COMPILATION_CACHE_DIR", None)
    if cache:
        settings |= {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    start = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", "benchmarks.startup_steps", program, network],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=settings,
    )
    assert process.stdout is not None
    seconds = next((time.perf_counter() - start for line in process.stdout if line == "stepped\n"), None)
    _, errors = process.communicate()
    if seconds is None:
        raise FailedError(errors.strip().splitlines()[-1] if errors.strip() else "no message")
    return seconds


def in_turns(
    programs: Mapping[str, Callable[[], float]], rounds: int, left_out: dict[str, str]
) -> list[dict[str, float]]:
    """Call each once, which fills caches of files and programs; then let them take turns and keep their seconds."""
    able = {}
    for name, program in programs.items():
        try:
            program()
            able[name] = program
        except FailedError as error:
            print(f"{name} is left out: {error}", flush=True)
            left_out[name] = str(error)
    return [{name: program() for name, program in able.items()} for _ in range(rounds)]


def summarised(rounds: Sequence[Mapping[str, float]], rivals: Mapping[str, str]) -> dict[str, Any]:
    """Take medians, and the ratio of each to its rival within a round with the least and the most."""
    found: dict[str, Any] = {}
    for name in rounds[0]:
        found[name] = {"seconds": round(statistics.median(one[name] for one in rounds), 3)}
        rival = rivals.get(name)
        if rival is not None and rival in rounds[0]:
            ratios = sorted(one[name] / one[rival] for one in rounds)
            spread = statistics.median(ratios), ratios[0], ratios[-1]
            found[name] |= {"over": rival, "ratio": [round(value, 3) for value in spread]}
    return found


def table(result: Mapping[str, Any]) -> str:
    """Write the seconds, and ratios where there is a rival."""
    lines = []
    parts = {"import": result["imports"]} | {f"first step, {TITLES[n]}": part for n, part in result["steps"].items()}
    for what, part in parts.items():
        for name, one in part.items():
            ratio = "{:.2f} ({:.2f} to {:.2f})".format(*one["ratio"]) + f" of {one['over']}" if "ratio" in one else ""
            lines.append([what, name, f"{one['seconds']:.2f}", ratio])
    return markdown(["what", "who", "seconds", "ratio (least to most)"], lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=work.DROPOUT, default=["mlp", "cnn", "lstm", "transformer"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter with PyTorch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)

    def python(name: str) -> str:
        return options.torch_python if name == "PyTorch" else sys.executable

    started, left_out = time.perf_counter(), {}
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.startup --rounds {options.rounds}",
        "method": " ".join((__doc__ or "").split("\n\n")[2].split()),
        "environment": environment(),
        "cores_busy_before": busy_cores(),
        "left_out": left_out,
        "steps": {},
    }
    imports = {name: partial(import_seconds, python(name), statement) for name, statement in IMPORTS.items()}
    rivals = {name: "jax" for name in IMPORTS if name != "jax"}
    result["imports"] = summarised(in_turns(imports, options.rounds, left_out), rivals)
    rivals = {"jaxnn": "Flax linen", "jaxnn, cached": "Flax linen, cached", "PyTorch": "Flax linen"}
    with tempfile.TemporaryDirectory() as cache:
        for network in options.networks:
            steps = {n: partial(step_seconds, python(n), program, network, None) for n, program in STEPS.items()}
            for n, name in CACHED.items():
                steps[name] = partial(step_seconds, python(n), STEPS[n], network, f"{cache}/{n}")
            result["steps"][network] = summarised(in_turns(steps, options.rounds, left_out), rivals)
    result["seconds"] = round(time.perf_counter() - started)
    write_results(options.output, result)
    print(f"{table(result)}\n\n{result['seconds']} s; {options.output}")


if __name__ == "__main__":
    main()
