"""What a run prints: a line an epoch that fits 80 columns, a live bar on a terminal, and nothing when it is quiet."""

import io
import re

import numpy as np
import optax
import pytest
import rich.console

from jaxnn.data import Dataset
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import fit
from jaxnn.training.display import record_line, training_display

RECORD = {
    "epoch": 7, "step": 5628, "loss": 0.0912, "accuracy": 0.9721, "gradient_norm": 0.4,
    "learning_rate": 1e-3, "validation_loss": 0.1234, "validation_accuracy": 0.979,
    "seconds": 123.45, "examples_per_second": 48611.0,
}  # fmt: skip
VALUES = {
    "loss": 0.0912,
    "accuracy": 0.9721,
    "gradient_norm": 0.4,
    "learning_rate": 1e-3,
    "examples_per_second": 123456.7,
}


def test_record_line():
    line = record_line(RECORD, 100)
    assert line == "epoch   7/100  loss 0.0912  acc 97.21%  val loss 0.1234  val acc 97.90%  123.5 s"
    assert len(line) <= 80


def test_record_line_of_other_metrics():
    record = {"epoch": 1, "loss": 2.0, "top_5_accuracy": 1.0, "perplexity": 123456.0, "seconds": 0.04}
    assert record_line(record, 9) == "epoch 1/9  loss 2.0000  top 5 acc 100.00%  perplexity 1.235e+05  0.0 s"


def test_record_line_of_what_is_not_finite():
    assert "val loss nan" in record_line(RECORD | {"validation_loss": float("nan")}, 10)


def written(text: str) -> list[str]:
    """Return the lines as they were sent to the terminal, without what moves the cursor and colours."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))


@pytest.fixture
def terminal(monkeypatch):
    screen, console = io.StringIO(), rich.console.Console
    monkeypatch.setattr(
        "rich.console.Console",
        lambda **options: console(force_terminal=True, width=80, file=screen, **options),
    )
    return screen


def test_a_terminal_of_80_columns(terminal):
    with training_display(True, 100, 938) as display:
        display.status("compiling")
        for step in (1, 400, 938, 939, 93800):
            display.advance(step, VALUES)
        display.epoch(RECORD)
    lines = written(terminal.getvalue())
    assert record_line(RECORD, 100) in lines
    bar = next(line for line in lines if line.startswith("epoch 100/100 "))
    assert all(word in bar for word in ("loss 0.0912", "acc 97.21%", "grad 0.4", "lr 0.001", "123,457/s"))
    assert max(map(len, lines)) <= 80


def small_run(**options):
    rng = np.random.default_rng(0)
    data = Dataset(rng.standard_normal((40, 4), np.float32), rng.integers(0, 3, 40).astype(np.int32))
    return fit(
        mlp((4, 5, 3)), softmax_cross_entropy, optax.adam(1e-3), data,
        epochs=3, batch_size=16, validation=data, **options,
    )  # fmt: skip


def test_fit_on_a_terminal(terminal):
    history = small_run().history
    lines = written(terminal.getvalue())
    assert [line for line in lines if line in [record_line(record, 3) for record in history]] == [
        record_line(record, 3) for record in history
    ]
    assert max(map(len, lines)) <= 80


def test_a_pipe_gets_plain_lines(capsys):
    history = small_run().history
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [record_line(record, 3) for record in history]
    assert "\x1b" not in captured.out
    assert captured.err == ""


def test_quiet_prints_nothing(capfd, terminal):
    small_run(verbose=False)
    captured = capfd.readouterr()
    assert (captured.out, captured.err, terminal.getvalue()) == ("", "", "")
