"""`python -m jaxnn predict`: what a trained network says of pictures, arrays or texts."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxnn.commands.examples import read_examples
from jaxnn.interop.trained import load_trained, probabilities

LONGEST_TEXT = 60  # signs of a text in the table
BAR = 12  # columns


def predict(folder: Path, files: Sequence[Path]) -> int:
    """Print the class of every example and its probability: a table on a terminal, else lines parted by tabs.

    What was done to pictures and texts goes to stderr. Nothing is printed before every file has been read. Returns the
    exit code 0; raises what `load_trained` and `read_examples` raise.

    >>> predict(Path("no/such/folder"), [])
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder has no labels.json: there is no such folder
    """
    trained = load_trained(folder)
    found = [read_examples(file, trained) for file in files]
    answers = [probabilities(trained, examples.inputs) for examples in found]
    for examples in found:
        for note in examples.notes:
            print(f"note: {note}", file=sys.stderr)
    sys.stderr.flush()
    names = [name for examples in found for name in examples.names]
    texts = [text for examples in found for text in examples.texts]
    show = _table if sys.stdout.isatty() else _lines
    show(names, texts, np.concatenate(answers), trained.class_names)
    return 0


def _lines(names: list[str], texts: list[str], answers: np.ndarray, class_names: Sequence[str]) -> None:
    for name, answer in zip(names, answers, strict=True):
        print(f"{name}\t{class_names[answer.argmax()]}\t{answer.max():.4f}")


def _table(names: list[str], texts: list[str], answers: np.ndarray, class_names: Sequence[str]) -> None:
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("example", overflow="fold")
    if texts:
        table.add_column("text", overflow="fold")
    table.add_column("answer", style="bold")
    table.add_column("probability", justify="right")
    table.add_column("", width=BAR)
    table.add_column("next", style="dim")
    for i, (name, answer) in enumerate(zip(names, answers, strict=True)):
        order: list[int] = answer.argsort()[::-1].tolist()
        first = order[0]
        cells = [Text(name)]
        if texts:
            cells.append(Text(texts[i] if len(texts[i]) <= LONGEST_TEXT else f"{texts[i][: LONGEST_TEXT - 1]}…"))
        bar = ProgressBar(total=1, completed=answer[first], width=BAR, complete_style="green", finished_style="green")
        behind = ", ".join(f"{class_names[k]} {answer[k]:.1%}" for k in order[1:3])
        table.add_row(*cells, Text(class_names[first]), Text(f"{answer[first]:.1%}"), bar, Text(behind))
    Console().print(table)
