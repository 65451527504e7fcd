"""Fine-tuning: frozen leaves keep their bits, every group has its own rate, and the experiment as a user runs it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from experiments import fine_tuning
from experiments.fine_tuning_measures import (
    BATCH,
    DECAY,
    HEAD,
    batches,
    decayed_adam,
    groups,
    learner,
    load_tasks,
    optimizer,
    with_new_head,
)
from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.layers import normalize, sequential
from jaxnn.models import cnn

pytestmark = pytest.mark.experiment

MODEL = sequential(normalize(0.3, 0.4), cnn(3, channels=(2, 2, 3), hidden=4))
PARAMS, STATE = MODEL.init(jax.random.key(0))
IS_HEAD = tree.paths(tree.mask(PARAMS, HEAD))
RATE = 0.01
# Optax rounds 1 - 0.999 to float32, which is 3e-5 of a step, and there are three steps.
ROUNDING = {"rtol": 2e-6, "atol": 1e-4 * RATE}


def gradients(seed):
    leaves, structure = jax.tree.flatten(PARAMS)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def after(transformation, steps=3):
    """Apply the same gradients for a few steps; return {path: leaf}."""
    params, state = PARAMS, transformation.init(PARAMS)
    for i in range(steps):
        updates, state = transformation.update(gradients(i), state, params)
        params = optax.apply_updates(params, updates)
    return tree.paths(params)


def alone(path, rate, steps=3):
    """Train one leaf by Optax's AdamW, with decay if it is a weight."""
    leaf = tree.paths(PARAMS)[path]
    rule = optax.adamw(rate, weight_decay=DECAY if path.endswith("weight") else 0.0)
    state = rule.init(leaf)
    for i in range(steps):
        updates, state = rule.update(tree.paths(gradients(i))[path], state, leaf)
        leaf = optax.apply_updates(leaf, updates)
    return leaf


def test_the_head_is_the_linear_layers():
    assert {path for path, head in IS_HEAD.items() if head} == {
        *("1.13.weight", "1.13.bias", "1.16.weight", "1.16.bias")
    }
    assert tree.paths(PARAMS)["1.13.weight"].shape == (3, 4)
    assert tree.paths(PARAMS)["1.16.weight"].shape == (4, 3)
    assert tree.paths(groups(PARAMS))["1.0.weight"] == "features"


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_each_group_has_its_own_rate_and_only_weights_decay(share):
    trained = after(optimizer(lambda step: RATE, share))
    for path, leaf in trained.items():
        expected = alone(path, RATE if IS_HEAD[path] else share * RATE)
        np.testing.assert_allclose(leaf, expected, **ROUNDING, err_msg=path)
    moved = {path: np.abs(np.asarray(leaf) - tree.paths(PARAMS)[path]).max() for path, leaf in trained.items()}
    # Adam's steps are of the size of the rate, whatever the gradients.
    assert 0.5 * share < moved["1.0.weight"] / moved["1.16.weight"] < 2 * share


def test_frozen_leaves_keep_their_bits_under_any_gradient():
    for path, leaf in after(optimizer(lambda step: RATE, 0.0)).items():
        before = np.asarray(tree.paths(PARAMS)[path])
        if IS_HEAD[path]:
            np.testing.assert_allclose(leaf, alone(path, RATE), **ROUNDING)
            assert (np.asarray(leaf) != before).all()
        else:
            assert np.asarray(leaf).tobytes() == before.tobytes(), path


def test_biases_and_scales_do_not_decay():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    rule = decayed_adam(RATE)
    updates, _ = rule.update(zeros, rule.init(PARAMS), PARAMS)
    for path, update in tree.paths(updates).items():
        decay = -RATE * DECAY * np.asarray(tree.paths(PARAMS)[path]) if path.endswith("weight") else 0
        np.testing.assert_allclose(update, np.broadcast_to(decay, update.shape), rtol=1e-6, err_msg=path)
    assert {path.rpartition(".")[2] for path in tree.paths(updates)} == {"weight", "bias", "scale"}


def test_training_with_frozen_features_moves_the_head_and_the_statistics_alone():
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 1), np.uint8)
    data = Dataset(images, np.arange(40, dtype=np.int32) % 3)
    rows = batches(20, 3, np.random.default_rng(0), 40)
    end = learner(MODEL, 0.0)((PARAMS, STATE), data, rows, jnp.float32(RATE), jax.random.key(0))
    assert int(end.step) == 3
    for path, leaf in tree.paths(end.params).items():
        same = np.asarray(leaf).tobytes() == np.asarray(tree.paths(PARAMS)[path]).tobytes()
        assert same is not IS_HEAD[path], path
    assert tree.sha256(end.model_state) != tree.sha256(STATE)


def test_a_new_head_is_all_that_is_new_and_has_the_new_classes():
    other = sequential(normalize(0.3, 0.4), cnn(7, channels=(2, 2, 3), hidden=4))
    start, state = with_new_head(other, (PARAMS, STATE), jax.random.key(7))
    fresh = tree.paths(other.init(jax.random.key(7))[0])
    assert tree.paths(start)["1.16.weight"].shape == (4, 7)
    for path, leaf in tree.paths(start).items():
        np.testing.assert_array_equal(leaf, fresh[path] if IS_HEAD[path] else tree.paths(PARAMS)[path])
    assert state is STATE


def test_batches_go_through_the_same_examples_again_and_again():
    rows = batches(20, 5, np.random.default_rng(0), 100)
    assert rows.shape == (5, BATCH)
    flat = rows.ravel()
    assert len(set(flat)) == 20
    for start in range(0, 140, 20):
        assert set(flat[start : start + 20]) == set(flat)
    assert set(batches(20, 5, np.random.default_rng(1), 100).ravel()) != set(flat)


def check_tasks(source, targets):
    for target in targets:
        parts = [target.train, target.validation, target.test]
        images = [{image.tobytes() for image in part.inputs} for part in (source, *parts)]
        for i, some in enumerate(images):
            assert not any(some & others for others in images[i + 1 :])
        for part in parts:
            assert set(np.unique(part.targets)) == set(range(target.classes))


def test_no_image_is_in_two_parts_and_all_have_every_class():
    name, source, targets, said = load_tasks("digits", None, 300)
    assert (name, source.size, [target.name for target in targets], said) == ("digits", 300, ["digits 5 to 9"], None)
    check_tasks(source, targets)
    assert set(np.unique(source.targets)) == {0, 1, 2, 3, 4}


def test_the_sets_on_disk(mnist_folder):
    name, source, targets, said = load_tasks("auto", mnist_folder, 10_000)
    if said:
        pytest.skip("Fashion-MNIST is not here")
    assert (name, source.size, [target.classes for target in targets]) == ("mnist", 10_000, [5, 10])
    assert [target.train.size for target in targets] == [2000, 2000]
    check_tasks(source, targets)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr("experiments.fine_tuning_measures.available", lambda name, folder: name == "mnist")
    name, _, targets, said = load_tasks("auto", None, 100)
    assert (name, len(targets)) == ("digits", 1)
    assert "not both here" in said


@pytest.mark.slow
def test_it_runs_and_writes_the_report(tmp_path, capsys):
    config = fine_tuning.Config(
        dataset="digits", source_epochs=1, images=(10, 40), steps=4, seeds=2, seed=5, out=tmp_path, quiet=False
    )
    assert fine_tuning.main(config) == 0
    capsys.readouterr()
    summary = json.loads((tmp_path / "summary.json").read_text())
    for name in ("from_scratch", "frozen_features", "layer_wise_rates", "full_fine_tuning"):
        assert summary[f"rate_digits_5_to_9_{name}"] in (0.003, 0.01, 0.03)
        for count in (10, 40):
            values = summary[f"test_accuracy_digits_5_to_9_{name}_{count}_by_seed"]
            assert len(values) == 2
            assert all(0 <= value <= 1 for value in values)
            assert summary[f"test_accuracy_digits_5_to_9_{name}_{count}_mean"] == pytest.approx(np.mean(values))
    weights = safetensors.numpy.load_file(tmp_path / "source.safetensors")
    assert weights["params.1.16.weight"].shape == (64, 5)
    assert {path.name for path in tmp_path.glob("*.png")} == {"new-tasks-from-few-images.png"}
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1
    assert "digits 5 to 9" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps to be a positive integer"),
        ({"seeds": 0}, "seeds to be a positive integer"),
        ({"images": (10, 10_000)}, "images from 1 to"),
        ({"images": ()}, "images from 1 to"),
        ({"dataset": "cifar"}, "dataset"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_options_touch_no_results(tmp_path, options, words):
    (tmp_path / "summary.json").write_text("mine")
    with pytest.raises(ValueError, match=words):
        fine_tuning.main(fine_tuning.Config(**{"dataset": "digits", "out": tmp_path, "quiet": True} | options))
    assert (tmp_path / "summary.json").read_text() == "mine"
