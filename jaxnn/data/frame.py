"""A picture of any size brought into the form of an image set: what is drawn, scaled to one size and put in the middle.

MNIST's digits were scaled to a box of 20x20 and lie with their centre of mass in the middle of 28x28; a network that
was trained on them knows no others. So whatever is drawn or photographed goes through here before it is classified.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Num, UInt8

from jaxnn import checks

FAINT = 0.1
"""What is fainter than this part of the strongest ink counts as paper."""


class Frame(NamedTuple):
    """How the images of a set lie, light on dark: in `size` (H, W), with a longest side of `box`, centred by `centre`.

    `mass` puts the centre of mass in the middle, `box` the middle of what is drawn.

    >>> FRAMES["mnist"]
    Frame(size=(28, 28), box=20, centre='mass')
    """

    size: tuple[int, int]
    box: int
    centre: Literal["mass", "box"]


# As the sets' makers say and as their test images are: the longest side is 20, 28 and 8. In MNIST the centre of mass is
# at 14.5 +- 0.3; in Fashion-MNIST the middle of what is drawn is at 14.1 +- 0.3, in digits at 4.0 +- 0.3.
FRAMES = {
    "mnist": Frame((28, 28), 20, "mass"),
    "fashion_mnist": Frame((28, 28), 28, "box"),
    "digits": Frame((8, 8), 8, "box"),
}


def is_dark_on_light(image: Num[np.ndarray, "height width"]) -> bool:
    """Tell whether a picture of 0..255 is dark on light: whether most of its border is light.

    It is so for none of the test images of MNIST, Fashion-MNIST and digits, which are light on dark.

    >>> is_dark_on_light(np.full((3, 3), 255))
    True
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    return bool(np.median(border) > 127)


def fit_frame(image: Num[np.ndarray, "height width"], frame: Frame) -> UInt8[np.ndarray, "rows columns"]:
    """Cut out what is drawn light on dark, scale it to the frame's box and centre it, [H, W] -> uint8 [rows, columns].

    The paper, the median of the border, becomes 0, and the strongest ink 255. The scale is the same in both directions;
    a picture without ink gives zeros. Raises ValueError for other numbers of axes. LeCun, Cortes, Burges, 1998, The
    MNIST database ("size normalized to fit in a 20x20 pixel box", "translating the image so as to position this point
    at the center").

    >>> drawn = np.zeros((100, 100))
    >>> drawn[10:90, 20:28] = 255  # a line of 80x8 becomes one of 20x2
    >>> np.argwhere(fit_frame(drawn, FRAMES["mnist"]) > 127)[[0, -1]].tolist()
    [[4, 14], [23, 15]]
    """
    checks.array("fit_frame", "image", image)
    if image.ndim != 2 or not image.size:
        raise ValueError(f"fit_frame expected an image of shape [H, W] but got {image.shape}")
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    ink = np.maximum(np.asarray(image, np.float64) - np.median(border), 0)
    fitted = np.zeros(frame.size, np.uint8)
    drawn = ink > FAINT * ink.max()
    if not drawn.any():
        return fitted
    rows, columns = (np.flatnonzero(drawn.any(axis))[[0, -1]] for axis in (1, 0))
    ink = ink[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
    scale = frame.box / max(ink.shape)
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    small = resize(ink, (height, width))
    small *= 255 / small.max()
    middle = (height / 2, width / 2)
    if frame.centre == "mass":
        middle = tuple(small.sum(1 - axis) @ (np.arange(n) + 0.5) / small.sum() for axis, n in enumerate(small.shape))
    # A pixel's middle is at a half: MNIST puts the centre of mass into the middle of pixel 14 of 0..27.
    aims = ((size + (frame.centre == "mass")) / 2 for size in frame.size)
    top, left = (
        min(max(0, round(aim - at)), size - n)
        for aim, at, size, n in zip(aims, middle, frame.size, small.shape, strict=True)
    )
    fitted[top : top + height, left : left + width] = np.rint(small)
    return fitted


def resize(image: Num[np.ndarray, "height width"], size: tuple[int, int]) -> Num[np.ndarray, "rows columns"]:
    """Scale an image linearly, [H, W] -> float64 [rows, columns]; a smaller one is the mean over what a pixel covers.

    A triangle as wide as two new pixels, or two old ones where those are wider, weighs the old pixels around each new
    one: bilinear interpolation upwards, and no aliasing downwards.

    >>> resize(np.array([[0.0, 0.0, 4.0, 4.0]]), (1, 2)).round(2).tolist()
    [[0.57, 3.43]]
    """
    rows, columns = (_weights(old, new) for old, new in zip(image.shape, size, strict=True))
    return rows @ image @ columns.T


def _weights(old: int, new: int) -> np.ndarray:
    """Return how much each of the old pixels counts in each of the new ones, [new, old]."""
    scale = old / new
    middles = (np.arange(new)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - middles) / max(scale, 1)
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(1, keepdims=True)
