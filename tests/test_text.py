"""Text to arrays: words, vocabulary, padding, a user's own file, and the three named sets where they are here."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import data

SENTENCES = st.lists(st.text("ab cd.'é", max_size=20), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("What 's the Answer ?", ["what", "'s", "the", "answer", "?"]),
        ("they wo n't; don't", ["they", "wo", "n't", ";", "do", "n't"]),
        ("I'd've", ["i", "'d", "'ve"]),
        ("Écran 19.95", ["écran", "19", ".", "95"]),
        ("a\x85b\t c", ["a", "b", "c"]),
        ("<pad> <unk>", ["<", "pad", ">", "<", "unk", ">"]),
        ("", []),
    ],
)
def test_tokenise(text, tokens):
    assert data.tokenise(text) == tokens


@settings(max_examples=50, deadline=None)
@given(SENTENCES)
def test_a_text_of_the_vocabulary_comes_back_from_its_indices(texts):
    words = data.vocabulary(texts)
    assert len(set(words)) == len(words)
    for text, indices in zip(texts, data.encode(texts, words), strict=True):
        assert [words[i] for i in indices] == data.tokenise(text)
        assert all(i > 1 for i in indices)


@settings(max_examples=50, deadline=None)
@given(SENTENCES, st.integers(1, 3))
def test_min_count_keeps_what_is_seen_often_and_the_order_is_by_count(texts, min_count):
    words = data.vocabulary(texts, min_count=min_count)
    all_tokens = [token for text in texts for token in data.tokenise(text)]
    counts = [all_tokens.count(word) for word in words[2:]]
    assert counts == sorted(counts, reverse=True)
    assert set(words[2:]) == {token for token in all_tokens if all_tokens.count(token) >= min_count}


def test_unseen_words_become_unknown():
    words = data.vocabulary(["a b"])
    assert data.encode(["b c a"], words) == [[3, 1, 2]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=8), min_size=1, max_size=6), st.none() | st.integers(1, 9))
def test_padding_keeps_the_beginning_and_fills_with_zeros(sequences, length):
    rows = data.pad(sequences, length)
    width = length or max([1, *map(len, sequences)])
    assert rows.shape == (len(sequences), width)
    assert rows.dtype == np.int32
    for row, sequence in zip(rows.tolist(), sequences, strict=True):
        assert row == (sequence + [0] * width)[:width]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), max_size=8), min_size=1, max_size=6))
def test_each_sequence_is_in_the_shortest_bucket_that_holds_it(sequences):
    lengths = (2, 4, 6)
    seen = []
    for which, rows in data.pad_to_buckets(sequences, lengths):
        shorter = [length for length in lengths if length < rows.shape[1]]
        for i, row in zip(which, rows, strict=True):
            assert row.tolist() == data.pad([sequences[i]], rows.shape[1])[0].tolist()
            assert not shorter or len(sequences[i]) > shorter[-1]
            assert len(sequences[i]) <= rows.shape[1] or rows.shape[1] == 6
        seen += which.tolist()
    assert sorted(seen) == list(range(len(sequences)))


def test_from_tsv_numbers_the_labels_in_order(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes("10\tzehn Äpfel\r\n2\ttwo\twith a tab\r\n10\t x \r\n\n".encode())
    texts = data.from_tsv(path)
    assert texts.class_names == ("2", "10")
    assert texts.labels.tolist() == [1, 0, 1]
    assert texts.labels.dtype == np.int32
    assert texts.texts == ("zehn Äpfel", "two\twith a tab", "x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_from_tsv_in_several_encodings(tmp_path, encoding):
    path = tmp_path / "train.tsv"
    path.write_bytes("gut\tein schöner Film\nschlecht\tnein\n".encode(encoding))
    texts = data.from_tsv(path, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert texts.texts == ("ein schöner Film", "nein")
    assert texts.class_names == ("gut", "schlecht")


def test_a_second_file_is_numbered_like_the_first(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("c\tx\n")
    assert data.from_tsv(path, class_names=("a", "b", "c")).labels.tolist() == [2]


def test_split_texts_parts_everything_and_keeps_labels_beside_texts():
    texts = data.Texts(tuple(map(str, range(20))), np.arange(20, dtype=np.int32), tuple(map(str, range(20))))
    rest, part = data.split_texts(texts, 0.25, jax.random.key(3))
    assert (len(rest.texts), len(part.texts)) == (15, 5)
    assert sorted([*rest.texts, *part.texts], key=int) == list(texts.texts)
    for side in (rest, part):
        assert [int(text) for text in side.texts] == side.labels.tolist()
    again, _ = data.split_texts(texts, 0.25, jax.random.key(3))
    assert again.texts == rest.texts


def test_a_dataset_of_texts():
    texts = data.Texts(("to be", "or not to be"), np.array([0, 1], np.int32), ("a", "b"))
    dataset = data.text_dataset(texts, data.vocabulary(texts.texts), 3)
    assert dataset.inputs.tolist() == [[3, 2, 0], [5, 4, 3]]
    assert dataset.inputs.dtype == np.int32
    data.check_dataset("test", dataset)


@pytest.fixture(name="text_folder")
def _text_folder():
    folder = os.environ.get("JAXNN_DATA_DIR")
    if not folder or not (Path(folder) / "text").is_dir():
        pytest.skip("the texts are not here: set JAXNN_DATA_DIR to the folder that holds text/")
    return Path(folder)


# The counts are those of the papers and of the sets' own descriptions.
@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [("trec", (5452, None, 500), 6), ("sst2", (6920, 872, 1821), 2), ("mr", (10662, None, None), 2)],
)
def test_the_named_sets(text_folder, name, sizes, classes):
    texts = data.load_text(name)
    assert texts.source == str(text_folder / "text")
    parts = (texts.train, texts.validation, texts.test)
    assert tuple(None if part is None else len(part.texts) for part in parts) == sizes
    for part in parts:
        if part is not None:
            assert len(part.texts) == len(part.labels)
            assert len(part.class_names) == classes
            assert set(part.labels.tolist()) == set(range(classes))
            assert not any("\ufffd" in text or "\n" in text for text in part.texts)


def test_labels_and_letters_of_the_named_sets(text_folder):
    trec, mr = data.load_text("trec", text_folder), data.load_text("mr")
    first = trec.train
    assert first.texts[0] == "How did serfdom develop in and then leave Russia ?"
    assert first.class_names[first.labels[0]] == "DESC"
    raw = (text_folder / "text" / "TREC.train").read_bytes()
    assert sum(ord(letter) > 127 for text in first.texts for letter in text) == sum(byte > 127 for byte in raw)
    assert np.bincount(mr.train.labels).tolist() == [5331, 5331]
    assert mr.train.texts[0] == "simplistic , silly and tedious ."
