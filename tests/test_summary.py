import jax
import jax.numpy as jnp
import pytest

from jaxnn import layers
from jaxnn.models import mlp
from jaxnn.report import summary


def test_the_guides_mlp_has_535818_parameters():
    made = summary(mlp((784, 512, 256, 10), dropout=0.2), (28, 28, 1), dtype=jnp.float32)
    assert (made.parameters, made.state, made.bytes) == (535818, 0, 4 * 535818)
    assert [(row.path, row.output, row.parameters) for row in made.rows if row.parameters] == [
        ("1", "[B, 512]", 401920),
        ("4", "[B, 256]", 131328),
        ("7", "[B, 10]", 2570),
    ]
    assert "535,818" in repr(made)
    assert "[B, 28, 28, 1]" in str(made)


def test_running_statistics_are_counted_apart_and_only_shown_if_any():
    made = summary(mlp((4, 3, 2), batch_norm=True), (4,))
    assert (made.parameters, made.state, made.bytes) == (15 + 6 + 8, 6, 4 * 35)
    assert "state" in made.table().header
    assert "state" not in summary(mlp((4, 3, 2)), (4,)).table().header


def test_nested_parts_have_the_paths_of_their_parameters():
    model = layers.sequential(layers.linear(4, 3), layers.sequential(jax.nn.relu, layers.linear(3, 2)))
    assert [row.path for row in summary(model, (4,)).rows] == ["0", "1.0", "1.1"]


def test_nothing_is_computed():
    # 40 GB of parameters would not fit.
    made = summary(layers.linear(100_000, 100_000), (100_000,))
    assert made.parameters == 100_000 * 100_001
    assert "40.0 GB" in str(made)


@pytest.mark.parametrize(
    "model", [mlp((784, 512, 256, 10)), layers.residual(mlp((784, *[784] * 30))), layers.linear(784, 10**8), jnp.tanh]
)
def test_the_text_fits_80_columns(model):
    assert max(map(len, str(summary(model, (784,))).splitlines())) <= 80


def test_a_batch_axis_that_goes_away_is_not_written_as_one():
    assert summary(jnp.sum, (3,)).rows[0].output == "[]"


def test_bytes_and_tokens_as_inputs():
    model = layers.sequential(layers.normalize(0.5, 0.5), layers.flatten(), layers.linear(4, 2))
    assert summary(model, (2, 2, 1), dtype=jnp.uint8).parameters == 10
    with pytest.raises(TypeError, match="normalize"):
        summary(model, (2, 2, 1), dtype=jnp.int32)


@pytest.mark.parametrize("shape", [784, (28.0, 28), ("B", 784)])
def test_a_shape_that_is_none(shape):
    with pytest.raises(TypeError, match="input_shape"):
        summary(mlp((784, 10)), shape)


def test_a_wrong_shape_is_told_by_the_layer():
    with pytest.raises(ValueError, match=r"linear\(784, 10\) expected"):
        summary(mlp((784, 10)), (27, 28))
    with pytest.raises(ValueError, match="positive"):
        summary(mlp((784, 10)), (0,))
