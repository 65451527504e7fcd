"""`python -m jaxnn predict`: pictures of any size and mode, arrays and texts, on a terminal and in a pipe."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxnn.__main__ import main
from jaxnn.commands.pictures import read_picture
from jaxnn.data.frame import FRAMES, fit_frame, is_dark_on_light, resize
from jaxnn.data.images import load
from jaxnn.interop.trained import save_trained
from jaxnn.layers import flatten, linear, normalize, sequential
from jaxnn.types import Layer

MNIST = FRAMES["mnist"]


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory):
    """A network that tells strokes that lie from strokes that stand: by the spread over columns and over rows."""
    at = np.arange(28) - 13.5
    spread = np.stack([np.tile(at**2, (28, 1)), np.tile(at[:, None] ** 2, 28)], -1).reshape(784, 2) / 100
    model = sequential(normalize(0.0, 1.0), flatten(), linear(784, 2))
    params = ((), (), {"weight": jnp.asarray(spread, jnp.float32), "bias": jnp.zeros(2)})
    images = np.zeros((1, 28, 28, 1), np.uint8)
    folder = tmp_path_factory.mktemp("run")
    return save_trained(folder, model, params, ((), (), ()), images, ["lies", "stands"], dataset="strokes", frame=MNIST)


@pytest.fixture(scope="module", name="texts")
def _texts(tmp_path_factory):
    """A network that says whether a text of at most five tokens has more good or more bad in it."""
    words = ("<pad>", "<unk>", "good", "bad", "n't")

    def apply(params, state, x, /, *, key=None, train=False):
        return jnp.stack([(x == 3).sum(1), (x == 2).sum(1)], -1).astype(jnp.float32), state

    folder = tmp_path_factory.mktemp("texts")
    model = Layer(lambda key: ((), ()), apply, "counts()")
    return save_trained(folder, model, (), (), np.zeros((1, 5), np.int32), ["bad", "good"], vocabulary=words)


def stroke(height=60, width=90, paper=255, ink=0):
    """Draw a line that lies."""
    picture = np.full((height, width), paper, np.uint8)
    thick = height // 10
    picture[height // 4 : height // 4 + thick, 5 : 5 + 6 * thick] = ink
    return picture


def as_rgba(ink):
    picture = np.full((60, 90, 4), ink, np.uint8)
    picture[..., 3] = stroke(paper=0, ink=255)
    return Image.fromarray(picture)


PICTURES = {
    "grey": (Image.fromarray(stroke()), True),
    "light on dark": (Image.fromarray(stroke(paper=20, ink=200)), False),
    "colour": (Image.fromarray(np.stack([stroke(), stroke(paper=250), stroke(ink=90)], -1)), True),
    "palette": (Image.fromarray(stroke()).convert("P"), True),
    "one bit": (Image.fromarray(stroke()).convert("1"), True),
    "16 bits": (Image.fromarray(stroke().astype(np.uint16) * 257), True),
    "transparent, black ink": (as_rgba(0), True),
    "transparent, white ink": (as_rgba(255), False),
    "its own size": (Image.fromarray(stroke(28, 28)), True),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_any_mode(name, tmp_path):
    picture, inverted = PICTURES[name]
    picture.save(tmp_path / "a.png")
    image, notes = read_picture(tmp_path / "a.png", (28, 28, 1), MNIST)
    assert image.dtype == np.uint8
    assert ("dark on light: inverted" in notes) == inverted
    ink = np.argwhere(image[..., 0] > 127)
    rows, columns = np.ptp(ink, 0) + 1
    assert columns > 3 * rows
    assert any("scaled to 20 pixels" in note for note in notes) == (name != "its own size")
    if name != "its own size":
        assert columns == 20
        assert abs(ink.mean(0) - 14).max() <= 1


def test_every_image_of_the_sets_counts_as_light_on_dark(mnist_folder):
    for images in (load("mnist", mnist_folder).test.inputs[:2000], load("digits").test.inputs):
        assert not any(is_dark_on_light(image) for image in images[..., 0])
        assert all(is_dark_on_light(255 - image) for image in images[:1000, ..., 0])


def test_an_mnist_digit_that_was_moved_and_enlarged_comes_back_where_it_was(mnist_folder):
    moved = np.zeros((300, 400))
    for image in load("mnist", mnist_folder).test.inputs[:50, ..., 0]:
        moved[:] = 7
        moved[40:236, 120:316] += np.kron(image, np.ones((7, 7))) * 0.9
        back = fit_frame(moved, MNIST)
        for axis in (0, 1):
            was, found = (np.flatnonzero((one > 60).any(axis))[[0, -1]] for one in (image, back))
            assert abs(was - found).max() <= 1
        assert np.abs(back - image.astype(float)).mean() < 20  # a shift by a pixel: about 25


def test_resize_is_that_of_pillow():
    image = np.random.default_rng(0).uniform(0, 255, (31, 45)).astype(np.float32)
    for size in ((20, 20), (8, 28), (70, 50), (31, 45)):
        expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(resize(image, size), expected, atol=1e-3)


def test_colour_without_a_frame_is_scaled_and_padded(tmp_path):
    Image.new("RGB", (20, 10), (10, 200, 30)).save(tmp_path / "a.png")
    image, notes = read_picture(tmp_path / "a.png", (8, 8, 3), None)
    assert image.shape == (8, 8, 3)
    assert (image == (10, 200, 30)).all()
    assert notes[0] == "20x10 pixels: scaled and padded to 8x8"


def test_a_pipe_gets_plain_lines_and_stderr_the_notes(run, tmp_path, capsys):
    lying, standing = tmp_path / "a.png", tmp_path / "b.npy"
    Image.fromarray(stroke()).save(lying)
    line = np.zeros((28, 28), np.uint8)
    line[13:15, 4:24] = 255
    np.save(standing, np.stack([line, line.T]))
    assert main(["predict", str(run), str(lying), str(standing)]) == 0
    output, errors = capsys.readouterr()
    assert [line.split("\t")[:2] for line in output.splitlines()] == [
        ["a.png", "lies"],
        ["b.npy[0]", "lies"],
        ["b.npy[1]", "stands"],
    ]
    assert all(0.5 < float(line.split("\t")[2]) <= 1 for line in output.splitlines())
    assert errors.startswith("note: a.png: dark on light: inverted\nnote: a.png: 90x60 pixels")


def test_texts(texts, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("Good good bad\n\nIsn't it bad? bad bad\n", encoding="utf-8")
    assert main(["predict", str(texts), str(tmp_path / "a.txt")]) == 0
    output, errors = capsys.readouterr()
    assert output == "a.txt:1\tgood\t0.7311\na.txt:3\tbad\t0.7311\n"  # 1 / (1 + exp(-1)): the last words are cut off
    assert errors.splitlines() == [
        "note: a.txt: 1 empty line left out",
        "note: a.txt: 3 of 10 words and signs are not in the vocabulary of the training texts",
        "note: a.txt: 1 of 2 texts are longer than 5 words and signs: their ends are left out",
    ]


def test_a_terminal_gets_a_table(texts, tmp_path, capsys, monkeypatch):
    (tmp_path / "a.txt").write_text("good [red] good")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["predict", str(texts), str(tmp_path / "a.txt")]) == 0
    output = capsys.readouterr().out
    assert "probability" in output
    assert "[red]" in output
    assert "88.1%" in output  # 1 / (1 + exp(-2))


def test_alone_it_lists_the_commands(capsys):
    assert main([]) == 0
    output = capsys.readouterr().out
    assert "predict" in output
    assert "demo" in output
    assert len(output.splitlines()) < 25


def test_the_command_line_from_a_shell(run, tmp_path):
    command = [sys.executable, "-m", "jaxnn"]
    Image.fromarray(stroke().T).save(tmp_path / "a.png")
    found = subprocess.run([*command, "predict", run, tmp_path / "a.png"], capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert found.stdout.startswith("a.png\tstands\t")
