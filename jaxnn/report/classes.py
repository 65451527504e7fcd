"""Which classes are taken for which: the confusion matrix as a figure and class by class as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn.report.table import Table
from jaxnn.report.theme import color_scale, colors, contrast, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def confusion(matrix: Any, class_names: Sequence[Any]) -> "Figure":
    """Draw a confusion matrix [C, C] of counts, true classes in rows, with every count written in its cell.

    The diagonal, what is right, stays grey, and the mistakes are coloured by their share of the row's examples, on a
    scale that ends at the largest share: so they show in a model that is right in 99 of 100. Raises ValueError for a
    matrix that is not square, for negative counts, and for another number of names.

    >>> confusion([[9, 1], [0, 10]], ["cat", "dog"]).axes[0].get_xlabel()
    'predicted class'
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    counts = _counts("confusion", matrix, class_names)
    now, size = colors(), len(counts)
    names = [short(name, 18) for name in class_names]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    mistakes = np.where(np.eye(size, dtype=bool), np.nan, shares)
    largest = float(np.nanmax(mistakes)) if size > 1 else 0.0
    side = min(max(0.56 * size, 2.6), 8.0)  # inches of the matrix itself
    longest = max(map(len, names))
    figure = Figure(figsize=(side + 1.9 + 0.075 * longest, side + 0.9 + 0.06 * longest), layout="constrained")
    panel = figure.subplots()
    scale = color_scale(now.paper, now.series[1 % len(now.series)])
    picture = panel.imshow(mistakes, cmap=scale, norm=Normalize(0, largest or 1))
    _cells(panel, counts, scale, mistakes / (largest or 1), 72 * side / size)
    _axes(panel, names)
    if largest:
        bar = figure.colorbar(picture, ax=panel, shrink=0.6, aspect=22, pad=0.02)
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        bar.ax.tick_params(length=0)
    return figure


def per_class(matrix: Any, class_names: Sequence[Any]) -> Table:
    """Make a table with a row a class: how many examples, how many right, and what it is most often taken for.

    recall = right / examples of the class; precision = right / times the class was predicted; None where there are
    none. Raises ValueError as `confusion` does.

    >>> per_class([[9, 1], [0, 10]], ["cat", "dog"]).rows[0]
    ('cat', 10, 9, 0.9, 1.0, 'dog (1)')
    """
    counts = _counts("per_class", matrix, class_names)
    rows = []
    for i, name in enumerate(class_names):
        examples, predicted, right = int(counts[i].sum()), int(counts[:, i].sum()), int(counts[i, i])
        others = np.where(np.arange(len(counts)) == i, 0, counts[i])
        worst = int(others.argmax())
        taken_for = f"{class_names[worst]} ({others[worst]:,})" if others[worst] else None
        recall = right / examples if examples else None
        precision = right / predicted if predicted else None
        rows.append((str(name), examples, right, recall, precision, taken_for))
    return Table(("class", "examples", "right", "recall", "precision", "most often taken for"), rows)


def _counts(function: str, matrix: Any, class_names: Sequence[Any]) -> np.ndarray:
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"{function} expected a square matrix of counts but got shape {counts.shape}")
    if len(class_names) != len(counts):
        raise ValueError(
            f"{function} expected {len(counts)} class names, one a row of the matrix, but got {len(class_names)}"
        )
    if not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
        raise ValueError(f"{function} expected counts (integers of at least 0) but got {counts.dtype}")
    return counts


def _cells(panel: "Axes", counts: np.ndarray, scale: Any, strength: np.ndarray, points: float) -> None:
    """Write the counts; `strength` 0..1 is how strongly a cell is coloured, `points` its width."""
    from matplotlib.patches import Rectangle

    now = colors()
    digits = max(len(f"{counts.max()}"), 3)
    fontsize = min(10.0, points / (0.72 * digits))
    for (row, column), count in np.ndenumerate(counts):
        right = row == column
        if right:
            panel.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=now.line, linewidth=0))
        if fontsize < 4 or not (count or right):
            continue
        behind = now.line if right else scale(strength[row, column])
        # One of black and white has a contrast of at least 4.58 with any colour; ink and paper do not.
        color = max(("black", "white"), key=lambda ink: contrast(ink, behind))
        panel.text(column, row, str(count), ha="center", va="center", color=color, fontsize=fontsize)


def _axes(panel: "Axes", names: list[str]) -> None:
    size = len(names)
    long = max(map(len, names)) > (4 if size <= 12 else 2)
    fontsize = 9.5 if size <= 12 else 8.5 if size <= 20 else 7 if size <= 40 else 5
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
    panel.set_xticks(range(size), names, fontsize=fontsize, parse_math=False, **slanted)
    panel.set_yticks(range(size), names, fontsize=fontsize, parse_math=False)
    panel.set_xlabel("predicted class")
    panel.set_ylabel("true class")
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    panel.tick_params(which="minor", length=0)
    panel.grid(which="minor", linewidth=0.7)
