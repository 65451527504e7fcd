"""The one form in which data reach training: arrays with the examples on axis 0."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import checks
from jaxnn.types import Array, PRNGKey


class Dataset(NamedTuple):
    """Inputs, targets, and (if any) one weight per example, all with the examples on axis 0.

    Images are uint8 [N, H, W, C], tokens int32 [N, T], features float32 [N, D]; targets are int32 [N] for classes
    or float32 [N, D]. A batch is a Dataset of a few examples. `weights`, float32 [N], scale each example's part in
    the mean loss; None means that all count the same.

    >>> Dataset(np.zeros((3, 2), np.float32), np.array([0, 1, 1], np.int32)).size
    3
    """

    inputs: Any
    targets: Any
    weights: Any = None

    @property
    def size(self) -> int:
        """Count the examples."""
        return len(self.inputs)


def from_arrays(inputs: Any, targets: Any, weights: Any = None) -> Dataset:
    """Make a Dataset of a user's own arrays (or lists): checked, floats as float32, integers kept small.

    uint8 inputs stay bytes; other integers become int32 after a range check, float64 becomes float32. Integer targets
    are class labels. Raises ValueError for unequal lengths, for no examples, for rows of several lengths, for numbers
    beyond int32 or float32, or for weights that are negative or not finite; TypeError for what is no number.

    >>> data = from_arrays([[0.5, 1.0], [2.0, 3.0]], [0, 1])
    >>> data.inputs.dtype, data.targets.dtype, data.size
    (dtype('float32'), dtype('int32'), 2)
    """
    inputs = compact("inputs", inputs, keep_bytes=True)
    targets = compact("targets", targets, keep_bytes=False)
    if weights is not None:
        weights = compact("weights", weights, keep_bytes=False).astype(np.float32)
    dataset = Dataset(inputs, targets, weights)
    check_dataset("from_arrays", dataset)
    return dataset


def compact(name: str, values: Any, *, keep_bytes: bool) -> np.ndarray:
    """Return numbers in the dtype that a Dataset keeps them in; uint8 stays with `keep_bytes`, else becomes int32.

    Raises what `from_arrays` raises for one field.

    >>> compact("targets", [0, 1], keep_bytes=False).dtype
    dtype('int32')
    """
    try:
        array = np.asarray(values)
    except ValueError as error:  # NumPy's word for it is "inhomogeneous"
        raise ValueError(f"from_arrays expected {name} with rows of one length: {error}") from error
    if array.dtype == bool:
        return array.astype(np.int32)
    if jax.dtypes.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):
            floats = array.astype(np.float32)
        if np.isinf(floats).any() and not np.isinf(array).any():
            raise ValueError(f"from_arrays expected {name} within float32 but they reach {np.nanmax(np.abs(array)):g}")
        return floats
    if not np.issubdtype(array.dtype, np.integer):
        words = name == "targets" and array.dtype.kind in "US"
        hint = ": number the classes, as np.unique(targets, return_inverse=True)[1] does" if words else ""
        raise TypeError(f"from_arrays expected {name} to be numbers but got {array.dtype}{hint}")
    if array.dtype == np.uint8 and keep_bytes:
        return array
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise ValueError(f"from_arrays expected {name} within int32 but they reach {array.min()}..{array.max()}")
    return array.astype(np.int32)


def check_dataset(function: str, dataset: Dataset) -> None:
    """Refuse no examples, unequal lengths, and weights that are no weights. Reads the host's arrays once.

    >>> check_dataset("fit", Dataset(np.zeros((3, 2)), np.zeros(4, int)))
    Traceback (most recent call last):
    ValueError: fit expected as many targets as inputs but got 4 targets for 3 inputs
    """
    check_form(function, dataset)
    if dataset.weights is not None:
        weights = np.asarray(dataset.weights)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise ValueError(f"{function} expected weights that are finite, not negative, and not all zero")


def check_form(function: str, dataset: Dataset) -> None:
    """Refuse what is no Dataset of arrays whose lengths agree. Looks at types and shapes alone, so tracers pass.

    >>> check_form("fit", Dataset([[1.0], [2.0]], [0, 1]))
    Traceback (most recent call last):
    TypeError: fit expected inputs to be an array but got list: from_arrays(inputs, targets) makes a Dataset of lists
    """
    if not isinstance(dataset, Dataset):
        hint = (
            "only the training data of fit can be a stream"
            if hasattr(dataset, "read")
            else "use from_arrays(inputs, ...)"
        )
        raise TypeError(f"{function} expected a Dataset but got {type(dataset).__name__}: {hint}")
    for name, field in (("inputs", dataset.inputs), ("targets", dataset.targets), ("weights", dataset.weights)):
        if isinstance(field, list):
            hint = "from_arrays(inputs, targets) makes a Dataset of lists"
            raise TypeError(f"{function} expected {name} to be an array but got list: {hint}")
        if name != "weights" or field is not None:
            checks.array(function, name, field)
    if dataset.inputs.ndim < 1 or dataset.targets.ndim < 1:
        raise ValueError(f"{function} expected inputs and targets with the examples on axis 0 but got a single number")
    size = dataset.size
    if len(dataset.targets) != size:
        raise ValueError(
            f"{function} expected as many targets as inputs but got {len(dataset.targets)} targets for {size} inputs"
        )
    if size == 0:
        raise ValueError(f"{function} got an empty dataset (inputs have shape {np.shape(dataset.inputs)})")
    if dataset.weights is not None and dataset.weights.shape != (size,):
        raise ValueError(f"{function} expected weights of shape ({size},) but got {dataset.weights.shape}")


def take(dataset: Dataset, indices: Array) -> Dataset:
    """Return the examples at the indices, on the host.

    >>> take(Dataset(np.arange(4), np.arange(4)), np.array([2, 0])).inputs.tolist()
    [2, 0]
    """
    return Dataset(*(None if field is None else np.asarray(field)[np.asarray(indices)] for field in dataset))


def split(dataset: Dataset, fraction: float, key: PRNGKey) -> tuple[Dataset, Dataset]:
    """Split at random into (the rest, a `fraction` of the examples), a function of the key alone.

    The second part has round(fraction * N) examples, and both have at least one: else ValueError, as for a fraction
    outside (0, 1).

    >>> rest, part = split(Dataset(np.arange(10), np.arange(10)), 0.2, jax.random.key(0))
    >>> rest.size, part.size
    (8, 2)
    """
    checks.in_range("split", "fraction", fraction, 0, 1, open_low=True, open_high=True)
    check_form("split", dataset)
    count = round(fraction * dataset.size)
    if not 0 < count < dataset.size:
        raise ValueError(
            f"split expected an example in both parts but {fraction:g} of {dataset.size} leaves one part empty: "
            "take another fraction, or more examples"
        )
    checks.random_key("split", key)
    order = np.asarray(jax.random.permutation(key, dataset.size))
    return take(dataset, order[count:]), take(dataset, order[:count])
