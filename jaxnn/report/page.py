"""One page that tells a whole run: a single HTML file with its pictures inside, readable without a network."""

import base64
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jaxnn
from jaxnn.files import write_whole
from jaxnn.report.table import Table, columns
from jaxnn.report.theme import THEMES, FigureMaker, png, style

if TYPE_CHECKING:
    from jinja2 import Template


class Section(NamedTuple):
    """A title and what stands under it, in this order: text, a figure, a caption, and a table.

    `figure` is a function without arguments that returns a matplotlib Figure; it is called once for light and once for
    dark, inside `style`. `alt` is what a reader hears who cannot see the figure (default: the title and the caption).
    In `text` an empty line parts paragraphs. A `folded` table is shown when its line is clicked.

    >>> Section("Sums", table=Table(("x", "sum"), [(1, 1), (2, 3)])).title
    'Sums'
    """

    title: str
    caption: str = ""
    figure: FigureMaker | None = None
    table: Table | None = None
    text: str = ""
    alt: str = ""
    folded: bool = False


class Page(NamedTuple):
    """A report: what was run, what the reader must know first, the numbers that count, and the sections.

    `notices` are shown as banners above all else: a run that stopped early, data that were put in place of others.
    `headline` pairs a label with a value that is already written as it should be read.

    >>> Page("XOR", headline=[("accuracy", "100 %")]).headline
    [('accuracy', '100 %')]
    """

    title: str
    subtitle: str = ""
    notices: Sequence[str] = ()
    headline: Sequence[tuple[str, str]] = ()
    sections: Sequence[Section] = ()


def write_page(path: str | os.PathLike[str], page: Page) -> Path:
    """Write the page as one self-contained HTML file, whole or not at all, and return its path.

    No script, no style and no picture is loaded from elsewhere. Each figure is drawn twice and the reader's light or
    dark theme chooses. All text is escaped. Raises OSError, naming the path; whatever a figure raises passes through,
    with the title of its section added.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_page(f"{folder}/report.html", Page("XOR", headline=[("accuracy", "100 %")])).name
    'report.html'
    """
    return write_whole(path, render_page(page).encode())


def write_report(folder: str | os.PathLike[str], page: Page) -> Path:
    """Write `report.html` into the folder, and beside it each figure, in its light look, as a PNG named by its section.

    Returns the path of the page. Raises what `write_page` raises.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(folder, Page("XOR")).name
    'report.html'
    """
    parts = _parts(page)
    for part in parts:
        if part["picture"]:
            write_whole(Path(folder) / f"{part['anchor']}.png", part["picture"]["png"])
    return write_whole(Path(folder) / "report.html", _html(page, parts).encode())


def render_page(page: Page) -> str:
    """Return the page as HTML.

    >>> "<h1>1 &lt; 2</h1>" in render_page(Page("1 < 2"))
    True
    """
    return _html(page, _parts(page))


def _parts(page: Page) -> list[dict[str, Any]]:
    anchors: dict[str, None] = {}
    parts = []
    for section in page.sections:
        anchor = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        while anchor in anchors:
            anchor += "-again"
        anchors[anchor] = None
        parts.append(_part(section, anchor))
    return parts


def _html(page: Page, parts: list[dict[str, Any]]) -> str:
    html = _template().render(page=page, parts=parts, version=jaxnn.__version__, themes=THEMES)
    # Unpaired surrogates (file names of unknown encoding) are legal in str and not in UTF-8.
    return html.encode("utf-8", "replace").decode()


def _part(section: Section, anchor: str) -> dict[str, Any]:
    table = section.table
    return {
        "anchor": anchor,
        "title": section.title,
        "caption": section.caption,
        "paragraphs": [text for text in re.split(r"\n\s*\n", section.text) if text.strip()],
        "picture": _picture(section) if section.figure else None,
        "alt": section.alt or f"{section.title}. {section.caption}".strip(),
        "header": list(table.header) if table else [],
        "numeric": [column.numeric for column in columns(table)] if table else [],
        "rows": list(zip(*(column.cells for column in columns(table)), strict=True)) if table else [],
        "table": table is not None,
        "total": table is not None and table.total,
        "folded": section.folded,
    }


def _picture(section: Section) -> dict[str, Any]:
    """Draw a section's figure for each theme: data URIs by theme, and its width and height in CSS pixels."""
    assert section.figure is not None
    picture: dict[str, Any] = {}
    for theme in THEMES:
        with style(theme):
            try:
                content = png(figure := section.figure(), transparent=theme != "light")
            except Exception as error:
                error.add_note(f"while drawing the figure of the section {section.title!r}")
                raise
        if theme == "light":
            picture["png"] = content
        picture[theme] = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        picture["width"], picture["height"] = (round(96 * inches) for inches in figure.get_size_inches())
    return picture


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    source = resources.files("jaxnn.report").joinpath("template.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )
