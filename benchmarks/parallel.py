"""Data-parallel efficiency on two cores: one process of one thread against two processes of one thread each.

    python -m benchmarks.parallel --data DATA
    python -m benchmarks.parallel --quick

Each round trains the same network twice on the same images, in the order one, two, two, one: once in one process that
has one core, once in two processes with a core each, which add their gradients over the loopback (gloo) at every step.
The batch is the same, so it is the same run and two processes would at best take half of the time. The efficiency is
t1 / (2 t2), of the fastest epoch of each (without compilation). A batch is 64 images, and 512, where there is more to
compute for the same gradient to send. A thread of gloo's polls without a pause and shares the core with the one that
computes, so that a sum of any size waits for the scheduler. Prints a line a case and writes results/parallel.json.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results") / "parallel.json"
CASES = {"mlp, batch 64": ("mlp", 64), "mlp, batch 512": ("mlp", 512), "cnn, batch 64": ("cnn", 64)}
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def worker(task: dict[str, Any]) -> dict[str, Any]:
    """Train in this process, which has one core; return the seconds of its fastest epoch and what it learned."""
    import jax

    from jaxnn.data import Dataset
    from jaxnn.data.images import load
    from jaxnn.layers import normalize, sequential
    from jaxnn.losses import softmax_cross_entropy
    from jaxnn.models import cnn, mlp
    from jaxnn.optimizers import adam
    from jaxnn.training import fit
    from jaxnn.training.parallel import data_mesh, initialize

    if task["processes"] > 1:
        initialize(task["coordinator"], task["processes"], task["process_id"])
    data = load("mnist", task["data"]).train
    data = Dataset(data.inputs[: task["images"]], data.targets[: task["images"]])
    network = cnn(10) if task["network"] == "cnn" else mlp((784, 512, 256, 10), dropout=0.2)
    result = fit(
        *(sequential(normalize(0.1307, 0.3081), network), softmax_cross_entropy, adam(1e-3), data),
        **{"epochs": task["epochs"], "batch_size": task["batch"], "verbose": False},
        mesh=data_mesh(),
    )
    seconds, steps = min(record["seconds"] for record in result.history), result.history[0]["step"]
    return {"seconds": seconds, "steps": steps, "devices": jax.device_count(), "loss": result.history[-1]["loss"]}


def train(task: dict[str, Any], processes: int) -> dict[str, Any]:
    """Start the processes, each with one core and one thread; return what process 0 measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        task = task | {"processes": processes, "coordinator": f"127.0.0.1:{free.getsockname()[1]}"}
    started = []
    for i, core in zip(range(processes), sorted(os.sched_getaffinity(0)), strict=False):
        environment = os.environ | {"XLA_FLAGS": ONE_THREAD, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        arguments = ["--worker", json.dumps(task | {"process_id": i, "core": core})]
        command = [sys.executable, "-m", "benchmarks.parallel", *arguments]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"a process of {processes} failed: its message is above")
    return json.loads(outputs[0].splitlines()[-1])


def measured(task: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Measure one case, in turns, and check that it was the same run."""
    ones, twos = [], []
    for _ in range(rounds):
        for processes in (1, 2, 2, 1):
            (ones if processes == 1 else twos).append(train(task, processes))
    one, two = (min(row["seconds"] for row in rows) for rows in (ones, twos))
    within = [
        min(a["seconds"], d["seconds"]) / (2 * min(b["seconds"], c["seconds"]))
        for a, d, b, c in zip(ones[::2], ones[1::2], twos[::2], twos[1::2], strict=True)
    ]
    return {
        "step_milliseconds": {
            "one process": 1e3 * one / ones[0]["steps"],
            "two processes": 1e3 * two / twos[0]["steps"],
        },
        "speed_of_two_over_one": one / two,
        "efficiency": statistics.median(within),
        "efficiency_by_round": within,
        "loss": {"one process": ones[0]["loss"], "two processes": twos[0]["loss"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("JAXNN_DATA_DIR")
    parser.add_argument("--data", type=Path, default=folder, help="holds mnist/*.gz (default: $JAXNN_DATA_DIR)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, fewer images, only printed")
    parser.add_argument("--worker", help="of the benchmark itself")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.worker:
        task = json.loads(options.worker)
        os.sched_setaffinity(0, {task["core"]})  # before XLA counts the cores
        print(json.dumps(worker(task)))
        return
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two processes of one core each need two cores")

    from benchmarks.jit_vs_numpy_timing import busy_cores
    from benchmarks.output import write_results
    from jaxnn.report import environment

    busy, cases = busy_cores(), {}
    for name, (network, batch) in CASES.items():
        images, epochs = (2_048, 2) if options.quick else (20_480 if network == "mlp" else 4_096, 3)
        task = {"network": network, "batch": batch, "images": images, "epochs": epochs}
        case = measured(task | {"data": options.data and str(options.data)}, 1 if options.quick else options.rounds)
        cases[name] = {**task, **case}
        one, two = case["step_milliseconds"].values()
        print(f"{name}: {one:.2f} ms a step, {two:.2f} by two: efficiency {case['efficiency']:.2f}", flush=True)
    if options.quick:
        return
    result = {
        "command": f"python -m benchmarks.parallel --rounds {options.rounds}",
        "environment": environment(),
        "cores_busy_before": busy,
        "method": (__doc__ or "").split("\n\n")[2].replace("\n", " "),
        "cases": cases,
    }
    write_results(options.output, result)
    print(options.output)


if __name__ == "__main__":
    main()
