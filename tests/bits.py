"""Equal arrays, to the last bit."""


def assert_same_arrays(actual, expected):
    """Names and their order, shapes, dtypes and every bit."""
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (array.shape, array.dtype), name
        assert actual[name].tobytes() == array.tobytes(), name
