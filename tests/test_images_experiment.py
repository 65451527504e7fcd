"""The experiment with images on a few digits: what it writes, and its measurements against others' of the same."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import image_run, images
from experiments import images_figures as figures
from experiments import images_measures as measures
from jaxnn.data import Dataset, split
from jaxnn.data.images import ImageData, load
from jaxnn.layers import activations, normalize, sequential
from jaxnn.models import cnn
from jaxnn.training import FitInterrupted, compiled_init, run_keys

pytestmark = pytest.mark.experiment


def few_digits(_: image_run.Options) -> tuple[ImageData, str | None]:
    """Take 240 training and 40 test images, of which 20 are for validation."""
    data = load("digits")
    return data._replace(
        train=Dataset(data.train.inputs[:240], data.train.targets[:240]),
        test=Dataset(data.test.inputs[:40], data.test.targets[:40]),
    ), None


@pytest.fixture(scope="module", name="short_run")
def _short_run(tmp_path_factory):
    """Run two seeds; what `look_inside` found is caught on its way to the figures."""
    folder = tmp_path_factory.mktemp("runs") / "images"
    caught = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_run, "load_images", few_digits)
        drawn = figures.sections
        patch.setattr(figures, "sections", lambda found, *rest: caught.append(found) or drawn(found, *rest))
        config = images.Config(epochs=2, batch_size=55, seeds=2, seed=3, schedule="cosine", quiet=True, out=folder)
        assert images.main(config) == 0
    (inside,) = caught
    return folder, inside


def summary(folder: Path):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.slow
def test_everything_is_written(short_run):
    folder, _ = short_run
    found = summary(folder)
    assert found["status"] == "finished"
    assert (found["seed"], found["seeds"], found["test_evaluations"]) == (3, [3, 4], 2)
    assert found["test_accuracy"] == found["test_accuracy_by_seed"][0]
    assert found["test_accuracy_mean"] == pytest.approx(np.mean(found["test_accuracy_by_seed"]))
    assert found["test_accuracy_deviation"] == pytest.approx(np.std(found["test_accuracy_by_seed"], ddof=1))
    assert found["steps"] == 2 * 4  # 220 images in batches of 55: no program for a short batch
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(record["seed"], record["epoch"]) for record in records] == [(3, 1), (3, 2), (4, 1), (4, 2)]
    rates = optax.warmup_cosine_decay_schedule(0, 1e-3, 1, 8)(np.array([3, 7]))  # of the last step of each epoch
    np.testing.assert_allclose([record["learning_rate"] for record in records[:2]], rates, rtol=1e-5)
    assert {path.name for path in folder.glob("*.png")} == {
        *(
            "learning-curves.png",
            "learning-rate-and-gradient-norm.png",
            "confusion-matrix.png",
            "most-confident-mistakes.png",
            "first-layer-filters.png",
        ),
        *("feature-maps.png", "linear-probes.png", "saliency.png"),
    }
    page = (folder / "report.html").read_text()
    assert "DIGITS with a convolutional network" in page
    assert "test accuracy, 2 seeds" in page


@pytest.mark.slow
def test_the_network_before_training_is_the_one_that_was_trained(short_run):
    _, inside = short_run
    model = sequential(normalize(*image_run.MEAN_STD["digits"]), cnn())
    params, _ = compiled_init(model.init)(run_keys(3).init)
    before, after = inside.filters
    np.testing.assert_array_equal(before, params[1][0]["weight"])
    assert before.shape == after.shape == (3, 3, 1, 32)
    assert 0 < np.abs(after - before).max() < 8 * 1.5e-3  # Adam's 8 steps of at most about the rate

    data, _ = few_digits(image_run.Options())
    train, validation = split(data.train, image_run.VALIDATION_SHARE, run_keys(3).split)
    flat = [np.reshape(part.inputs, (part.size, -1)) / 255.0 for part in (train, validation)]
    from sklearn.linear_model import RidgeClassifier

    other = RidgeClassifier(alpha=10.0).fit(flat[0], train.targets).score(flat[1], validation.targets)
    random, trained = inside.probes
    assert random.everywhere[0] == trained.everywhere[0] == pytest.approx(other, abs=0.1)  # two of 20 images
    assert [len(accuracies) for probes in inside.probes for accuracies in probes] == [4] * 4
    assert trained.everywhere[3] == trained.averaged[3]  # the last block has one position


@pytest.mark.slow
def test_the_parts_looked_at_are_the_ends_of_the_blocks():
    model = sequential(normalize(0.5, 0.5), cnn())
    params, state = jax.jit(model.init)(jax.random.key(0))
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    found = measures.outputs(model, params, state, x, measures.RELUS + measures.BLOCKS)
    assert [y.shape[1:] for y in found] == [
        *((8, 8, 32), (4, 4, 64), (2, 2, 128)),
        *((4, 4, 32), (2, 2, 64), (1, 1, 128)),
    ]
    for relu, pooled in zip(found[:2], found[3:5], strict=True):
        n, height, width, channels = pooled.shape
        np.testing.assert_array_equal(relu.reshape(n, height, 2, width, 2, channels).max((2, 4)), pooled)
    np.testing.assert_allclose(found[2].mean((1, 2), keepdims=True), found[5], rtol=1e-6)
    everything = dict(activations(model, params, state, x))
    np.testing.assert_allclose(everything["1.11"], found[5], rtol=1e-5, atol=1e-6)


def test_a_probe_finds_what_is_linear_whatever_the_scale():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 2, 2, 3))
    labels = features[:, 0, 1].argmax(-1)
    parts = [Dataset(features[part], labels[part]) for part in (slice(200), slice(200, None))]
    found = measures.probe_accuracy(*parts)
    assert found > 0.85
    scaled = [Dataset(1000 * part.inputs + 7, part.targets) for part in parts]
    assert measures.probe_accuracy(*scaled) == pytest.approx(found, abs=0.011)  # one of 100, for float32
    shuffled = Dataset(parts[0].inputs, rng.permutation(parts[0].targets))
    assert measures.probe_accuracy(shuffled, parts[1]) < 0.6


def test_saliency_is_each_images_own_gradient():
    """Against central differences of the winning logit in float64, of a network whose gradient is no constant."""
    weight = np.random.default_rng(0).normal(size=(4, 3))
    model = sequential(lambda x: jnp.tanh(x.reshape(len(x), -1)) @ jnp.asarray(weight, x.dtype))
    images_ = np.random.default_rng(1).integers(0, 256, (2, 2, 2, 1), np.uint8)
    found = measures.saliency(model, *model.init(jax.random.key(0)), images_)
    x = images_.reshape(2, 4) / 255
    winner = (np.tanh(x) @ weight).argmax(1)
    step = 1e-5
    for i, pixel in np.ndindex(2, 4):
        moved = [(np.tanh(x[i] + sign * step * np.eye(4)[pixel]) @ weight)[winner[i]] for sign in (1, -1)]
        expected = (moved[0] - moved[1]) / (2 * step)
        np.testing.assert_allclose(found.reshape(2, 4)[i, pixel], expected, rtol=1e-4)


def test_examples_are_of_different_classes_and_end_with_the_surest_mistakes():
    logits = np.eye(3)[[0, 1, 1, 2, 0, 1]] * np.array([1, 1, 1, 2, 9, 3])[:, None]
    labels = np.array([0, 0, 1, 1, 1, 2])  # wrong: 1 (of class 0), 3 and 4 (of class 1), 5 (of class 2)
    assert measures.chosen(labels, logits, 4, 2) == [0, 2, 4, 5]
    assert measures.chosen(labels, logits, 1, 0) == [0]
    assert measures.chosen(labels[:1], logits[:1], 4, 2) == [0]


@pytest.mark.parametrize(("stopped", "seeds"), [(0, [0]), (1, [0])])
@pytest.mark.slow
def test_a_stopped_series_keeps_what_was_finished(stopped, seeds, monkeypatch, tmp_path, capsys):
    """Stopped in the first training, the report is of what there is; in a later one, of the finished ones."""
    monkeypatch.setattr(image_run, "load_images", few_digits)
    trainings = []

    def interrupted(config, recipe, model, data, seed, out):
        trainings.append(seed)
        result = train(config, recipe._replace(epochs=0), model, data, seed, out)
        if len(trainings) > stopped:
            raise FitInterrupted(result, 2)
        return result

    train = image_run.train
    monkeypatch.setattr(image_run, "train", interrupted)
    monkeypatch.setattr(measures, "probes", lambda *_: measures.Probes([0.5] * 4, [0.5] * 4))
    written = []
    monkeypatch.setattr(image_run, "write_report", lambda _, page: written.append(page))  # drawn by the run above
    assert images.main(images.Config(seeds=3, quiet=True, out=tmp_path)) == 130
    assert len(trainings) == stopped + 1
    found = summary(tmp_path)
    assert (found["seeds"], found["test_accuracy_deviation"]) == (seeds, None)
    assert found["status"] == "Stopped by SIGINT after step 0" + (" of seed 1, which is left out." if stopped else ".")
    assert "SIGINT" in capsys.readouterr().err
    assert len(written) == stopped + 1  # after each training
    assert written[-1].notices == [found["status"]]
    assert ("Linear probes" in [section.title for section in written[-1].sections]) == (stopped > 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": 0}, "seeds to be a positive integer but got 0"),
        ({"epochs": -1}, "epochs to be an integer of at least 0 but got -1"),
        ({"batch_size": 0}, "batch_size to be a positive integer but got 0"),
        ({"learning_rate": float("nan")}, r"learning_rate in \[0, inf\) but got nan"),
        ({"seed": 2**32 - 1, "seeds": 2}, "seed below"),
        ({"recipe": "best", "schedule": "cosine"}, "a schedule or weight decay with the recipe best"),
    ],
)
def test_wrong_options_leave_earlier_results_alone(options, words, tmp_path):
    earlier = tmp_path / "summary.json"
    earlier.write_text("of an earlier run")
    with pytest.raises(ValueError, match=words):
        images.main(images.Config(dataset="digits", out=tmp_path, **options))
    assert earlier.read_text() == "of an earlier run"
