"""The experiment as a user runs it: what it writes, says and returns, on good days and on bad ones."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxnn.data.images import load
from jaxnn.interop.trained import load_trained, probabilities

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.experiment


def start(*options, environment=None, **popen):
    """Start the experiment in a new process without any data folder but the tests' own."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("JAXNN_DATA_DIR", "COLUMNS")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / "mnist.py"), *map(str, options)],
        env=inherited | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def run(*options, environment=None, **popen):
    process = start(*options, environment=environment, **popen)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(name="offline")
def _offline(tmp_path):
    """Make every look-up of a host name fail at once, as on a machine without a network."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*_, **__): raise socket.gaierror(-3, 'Temporary failure in name resolution')\n"
        "socket.getaddrinfo = refuse\n"
    )
    return {"XDG_CACHE_HOME": str(tmp_path / "empty"), "PYTHONPATH": str(tmp_path)}


def test_without_data_and_network_digits_are_learned_and_everything_is_written(offline, tmp_path):
    folder = tmp_path / "digits"
    code, output, errors = run("--tensorboard", "--out", folder, environment=offline)
    assert (code, errors) == (0, "")
    found = summary(folder)
    assert found["test_accuracy"] >= 0.96
    assert found["dataset"] == "digits"
    assert found["status"] == "finished"
    assert found["test_evaluations"] == 1
    assert re.fullmatch("[0-9a-f]{64}", found["params_sha256"])
    assert found["seconds_per_epoch"] > 0
    assert found["compile_seconds"] > 0
    assert all(isinstance(value, int | float | str | list | None) for value in found.values())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, found["epochs"] + 1))
    assert json.loads((folder / "config.json").read_text())["learning_rate"] == 0.001
    assert {path.name for path in folder.glob("*.png")} == {
        *("learning-curves.png", "learning-rate-and-gradient-norm.png", "confusion-matrix.png"),
        *("most-confident-mistakes.png", "first-layer-weights.png"),
    }
    assert output.splitlines()[0].startswith("digits: 1,437 training and 360 test images")
    assert "MNIST is neither on this machine nor could it be downloaded" in output.splitlines()[1]
    assert max(map(len, output.splitlines()[2:-1])) <= 80
    tensorboard_has(folder, records)
    images, labels, _ = load("digits").test
    answers = probabilities(load_trained(folder), images).argmax(-1)
    assert (answers == labels).mean() == pytest.approx(found["test_accuracy"])
    page = (folder / "report.html").read_text()
    assert "MNIST is neither" in page
    page_needs_no_network(page)


def tensorboard_has(folder, records):
    """Read what was written for TensorBoard, and compare it with the records."""
    (file,) = (folder / "tensorboard" / "seed_0").iterdir()
    found = {}
    data = file.read_bytes()
    while data:  # TFRecord: the length as a 64-bit number, its checksum, the event, its checksum
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
        data = data[16 + size :]
    for tag, name in (("loss/train", "loss"), ("accuracy/validation", "validation_accuracy")):
        at = {step: value for (step, key), value in found.items() if key == tag}
        assert at == pytest.approx({record["step"]: record[name] for record in records}, rel=1e-6)


def page_needs_no_network(page):
    """Look at everything that the page would load."""
    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            links.extend(value for name, value in attributes if name in ("src", "href", "srcset"))

    Links().feed(page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<h1>DIGITS" in page


@pytest.mark.slow
def test_same_seed_same_bits_in_two_processes_that_compile_for_themselves(tmp_path):
    options = ("--dataset", "digits", "--epochs", 2, "--quiet")
    for name in ("a", "b"):
        code, output, errors = run(
            *options, "--out", tmp_path / name, environment={"XDG_CACHE_HOME": str(tmp_path / name)}
        )
        assert (code, output, errors) == (0, "", "")
    assert summary(tmp_path / "a")["params_sha256"] == summary(tmp_path / "b")["params_sha256"]


def test_without_data_and_network_mnist_is_an_error_of_a_few_lines(offline, tmp_path):
    started = time.monotonic()
    code, output, errors = run("--dataset", "mnist", "--out", tmp_path / "run", environment=offline)
    assert code == 2
    assert output == ""
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 10
    for words in ("mnist is not on this machine", "train-images-idx3-ubyte.gz", "JAXNN_DATA_DIR", "digits", "empty"):
        assert words in errors
    assert not (tmp_path / "run").exists()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epochs", "-1"), "epochs to be an integer of at least 0 but got -1"),
        (("--batch-size", "0"), "batch_size to be a positive integer but got 0"),
        (("--learning-rate", "-1"), "learning_rate in [0, inf) but got -1"),
        (("--learning-rate", "nan"), "learning_rate in [0, inf) but got nan"),
        (("--seed", "-3"), "seed to be an integer of at least 0 but got -3"),
        (("--epochs", "three"), "three"),
        (("--dataset", "cifar"), "cifar"),
        (("--no-such-option",), "no-such-option"),
        (("--data-dir", "no/such/folder", "--dataset", "mnist"), "no/such/folder"),
    ],
)
def test_wrong_options_end_in_one_message_and_leave_earlier_results_alone(options, words, tmp_path):
    dataset = () if "--dataset" in options else ("--dataset", "digits")
    earlier = tmp_path / "run" / "summary.json"
    earlier.parent.mkdir()
    earlier.write_text("of an earlier run")
    code, _, errors = run(*dataset, *options, "--out", tmp_path / "run", cwd=tmp_path)
    assert code == 2
    assert "Traceback" not in errors
    assert words in re.sub(r"\s+", " ", errors.replace("│", " "))
    assert [path.name for path in earlier.parent.iterdir()] == ["summary.json"]
    assert earlier.read_text() == "of an earlier run"


def test_an_output_folder_that_cannot_be_written_is_said_first(tmp_path):
    (tmp_path / "file").write_text("mine")
    code, output, errors = run("--dataset", "digits", "--out", tmp_path / "file" / "run")
    assert code == 2
    assert "cannot make the output folder" in errors
    assert "epoch" not in output
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_a_diverging_run_says_so_and_reports_the_last_good_state(tmp_path):
    code, _, errors = run("--dataset", "digits", "--learning-rate", 1e30, "--epochs", 2, "--out", tmp_path / "run")
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert "not finite in epoch 1" in errors
    assert "not finite in epoch 1" in summary(tmp_path / "run")["status"]
    assert "not finite in epoch 1" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_stops_training_and_writes_the_report(number, expected, tmp_path):
    process = start("--dataset", "digits", "--epochs", 100_000, "--out", tmp_path / "run")
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(number)
    sent = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == expected
    assert re.fullmatch(rf"Stopped by {signal.Signals(number).name} after step \d+\.\n", errors)
    assert time.monotonic() - sent < 30  # the report is drawn after training has stopped
    assert signal.Signals(number).name in summary(tmp_path / "run")["status"]
    assert signal.Signals(number).name in (tmp_path / "run" / "report.html").read_text()
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(tmp_path):
    process = start("--dataset", "digits", "--epochs", 2000, "--out", tmp_path / "run")
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 141
    assert "Traceback" not in errors


@pytest.mark.slow
def test_watch_test_prints_the_guides_line_and_counts_each_look(tmp_path):
    code, output, _ = run("--dataset", "digits", "--epochs", 2, "--watch-test", "--out", tmp_path / "run")
    assert code == 0
    assert re.search(r"^Epoch 2: Test Accuracy = \d\d\.\d\d%$", output, re.MULTILINE)
    assert summary(tmp_path / "run")["test_evaluations"] == 3


@pytest.mark.slow
def test_zero_epochs_report_the_untrained_model(tmp_path):
    code, _, errors = run("--dataset", "digits", "--epochs", 0, "--out", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert summary(tmp_path / "run")["test_accuracy"] < 0.4


@pytest.mark.slow
def test_mnist_is_learned_in_one_epoch(mnist_folder, tmp_path):
    code, _, errors = run("--data-dir", mnist_folder, "--epochs", 1, "--out", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert summary(tmp_path / "run")["dataset"] == "mnist"
    assert summary(tmp_path / "run")["test_accuracy"] > 0.955
