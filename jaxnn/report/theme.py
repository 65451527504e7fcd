"""One look for every figure, on light paper and on dark, in colours that the colour-blind can tell apart."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxnn import checks
from jaxnn.files import write_whole

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

FigureMaker: TypeAlias = Callable[[], "Figure"]
"""A function without arguments that draws a figure, so that it can be drawn once for each theme."""

WIDTH = 55 / 6  # inches: the 880 CSS pixels of the page's column
PIXELS_PER_INCH = 192  # twice the 96 of a CSS inch: sharp on screens with two pixels a point, and in print


class Theme(NamedTuple):
    """The colours of one look."""

    paper: str
    ink: str
    muted: str
    line: str
    series: tuple[str, ...]


# Series colours: Okabe and Ito, 2008, Color Universal Design; the darker ones lead on light paper, the lighter on dark.
THEMES = {
    "light": Theme(
        "#ffffff", "#1c2127", "#57606a", "#d4d9df", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
    ),
    "dark": Theme(
        "#14181d", "#e7eaee", "#9aa4af", "#363d46", ("#56b4e9", "#e69f00", "#2fbf95", "#cc79a7", "#f0e442", "#d55e00")
    ),
}


@contextmanager
def style(theme: str) -> Iterator[None]:
    """Draw every matplotlib figure made inside in the report's look, `light` or `dark`.

    >>> from jaxnn.report import learning_curves
    >>> with style("dark"):
    ...     figure = learning_curves([{"epoch": 1, "loss": 0.5}])
    """
    import matplotlib

    checks.one_of("style", "theme", theme, tuple(THEMES))
    with matplotlib.rc_context(_settings(THEMES[theme])):
        yield


def _settings(theme: Theme) -> dict[Any, Any]:
    from cycler import cycler

    return {
        "figure.facecolor": theme.paper,
        "axes.facecolor": "none",
        "axes.edgecolor": theme.line,
        "axes.labelcolor": theme.muted,
        "axes.prop_cycle": cycler(color=theme.series),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": theme.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlepad": 10,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so figures are the same everywhere
        "font.size": 10,
        "grid.color": theme.line,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.8,
        "text.color": theme.ink,
        "xtick.color": theme.line,
        "xtick.labelcolor": theme.muted,
        "ytick.color": theme.line,
        "ytick.labelcolor": theme.muted,
    }


def colors() -> Theme:
    """Read the colours of the current style, or of the reader's own matplotlib settings outside of `style`."""
    import matplotlib
    from matplotlib.colors import to_hex

    now = matplotlib.rcParams
    series = now["axes.prop_cycle"].by_key().get("color", THEMES["light"].series)
    names = ("figure.facecolor", "text.color", "axes.labelcolor", "grid.color")
    return Theme(*(to_hex(now[name]) for name in names), series=tuple(map(to_hex, series)))


def color_scale(*stops: str) -> "LinearSegmentedColormap":
    """Make a colour map from the first stop to the last, evenly spaced."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("jaxnn", list(stops))


def contrast(one: Any, other: Any) -> float:
    """Compute the contrast ratio of two colours, 1 to 21, as the Web Content Accessibility Guidelines 2.1 define it.

    >>> contrast("black", "white")
    21.0
    """
    from matplotlib.colors import to_rgb

    def luminance(color: Any) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def png(figure: "Figure", *, transparent: bool = True) -> bytes:
    """Draw a figure as a PNG picture of 192 pixels an inch."""
    buffer = BytesIO()
    # Without metadata the same figure gives the same bytes.
    figure.savefig(buffer, format="png", dpi=PIXELS_PER_INCH, transparent=transparent, metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: FigureMaker, path: str | os.PathLike[str]) -> Path:
    """Draw the figure in its light look on white and write it as a PNG file, whole or not at all.

    `figure` is a function without arguments, as in a `Section`. Raises OSError, naming the path.

    >>> import tempfile
    >>> from jaxnn.report import learning_curves
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_png(lambda: learning_curves([{"epoch": 1, "loss": 0.5}]), f"{folder}/curves.png").name
    'curves.png'
    """
    with style("light"):
        return write_whole(path, png(figure(), transparent=False))


def short(text: Any, length: int) -> str:
    """Write anything on one line of at most `length` characters.

    >>> short("sandal or\\nankle boot", 12)
    'sandal or a…'
    """
    line = " ".join(str(text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
