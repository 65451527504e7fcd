"""A user's own data in one .npz file."""

import numpy as np
import pytest

from jaxnn.data import from_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_round_trip(tmp_path, save):
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    save(tmp_path / "own.npz", inputs=images, targets=np.array([0, 2, 1]))
    data = from_npz(str(tmp_path / "own.npz"))
    np.testing.assert_array_equal(data.inputs, images)
    assert (data.inputs.dtype, data.targets.dtype) == (np.uint8, np.int32)
    assert data.targets.tolist() == [0, 2, 1]
    assert data.weights is None


def test_weights_and_an_array_in_fortran_order(tmp_path):
    inputs = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    np.savez(tmp_path / "own.npz", inputs=inputs, targets=np.zeros((3, 1)), weights=[1, 0, 2], other=[7])
    data = from_npz(tmp_path / "own.npz")
    np.testing.assert_array_equal(data.inputs, inputs)
    assert data.inputs.dtype == data.targets.dtype == data.weights.dtype == np.float32
    assert data.weights.tolist() == [1, 0, 2]
