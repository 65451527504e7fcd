"""What the experiment with texts refuses, before it trains and before it touches an earlier run."""

from pathlib import Path

import pytest
from refusal import refused

from experiments import text
from experiments.text_parts import load_parts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, ("epochs", "0")),
        ({"batch_size": 0}, ("batch_size",)),
        ({"seeds": 0}, ("seeds",)),
        ({"learning_rate": -1.0}, ("learning_rate", "-1")),
        ({"seed": 2**32 - 1, "seeds": 2}, ("seed", "2**32")),
        ({"dataset": "tsv"}, ("--file PATH", "--dataset tsv")),
        ({"file": Path("mine.tsv")}, ("--file PATH", "--dataset tsv")),
    ],
)
def test_options(options, words, tmp_path):
    config = text.Config(**options, out=tmp_path / "run")
    refused(ValueError, lambda: text.main(config), *words)
    assert not (tmp_path / "run").exists()


def test_texts_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNN_DATA_DIR", str(tmp_path))
    words = ("trec is not on this machine", "TREC.train", "text/", "JAXNN_DATA_DIR", "--dataset tsv --file PATH")
    refused(FileNotFoundError, lambda: load_parts("trec", None, None, 0), *words)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["good\ta film", "bad\tno film"], ("too few texts", "10%")),
        (["good\ta film"] * 20, ("at least two classes", "good")),
        (["good\ta film", "bad"], ("line 2", "tab")),
    ],
)
def test_files_that_cannot_be_learnt_from(lines, words, tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("\n".join(lines))
    refused(ValueError, lambda: load_parts("tsv", path, None, 0), str(path), *words)
