"""A stream out of ArrayRecord files, whose records can be read in any order."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from jaxnn import checks
from jaxnn.data.dataset import Dataset, compact
from jaxnn.data.stream import Stream, load_grain

Path: TypeAlias = str | os.PathLike[str]


def from_array_record(paths: Path | Sequence[Path], decode: Callable[[bytes], tuple[Any, Any]]) -> Stream:
    """Make a stream of ArrayRecord files, one after the other; `decode(record) -> (input, target)` makes an example.

    Inputs and targets become what `from_arrays` makes of them; all have the shapes and dtypes of the first. Examples
    are read quickest from files that were written with the option `group_size:1`, since each is then unpacked alone.

    Raises ImportError without Grain (`pip install 'jaxnn[stream]'`), FileNotFoundError for no such file, ValueError for
    files that are damaged or hold no records, TypeError for a decode that gives no pair of numbers. Reading raises
    ValueError, naming the record, where one is damaged, decode fails on it, or its form is another one.

    >>> import tempfile
    >>> from array_record.python.array_record_module import ArrayRecordWriter
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = ArrayRecordWriter(f"{folder}/train.array_record", "group_size:1")
    ...     for label, pixels in ((1, [5, 6]), (0, [7, 8])):
    ...         _ = writer.write(bytes([label, *pixels]))
    ...     writer.close()
    ...     stream = from_array_record(
    ...         f"{folder}/train.array_record", lambda record: (np.frombuffer(record[1:], np.uint8), record[0])
    ...     )
    ...     stream.read(np.array([1, 0])).targets
    array([0, 1], dtype=int32)
    """
    checks.callables("from_array_record", decode=decode)
    files = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not files:
        raise ValueError("from_array_record got no files")
    for path in files:
        if not os.path.isfile(path):
            raise FileNotFoundError(f"from_array_record expected an ArrayRecord file at {path} but there is none")
    name = files[0] + (f" and {len(files) - 1} more" if files[1:] else "")
    grain = load_grain("from_array_record")
    try:
        source = grain.sources.ArrayRecordDataSource(files)
        size = len(source)
    except Exception as error:  # of ArrayRecord, with types of its own
        raise ValueError(
            f"{name}: expected undamaged ArrayRecord files but found: {checks.first_line(error)}"
        ) from error
    if size == 0:
        raise ValueError(f"{name}: expected records but found none")
    first = _examples(name, source, decode, np.array([0]))[0]
    form = _form(first)

    def read(indices: np.ndarray) -> Dataset:
        fields = [np.empty((len(indices), *value.shape), value.dtype) for value in first]
        order = np.argsort(indices)  # the files are read in one direction
        for place, example in zip(order, _examples(name, source, decode, indices[order]), strict=True):
            if _form(example) != form:
                raise ValueError(
                    f"{name}: expected examples like record 0, {form}, but record {indices[place]} is {_form(example)}"
                )
            for field, value in zip(fields, example, strict=True):
                field[place] = value
        return Dataset(*_kept(name, fields))

    inputs, targets = (jax.ShapeDtypeStruct((size, *value.shape), value.dtype) for value in _kept(name, first))
    return Stream(name, inputs, targets, read)


def _examples(name: str, source: Any, decode: Callable[[bytes], Any], indices: np.ndarray) -> list[list[np.ndarray]]:
    """Read and decode the records, in this order: lists of an input and a target."""
    try:
        records = source.__getitems__(indices.tolist())
    except Exception as error:  # of ArrayRecord, with types of its own
        where = f"{indices.min()} to {indices.max()}"
        raise ValueError(f"{name}: cannot read records among {where}: {checks.first_line(error)}") from error
    examples = []
    for index, record in zip(indices, records, strict=True):
        try:
            example = decode(record)
        except Exception as error:  # of the caller's function
            raise ValueError(f"{name}: decode failed on record {index}: {checks.first_line(error)}") from error
        if not isinstance(example, tuple) or len(example) != 2:
            raise TypeError(f"{name}: expected decode to return (input, target) but got {type(example).__name__}")
        examples.append([np.asarray(value) for value in example])
    return examples


def _form(example: Sequence[np.ndarray]) -> str:
    return " and ".join(f"{value.dtype} {value.shape}" for value in example)


def _kept(name: str, fields: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return inputs and targets in the dtypes that `from_arrays` keeps."""
    try:
        return [compact("inputs", fields[0], keep_bytes=True), compact("targets", fields[1], keep_bytes=False)]
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name}: {error}") from error
