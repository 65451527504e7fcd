"""Text for classifiers: labelled texts from files, words, vocabulary, and arrays of equal length."""

import codecs
import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn import checks
from jaxnn.data.dataset import Dataset, split, take
from jaxnn.data.folders import data_folder
from jaxnn.types import PRNGKey

PAD, UNKNOWN = 0, 1
"""The first two tokens of every vocabulary: padding, and a word that is not in it."""

TOKEN = r"\w+(?=n't\b)|n't\b|'(?:s|re|ve|d|ll|m)\b|\w+|[^\w\s]"
"""The regular expression of a token of a text in lower case; `tokenise` takes all that it finds, from left to right."""

# name -> (encoding, class names by label, files for training, validation and test, source)
_QUESTIONS = {name: name for name in ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")}
_SENTIMENT = {"0": "negative", "1": "positive"}
_SETS = {
    "trec": ("latin-1", _QUESTIONS, ("TREC.train", None, "TREC.test"), "https://cogcomp.seas.upenn.edu/Data/QA/QC/"),
    "sst2": ("utf-8", _SENTIMENT, ("sst2.train", "sst2.dev", "sst2.test"), "https://nlp.stanford.edu/sentiment/"),
    "mr": ("latin-1", _SENTIMENT, ("mr.all", None, None), "https://www.cs.cornell.edu/people/pabo/movie-review-data/"),
}


class Texts(NamedTuple):
    """Labelled texts: strings, int32 labels [N], and the name of each class.

    >>> Texts(("a fine film",), np.array([1], np.int32), ("negative", "positive")).labels.tolist()
    [1]
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]


class TextData(NamedTuple):
    """A named set of texts with its parts (None where the set has no such part) and the folder it came from."""

    name: str
    source: str
    train: Texts
    validation: Texts | None
    test: Texts | None


def load_text(name: str, data_dir: str | os.PathLike[str] | None = None) -> TextData:
    """Load "trec" (5,452 + 500 questions of six classes), "sst2" (6,920 + 872 + 1,821 sentences) or "mr" (10,662).

    The files TREC.train and TREC.test (lines `CLASS:detail text`, Latin-1), sst2.train, sst2.dev and sst2.test (`0` or
    `1` and the text, UTF-8; 1 is positive), or mr.all (the same, Latin-1; made for cross-validation, so all of it is
    in `train`) are looked for in `text/` in `data_dir`, else in `$JAXNN_DATA_DIR`, else in the user's cache folder.
    Raises ValueError for an unknown name and for a damaged file, naming the line, and FileNotFoundError for files that
    are not there. Li and Roth, 2002, Learning Question Classifiers; Socher et al., 2013, Recursive Deep Models for
    Semantic Compositionality; Pang and Lee, 2005, Seeing Stars.

    >>> load_text("imdb")
    Traceback (most recent call last):
    ValueError: load_text expected name to be one of trec, sst2, mr but got 'imdb'
    """
    checks.one_of("load_text", "name", name, tuple(_SETS))
    encoding, classes, files, address = _SETS[name]
    root = data_folder(data_dir)
    folder = None if root is None else root / "text"
    missing = [file for file in files if file and not (folder and (folder / file).is_file())]
    if folder is None or missing:
        place = "there is no home folder and JAXNN_DATA_DIR is not set" if folder is None else f"looked into {folder}"
        raise FileNotFoundError(
            f"{name} is not on this machine: {place}, which lacks {', '.join(missing)}; get them (source: {address}), "
            "put them into a folder text/, and pass the folder that holds it as data_dir or set JAXNN_DATA_DIR to it"
        )
    train, validation, test = (None if file is None else _labelled(folder / file, encoding, classes) for file in files)
    assert train is not None
    return TextData(name, str(folder), train, validation, test)


def from_tsv(
    path: str | os.PathLike[str], *, encoding: str = "utf-8", class_names: Sequence[str] | None = None
) -> Texts:
    r"""Read a file of your own with one example a line, `label<TAB>text`; what follows the first tab is the text.

    Labels are any words; the classes are numbered in their order (numbers by value). For a second file pass the
    `class_names` of the first, so that both are numbered alike. Raises ValueError, naming path and line, for an empty
    file, a line without label, tab or text, a label that is not in `class_names`, bytes that are not of the encoding,
    and UTF-8 read as something else.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.tsv"
    >>> _ = path.write_text("good\ta fine film\nbad\tno plot at all\n")
    >>> from_tsv(path).labels.tolist(), from_tsv(path).class_names
    ([1, 0], ('bad', 'good'))
    """
    examples = []
    for number, line in enumerate(text_lines(Path(path), encoding), 1):
        label, tab, text = line.partition("\t")
        wrong = "a tab between label and text" if not tab else "a label" if not label.strip() else "a text"
        if not (label.strip() and text.strip()):
            raise ValueError(f"{path}, line {number}: expected label<TAB>text but found {line[:60]!r}, without {wrong}")
        examples.append((label.strip(), text.strip()))
    found = {label for label, _ in examples}
    whole = all(re.fullmatch(r"-?\d+", label) for label in found)
    names = tuple(class_names) if class_names is not None else tuple(sorted(found, key=int if whole else str))
    numbers = {name: i for i, name in enumerate(names)}
    for number, (label, _) in enumerate(examples, 1):
        if label not in numbers:
            raise ValueError(
                f"{path}, line {number}: expected one of the labels {', '.join(names)} but found {label!r}"
            )
    labels = np.array([numbers[label] for label, _ in examples], np.int32)
    return Texts(tuple(text for _, text in examples), labels, names)


def _labelled(path: Path, encoding: str, classes: dict[str, str]) -> Texts:
    """Read a file of a named set: the label up to the first space, for TREC up to a colon, then the text."""
    texts, labels, known = [], [], list(classes)
    for number, line in enumerate(text_lines(path, encoding), 1):
        first, _, text = line.partition(" ")
        label = first.partition(":")[0]
        if label not in known or not text.strip():
            raise ValueError(
                f"{path}, line {number}: expected one of {', '.join(known)} and a text but found {line[:60]!r}"
            )
        texts.append(text.strip())
        labels.append(known.index(label))
    return Texts(tuple(texts), np.array(labels, np.int32), tuple(classes.values()))


def text_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    r"""Read the lines of a text file. Only a newline ends a line: Latin-1 has other signs at which Python splits.

    Raises OSError, and ValueError, naming path and line, for an empty file and for bytes that are not of the encoding.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.txt"
    >>> _ = path.write_text("a fine film\nno plot at all\n")
    >>> text_lines(path)
    ['a fine film', 'no plot at all']
    """
    try:
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        raise ValueError(f"{path}: {error}; encodings are called utf-8, latin-1, cp1252 and so on") from error
    raw = path.read_bytes()
    if not raw.strip():
        raise ValueError(f"{path} is empty: expected one example a line")
    if codec == "utf-8" and raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise ValueError(f"{path}, line 1: expected utf-8 but found the mark of UTF-16: pass encoding='utf-16'")
    try:
        text = raw.decode("utf-8-sig" if codec == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(encoding, errors="replace").count("\n") + 1
        found = raw[error.start : error.start + 4].hex(" ")
        raise ValueError(
            f"{path}, line {line}: expected {encoding} but found the bytes {found}: "
            f"{'pass its encoding, such as latin-1' if codec == 'utf-8' else 'is it utf-8?'}"
        ) from error
    if codec in ("iso8859-1", "cp1252") and not raw.isascii() and _is_utf8(raw):
        raise ValueError(f"{path}: expected {encoding} but it is UTF-8, and would be garbled: pass encoding='utf-8'")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if "\0" in line or "\r" in line:
            sign = (
                "NUL: is it UTF-16, or no text at all?" if "\0" in line else "lone carriage return: end lines with \\n"
            )
            raise ValueError(f"{path}, line {number}: found a {sign}")
    return lines


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def split_texts(texts: Texts, fraction: float, key: PRNGKey) -> tuple[Texts, Texts]:
    """Split at random into (the rest, a `fraction` of the texts), as `data.split` does it for a Dataset.

    >>> import jax
    >>> rest, part = split_texts(Texts(("a", "b", "c", "d"), np.zeros(4, np.int32), ("x",)), 0.25, jax.random.key(0))
    >>> len(rest.texts), len(part.texts)
    (3, 1)
    """
    whole = Dataset(np.arange(len(texts.texts)), texts.labels)
    rest, part = (
        Texts(tuple(texts.texts[i] for i in side.inputs), take(whole, side.inputs).targets, texts.class_names)
        for side in split(whole, fraction, key)
    )
    return rest, part


def tokenise(text: str) -> list[str]:
    """Cut a text into words in lower case and single signs; English endings such as n't and 's stand by themselves.

    >>> tokenise("It's well-made, isn't it?")
    ['it', "'s", 'well', '-', 'made', ',', 'is', "n't", 'it', '?']
    """
    return re.findall(TOKEN, text.lower())


def vocabulary(texts: Sequence[str], *, min_count: int = 1) -> tuple[str, ...]:
    """List the tokens of the texts, frequent ones first, after "<pad>" (0) and "<unk>" (1): token i has the index i.

    Give it the texts for training alone, so that the others stay unseen. Words seen fewer than `min_count` times are
    left out. Equally frequent ones stand in alphabetical order. Raises ValueError for no texts.

    >>> vocabulary(["to be or not to be", "to see"], min_count=2)
    ('<pad>', '<unk>', 'to', 'be')
    """
    _check_texts("vocabulary", texts)
    checks.positive_int("vocabulary", "min_count", min_count)
    counts = Counter(token for text in texts for token in tokenise(text))
    kept = [token for token, count in counts.items() if count >= min_count]
    return ("<pad>", "<unk>", *sorted(kept, key=lambda token: (-counts[token], token)))


def encode(texts: Sequence[str], vocabulary: Sequence[str]) -> list[list[int]]:
    """Write each text as the indices of its tokens; a token that is not in the vocabulary becomes 1, "<unk>".

    >>> encode(["not to see"], ("<pad>", "<unk>", "to", "be"))
    [[1, 2, 1]]
    """
    _check_texts("encode", texts)
    if tuple(vocabulary[:2]) != ("<pad>", "<unk>"):
        raise ValueError(
            "encode expected a vocabulary that begins with <pad> and <unk>: make it with vocabulary(texts)"
        )
    index = {token: i for i, token in enumerate(vocabulary)}
    return [[index.get(token, UNKNOWN) for token in tokenise(text)] for text in texts]


def pad(sequences: Sequence[Sequence[int]], length: int | None = None) -> np.ndarray:
    """Arrange sequences as rows of one length, int32 [N, T], filled with 0; longer ones lose their end.

    Without a length it is that of the longest.

    >>> pad([[5, 6, 7], [8]], 2).tolist()
    [[5, 6], [8, 0]]
    """
    if length is None:
        length = max([1, *map(len, sequences)])
    checks.positive_int("pad", "length", length)
    rows = np.full((len(sequences), length), PAD, np.int32)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence[:length]
    return rows


def pad_to_buckets(sequences: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pad each sequence to the shortest of the lengths that holds it: a list of (which of them, their rows).

    Short texts then cost little beside long ones, with one compiled program for each length. What is longer than the
    last length loses its end. Lengths without a sequence are left out.

    >>> [(which.tolist(), rows.tolist()) for which, rows in pad_to_buckets([[5], [6, 7, 8], [9]], (1, 3))]
    [([0, 2], [[5], [9]]), ([1], [[6, 7, 8]])]
    """
    if not lengths or any(b <= a for a, b in pairwise(lengths)):
        raise ValueError(f"pad_to_buckets expected lengths that grow but got {tuple(lengths)}")
    sizes = np.minimum([len(sequence) for sequence in sequences], lengths[-1])
    places = np.searchsorted(np.asarray(lengths), sizes)
    chosen = [(np.flatnonzero(places == i), length) for i, length in enumerate(lengths)]
    return [(which, pad([sequences[int(i)] for i in which], length)) for which, length in chosen if which.size]


def text_dataset(texts: Texts, vocabulary: Sequence[str], length: int) -> Dataset:
    """Make the Dataset of tokens int32 [N, length] and labels int32 [N]: encode, then pad (long texts lose their end).

    >>> text_dataset(Texts(("to be",), np.zeros(1, np.int32), ("x",)), ("<pad>", "<unk>", "to"), 3).inputs.tolist()
    [[2, 1, 0]]
    """
    return Dataset(pad(encode(texts.texts, vocabulary), length), texts.labels)


def _check_texts(function: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{function} expected a list of texts but got {texts!r:.60}: put a single text in a list")
    if not len(texts):
        raise ValueError(f"{function} expected at least one text")
