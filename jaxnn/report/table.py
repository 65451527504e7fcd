"""Tables: a header, rows of values, and how values are written."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

NONE = "\N{EN DASH}"
QUANTITY = re.compile(r"[-+]?[\d.,]+ [^\s\d]{1,3}")  # 1.61 MB, 98.2 %, 3.2 s


class Table(NamedTuple):
    """A header and rows of values, one a column; an empty header makes a list of names and values.

    `total` says that the last row sums up the others.

    >>> Table(("epoch", "loss"), [(1, 0.31), (2, 0.12)]).rows[1]
    (2, 0.12)
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    total: bool = False


class Column(NamedTuple):
    """One column as written: its cells as text, and whether they are numbers or quantities, set flush right."""

    cells: list[str]
    numeric: bool


def key_values(values: Mapping[str, Any]) -> Table:
    """Make a table of names and values, such as a configuration; values are shown as they would be typed.

    >>> key_values({"learning_rate": 0.001, "seed": 20240}).rows
    [('learning_rate', '0.001'), ('seed', '20240')]
    """
    return Table((), [(str(name), "none" if value is None else str(value)) for name, value in values.items()])


def records(history: Sequence[Mapping[str, Any]]) -> Table:
    """Make a table of a list of records, one row each; the columns are all keys, in the order they first appear.

    >>> records([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "seconds": 3.5}])
    Table(header=('epoch', 'loss', 'seconds'), rows=[(1, 0.5, None), (2, 0.25, 3.5)], total=False)
    """
    keys = tuple(dict.fromkeys(key for record in history for key in record))
    return Table(tuple(key.replace("_", " ") for key in keys), [tuple(map(r.get, keys)) for r in history])


def columns(table: Table) -> list[Column]:
    """Write every cell, column by column: numbers of a column with the same decimals, None as a dash.

    Raises ValueError for a row that is not as long as the header (or as the first row, without a header).

    >>> columns(Table(("layer", "loss"), [("relu", 0.5), ("tanh", None)]))
    [Column(cells=['relu', 'tanh'], numeric=False), Column(cells=['0.5', '\N{EN DASH}'], numeric=True)]
    """
    if not table.header and not table.rows:
        return []
    width = len(table.header or table.rows[0])
    for i, row in enumerate(table.rows):
        if len(row) != width:
            raise ValueError(f"Table expected {width} cells a row but row {i} has {len(row)}: {tuple(row)!r}")
    return [_column([row[i] for row in table.rows]) for i in range(width)]


def _column(values: list[Any]) -> Column:
    plain = [value.item() if isinstance(value, np.generic) or _is_scalar(value) else value for value in values]
    present = [value for value in plain if value is not None]
    numeric = bool(present) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present)
    if not numeric:
        flush = bool(present) and all(QUANTITY.fullmatch(str(value)) for value in present)
        return Column([NONE if value is None else str(value) for value in plain], flush)
    if all(isinstance(value, int) for value in present):
        return Column([NONE if value is None else f"{value:,}" for value in plain], True)
    return Column([NONE if value is None else text for value, text in zip(plain, _floats(plain), strict=True)], True)


def _is_scalar(value: Any) -> bool:
    return hasattr(value, "item") and getattr(value, "shape", None) == ()


def _floats(values: list[Any]) -> list[str]:
    """Write floats with the decimals that show four digits of the largest, less the zeros that all end in."""
    finite = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(finite, default=0.0)
    if largest and not 1e-3 <= largest < 1e7:
        return ["" if value is None else f"{value:.4g}" for value in values]
    decimals = max(0, 3 - math.floor(math.log10(largest))) if largest else 0
    texts = ["" if value is None else f"{value:,.{decimals}f}" for value in values]
    while decimals and all(text.endswith("0") or not text[-1:].isdigit() for text in texts):
        texts = [text[:-1] if text.endswith("0") else text for text in texts]
        decimals -= 1
    return [text.removesuffix(".") for text in texts]
