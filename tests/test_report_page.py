import base64
import os
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the report extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")

from jaxnn.report import (
    Page,
    Section,
    Table,
    confusion,
    environment,
    key_values,
    learning_curves,
    records,
    render_page,
    save_png,
    write_page,
)
from jaxnn.report.table import columns

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}"
VOID = {"meta", "img", "source", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collect tags, attributes and words, and check that what is opened is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def page():
    history = [{"epoch": 1, "loss": 0.5, "validation_loss": 0.6, HOSTILE: 1.0}]
    return Page(
        title=f"MLP {HOSTILE}",
        subtitle=HOSTILE,
        notices=["Interrupted by Ctrl-C after epoch 3", HOSTILE],
        headline=[("test accuracy", "98.1 %"), (HOSTILE, HOSTILE)],
        sections=[
            Section("Configuration", table=key_values({"data": HOSTILE, HOSTILE: None})),
            Section("Curves", HOSTILE, figure=lambda: learning_curves(history)),
            Section("Confusion", figure=lambda: confusion(np.eye(2, dtype=int), [HOSTILE, "$b"]), alt=HOSTILE),
            Section(HOSTILE, table=Table((HOSTILE, "n"), [(HOSTILE, 1)]), text=f"{HOSTILE}\n\nsecond"),
            Section("Epochs", table=records(history), folded=True),
        ],
    )


@pytest.fixture(scope="module")
def html(page):
    return render_page(page)


def test_hostile_text_is_shown_and_never_run(html):
    reader = Reader(html)
    tags = [tag for tag, _ in reader.tags]
    assert "script" not in tags
    assert tags.count("img") == 2
    assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("on")]
    assert "".join(reader.words).count(HOSTILE) >= 8


def test_the_page_is_whole_in_itself(html):
    reader = Reader(html)
    for tag, attrs in reader.tags:
        assert tag not in {"link", "script", "iframe", "object", "base"}
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if name in attrs:
                assert attrs[name].startswith(("data:image/png;base64,", "#")), attrs[name]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_each_figure_is_there_light_and_dark_with_words_for_those_who_cannot_see_it(html):
    tags = Reader(html).tags
    sources = [attrs for tag, attrs in tags if tag == "source"]
    images = [attrs for tag, attrs in tags if tag == "img"]
    assert len(sources) == len(images) == 2
    for source, image in zip(sources, images, strict=True):
        assert "prefers-color-scheme: dark" in source["media"]
        light, dark = (base64.b64decode(a.partition(",")[2]) for a in (image["src"], source["srcset"]))
        assert light != dark
        assert light[:4] == dark[:4] == b"\x89PNG"
        assert image["alt"]
        # Drawn at twice the size at which it is shown.
        assert int.from_bytes(light[16:20], "big") == pytest.approx(2 * int(image["width"]), abs=2)


def test_links_lead_to_sections_and_names_are_unique():
    tags = Reader(render_page(Page("t", sections=[Section("Weights"), Section("Weights"), Section("日本")]))).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    links = [attrs["href"] for tag, attrs in tags if tag == "a"]
    assert len(ids) == len(set(ids)) == 6
    assert [link[1:] for link in links] == [i for i in ids if not i.endswith("-title")]


def test_an_empty_page_is_a_page():
    assert "<h1>Nothing yet</h1>" in render_page(Page("Nothing yet"))


def test_an_unpaired_surrogate_does_not_stop_the_page(tmp_path):
    write_page(tmp_path / "report.html", Page("name \udcff"))


# Tables


def test_numbers_of_a_column_share_their_decimals():
    table = Table(
        ("a", "b", "c", "d"), [(0.5, 1234567, 1e-5, "1.61 MB"), (0.12345, 2, 1e-4, "0 B"), (None, None, 1, "2 B")]
    )
    cells = [column.cells for column in columns(table)]
    assert cells[:2] == [["0.5000", "0.1235", "\N{EN DASH}"], ["1,234,567", "2", "\N{EN DASH}"]]
    assert all(column.numeric for column in columns(table))


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([float("nan"), float("inf"), 1.5], ["nan", "inf", "1.5"]),
        ([1e-5, 2e-5], ["1e-05", "2e-05"]),
        ([1.0, 2.0], ["1", "2"]),
        ([0.0, 0.0], ["0", "0"]),
        ([np.float32(0.25), np.int32(3)], ["0.25", "3.00"]),
        ([True, False], ["True", "False"]),
        ([-12.5, 3.25], ["-12.50", "3.25"]),
    ],
)
def test_how_numbers_are_written(values, written):
    assert columns(Table(("x",), [(value,) for value in values]))[0].cells == written


def test_jax_scalars_are_numbers():
    import jax.numpy as jnp

    assert columns(Table(("x",), [(jnp.float32(0.5),)]))[0] == (["0.5"], True)


def test_a_ragged_table_is_refused():
    with pytest.raises(ValueError, match="row 1 has 1"):
        columns(Table(("a", "b"), [(1, 2), (3,)]))


# Files


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_page(path, Page("old"))
    old = path.read_bytes()

    def fail():
        raise RuntimeError("no figure")

    with pytest.raises(RuntimeError, match="no figure") as raised:
        write_page(path, Page("new", sections=[Section("Broken", figure=fail)]))
    assert any("Broken" in note for note in raised.value.__notes__)

    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def stop(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", stop)
            with pytest.raises(type(error)) as stopped:
                write_page(path, Page("new"))
        assert isinstance(error, KeyboardInterrupt) or str(path) in str(stopped.value)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("write", [lambda p: write_page(p, Page("t")), lambda p: save_png(_curves, p)])
def test_a_path_that_cannot_be_written_is_named(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"missing/out.*create it first"):
        write(tmp_path / "missing" / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


def _curves():
    return learning_curves([{"epoch": 1, "loss": 0.5}])


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_the_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_page(tmp_path / "report.html", Page("t"))
    assert (tmp_path / "report.html").stat().st_mode == (tmp_path / "plain").stat().st_mode


# Environment and imports


def test_the_environment_names_versions_and_nobody():
    import getpass
    import platform

    import jax

    told = environment()
    assert told["jax"] == jax.__version__
    assert jax.devices()[0].platform in told["device"]
    assert all(isinstance(value, str) and value for value in told.values())
    text = " ".join(told.values())
    assert os.path.expanduser("~") not in text
    assert "/home" not in text
    if len(platform.node()) > 3:
        assert platform.node() not in text
    assert getpass.getuser() not in text.lower().split()


def test_importing_the_report_loads_nothing_heavy():
    code = "import sys, jaxnn.report; print(sorted({'matplotlib', 'jinja2', 'rich', 'optax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_does_not_load_pyplot():
    code = (
        "import sys; from jaxnn.report import learning_curves, style\n"
        "with style('light'): learning_curves([{'epoch': 1, 'loss': 1.0}])\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
