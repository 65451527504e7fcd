"""Layers that shift and scale: fixed input normalisation; batch, layer, root-mean-square and group normalisation."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxnn import checks, functional
from jaxnn.types import Layer


def normalize(mean: float | Sequence[float], std: float | Sequence[float]) -> Layer:
    """Make the layer (x - mean) / std with fixed numbers, one for all channels or one a channel of the last axis.

    Bytes (uint8 images) are scaled to 0..1 first, so `mean` and `std` are in that unit, as after torchvision's
    ToTensor; floats are taken as they are. As a part of the model it travels with it into predict and export.
    Raises ValueError for a std that is not positive and for bytes with a mean above 1, TypeError for integers other
    than uint8.

    >>> layer = normalize(0.5, 0.25)
    >>> print(layer.apply((), (), np.array([[0, 255]], np.uint8))[0])
    [[-2.  2.]]
    """
    for what, given in (("mean", mean), ("std", std)):
        checks.array("normalize", what, np.asarray(given))
    means, stds = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(std, np.float64))
    counts = {means.size, stds.size}
    if means.ndim > 1 or stds.ndim > 1 or 0 in counts or len(counts - {1}) > 1:
        raise ValueError(
            "normalize expected a number or one a channel for mean and std "
            f"but got shapes {np.shape(mean)} and {np.shape(std)}"
        )
    for value in means:
        checks.in_range("normalize", "mean", float(value), -np.inf, np.inf, open_low=True, open_high=True)
    for value in stds:
        checks.finite_positive("normalize", "std", float(value))
    name = f"normalize({_written(means)}, {_written(stds)})"
    channels = max(means.size, stds.size)

    def apply(params, state, x, /, *, key=None, train=False):
        checks.array(name, "x", x)
        x = jnp.asarray(x)
        if x.dtype != jnp.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(
                f"{name} expected uint8 (bytes, scaled to 0..1) or floats but got {x.dtype}: "
                "convert with x.astype('float32') if the numbers are to be taken as they are"
            )
        if x.dtype == jnp.uint8 and means.max() > 1:
            raise ValueError(f"{name} scales bytes to 0..1 before, so mean must be in 0..1: divide mean and std by 255")
        if channels > 1:
            checks.last_axis(name, x, channels)
        return functional.standardize(x, jnp.asarray(means), jnp.asarray(stds)), state

    return Layer(lambda key: ((), ()), apply, name)


def _written(values: np.ndarray) -> str:
    return f"{values[0]:g}" if values.size == 1 else f"({', '.join(f'{v:g}' for v in values)})"


def batch_norm(size: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> Layer:
    """Make batch normalisation of each channel of the last axis over all leading axes, [..., C] -> [..., C].

    In training: (x - mean) / sqrt(variance + epsilon) * scale + bias with the statistics of the batch, the variance
    in two passes and biased; the running statistics move by running += momentum * (new - running), where `momentum`
    is the weight of the NEW statistic (PyTorch's convention; Flax means the other one) and the new variance is the
    unbiased one. With `train=False` the running statistics are used. Computed in at least float32.

    params: scale [C] of ones, bias [C] of zeros; state: mean [C] of zeros, variance [C] of ones, float32. Raises
    ValueError for another number of channels, and in training for a batch with one value a channel. Ioffe and
    Szegedy, 2015, Batch Normalization.

    >>> layer = batch_norm(2)
    >>> params, state = layer.init(None)
    >>> y, state = layer.apply(params, state, jnp.array([[1.0, 0.0], [3.0, 0.0]]), train=True)
    >>> print(y.round(2), state["mean"], state["variance"])
    [[-1.  0.]
     [ 1.  0.]] [0.2 0. ] [1.1 0.9]
    """
    checks.positive_int("batch_norm", "size", size)
    checks.in_range("batch_norm", "momentum", momentum, 0, 1)
    checks.finite_positive("batch_norm", "epsilon", epsilon)
    name = f"batch_norm({size})"
    entries = {"params": ("scale", "bias"), "state": ("mean", "variance")}

    def init(key, /):
        params = {"scale": jnp.ones(size), "bias": jnp.zeros(size)}
        state = {"mean": jnp.zeros(size), "variance": jnp.ones(size)}
        return params, state

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.last_axis(name, x, size)
        for what, given in (("params", params), ("state", state)):
            checks.own_entries(name, what, given, dict.fromkeys(entries[what], (size,)))
        if not train:
            mean, variance = state["mean"], state["variance"]
        else:
            checks.several_values(name, x)
            mean, variance = functional.batch_statistics(x)
            count = x.size // size
            new = {"mean": mean, "variance": variance * (count / (count - 1))}
            state = {k: (old + momentum * (new[k] - old)).astype(old.dtype) for k, old in state.items()}
        return functional.batch_norm(x, mean, variance, params["scale"], params["bias"], epsilon), state

    return Layer(init, apply, name)


def layer_norm(size: int, *, epsilon: float = 1e-5) -> Layer:
    """Make layer normalisation of each vector of the last axis, [..., D] -> [..., D].

    (x - mean) / sqrt(variance + epsilon) * scale + bias with the mean and the biased variance of the vector itself, in
    training as in evaluation, computed in at least float32. params: scale [D] of ones, bias [D] of zeros. Raises
    ValueError for another size. Ba, Kiros, Hinton, 2016, Layer Normalization.

    >>> layer = layer_norm(2)
    >>> layer, layer.apply(*layer.init(None), jnp.array([[1.0, 3.0]]))[0].round(2).tolist()
    (layer_norm(2), [[-1.0, 1.0]])
    """
    checks.positive_int("layer_norm", "size", size)
    checks.finite_positive("layer_norm", "epsilon", epsilon)
    name = f"layer_norm({size})"

    def init(key, /):
        return {"scale": jnp.ones(size), "bias": jnp.zeros(size)}, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.last_axis(name, x, size)
        checks.own_entries(name, "params", params, {"scale": (size,), "bias": (size,)})
        return functional.layer_norm(x, params["scale"], params["bias"], epsilon), state

    return Layer(init, apply, name)


def rms_norm(size: int, *, epsilon: float = 2**-23) -> Layer:
    """Make the layer that divides each vector of the last axis by its root mean square, [..., D] -> [..., D].

    x / sqrt(mean(x**2) + epsilon) * scale, computed in at least float32. The default epsilon is float32's own, which
    PyTorch takes for float32. params: scale [D] of ones. Raises ValueError for another size. Zhang and Sennrich, 2019,
    Root Mean Square Layer Normalization.

    >>> layer = rms_norm(2)
    >>> layer, layer.apply(*layer.init(None), jnp.array([[3.0, -3.0]]))[0].round(2).tolist()
    (rms_norm(2), [[1.0, -1.0]])
    """
    checks.positive_int("rms_norm", "size", size)
    checks.finite_positive("rms_norm", "epsilon", epsilon)
    name = f"rms_norm({size})"

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.last_axis(name, x, size)
        checks.own_entries(name, "params", params, {"scale": (size,)})
        return functional.rms_norm(x, params["scale"], epsilon), state

    return Layer(lambda key: ({"scale": jnp.ones(size)}, ()), apply, name)


def group_norm(groups: int, size: int, *, epsilon: float = 1e-5) -> Layer:
    """Make normalisation of each group of C/groups neighbouring channels of an example, [B, ..., C] -> [B, ..., C].

    (x - mean) / sqrt(variance + epsilon) * scale + bias over all positions and the channels of the group, in training
    as in evaluation, computed in at least float32. params: scale [C] of ones, bias [C] of zeros. Raises ValueError for
    groups that do not divide the channels, and where a group would hold a single value. Wu and He, 2018, Group
    Normalization.

    >>> layer = group_norm(2, 6)
    >>> layer, layer.apply(*layer.init(None), jnp.ones((1, 4, 4, 6)))[0].shape
    (group_norm(2, 6), (1, 4, 4, 6))
    """
    checks.positive_int("group_norm", "groups", groups)
    checks.positive_int("group_norm", "size", size)
    checks.finite_positive("group_norm", "epsilon", epsilon)
    if size % groups:
        raise ValueError(f"group_norm expected groups to divide the channels but got groups={groups} and size={size}")
    name = f"group_norm({groups}, {size})"

    def init(key, /):
        return {"scale": jnp.ones(size), "bias": jnp.zeros(size)}, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.has_batch(name, x)
        checks.last_axis(name, x, size)
        if x[0].size == groups:
            raise ValueError(f"{name} would normalise single values (x has shape {x.shape}): take fewer groups")
        checks.own_entries(name, "params", params, {"scale": (size,), "bias": (size,)})
        return functional.group_norm(x, groups, params["scale"], params["bias"], epsilon), state

    return Layer(init, apply, name)
