"""The NumPy rival is honest: its hand-written gradients and Adam are those of jax.grad and Optax.

Errors are relative to the largest entry of an array; 1e-5 is 84 float32 roundings.
"""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import mnist_arrays, mnist_numpy
from jaxnn import models, tree
from jaxnn.losses import softmax_cross_entropy

SIZES, TOLERANCE = (12, 16, 8, 5), 1e-5


def assert_close(actual, expected, what):
    assert actual.dtype == np.float32, what
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max(), what


def params_of(network):
    """Arrange a copy of the rival's flat parameters as those of jaxnn's mlp: flatten, linear, relu, linear, ..."""
    dense = [{"weight": w.copy(), "bias": b.copy()} for w, b in mnist_numpy.views(network.parameters, SIZES)]
    params = [()]
    for layer in dense:
        params += [layer, ()]
    return jax.tree.map(jnp.asarray, tuple(params[:-1]))


def batch(count=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, SIZES[0])).astype(np.float32), rng.integers(0, SIZES[-1], count).astype(np.uint8)


def both(network):
    """Return the rival's two lists of views."""
    return mnist_numpy.views(network.parameters, SIZES), mnist_numpy.views(network.gradients, SIZES)


def mean_loss(params, x, labels):
    model = models.mlp(SIZES)
    logits, _ = model.apply(params, tuple(() for _ in params), x)
    return softmax_cross_entropy(logits, labels).mean()


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients(seed):
    network, (x, labels) = mnist_numpy.make(seed, SIZES), batch(seed=seed)
    layers, gradients = both(network)
    loss = mnist_numpy.loss_and_gradients(layers, gradients, x, labels)
    expected_loss, expected = jax.value_and_grad(mean_loss)(params_of(network), x, labels)
    assert abs(loss - expected_loss) <= TOLERANCE * expected_loss
    for i, ((weight, bias), theirs) in enumerate(zip(gradients, filter(None, expected), strict=True)):
        assert_close(weight, theirs["weight"], f"weight {i}")
        assert_close(bias, theirs["bias"], f"bias {i}")


def test_loss_and_gradients_with_inverted_dropout():
    """The same uniform draws, used as the definition reads: kept at 0.2 or above, then divided by 0.8."""
    network, (x, labels) = mnist_numpy.make(0, SIZES), batch(64)
    layers, gradients = both(network)
    rng = np.random.default_rng(7)
    loss = mnist_numpy.loss_and_gradients(layers, gradients, x, labels, dropout=0.2, rng=rng)
    rng = np.random.default_rng(7)
    draws = [rng.random((64, size), np.float32) for size in SIZES[1:-1]]

    def dropped_loss(params):
        h = jnp.asarray(x)
        dense = [p for p in params if p]
        for layer, u in zip(dense[:-1], draws, strict=True):
            h = jax.nn.relu(h @ layer["weight"] + layer["bias"])
            h = jnp.where(u >= 0.2, h / 0.8, 0)
        logits = h @ dense[-1]["weight"] + dense[-1]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    expected_loss, expected = jax.value_and_grad(dropped_loss)(params_of(network))
    assert abs(loss - expected_loss) <= TOLERANCE * expected_loss
    for i, ((weight, bias), theirs) in enumerate(zip(gradients, filter(None, expected), strict=True)):
        assert_close(weight, theirs["weight"], f"weight {i}")
        assert_close(bias, theirs["bias"], f"bias {i}")


def test_three_steps_of_adam():
    network = mnist_numpy.make(0, SIZES)
    layers, gradients = both(network)
    params, optimizer = params_of(network), optax.adam(mnist_numpy.LEARNING_RATE)
    opt_state = optimizer.init(params)
    for i in range(3):
        x, labels = batch(seed=i)
        mnist_numpy.loss_and_gradients(layers, gradients, x, labels)
        mnist_numpy.adam_step(network)
        updates, opt_state = optimizer.update(jax.grad(mean_loss)(params, x, labels), opt_state)
        params = optax.apply_updates(params, updates)
        for path, leaf in tree.paths(params_of(network)).items():
            assert_close(leaf, tree.paths(params)[path], f"{path} after step {i}")


def test_evaluation():
    network, (x, labels) = mnist_numpy.make(0, SIZES), batch(1003)
    params = params_of(network)
    logits, _ = models.mlp(SIZES).apply(params, tuple(() for _ in params), jnp.asarray(x))
    assert_close(mnist_numpy.predict(network, x), logits, "logits")
    correct = int((np.asarray(logits).argmax(-1) == labels).sum())
    assert mnist_numpy.test_accuracy(network, x, labels) == correct / 1003


def test_an_epoch_learns_and_is_a_function_of_the_seed():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 1000)
    x = (rng.normal(size=(5, 12))[labels] * 2 + rng.normal(size=(1000, 12))).astype(np.float32)
    first, again = mnist_numpy.make(3, SIZES), mnist_numpy.make(3, SIZES)
    curve = [mnist_numpy.train_epoch(first, x, labels) for _ in range(20)]
    assert curve[-1] < 0.6 * curve[0]
    assert int(first.steps) == 20 * 16  # 15 full batches of 64 and one of 40
    assert curve[0] == mnist_numpy.train_epoch(again, x, labels)


def test_initialisation_is_that_of_pytorch():
    network = mnist_numpy.make(0)
    for weight, bias in mnist_numpy.views(network.parameters, mnist_numpy.SIZES):
        bound = 1 / np.sqrt(len(weight))
        assert 0.98 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
        # The variance of n uniform draws is within 5 sigma of bound**2 / 3, sigma = sqrt(0.8 / n) of it.
        assert abs(weight.var() / (bound**2 / 3) - 1) < 5 * np.sqrt(0.8 / weight.size)
        assert np.abs(bias).max() <= bound * (1 + 1e-6)
        assert bias.any()


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_reader_of_idx_files(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "mnist"
    images, labels = rng.integers(0, 256, (7, 28, 28), np.uint8), rng.integers(0, 10, 7, np.uint8)
    folder.mkdir()
    for part in ("train", "test"):
        write_idx(folder / mnist_arrays.FILES[part][0], images)
        write_idx(folder / mnist_arrays.FILES[part][1], labels)
        read_images, read_labels = mnist_arrays.read_mnist(tmp_path, part)
        np.testing.assert_array_equal(read_images, images)
        np.testing.assert_array_equal(read_labels, labels)
    scaled = mnist_arrays.normalized(images)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, (images / 255 - 0.1307) / 0.3081, atol=1e-6)


def test_reader_refuses_what_is_not_mnist(tmp_path):
    with pytest.raises(FileNotFoundError, match="MNIST is not here"):
        mnist_arrays.read_mnist(tmp_path, "train")
    wrong = tmp_path / "wrong.gz"
    wrong.write_bytes(gzip.compress(b"\0\0\x0d\x01\0\0\0\x01x"))
    with pytest.raises(ValueError, match="not an IDX file of bytes"):
        mnist_arrays.read_idx(wrong)
    wrong.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x05x"))
    with pytest.raises(ValueError, match="says shape"):
        mnist_arrays.read_idx(wrong)
