"""What a user gets for text files that are damaged or of another kind, and for texts that are no texts."""

from pathlib import Path

import pytest
from refusal import refused

from jaxnn import data


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "mine.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("content", ["", "\n\n", "  \r\n"])
def test_an_empty_file(tmp_path, content):
    path = written(tmp_path, content)
    refused(ValueError, lambda: data.from_tsv(path), str(path), "is empty")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\tx\nno tab here\n", ("line 2", "label<TAB>text", "'no tab here'", "without a tab")),
        ("a\tx\n\ty\n", ("line 2", "without a label")),
        ("a\tx\nb\ty\nc\t \n", ("line 3", "without a text")),
        ("a\tx\n\nb\ty\n", ("line 2", "without a tab")),
        ("a\tx\rb\ty\r", ("line 1", "lone carriage return")),
        ("a\tx\nb\t\0\n", ("line 2", "NUL")),
    ],
)
def test_a_line_that_is_no_example(tmp_path, content, words):
    path = written(tmp_path, content)
    refused(ValueError, lambda: data.from_tsv(path), str(path), *words)


def test_wrong_encodings(tmp_path):
    path = written(tmp_path, "a\tx\nb\tschön\n".encode("latin-1"))
    refused(ValueError, lambda: data.from_tsv(path), "line 2", "expected utf-8", "f6 6e", "latin-1")
    path = written(tmp_path, "a\tx\nb\tschön\n".encode())
    refused(ValueError, lambda: data.from_tsv(path, encoding="latin-1"), "it is UTF-8", "encoding='utf-8'")
    refused(ValueError, lambda: data.from_tsv(path, encoding="ascii"), "line 2", "expected ascii", "is it utf-8?")
    path = written(tmp_path, "a\tx\nb\tschön\n".encode("utf-16"))
    refused(ValueError, lambda: data.from_tsv(path), "UTF-16", "encoding='utf-16'")
    refused(ValueError, lambda: data.from_tsv(path, encoding="latin-1"), "line 1", "NUL", "UTF-16")
    refused(ValueError, lambda: data.from_tsv(path, encoding="klingon"), "unknown encoding: klingon", "latin-1")


def test_a_label_that_the_first_file_had_not(tmp_path):
    path = written(tmp_path, "a\tx\nc\ty\n")
    refused(ValueError, lambda: data.from_tsv(path, class_names=("a", "b")), "line 2", "a, b", "'c'")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tsv"):
        data.from_tsv(tmp_path / "none.tsv")


def test_named_sets_that_are_not_here(tmp_path, monkeypatch):
    refused(FileNotFoundError, lambda: data.load_text("trec", tmp_path / "none"), "none", "is no folder")
    words = ("TREC.train, TREC.test", str(tmp_path / "text"), "JAXNN_DATA_DIR", "cogcomp")
    refused(FileNotFoundError, lambda: data.load_text("trec", tmp_path), *words)
    monkeypatch.setenv("JAXNN_DATA_DIR", str(tmp_path))
    refused(FileNotFoundError, lambda: data.load_text("sst2"), "sst2.train, sst2.dev, sst2.test")
    refused(ValueError, lambda: data.load_text("imdb"), "trec, sst2, mr", "'imdb'")


@pytest.mark.parametrize(
    ("content", "line"),
    [("0 fine\n2 bad\n", "line 2"), ("0 fine\n1 \n", "line 2"), ("fine\n", "line 1")],
)
def test_a_damaged_named_set(tmp_path, content, line):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "mr.all").write_text(content)
    refused(ValueError, lambda: data.load_text("mr", tmp_path), "mr.all", line, "0, 1")


def test_texts_that_are_none():
    for function in (data.vocabulary, lambda texts: data.encode(texts, ("<pad>", "<unk>"))):
        refused(TypeError, lambda function=function: function("one text"), "a list of texts", "'one text'")
        refused(TypeError, lambda function=function: function([1, 2]), "a list of texts")
        refused(ValueError, lambda function=function: function([]), "at least one text")
    refused(ValueError, lambda: data.encode(["a"], ("a", "b")), "<pad> and <unk>")
    refused(ValueError, lambda: data.vocabulary(["a"], min_count=0), "min_count", "0")


def test_lengths_that_are_none():
    refused(ValueError, lambda: data.pad([[1]], 0), "length", "0")
    refused(TypeError, lambda: data.pad([[1]], 2.5), "length", "2.5")
    refused(ValueError, lambda: data.pad_to_buckets([[1]], ()), "lengths that grow")
    refused(ValueError, lambda: data.pad_to_buckets([[1]], (4, 4)), "lengths that grow", "(4, 4)")
