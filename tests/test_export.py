"""A model as a file that runs without this library gives what the model gives, to 1e-5, for any number of examples."""

import json
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.data.frame import FRAMES
from jaxnn.interop.export import save_onnx, save_stablehlo
from jaxnn.interop.trained import load_trained, probabilities, save_trained
from jaxnn.layers import embedding, linear, normalize, sequential
from jaxnn.models import cnn, gru_classifier, lstm_classifier, mlp, rnn_classifier, transformer_classifier
from jaxnn.types import Layer

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 12, 12, 1), dtype=np.uint8)
SERIES = RNG.normal(size=(5, 7, 6)).astype(np.float32)
TOKENS = RNG.integers(1, 50, (5, 9)).astype(np.int32)
TOKENS[1, 4:] = TOKENS[2] = 0  # a short text, and nothing but padding

SMALL = {"dim_feedforward": 32, "max_length": 16}
MODELS = {
    "mlp": (sequential(normalize(0.1307, 0.3081), mlp((144, 32, 10), dropout=0.2)), IMAGES),
    "mlp with batch norm": (sequential(normalize(0.1307, 0.3081), mlp((144, 32, 10), batch_norm=True)), IMAGES),
    "cnn": (sequential(normalize(0.1307, 0.3081), cnn(10, channels=(4, 8, 8), hidden=16)), IMAGES),
    "rnn": (rnn_classifier(6, 8, 2, 10), SERIES),
    "lstm": (lstm_classifier(6, 8, 2, 10), SERIES),
    "gru": (gru_classifier(6, 8, 2, 10), SERIES),
    "lstm of tokens": (lstm_classifier(6, 8, 1, 10, vocabulary_size=50, pad_id=0), TOKENS),
    "gru of tokens": (gru_classifier(6, 8, 1, 10, vocabulary_size=50, pad_id=0), TOKENS),
    "transformer": (transformer_classifier(50, 8, 2, 1, 10, **SMALL), TOKENS),
    "transformer with padding": (transformer_classifier(50, 8, 2, 1, 10, pad_id=0, norm_first=True, **SMALL), TOKENS),
}
SLOW = {"mlp", "mlp with batch norm", "rnn", "gru", "gru of tokens", "transformer"}
EACH = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in MODELS]


def trained(model):
    """Draw params, and statistics that are not those of the start."""
    params, state = model.init(jax.random.key(0))
    return params, jax.tree.map(lambda leaf: leaf + 0.25 * jnp.ones_like(leaf), state)


@pytest.mark.parametrize("name", EACH)
def test_stablehlo_gives_what_the_model_gives(name, tmp_path):
    model, inputs = MODELS[name]
    params, state = trained(model)
    path = save_stablehlo(tmp_path / "model", model, params, state, inputs[:1])
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    expected = jax.jit(model.apply)(params, state, inputs)[0]
    np.testing.assert_allclose(exported.call(inputs), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(exported.call(inputs[:2]), expected[:2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_gives_what_the_model_gives(name, tmp_path):
    pytest.importorskip("jax2onnx", reason="the converter is not here: pip install 'jaxnn[export]'")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, inputs = MODELS[name]
    params, state = trained(model)
    path = save_onnx(tmp_path / "model.onnx", model, params, state, inputs[:1])
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (described,) = session.get_inputs()
    assert (described.name, described.shape) == ("inputs", ["batch", *inputs.shape[1:]])
    expected = jax.jit(model.apply)(params, state, inputs)[0]  # the converter has put everything back
    for size in (5, 2):
        (outputs,) = session.run(["outputs"], {"inputs": inputs[:size]})
        np.testing.assert_allclose(outputs, expected[:size], rtol=1e-5, atol=1e-5)


def test_onnx_names_what_it_cannot_convert(tmp_path):
    pytest.importorskip("jax2onnx", reason="the converter is not here: pip install 'jaxnn[export]'")

    def apply(params, state, x, /, *, key=None, train=False):
        return x + jax.random.uniform(jax.random.split(jax.random.key(0))[0]), state

    with pytest.raises(NotImplementedError, match=r"cannot convert noise\(\) with jax .*primitive 'random_"):
        save_onnx(tmp_path / "a", Layer(lambda key: ((), ()), apply, "noise()"), (), (), np.ones((1, 3)))
    assert list(tmp_path.iterdir()) == []


READER = """
import sys
sys.modules["jaxnn"] = None  # an import of it fails
import jax, jax.export, numpy as np
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
print(np.asarray(exported.call(np.arange(12, dtype=np.float32).reshape(4, 3))).tolist())
"""


def test_jax_alone_runs_the_file(tmp_path):
    params = {"weight": jnp.eye(3)[:, :2] * 2, "bias": jnp.array([0.5, -1.0])}
    path = save_stablehlo(tmp_path / "a.stablehlo", linear(3, 2), params, (), np.ones((1, 3)))
    output = subprocess.run([sys.executable, "-c", READER, path], capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(output.stdout) == [[0.5, 1], [6.5, 7], [12.5, 13], [18.5, 19]]


def test_a_folder_holds_the_network_and_the_names(tmp_path):
    model, images = MODELS["mlp"]
    params, state = trained(model)
    names = [f"class {i}" for i in range(10)]
    frame = FRAMES["mnist"]._replace(size=(12, 12), box=8)
    save_trained(tmp_path, model, params, state, images, names, dataset="small", frame=frame)
    found = load_trained(tmp_path)
    assert found._replace(program=len) == (
        *(len, model.name, "small", tuple(names), "image", (12, 12, 1), "uint8", frame, ()),
    )
    expected = jax.nn.softmax(model.apply(params, state, images)[0])
    np.testing.assert_allclose(probabilities(found, images), expected, rtol=1e-5, atol=1e-6)


def test_the_vocabulary_comes_back(tmp_path):
    model = sequential(embedding(4, 3), lambda x: x.mean(1))
    words = ("<pad>", "<unk>", "été", "?")
    save_trained(tmp_path, model, *model.init(jax.random.key(0)), TOKENS, "abc", vocabulary=words)
    found = load_trained(tmp_path)
    assert (found.kind, found.shape, found.dtype, found.vocabulary) == ("text", (9,), "int32", words)


def test_many_examples_go_through_in_batches(tmp_path):
    model = sequential(linear(3, 2))
    params, state = model.init(jax.random.key(0))
    found = load_trained(save_trained(tmp_path, model, params, state, np.ones((1, 3)), "ab"))
    x = RNG.normal(size=(1201, 3)).astype(np.float32)
    expected = jax.nn.softmax(model.apply(params, state, x)[0])
    np.testing.assert_allclose(probabilities(found, x), expected, rtol=1e-5, atol=1e-6)
    assert probabilities(found, x[:0]).shape == (0, 2)
