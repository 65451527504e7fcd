"""What the classifiers of images share, and the recipes, on a few digits."""

import json

import jax
import numpy as np
import optax
import pytest

from experiments import image_run, mnist
from experiments.recipes import deep_cnn
from jaxnn.data import Dataset
from jaxnn.data.images import load
from jaxnn.layers import normalize, sequential
from jaxnn.training import predict

pytestmark = pytest.mark.experiment

DATA = load("digits")
DATA = DATA._replace(
    train=Dataset(DATA.train.inputs[:240], DATA.train.targets[:240]),
    test=Dataset(DATA.test.inputs[:100], DATA.test.targets[:100]),
)


@pytest.fixture(autouse=True)
def _few_digits(monkeypatch):
    monkeypatch.setattr(image_run, "load_images", lambda _: (DATA, None))
    monkeypatch.setattr(image_run, "write_report", lambda *_: None)


@pytest.mark.parametrize("name", ["best", pytest.param("augmented", marks=pytest.mark.slow)])
def test_the_seeds_of_a_recipe_answer_together_with_the_mean_of_their_probabilities(name, tmp_path, monkeypatch):
    results, train = [], image_run.train
    monkeypatch.setattr(image_run, "train", lambda *args: results.append(train(*args)) or results[-1])
    config = mnist.Config(recipe=name, epochs=8, seeds=2, quiet=True, out=tmp_path)
    assert mnist.main(config) == 0
    found = json.loads((tmp_path / "summary.json").read_text())
    assert (found["seeds"], found["test_evaluations"], found["epochs"]) == ([0, 1], 2, 8)
    network = mnist.recipe(config, DATA).network
    model = sequential(normalize(*image_run.MEAN_STD["digits"]), network)
    probabilities = []
    for result in results:
        params, state = result.train_state[:2]
        probabilities.append(jax.nn.softmax(predict(model, params, state, DATA.test.inputs)))
    right = [float((p.argmax(-1) == DATA.test.targets).mean()) for p in (*probabilities, sum(probabilities))]
    assert found["test_accuracy_by_seed"] == pytest.approx(right[:2])
    assert found["ensemble_test_accuracy"] == pytest.approx(right[2])
    assert min(right) > 0.7  # 240 images, 32 steps


def test_all_images_are_trained_on_and_none_is_left_to_validate(tmp_path):
    config = mnist.Config(epochs=2, batch_size=60, all_images=True, quiet=True, out=tmp_path)
    assert mnist.main(config) == 0
    found = json.loads((tmp_path / "summary.json").read_text())
    assert (found["steps"], found["validation_accuracy"], found["test_evaluations"]) == (2 * 240 // 60, None, 1)


def test_options_take_the_place_of_the_recipes():
    recipe = mnist.recipe(mnist.Config(recipe="best"), DATA)
    mnist_data = DATA._replace(name="mnist")
    assert image_run.chosen(mnist.Config(), recipe, mnist_data) == recipe
    assert image_run.chosen(mnist.Config(), recipe, DATA).epochs == image_run.DIGITS_EPOCHS
    changed = image_run.chosen(mnist.Config(epochs=3, learning_rate=0.5), recipe, mnist_data)
    assert (changed.epochs, changed.learning_rate, changed.batch_size) == (3, 0.5, recipe.batch_size)


def test_the_recipes_rate_rises_and_falls_to_zero_and_only_weights_decay():
    recipe = mnist.recipe(mnist.Config(recipe="best"), DATA)
    params = {"weight": np.ones(1, np.float32), "bias": np.ones(1, np.float32)}
    optimizer = recipe.optimizer(0.1, 30)
    nothing = jax.tree.map(np.zeros_like, params)
    rates = optax.warmup_cosine_decay_schedule(0, 0.1, 3, 30)
    state = optimizer.init(params)
    for step in range(32):
        updates, state = optimizer.update(nothing, state, params)
        np.testing.assert_allclose(updates["weight"], -rates(step) * 0.1, rtol=1e-5, atol=1e-9)  # rate times decay
        assert updates["bias"] == 0
    assert updates["weight"] == 0


def test_batch_norm_is_an_option_of_the_guides_recipe_alone(tmp_path):
    with pytest.raises(ValueError, match="batch_norm with the recipe best"):
        mnist.main(mnist.Config(recipe="best", batch_norm=True, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_deep_network_has_the_multiply_adds_that_it_says():
    """XLA counts one as two, leaves out those with the zeros of padding, and counts norms and pooling too."""
    convolutions = [(28, 1, 32), (14, 32, 48), (14, 48, 48), (7, 48, 96), (7, 96, 96)]
    said = sum(9 * size**2 * inputs * outputs for size, inputs, outputs in convolutions)
    assert round(said / 1e6, 1) == 13.1
    inside = sum((3 * size - 2) ** 2 * inputs * outputs for size, inputs, outputs in convolutions)
    model = deep_cnn(10)
    params, state = model.init(jax.random.key(0))
    lowered = jax.jit(lambda x: model.apply(params, state, x)[0]).lower(np.ones((1, 28, 28, 1), np.float32))
    assert inside <= lowered.cost_analysis()["flops"] / 2 <= 1.02 * inside
