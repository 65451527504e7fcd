"""The texts of the experiment with texts: loaded, parted, and as arrays of tokens."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data import Dataset
from jaxnn.data.text import Texts, encode, from_tsv, load_text, split_texts, text_dataset, vocabulary
from jaxnn.training import run_keys

SHARE = 0.1  # of the texts for a validation or test set where the data set has none of its own
LONGEST = 256  # tokens
MIN_COUNT = 2  # what stands once in the training texts becomes the unknown token, whose vector is so learned too


class Parts(NamedTuple):
    """The texts for training, validation and test, and how they were parted."""

    train: Texts
    validation: Texts
    test: Texts
    source: str


class Tokens(NamedTuple):
    """The same as arrays of tokens, with the vocabulary of the training texts; none for validation if all train."""

    vocabulary: tuple[str, ...]
    train: Dataset
    validation: Dataset | None
    test: Dataset


def load_parts(dataset: str, file: Path | None, data_dir: Path | None, seed: int) -> Parts:
    """Load the texts and part them: as the data set is parted, and at random by the seed where it is not.

    Raises FileNotFoundError for texts that are not there, ValueError for a file that cannot be read or split.
    """
    if file is not None:
        train, validation, test, source = from_tsv(file), None, None, str(file)
    else:
        try:
            _, source, train, validation, test = load_text(dataset, data_dir)
        except FileNotFoundError as error:
            own = "No texts come with this project: --dataset tsv --file PATH reads a file of your own"
            raise FileNotFoundError(f"{error}. {own}") from error
    key, drawn = run_keys(seed).split, []
    try:
        if test is None:
            train, test = split_texts(train, SHARE, key)
            drawn.append("test")
        if validation is None:
            train, validation = split_texts(train, SHARE, key)
            drawn.append("validation")
    except ValueError as error:
        raise ValueError(f"{source} has too few texts to set {SHARE:.0%} aside: {error}") from error
    if len(set(train.labels.tolist())) < 2:
        raise ValueError(f"{source}: expected texts of at least two classes to train on but got {train.class_names}")
    how = f", {SHARE:.0%} set aside for {' and '.join(drawn)} by seed {seed}" if drawn else ""
    return Parts(train, validation, test, source + how)


def joined(train: Texts, validation: Texts) -> Texts:
    """Put the texts for training and for validation together."""
    labels = np.concatenate([train.labels, validation.labels])
    return Texts(train.texts + validation.texts, labels, train.class_names)


def as_tokens(parts: Parts, *, all_texts: bool = False) -> Tokens:
    """Make arrays of tokens as long as 99 in 100 training texts; longer ones lose their end."""
    train = joined(parts.train, parts.validation) if all_texts else parts.train
    words = vocabulary(train.texts, min_count=MIN_COUNT)
    lengths = [len(row) for row in encode(train.texts, words)]
    length = min(max(int(np.quantile(lengths, 0.99)), 1), LONGEST)
    known, unseen, test = (text_dataset(part, words, length) for part in (train, parts.validation, parts.test))
    return Tokens(words, known, None if all_texts else unseen, test)
