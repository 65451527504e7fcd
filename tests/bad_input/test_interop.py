"""Weights from elsewhere that do not fit: everything that is wrong in one message, and never a pickle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from refusal import refused

from jaxnn import layers, models
from jaxnn.interop.torch import from_torch, to_torch
from jaxnn.training.checkpoint import CheckpointError
from jaxnn.training.weights import save_weights

MODEL = models.mlp((4, 3, 2))


def linear(name, inputs, outputs):
    return {f"{name}.weight": np.ones((outputs, inputs), np.float32), f"{name}.bias": np.ones(outputs, np.float32)}


def test_everything_that_does_not_fit_is_listed_at_once():
    state_dict = linear("fc1", 4, 5) | {"norm.weight": np.ones(3), "conv.weight": np.ones((2, 1, 3, 3))}
    model = layers.sequential(MODEL, layers.gru(2, 1))
    refused(
        ValueError,
        lambda: from_torch(state_dict, model),
        "from_torch: the state_dict does not fit sequential(mlp((4, 3, 2)), gru(2, 1))",
        "fc1.weight is (5, 4) where linear at 0.1 expects (3, 4)",
        "fc1.bias is (5,) where linear at 0.1 expects (3,)",
        "nothing for linear at 0.3 (weight (2, 3), bias (2,))",
        "nothing for recurrent at 1 (weight_ih_l0 (3, 2)",
        "no layer for norm.weight (3,)",
        "no layer for conv.weight (2, 1, 3, 3)",
    )


@pytest.mark.parametrize(
    ("state_dict", "words"),
    [
        ({}, ["nothing for linear at 1", "nothing for linear at 3"]),
        (linear("a", 4, 3) | linear("b", 3, 2) | linear("c", 3, 2), ["no layer for c.weight (2, 3)", "c.bias (2,)"]),
        (linear("a", 3, 4) | linear("b", 3, 2), ["a.weight is (4, 3) where linear at 1 expects (3, 4)"]),
        ({**linear("a", 4, 3), "b.weight": np.ones((2, 3))}, ["nothing for linear at 3", "no layer for b.weight"]),
        (linear("a", 4, 3) | linear("b", 3, 2) | {"b.scale": np.ones(3)}, ["no layer for b.scale (3,)"]),
        (linear("a", 4, 3) | linear("b", 3, 2) | {"a.weight": np.ones((3, 4), np.int8)}, ["a.weight is int8"]),
    ],
)
def test_arrays_of_another_model(state_dict, words):
    refused(ValueError, lambda: from_torch(state_dict, MODEL), "from_torch: the state_dict", *words)


def test_which_is_which_is_never_guessed(tmp_path):
    square = models.mlp((3, 3, 3))
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(linear("hidden", 3, 3) | linear("body", 3, 3), path)
    for state_dict in (path, safetensors.numpy.load_file(path), safetensors.numpy.load(path.read_bytes())):
        refused(ValueError, lambda s=state_dict: from_torch(s, square), "body", "hidden", "say in names", "of 1, 3")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"1": "fc9"}, ["nothing is called fc9, for linear at 1 (weight (3, 4), bias (3,))"]),
        ({"7": "a"}, ["names has '7', but the layers are 1, 3"]),
        ({"1": "b"}, ["b.weight is (2, 3) where linear at 1 expects (3, 4)"]),
        ({"1": "a", "3": "a"}, ["names gives a to more than one layer"]),
    ],
)
def test_names_that_do_not_fit(names, words):
    state_dict = linear("a", 4, 3) | linear("b", 3, 2)
    refused(ValueError, lambda: from_torch(state_dict, MODEL, names=names), *words)


@pytest.mark.parametrize("names", [["fc1"], {1: "fc1"}, {"1": None}])
def test_names_that_are_no_names(names):
    state_dict = linear("a", 4, 3) | linear("b", 3, 2)
    refused(TypeError, lambda: from_torch(state_dict, MODEL, names=names), "expected names such as {'1': 'fc1'}")


class Module:
    def state_dict(self):
        return {}


@pytest.mark.parametrize(
    ("state_dict", "words"),
    [
        (Module(), ["got Module: pass module.state_dict()"]),
        (None, ["got NoneType"]),
        ({"model": {"a": np.ones(2)}, "epoch": 3}, ["model is dict", "epoch is int", "inside, at 'model'?"]),
        ({1: np.ones(2)}, ["1 is ndarray"]),
    ],
)
def test_no_state_dict(state_dict, words):
    refused(TypeError, lambda: from_torch(state_dict, MODEL), "from_torch expected state_dict", *words)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"model.{end}", b"") for end in ("pt", "pth", "bin", "ckpt", "pkl", "PT")),
        ("model.safetensors", b"\x80\x04\x95" + b"cos\nsystem\n(S'touch owned'\ntR."),
        ("model", b"PK\x03\x04\x00\x00\x08\x08\x00\x00"),
    ],
)
def test_a_pickle_is_refused_before_it_is_read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    refused(ValueError, lambda: from_torch(path, MODEL), str(path), "pickle", "safetensors.torch.save_file")


def test_files_that_are_damaged_missing_or_of_jaxnn(tmp_path):
    path = tmp_path / "model.safetensors"
    refused(FileNotFoundError, lambda: from_torch(path, MODEL), str(path))
    path.write_bytes(b"garbage")
    refused(CheckpointError, lambda: from_torch(path, MODEL), str(path))
    path.write_bytes(b"")
    refused(CheckpointError, lambda: from_torch(path, MODEL), str(path))
    save_weights(path, *MODEL.init(jax.random.key(0)))
    refused(ValueError, lambda: from_torch(path, MODEL), "load_weights")


def test_flattened_images_that_cannot_be():
    model = layers.sequential(layers.conv2d(1, 4, 3), layers.flatten(), layers.linear(10, 2))
    words = "linear(10, 2) at 2", "4 channels", "10 is no multiple"
    refused(ValueError, lambda: from_torch({}, model), *words)
    refused(ValueError, lambda: from_torch({}, MODEL, image_channels=3), "linear(4, 3)", "3 channels")
    refused(ValueError, lambda: from_torch({}, MODEL, image_channels=0), "image_channels", "0")


def test_models_that_pytorch_has_no_module_for():
    stacked = layers.sequential(layers.linear(2, 2), layers.repeat(layers.linear(2, 2), 3))
    refused(ValueError, lambda: from_torch({}, stacked), "repeat(linear(2, 2), 3)", "sequential(*[layer] * n)")
    own = layers.sequential(jnp.tanh)._replace(init=lambda key: ({"gain": jnp.ones(3)}, ()), parts=())
    refused(ValueError, lambda: from_torch({}, own), "one array of shape (3,) at gain")
    refused(TypeError, lambda: from_torch({}, layers.linear), "call it")


def test_params_of_another_model_do_not_go_out():
    params, state = models.mlp((4, 5, 2)).init(jax.random.key(0))
    words = "to_torch expected params and state of mlp((4, 3, 2))", "params 1.bias is (5,) where (3,) is expected"
    refused(ValueError, lambda: to_torch(params, state, MODEL), *words)
    refused(ValueError, lambda: to_torch(params[:3], state, MODEL), "params 3.weight is missing")
    params, state = MODEL.init(jax.random.key(0))
    refused(ValueError, lambda: to_torch(params, {"mean": np.ones(1)}, MODEL), "state mean is one too many")
    refused(ValueError, lambda: to_torch(params, state, MODEL, names={"2": "a"}), "names has '2'")
    refused(ValueError, lambda: to_torch(params, state, MODEL, names={"1": "a", "3": "a"}), "gives a to more than one")
    refused(ValueError, lambda: to_torch(params, state, MODEL, like=linear("a", 4, 3)), "to_torch: like does not fit")
    refused(TypeError, lambda: to_torch(params, state, MODEL, like=3), "to_torch expected like to be a dict")
