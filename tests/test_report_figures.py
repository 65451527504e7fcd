import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from jaxnn.report import (
    confusion,
    first_layer_weights,
    learning_curves,
    mistakes,
    optimizer_curves,
    per_class,
    save_png,
    style,
)
from jaxnn.report.curves import _apart
from jaxnn.report.theme import THEMES, contrast, png

DIGITS = [str(i) for i in range(10)]
HISTORY = [
    {
        "epoch": epoch,
        "step": 938 * epoch,
        "loss": 1 / epoch,
        "accuracy": 1 - 0.1 / epoch,
        "gradient_norm": 1.0,
        "learning_rate": 1e-3,
        "validation_loss": 1.2 / epoch,
        "validation_accuracy": 1 - 0.12 / epoch,
        "seconds": 3.0,
    }
    for epoch in range(1, 6)
]


def outside(figure):
    """Return the words of a figure that are cut off at its edge."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = figure.bbox.width + 0.5, figure.bbox.height + 0.5
    ticks = {t for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for t in _hidden(axis)}
    boxes = [(t, t.get_window_extent(canvas.get_renderer())) for t in figure.findobj(Text) if t.get_text()]
    return [
        t.get_text()
        for t, box in boxes
        if t not in ticks and t.get_visible() and (box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > width or box.y1 > height)
    ]


def _hidden(axis):
    # Labels of ticks beyond the limits exist and are not drawn.
    low, high = sorted(axis.get_view_interval())
    return [t.label1 for t in axis.get_major_ticks() if not low <= t.get_loc() <= high]


# Curves


def test_a_panel_for_the_loss_and_each_metric_with_both_lines():
    figure = learning_curves(HISTORY)
    assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Accuracy"]
    for axes in figure.axes:
        train, validation = axes.lines
        assert train.get_linestyle() != validation.get_linestyle()
        assert train.get_marker() != validation.get_marker()
        assert {text.get_text() for text in axes.texts} == {"train", "validation"}
        assert list(train.get_xdata()) == [1, 2, 3, 4, 5]
    assert not outside(figure)


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_few_epochs_have_whole_numbers_below(epochs):
    figure = learning_curves(HISTORY[:epochs])
    for axes in figure.axes:
        low, high = axes.get_xlim()
        shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert shown
        assert all(tick == int(tick) and tick >= 1 for tick in shown)
    assert not outside(figure)


def test_the_loss_comes_first_and_validation_may_be_absent():
    figure = learning_curves([{"epoch": 1, "perplexity": 9.0, "top_5": 0.9, "loss": 2.0}])
    assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Perplexity", "Top 5"]
    assert all(len(axes.lines) == 1 for axes in figure.axes)


def test_values_that_are_missing_or_not_finite_are_passed_over():
    records = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": float("nan"), "validation_loss": 0.5}]
    train, validation = learning_curves(records).axes[0].lines
    assert (list(train.get_xdata()), list(validation.get_xdata())) == ([1], [2])


def test_names_at_the_ends_never_touch():
    figure = learning_curves([{"epoch": e, "loss": 0.5, "validation_loss": 0.5} for e in (1, 2)])
    low, high = sorted(text.xy[1] for text in figure.axes[0].texts)
    assert high - low >= 0.08
    assert _apart([0.99, 1.0], 0.1) == pytest.approx([0.9, 1.0])


def test_a_loss_over_decades_is_on_a_logarithmic_scale():
    assert learning_curves([{"epoch": e, "loss": 10.0**-e} for e in (1, 2, 3)]).axes[0].get_yscale() == "log"


@pytest.mark.parametrize("records", [[], [{}], [{"epoch": 1, "seconds": 2.0}], [{"epoch": 1, "loss": float("inf")}]])
def test_nothing_to_draw_is_said(records):
    with pytest.raises(ValueError, match="loss or a metric"):
        learning_curves(records)


def test_the_optimizer_has_a_panel_for_its_rate_and_one_for_the_gradient():
    figure = optimizer_curves([record | {"gradient_norm": 100.0 ** -record["epoch"]} for record in HISTORY])
    rate, norm = figure.axes
    assert list(rate.lines[0].get_ydata()) == [1e-3] * 5
    assert (rate.get_yscale(), norm.get_yscale()) == ("linear", "log")
    assert not rate.texts
    assert not outside(figure)
    without_rate = optimizer_curves([{"epoch": 1, "gradient_norm": 2.0}])
    assert [axes.get_title("left") for axes in without_rate.axes] == ["Gradient norm"]
    with pytest.raises(ValueError, match="learning_rate or gradient_norm"):
        optimizer_curves([{"epoch": 1, "loss": 1.0}])


# Confusion


def test_every_count_stands_in_its_cell_and_the_mistakes_carry_the_colour():
    counts = np.full((10, 10), 3) + np.diag(np.full(10, 900))
    counts[4, 9] = 40
    figure = confusion(counts, DIGITS)
    written = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert len(written) == 100
    assert (written[(9, 4)], written[(4, 4)]) == ("40", "903")
    shares = figure.axes[0].images[0].get_array()
    assert np.ma.getmaskarray(shares).diagonal().all()
    assert shares.max() == 40 / counts[4].sum()


@pytest.mark.parametrize("theme", THEMES)
def test_counts_can_be_read_on_their_colours(theme):
    counts = np.arange(100).reshape(10, 10)
    with style(theme):
        panel = confusion(counts, DIGITS).axes[0]
    picture = panel.images[0]
    for text in panel.texts:
        column, row = text.get_position()
        behind = THEMES[theme].line if row == column else picture.to_rgba(picture.get_array())[row, column]
        assert contrast(text.get_color(), behind[:3] if row != column else behind) >= 4.5


@pytest.mark.parametrize("classes", [1, 2, 20, pytest.param(40, marks=pytest.mark.slow)])
def test_any_number_of_classes(classes):
    names = [f"class number {i}" for i in range(classes)]
    assert not outside(confusion(np.ones((classes, classes), int), names))


def test_no_mistakes_and_empty_classes():
    figure = confusion(np.diag([5, 0]), ["a", "b"])
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["0", "5"]
    assert per_class(np.diag([5, 0]), ["a", "b"]).rows == [("a", 5, 5, 1.0, 1.0, None), ("b", 0, 0, None, None, None)]


@pytest.mark.parametrize("make", [confusion, per_class])
@pytest.mark.parametrize(
    ("matrix", "names", "words"),
    [
        (np.ones((2, 3), int), ["a", "b"], "square"),
        (np.ones((2, 2), int), ["a"], "2 class names"),
        (np.ones((2, 2)) / 2, ["a", "b"], "counts"),
        (-np.ones((2, 2), int), ["a", "b"], "counts"),
    ],
)
def test_what_is_no_confusion_matrix(make, matrix, names, words):
    with pytest.raises(ValueError, match=words):
        make(matrix, names)


# Pictures


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (8, 8, 3)])
def test_the_most_confident_mistakes_come_first(shape):
    images = np.random.default_rng(0).integers(0, 256, (50, *shape)).astype(np.uint8)
    labels, predicted = np.zeros(50, int), np.arange(50) % 10
    confidence = np.linspace(0.5, 1, 50)
    figure = mistakes(images, labels, predicted, confidence, DIGITS, count=12)
    captions = [text.get_text() for text in figure.axes[0].texts]
    assert captions[0] == "0 → 9\n100.0 %"
    assert captions[1] == "0 → 8\n99.0 %"
    assert len(captions) == 12
    assert not outside(figure)


def test_fewer_mistakes_than_asked_for_and_none():
    images, names = np.zeros((3, 4, 4)), ["Ankle boot", "T-shirt/top"]
    few = mistakes(images, [0, 0, 0], [0, 1, 1], [0.9, 0.99999, 0.8], names)
    assert [text.get_text().split("\n") for text in few.axes[0].texts] == [
        ["Ankle boot →", "T-shirt/top", "> 99.9 %"],
        ["Ankle boot →", "T-shirt/top", "80.0 %"],
    ]
    none = mistakes(images, [0, 0, 0], [0, 0, 0], [0.9, 0.9, 0.8], names)
    assert not none.axes
    assert "No mistakes" in none.texts[0].get_text()


def test_pictures_that_do_not_fit_together():
    with pytest.raises(ValueError, match="as many predicted"):
        mistakes(np.zeros((2, 4, 4)), [0, 1], [0], [0.5, 0.5], ["a", "b"])
    with pytest.raises(ValueError, match=r"\[N, H, W\]"):
        mistakes(np.zeros((2, 16)), [0, 1], [0, 0], [0.5, 0.5], ["a", "b"])
    with pytest.raises(ValueError, match=r"labels in 0\.\.1"):
        mistakes(np.zeros((2, 4, 4)), [0, 2], [0, 0], [0.5, 0.5], ["a", "b"])


def test_the_weights_of_the_largest_units_around_zero():
    weight = np.random.default_rng(0).normal(size=(64, 30)) * np.arange(30)
    figure = first_layer_weights(weight, (8, 8), count=5)
    canvas, _bar = figure.axes
    assert len(canvas.images) == 5
    norms = [np.linalg.norm(picture.get_array()) for picture in canvas.images]
    assert norms == pytest.approx(sorted(np.linalg.norm(weight, axis=0))[:-6:-1])
    low, high = canvas.images[0].get_clim()
    assert low == -high
    assert figure.texts[0].get_text() == "The 5 of 30 units with the largest norm."
    assert not outside(figure)


def test_weights_of_colour_images_and_of_nothing():
    (canvas,) = first_layer_weights(np.zeros((48, 2)), (4, 4, 3)).axes
    assert len(canvas.images) == 2
    with pytest.raises(ValueError, match="first_layer_weights expected"):
        first_layer_weights(np.zeros((48, 2)), (4, 4))


# Themes and files


def test_names_are_never_taken_for_mathematics():
    names = ["$\\frac$", "a\nb $x$", "<script>"]
    for theme in THEMES:
        with style(theme):
            assert png(confusion(np.ones((3, 3), int), names))
            assert png(mistakes(np.zeros((1, 4, 4)), [0], [1], [0.5], names))
            assert png(learning_curves([{"$\\frac$": 1.0}]))


def test_the_readers_own_settings_come_back():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style("dark"):
        assert matplotlib.rcParams["figure.facecolor"] == THEMES["dark"].paper
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(ValueError, match="light, dark"), style("sepia"):
        pass


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_lines_stand_out_from_the_paper(theme):
    look = THEMES[theme]
    assert contrast(look.ink, look.paper) > 7
    assert contrast(look.muted, look.paper) > 4.5
    assert min(contrast(look.series[i], look.paper) for i in (0, 1)) > 3


def test_the_same_figure_gives_the_same_file(tmp_path):
    for name in ("one.png", "two.png"):
        save_png(lambda: learning_curves(HISTORY), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
