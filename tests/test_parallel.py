"""The same run on one device, on four devices of one process, and on two processes with two devices each."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from parallel_run import train

from jaxnn.training import checkpoints

RUN, CACHE = Path(__file__).with_name("parallel_run.py"), Path(__file__).parents[1] / ".pytest_cache" / "xla-parallel"

# Four devices add up the same numbers in another order: 1e-7 at each sum in float32, which training makes larger. With
# Adam, and where a ReLU stands at its kink, it becomes a step of another size: losses of MNIST were up to 5e-3 apart
# after three epochs in float32. There float64 shows that nothing but the order of the sums is another (4e-16).
TOLERANCE, TOLERANCE_X64 = 2e-5, 1e-12


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(folder, processes, devices, trainings, **options):
    """Start the processes of a run; each writes what it finds into the folder."""
    several = {"coordinator": free_address(), "processes": processes} if processes > 1 else {}
    flags = "--xla_backend_optimization_level=0"  # as the other tests are compiled
    started = []
    for i in range(processes):
        task = {"trainings": trainings, "devices": devices, "out": str(folder / f"{i}.json"), **options, **several}
        task |= {"process_id": i} if several else {}
        environment = os.environ | {"PYTHONPATH": os.getcwd(), "XLA_FLAGS": flags, "TEST_XLA_CACHE": str(CACHE)}
        command = [sys.executable, str(RUN), json.dumps(task)]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
    return started


def found(folder, processes):
    """Wait for the processes, which have to come to their end; return what each found."""
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(errors)
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(len(processes))]


def assert_same_run(actual, expected, tolerance=TOLERANCE):
    """Losses to the tolerance, accuracies to the last example."""
    assert len(actual["history"]) == len(expected["history"])
    for one, other in zip(actual["history"], expected["history"], strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            exact = name.endswith("accuracy") or name in ("epoch", "step")
            np.testing.assert_allclose(one[name], value, rtol=0 if exact else tolerance, err_msg=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train on one device and on four, and with the state split and saved on four and on two by two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    half = {"epochs": 2, "split": "state"}
    one_process = start(one, 1, 4, [{"epochs": 3, "split": "batch"}, half | {"checkpoints": f"{one}/saved"}])
    two_processes = start(two, 2, 2, [half | {"checkpoints": f"{two}/saved"}])
    alone = train(epochs=3)
    return alone, found(one, one_process)[0], found(two, two_processes), (one / "saved", two / "saved")


def test_four_devices_train_what_one_trains(runs):
    alone, (split, sharded), _, _ = runs
    assert_same_run(split, alone)
    assert_same_run(sharded, alone | {"history": alone["history"][:2]})


def test_each_of_four_devices_holds_a_quarter_of_the_state(runs):
    _, (split, sharded), two, _ = runs
    assert split["share"] == 1
    assert max(sharded["share"], two[0][0]["share"]) <= 0.27  # a quarter, and the few numbers of biases and batch norm


def test_two_processes_are_one_run(runs):
    alone, _, (first, second), _ = runs
    assert first == second  # to the last bit, since every sum is made once
    assert_same_run(first[0], alone | {"history": alone["history"][:2]})


@pytest.mark.parametrize("written", [pytest.param(0, id="by four devices"), pytest.param(1, id="by two processes")])
def test_one_device_goes_on_from_a_checkpoint(runs, written):
    alone, _, _, folders = runs
    assert checkpoints(folders[written])[0].name == "step_00000042"
    assert_same_run(train(epochs=3, checkpoints=folders[written], resume=True), alone)


@pytest.mark.slow
def test_parts_of_a_batch_are_split_too(tmp_path):
    options = {"epochs": 2, "accumulate": 2}
    alone, split = found(tmp_path, start(tmp_path, 1, 4, [options, options | {"split": "batch"}]))[0]
    assert_same_run(split, alone)


@pytest.mark.slow
def test_four_devices_go_on_to_the_same_bits(tmp_path):
    half = {"split": "state", "checkpoints": f"{tmp_path}/saved"}
    trainings = [{"epochs": 3, "split": "state"}, half | {"epochs": 2}, half | {"epochs": 3, "resume": True}]
    unbroken, _, resumed = found(tmp_path, start(tmp_path, 1, 4, trainings))[0]
    assert resumed == unbroken


@pytest.mark.slow
def test_mnist_on_one_four_and_two_times_two_devices(tmp_path, mnist_folder):
    folders = [tmp_path / name for name in ("one", "four", "two")]
    for folder in folders:
        folder.mkdir()
    options = {"data": "mnist", "epochs": 3}
    alone = found(folders[0], start(folders[0], 1, 1, [options], x64=True))[0][0]
    splits = [options | {"split": "batch"}, options | {"split": "state"}]
    for four in (
        found(folders[1], start(folders[1], 1, 4, splits, x64=True))[0],
        found(folders[2], start(folders[2], 2, 2, splits, x64=True))[0],
    ):
        for run in four:
            assert_same_run(run, alone, TOLERANCE_X64)
        assert four[1]["share"] <= 0.27


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "how", "words"),
    [
        (1, "SIGKILL", "error: process 1 of 2 is lost"),
        (0, "SIGKILL", ""),  # with process 0 goes the coordinator, and JAX is often the first to say so
        (1, "SIGSTOP", "error: process 1 of 2 is lost: it gave no sign of life for 20 s"),
        (1, "raises", "error: process 1 of 2 is lost: it ended with an error"),
    ],
)
def test_when_one_process_is_lost_the_others_say_so_and_end_and_the_run_goes_on(tmp_path, victim, how, words):
    training = {"epochs": 5, "split": "batch", "checkpoints": f"{tmp_path}/saved"}
    processes = start(tmp_path, 2, 2, [training], dies=(victim, 3, how))
    survivor, lost = processes[1 - victim], processes[victim]
    try:
        if how == "SIGSTOP":
            os.waitid(os.P_PID, lost.pid, os.WSTOPPED)
        else:
            lost.wait(timeout=400)
        start_of_loss = time.monotonic()
        _, errors = survivor.communicate(timeout=60)
        assert time.monotonic() - start_of_loss < 60
        assert survivor.returncode not in (0, None)
        said = [words] if words else ["is lost", "the leader task was preempted/died"]
        assert any(one.lower() in errors.lower() for one in said), errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert checkpoints(tmp_path / "saved")
    resumed = train(epochs=5, checkpoints=f"{tmp_path}/saved", resume=True)
    assert_same_run(resumed, train(epochs=5))


@pytest.mark.slow
@pytest.mark.experiment
def test_the_experiment_trains_on_two_processes_and_goes_on_in_one(tmp_path):
    command = [sys.executable, "-m", "experiments.mnist", "--dataset", "digits", "--out", str(tmp_path / "run")]
    joined = ["--epochs", "2", "--devices", "2", "--distributed", "--coordinator", free_address(), "--processes", "2"]
    root = {"cwd": RUN.parents[1], "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, *joined, "--process-id", str(i)], **root) for i in range(2)]
    (first, errors), (second, _) = (process.communicate(timeout=600) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], errors
    assert [line[:9] for line in first.splitlines() if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert "Gloo" not in first
    assert second == ""
    ended = subprocess.run([*command, "--epochs", "3", "--devices", "4", "--resume"], check=True, **root)
    assert "going on at step 42" in ended.stdout
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test_accuracy"] > 0.9
