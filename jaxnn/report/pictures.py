"""Pictures: what the model got wrong, and what its first layer looks for."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnn import checks
from jaxnn.report.theme import WIDTH, color_scale, colors, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def mistakes(
    images: Any, labels: Any, predicted: Any, confidence: Any, class_names: Sequence[Any], *, count: int = 24
) -> "Figure":
    """Show the mistakes of which the model was most sure: true class → predicted class, and how sure it was.

    images [N, H, W], [N, H, W, 1] or [N, H, W, 3] (bytes, or floats); labels and predicted integers [N]; confidence
    [N], the probability that the model gave to what it predicted. At most `count` are shown, and a model without
    mistakes gets a figure that says so. Raises ValueError for other shapes or classes beyond the names.

    >>> figure = mistakes(np.zeros((2, 4, 4)), [0, 1], [0, 0], [0.9, 0.7], ["cat", "dog"])
    >>> [caption.get_text() for caption in figure.axes[0].texts]
    ['dog → cat\\n70.0 %']
    """
    checks.positive_int("mistakes", "count", count)
    images, labels, predicted, confidence = map(np.asarray, (images, labels, predicted, confidence))
    _check_images("mistakes", images)
    for name, values in (("images", images[:, 0, 0]), ("predicted", predicted), ("confidence", confidence)):
        if labels.ndim != 1 or values.shape[:1] != labels.shape or (name != "images" and values.ndim != 1):
            raise ValueError(
                f"mistakes expected labels [N] and as many {name} but got shapes {labels.shape} and {values.shape}"
            )
    checks.label_range("mistakes", labels, len(class_names))
    checks.label_range("mistakes", predicted, len(class_names))
    wrong = np.flatnonzero(labels != predicted)
    if not wrong.size:
        return _sentence(f"No mistakes: all {len(labels):,} examples are classified correctly.")
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    names = [short(name, 13) for name in class_names]
    tall = max(len(names[i]) for i in {*labels[shown].tolist(), *predicted[shown].tolist()}) > 4
    captions = [
        f"{names[labels[i]]} →{chr(10) if tall else ' '}{names[predicted[i]]}\n{_percent(confidence[i])}" for i in shown
    ]
    pictures = image_array("mistakes", images[shown])
    below = 0.62 if tall else 0.44
    figure, canvas, places = _grid(pictures, columns=8, below=below, cmap="gray", vmin=0, vmax=1)
    for (middle, bottom), caption in zip(places, captions, strict=True):
        canvas.text(middle, bottom - 0.06, caption, fontsize=8.5, ha="center", va="top", parse_math=False)
    return figure


def first_layer_weights(weight: Any, image_shape: Sequence[int], *, count: int = 40) -> "Figure":
    """Show the weights [in, out] into the units with the largest norm as pictures, all on one scale.

    `image_shape` is (H, W), (H, W, 1) or (H, W, 3), of `in` numbers. Grey images: blue is positive, orange negative,
    the paper's colour zero. Colour images: each channel's weight in that channel, mid-grey is zero. The scale ends
    where the largest half percent of the weights shown begins. Raises ValueError for another shape.

    >>> figure = first_layer_weights(np.eye(16), (4, 4), count=3)
    >>> figure.texts[0].get_text()
    'The 3 of 16 units with the largest norm.'
    """
    checks.positive_int("first_layer_weights", "count", count)
    weight, shape = np.asarray(weight, np.float64), tuple(image_shape)
    channels = shape[2] if len(shape) == 3 else 1
    if weight.ndim != 2 or len(shape) not in (2, 3) or channels not in (1, 3) or math.prod(shape) != len(weight):
        raise ValueError(
            f"first_layer_weights expected a weight of shape [H * W * C, units] for images {shape} with C = 1 or 3 but "
            f"got {weight.shape}"
        )
    units = weight.shape[1]
    largest = np.argsort(-np.linalg.norm(weight, axis=0), kind="stable")[:count]
    pictures = weight[:, largest].T.reshape(-1, *shape[:2], channels)  # [units, H, W, C]
    # The largest half percent is cut off, or a few strong pixels would leave the rest pale.
    limit = float(np.quantile(np.abs(pictures), 0.995)) or float(np.abs(pictures).max()) or 1.0
    now = colors()
    if channels == 3:
        shown, scale = np.clip(0.5 + 0.5 * pictures / limit, 0, 1), {}
    else:
        signed = color_scale(now.series[1 % len(now.series)], now.paper, now.series[0])
        shown, scale = pictures[..., 0], {"cmap": signed, "vmin": -limit, "vmax": limit}
    figure, canvas, _ = _grid(shown, columns=10, below=0.14, foot=0.44, **scale)
    which = (
        f"The {len(largest)} of {units:,} units with the largest norm."
        if len(largest) < units
        else f"All {units:,} units."
    )
    height = figure.get_figheight()
    figure.text(0.02 / WIDTH, 0.2 / height, which, fontsize=9, color=now.muted, va="center")
    if channels == 1:
        bar = figure.colorbar(
            canvas.images[0],
            cax=figure.add_axes((1 - 2.75 / WIDTH, 0.26 / height, 2.3 / WIDTH, 0.1 / height)),
            orientation="horizontal",
        )
        ends = (f"\N{LESS-THAN OR EQUAL TO} \N{MINUS SIGN}{limit:.2g}", f"\N{GREATER-THAN OR EQUAL TO} {limit:.2g}")
        bar.set_ticks([-limit, 0, limit], labels=[ends[0], "0", ends[1]])
        bar.ax.tick_params(length=0, labelsize=8.5)
        bar.outline.set_edgecolor(now.line)  # type: ignore[operator]
    return figure


def image_array(function: str, images: Any) -> np.ndarray:
    """Return images [N, H, W], [N, H, W, 1] or [N, H, W, 3] as floats in 0..1, [N, H, W] or [N, H, W, 3].

    Bytes are divided by 255; other numbers outside of 0..1 are stretched from their smallest to their largest value.
    Raises ValueError for any other shape.

    >>> image_array("mistakes", np.full((1, 2, 2, 1), 51, np.uint8)).tolist()
    [[[0.2, 0.2], [0.2, 0.2]]]
    """
    array = np.asarray(images)
    _check_images(function, array)
    scaled = array / 255 if array.dtype == np.uint8 else array.astype(np.float64)
    if scaled.size and (scaled.min() < 0 or scaled.max() > 1):
        scaled = (scaled - scaled.min()) / (np.ptp(scaled) or 1)
    return scaled[..., 0] if scaled.ndim == 4 and scaled.shape[-1] == 1 else scaled


def _check_images(function: str, images: np.ndarray) -> None:
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise ValueError(
            f"{function} expected images of shape [N, H, W], [N, H, W, 1] or [N, H, W, 3] but got {images.shape}"
        )


def _percent(share: float) -> str:
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _grid(
    pictures: np.ndarray, *, columns: int, below: float, foot: float = 0.0, **scale: Any
) -> tuple["Figure", "Axes", list[tuple[float, float]]]:
    """Draw pictures in rows, `below` inches under each and `foot` inches at the bottom of the figure.

    Returns the figure, its one canvas, whose unit is the inch, and the middle of each picture's lower edge on it. (One
    axes for each picture is slower.)
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    edge, gap = 0.02, 0.14
    side = (WIDTH - 2 * edge - gap * (columns - 1)) / columns
    height = 2 * edge + math.ceil(len(pictures) / columns) * (side + below) + foot
    figure = Figure(figsize=(WIDTH, height))
    canvas = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    canvas.set_axis_off()
    places = []
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        left, bottom = edge + column * (side + gap), height - edge - row * (side + below) - side
        extent = (left, left + side, bottom, bottom + side)
        canvas.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", **scale)
        canvas.add_patch(Rectangle((left, bottom), side, side, fill=False, linewidth=0.7, edgecolor=colors().line))
        places.append((left + side / 2, bottom))
    return figure, canvas, places


def _sentence(words: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.6))
    figure.text(0.02 / WIDTH, 0.5, words, va="center", color=colors().ink, fontsize=11)
    return figure
