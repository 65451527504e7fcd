"""Pictures of any size and mode, brought into the form in which a network knows images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from jaxnn.data.frame import Frame, fit_frame, is_dark_on_light, resize

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 50_000_000  # 200 MB as RGBA; a camera's largest picture is about as large


def read_picture(
    path: str | os.PathLike[str], shape: tuple[int, ...], frame: Frame | None
) -> tuple[UInt8[np.ndarray, "height width channels"], list[str]]:
    """Read a PNG or JPEG of any size as an image of a network's `shape`, and say what was done to it.

    For a network that knows light drawings on dark paper in a frame, what is dark on light is inverted, and what has
    another size is cut out, scaled and centred as in the frame. Without a frame the whole picture is scaled, and padded
    to the shape of the network's images. Transparent paper counts as white under dark ink, as black under light ink.

    Raises FileNotFoundError, and ValueError, naming the path, for what is no picture, is damaged, or has more than 50
    million pixels, and for a shape of neither 1 nor 3 channels; ImportError without Pillow.

    >>> import tempfile
    >>> from PIL import Image
    >>> path = Path(tempfile.mkdtemp()) / "one.png"
    >>> Image.new("L", (28, 28), 255).save(path)
    >>> read_picture(path, (28, 28, 1), Frame((28, 28), 20, "mass"))[1]
    ['dark on light: inverted', 'nothing is drawn on it']
    """
    path, channels = Path(path), shape[-1]
    if channels not in (1, 3):
        raise ValueError(f"{path}: the network reads images of {channels} channels, which no picture has: give an .npy")
    pixels = _pixels(path, "L" if channels == 1 else "RGB")  # [H, W] or [H, W, 3]
    notes = []
    if channels == 1 and frame is not None:
        if is_dark_on_light(pixels):
            pixels = 255 - pixels
            notes.append("dark on light: inverted")
        if pixels.shape != frame.size:
            (height, width), (rows, columns) = pixels.shape, frame.size
            by = " by its centre of mass" if frame.centre == "mass" else ""
            notes.append(
                f"{width}x{height} pixels: what is drawn was scaled to {frame.box} pixels and centred{by} in "
                f"{columns}x{rows}"
            )
            pixels = fit_frame(pixels, frame)
    elif pixels.shape[:2] != shape[:2]:
        notes.append(f"{pixels.shape[1]}x{pixels.shape[0]} pixels: scaled and padded to {shape[1]}x{shape[0]}")
        pixels = _scaled(pixels, shape[0], shape[1])
    if pixels.min() == pixels.max():
        notes.append("nothing is drawn on it")
    return pixels.reshape(shape), notes


def _pixels(path: Path, mode: str) -> np.ndarray:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(f"{path}: to read pictures takes Pillow ({error}): pip install 'jaxnn[data]'") from error
    with open(path, "rb") as file:  # that there is no such file is said by what opens it
        try:
            image: Any = Image.open(file, formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are more than {MOST_PIXELS:,}")
            return np.asarray(_in_mode(ImageOps.exif_transpose(image), mode))
        except Exception as error:  # Pillow's plugins raise whatever they come upon
            reason = "it is neither" if type(error).__name__ == "UnidentifiedImageError" else error
            raise ValueError(f"{path}: expected a picture, {' or '.join(FORMATS)}, but {reason}") from error


def _in_mode(image: "Image", mode: str) -> "Image":
    """Give 16 bits as 8, and paper to what is transparent."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel
        image = Image.fromarray((np.asarray(image, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        opaque = np.asarray(image.getchannel("A")) > 127
        ink = np.asarray(image.convert("L"))[opaque]
        light = not opaque.all() and ink.size and np.median(ink) > 127
        paper = Image.new("RGBA", image.size, "black" if light else "white")
        image = Image.alpha_composite(paper, image)
    return image.convert(mode)


def _scaled(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale a whole picture until it fits, and pad it with what its border is made of."""
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    rows, columns = (max(1, round(size * scale)) for size in pixels.shape[:2])
    planes = pixels.reshape(*pixels.shape[:2], -1)
    border = np.concatenate([planes[0], planes[-1], planes[:, 0], planes[:, -1]])
    whole = np.empty((height, width, planes.shape[-1]))
    whole[:] = np.median(border, 0)
    top, left = (height - rows) // 2, (width - columns) // 2
    small = [resize(planes[..., i].astype(float), (rows, columns)) for i in range(planes.shape[-1])]
    whole[top : top + rows, left : left + columns] = np.stack(small, -1)
    return whole.round().astype(np.uint8)
