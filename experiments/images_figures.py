"""The figures of the experiment with images, and the sections they stand in."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from experiments.images_measures import PROBE_IMAGES, Inside
from jaxnn.data.images import ImageData
from jaxnn.report import Section, Table
from jaxnn.report.theme import WIDTH, color_scale, colors, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGE, GAP = 0.02, 0.11  # inches around the canvas and between two pictures
HEADING = 0.34  # inches for a line above pictures
SHOWN = 24  # channels of each block


def _canvas(height: float) -> tuple["Figure", "Axes"]:
    """Make a figure with one axes, whose unit is the inch, counted from its upper left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    canvas = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    canvas.set_axis_off()
    return figure, canvas


def _side(columns: int) -> float:
    return (WIDTH - 2 * EDGE - GAP * (columns - 1)) / columns


def _heading(canvas: "Axes", top: float, text: str) -> float:
    canvas.text(EDGE, top + HEADING - 0.12, text, fontsize=10, color=colors().ink, va="baseline")
    return top + HEADING


def _pictures(
    canvas: "Axes", top: float, pictures: Any, labels: Sequence[str], *, columns: int, below: float, **look: Any
) -> float:
    """Draw pictures [N, H, W] in rows, each with its label in the `below` inches under it; return where they end."""
    from matplotlib.patches import Rectangle

    side = _side(columns)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        row, column = divmod(i, columns)
        left, upper = EDGE + column * (side + GAP), top + row * (side + below)
        extent = (left, left + side, upper + side, upper)
        canvas.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", **look)
        canvas.add_patch(Rectangle((left, upper), side, side, fill=False, linewidth=0.7, edgecolor=colors().muted))
        canvas.text(left + side / 2, upper + side + 0.04, label, fontsize=8.5, ha="center", va="top", parse_math=False)
    return top + -(-len(pictures) // columns) * (side + below)


def _color_bar(figure: "Figure", canvas: "Axes", ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Draw the scale of the pictures that were drawn last into the lower right corner."""
    height = figure.get_figheight()
    place = figure.add_axes((1 - 2.75 / WIDTH, 0.26 / height, 2.3 / WIDTH, 0.1 / height))
    bar = figure.colorbar(canvas.images[-1], cax=place, orientation="horizontal")
    bar.set_ticks(ticks, labels=labels)
    bar.ax.tick_params(length=0, labelsize=8.5)
    bar.outline.set_edgecolor(colors().line)  # type: ignore[operator]


def filters(before: np.ndarray, after: np.ndarray, trained: str) -> "Figure":
    """Draw the kernels [KH, KW, 1, channels] of the first layer before and after training, on one scale."""
    columns, below = 16, 0.2
    rows = -(-before.shape[-1] // columns)
    figure, canvas = _canvas(2 * (HEADING + rows * (_side(columns) + below)) + 2 * EDGE + 0.45)
    limit = float(max(np.abs(before).max(), np.abs(after).max()))
    top = EDGE
    for title, kernels in (("Before training: drawn at random", before), (f"After {trained}", after)):
        top = _heading(canvas, top, title)
        pictures = np.moveaxis(kernels[:, :, 0], -1, 0)
        labels = [str(i) for i in range(len(pictures))]
        look = {"cmap": "gray", "vmin": -limit, "vmax": limit}
        top = _pictures(canvas, top, pictures, labels, columns=columns, below=below, **look)
    _color_bar(figure, canvas, (-limit, 0, limit), (f"\N{MINUS SIGN}{limit:.2g}", "0", f"{limit:.2g}"))
    return figure


def feature_maps(image: np.ndarray, caption: str, maps: Sequence[np.ndarray]) -> "Figure":
    """Draw an image [H, W] and below it the channels of each block [H, W, C] that are most active on it."""
    columns, below = 12, 0.2
    rows = [-(-min(block.shape[-1], SHOWN) // columns) for block in maps]
    figure, canvas = _canvas((1 + sum(rows)) * (_side(columns) + below) + (1 + len(maps)) * HEADING + 2 * EDGE)
    top = _heading(canvas, EDGE, caption)
    top = _pictures(canvas, top, [image], [""], columns=columns, below=0, cmap="gray", vmin=0, vmax=255)
    for i, block in enumerate(maps):
        channels = block.shape[-1]
        active = np.sort(np.argsort(-block.mean((0, 1)), kind="stable")[:SHOWN])
        which = f"the {SHOWN} most active of {channels}" if channels > SHOWN else f"all {channels}"
        largest = float(block.max()) or 1.0
        title = f"Block {i + 1}: {which} channels, {block.shape[0]}x{block.shape[1]}; white is {largest:.2g}"
        top = _heading(canvas, top, title)
        pictures, labels = np.moveaxis(block[..., active], -1, 0), [str(c) for c in active]
        top = _pictures(canvas, top, pictures, labels, columns=columns, below=below, cmap="gray", vmin=0, vmax=largest)
    return figure


def probes(lines: Sequence[tuple[str, Sequence[float]]], network: float | None) -> "Figure":
    """Draw accuracies on the pixels and after each block, a line for each name, and the network's own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    looks = (("C0", "-", "o"), ("C0", (0, (5, 2)), "s"), ("C1", "-", "^"), ("C1", (0, (5, 2)), "D"))
    places = ["pixels", *(f"block {i}" for i in range(1, len(lines[0][1])))]
    for (name, values), (color, dash, marker) in zip(lines, looks, strict=False):
        shares = 100 * np.asarray(values)
        axes.plot(places, shares, color=color, linestyle=dash, marker=marker, markersize=6, label=name)
    if network is not None:
        axes.axhline(100 * network, color=colors().ink, linestyle=":", linewidth=1.2, label="the network itself")
    axes.set(ylabel="validation accuracy of a linear probe (%)", ylim=(0, 103), yticks=range(0, 101, 20))
    axes.grid(axis="y")
    axes.legend(loc="lower right", frameon=False, handlelength=4)
    return figure


def saliency(images: np.ndarray, gradients: np.ndarray, captions: Sequence[str]) -> "Figure":
    """Draw images [N, H, W] with what was answered, and below each the size of the gradient [N, H, W]."""
    columns, below = 8, 0.62
    figure, canvas = _canvas(2 * EDGE + 2 * _side(columns) + GAP + below)
    blank = [""] * len(images)
    top = _pictures(canvas, EDGE, images, blank, columns=columns, below=GAP, cmap="gray", vmin=0, vmax=255)
    now = colors()
    sizes = np.abs(gradients)
    sizes = sizes / np.maximum(sizes.max((1, 2), keepdims=True), 1e-30)
    strength = color_scale(now.paper, now.series[0], now.ink)
    _pictures(canvas, top, sizes, captions, columns=columns, below=below, cmap=strength, vmin=0, vmax=1)
    return figure


def answer(names: Sequence[str], label: int, predicted: int, confidence: float) -> str:
    """Write what the model answered: a class, or the true one and what it was taken for; and how sure it was.

    >>> answer(("cat", "dog"), 1, 0, 0.9)
    'dog → cat\\n90 %'
    """
    share = "> 99 %" if confidence >= 0.995 else f"{100 * confidence:.0f} %"
    true, given = short(names[label], 11), short(names[predicted], 11)
    between = " " if len(true + given) < 10 else "\n"
    return f"{given}\n{share}" if label == predicted else f"{true} →{between}{given}\n{share}"


def sections(
    inside: Inside, data: ImageData, logits: np.ndarray, history: Sequence[Mapping[str, Any]]
) -> list[Section]:
    """Put together what the report shows of the inside."""
    labels, confidence = np.asarray(data.test.targets), np.asarray(jax.nn.softmax(logits)).max(-1)
    answers = [
        answer(data.class_names, int(labels[i]), int(logits[i].argmax()), float(confidence[i])) for i in inside.images
    ]
    images = np.asarray(data.test.inputs)[inside.images][..., 0]
    reached = history[-1].get("validation_accuracy") if history else None
    one = f"Test image {inside.images[0]}, class {data.class_names[labels[inside.images[0]]]}"
    return [
        Section(
            "First-layer filters",
            "The 3x3 weights of each channel of the first convolution, before and after, on one scale: black is "
            "negative, white positive. The numbers are the channels'.",
            partial(filters, *inside.filters, f"{len(history)} epoch" + "s" * (len(history) != 1)),
        ),
        Section(
            "Feature maps",
            "One image through the network, after each block's ReLU and before its pooling. Black is 0; white is the "
            "largest value of the block. The numbers are the channels'.",
            partial(feature_maps, images[0], one, inside.maps),
        ),
        *([_probes(inside.probes, reached)] if inside.probes else []),
        Section(
            "Saliency",
            "Above: test images, with the class answered and its probability; the mistakes, last, with the true class "
            "first. Below: the size of the gradient of the winning logit with respect to each pixel, each picture on "
            "its own scale: where a small change would move the answer most.",
            partial(saliency, images, inside.saliency, answers),
        ),
    ]


def _probes(found: Any, network: float | None) -> Section:
    random, trained = found
    lines = [
        ("trained, every position", trained.everywhere),
        ("trained, mean over positions", trained.averaged),
        ("at random, every position", random.everywhere),
        ("at random, mean over positions", random.averaged),
    ]
    places = ("pixels", *(f"block {i}" for i in range(1, len(trained.everywhere))))
    rows = [(name, *(f"{100 * value:.1f} %" for value in values)) for name, values in lines]
    return Section(
        "Linear probes",
        f"Softmax regression on the outputs of each block, trained on {PROBE_IMAGES:,} training images at most and "
        "measured on the validation images. With every position as "
        "a feature of its own it can use all that a linear classifier can get. With the mean over positions it "
        "knows which features there are and not where, as the network's own last layers do: this line rises as the "
        "features get more abstract. The last block ends in that mean, so both are one there. At random: the same "
        "network before training.",
        partial(probes, lines, network),
        Table(("features", *places), rows),
    )
