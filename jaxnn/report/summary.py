"""What a model is made of, a row a layer: shapes and sizes, found without computing anything."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import checks, tree
from jaxnn.layers import activations, walk
from jaxnn.report.table import Table, columns
from jaxnn.types import LayerLike

BATCH = 97  # stands for any batch size while shapes are traced, and is written B


class SummaryRow(NamedTuple):
    """One layer: its path in the parameters, its name, its output's shape, and how many numbers and bytes it holds."""

    path: str
    layer: str
    output: str
    parameters: int
    state: int
    bytes: int


class Summary(NamedTuple):
    """A row for every innermost layer, and the totals; its repr is a text table of at most 80 columns."""

    model: str
    input: str
    rows: tuple[SummaryRow, ...]
    parameters: int
    state: int
    bytes: int

    def table(self) -> Table:
        """Give the rows as a Table for a report, with the state only if there is any; the last row is the total."""
        lines = [*self.rows, SummaryRow("", "total", "", self.parameters, self.state, self.bytes)]
        header = ["path", "layer", "output", "parameters", *(["state"] if self.state else []), "size"]
        return Table(
            header,
            [
                (r.path, r.layer, r.output, r.parameters, *([r.state] if self.state else []), readable_bytes(r.bytes))
                for r in lines
            ],
            total=True,
        )

    def __repr__(self) -> str:
        """Write the table as text."""
        return _text(self.table(), f"{self.model}, input {self.input}")


def summary(model: LayerLike, input_shape: Sequence[int], *, dtype: Any = jnp.float32) -> Summary:
    """Summarise a model for inputs of [B, *input_shape]: every layer's output shape, parameters, state and bytes.

    `input_shape` is that of one example, without the batch: (28, 28, 1). `dtype` is that of the inputs: jnp.uint8 for
    bytes, jnp.int32 for tokens. Shapes come from `jax.eval_shape`, so a model of any size costs milliseconds. Raises
    what the model raises for inputs of that shape, and TypeError for a shape that is not a sequence of integers.

    >>> from jaxnn.models import mlp
    >>> summary(mlp((784, 512, 10)), (28, 28, 1))
    mlp((784, 512, 10)), input [B, 28, 28, 1]
    path  layer             output    parameters     size
    -----------------------------------------------------
    0     flatten()         [B, 784]           0      0 B
    1     linear(784, 512)  [B, 512]     401,920  1.61 MB
    2     relu              [B, 512]           0      0 B
    3     linear(512, 10)   [B, 10]        5,130  20.5 kB
    -----------------------------------------------------
          total                          407,050  1.63 MB
    """
    if isinstance(input_shape, int) or not all(isinstance(size, int) for size in input_shape):
        raise TypeError(
            f"summary expected input_shape to be a tuple of integers, one example's shape such as (28, 28, 1), "
            f"but got {input_shape!r}"
        )
    for i, size in enumerate(input_shape):
        checks.positive_int("summary", f"input_shape[{i}]", size)
    layer = checks.as_layer("summary", model)
    params, state = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((BATCH, *input_shape), dtype)
    # The paths are words and cannot come out of eval_shape; `walk` gives them again.
    outputs = jax.eval_shape(lambda p, s, x: [y for _, y in activations(layer, p, s, x)], params, state, x)
    rows = tuple(
        SummaryRow(path, part.name, _shapes(y), tree.size(p), tree.size(s), tree.nbytes((p, s)))
        for (path, part, p, s), y in zip(walk(layer, params, state), outputs, strict=True)
    )
    return Summary(layer.name, _shapes(x), rows, tree.size(params), tree.size(state), tree.nbytes((params, state)))


def readable_bytes(count: int) -> str:
    """Write a number of bytes with three digits and a unit (kB = 1000 B).

    >>> readable_bytes(2143272), readable_bytes(40)
    ('2.14 MB', '40 B')
    """
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def _shapes(outputs: Any) -> str:
    return ", ".join(_shape(leaf.shape) for leaf in jax.tree.leaves(outputs))


def _shape(shape: tuple[int, ...]) -> str:
    words = ["B" if axis == 0 and size == BATCH else str(size) for axis, size in enumerate(shape)]
    return f"[{', '.join(words)}]"


def _text(table: Table, title: str, width: int = 80) -> str:
    """Lay a table out in at most `width` columns; the second column, the layer's name, gives way."""
    texts = columns(table)
    widths = [max(map(len, (head, *column.cells))) for head, column in zip(table.header, texts, strict=True)]
    widths[1] = max(8, min(widths[1], width - sum(widths[:1] + widths[2:]) - 2 * (len(widths) - 1)))
    lines = [table.header, *zip(*(column.cells for column in texts), strict=True)]
    written = [
        "  ".join(
            _cut(cell, size).rjust(size) if flush else _cut(cell, size).ljust(size)
            for cell, size, flush in zip(line, widths, [column.numeric for column in texts], strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([_cut(title, width), written[0], rule, *written[1:-1], rule, written[-1]])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
