"""What the doctor asks of the data: labels, classes, copies between training and test set, the scale of the inputs."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.data.text import UNKNOWN
from jaxnn.layers import walk
from jaxnn.training.doctor_findings import Finding, graded, not_examined, noted
from jaxnn.training.step import measure
from jaxnn.types import Layer, Loss, Params, PRNGKey, State

LEAKED = 0.1  # share of a test set that was trained on: about as large a share of its mistakes is hidden
RARE = 0.1  # of an even share of the examples
LARGEST, SMALLEST = (
    5.0,
    0.05,
)  # root mean square of what the first weights read; 1 is the aim, 0..1 and 1/16 still train


def classes_of(predictions: Any, targets: Any) -> int | None:
    """Return the number of classes if the targets are labels [N] of predictions [B, classes], from shapes alone.

    >>> classes_of(np.zeros((2, 10)), np.array([3, 4])), classes_of(np.zeros((2, 1)), np.array([0.5, 1.0]))
    (10, None)
    """
    labels = np.issubdtype(targets.dtype, np.integer) and targets.ndim == 1
    return predictions.shape[-1] if labels and predictions.ndim == 2 and predictions.shape[-1] > 1 else None


def labels(model: Layer, loss: Loss, params: Params, state: State, dataset: Dataset) -> Finding:
    """Try the loss on the shapes of predictions and targets, and look for labels that the model has no output for.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> model, data = linear(2, 3), Dataset(np.ones((4, 2), np.float32), np.ones((4, 1), np.int32))
    >>> print(labels(model, softmax_cross_entropy, *model.init(jax.random.key(0)), data).measured)
    targets int32 [4, 1] for predictions [4, 3]
    """
    targets = np.asarray(dataset.targets)
    size = min(dataset.size, 4)
    few = jax.tree.map(lambda field: jax.ShapeDtypeStruct((size, *field.shape[1:]), field.dtype), dataset)
    predictions, _ = jax.eval_shape(model.apply, params, state, few.inputs)
    measured = (
        f"targets {targets.dtype} {[*targets.shape]} for predictions {[dataset.size, *np.shape(predictions)[1:]]}"
    )
    try:
        jax.eval_shape(lambda p, batch: measure(loss, {}, p, batch), predictions, few)
        if (classes := classes_of(predictions, targets)) is not None:
            checks.label_range("the loss", targets, classes)
        if not np.isfinite(targets).all():
            raise ValueError(f"targets[{np.argwhere(~np.isfinite(targets))[0][0]}] is NaN or infinite")
        problem = ""
    except (TypeError, ValueError) as error:
        problem = checks.first_line(error)
    return graded("labels", float(bool(problem)), bool(problem), measured, "the loss takes them", problem)


def balance(classes: int | None, targets: Any) -> Finding:
    """Compare the share of the most frequent class with the even share 1/C, targets [N] -> a finding.

    A network that always says this class has that accuracy. Out of balance is more than half way from 1/C to 1.

    >>> balance(2, np.array([0, 0, 0, 0, 1])).measured
    'class 0 has 80.0 % of the examples; class 1, the rarest, 1'
    """
    name = "classes"
    if classes is None:
        return not_examined(name, "the targets are not one class label an example")
    counts = np.bincount(np.asarray(targets), minlength=classes)
    most, least = int(counts.argmax()), int(counts.argmin())
    share, limit = counts[most] / counts.sum(), (1 + 1 / classes) / 2
    finding = graded(
        name,
        share,
        share > limit,
        f"class {most} has {100 * share:.1f} % of the examples; class {least}, the rarest, {counts[least]:,}",
        f"no class above {100 * limit:.0f} %",
        f"always saying class {most} is right in {100 * share:.1f} %: judge by the recall of each class, weigh the "
        "loss with class_weights, or get more examples of the others",
    )
    if finding.outcome == "healthy" and counts[least] < RARE * counts.sum() / classes:
        return noted(finding, f"class {least} is rare ({counts[least]:,} examples): the accuracy says little about it")
    return finding


def overlap(dataset: Dataset, others: Mapping[str, Dataset | None]) -> Finding:
    """Find the share of the examples of other sets whose inputs stand, bit for bit, in the training set too.

    Rows of tokens that hold the unknown token (1, as in `jaxnn.data.text`) are left out: that two of them are equal
    does not say that the texts were.

    >>> data = Dataset(np.arange(4.0), np.arange(4))
    >>> overlap(data, {"test": Dataset(np.array([3.0, 9.0]), np.arange(2))}).measured
    'test 50.0 %'
    """
    name = "overlap"
    given = {what: other for what, other in others.items() if other is not None}
    if not given:
        return not_examined(name, "give validation= or test=")
    known = set(_rows(dataset.inputs))
    shares = {}
    for what, other in given.items():
        inputs = np.asarray(other.inputs)
        if np.issubdtype(inputs.dtype, np.signedinteger) and inputs.ndim == 2 and (inputs != UNKNOWN).all(1).any():
            inputs = inputs[(inputs != UNKNOWN).all(1)]
        shares[what] = float(np.mean([row in known for row in _rows(inputs)]))
    worst = max(shares.values())
    finding = graded(
        name,
        worst,
        worst > LEAKED,
        ", ".join(f"{what} {100 * share:.1f} %" for what, share in shares.items()),
        f"at most {100 * LEAKED:.0f} % in the training set",
        "what was trained on is answered from memory: split before copies are made, and drop the examples that occur "
        "in both",
    )
    return noted(finding, "a few examples occur in both") if finding.outcome == "healthy" and worst else finding


def _rows(inputs: Any) -> list[bytes]:
    """Return a hash of each example: 16 bytes, by which two that differ are never taken for the same."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.asarray(inputs)]


def holes(inputs: Any) -> Finding | None:
    """Find the first example with NaN or infinity among inputs [N, ...]; None where all numbers are finite.

    >>> holes(np.array([[0.0], [np.nan]])).advice
    'inputs[1] holds NaN or infinity: clean the inputs'
    """
    if np.isfinite(np.asarray(inputs)).all():
        return None
    bad = np.argwhere(~np.isfinite(np.asarray(inputs)))[:, 0]
    advice = f"inputs[{bad[0]}] holds NaN or infinity: clean the inputs"
    return graded("inputs", len(np.unique(bad)), True, f"{len(np.unique(bad))} examples not finite", "finite", advice)


def scale(model: Layer, params: Params, state: State, x: Any, key: PRNGKey) -> Finding:
    """Measure what the first weights read, behind `normalize` and the like: the root mean square of each feature.

    Healthy is about 1: at most 5 for the largest feature and at least 0.05 over all. Bytes divided by 255 are still
    healthy (0.3 on MNIST), the bytes themselves are not. LeCun, Bottou, Orr, Müller, 1998, Efficient BackProp.

    >>> from jaxnn.layers import linear
    >>> model = linear(2, 1)
    >>> scale(model, *model.init(jax.random.key(0)), np.array([[1.0, 200.0]], np.float32), jax.random.key(1)).outcome
    'finding'
    """
    name = "inputs"
    for i, (_, layer, part, part_state) in enumerate(walk(model, params, state)):
        if any(leaf.ndim > 1 for leaf in jax.tree.leaves(part)):
            break
        x, _ = layer.apply(part, part_state, x, key=jax.random.fold_in(key, i), train=True)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        what = "are tokens" if x.ndim == 2 else "are scaled inside a layer that has no parts"
        return not_examined(name, f"the inputs are {x.dtype} and {what}")
    squares = np.square(np.asarray(x, np.float64)).reshape(-1, x.shape[-1])
    largest, whole = float(np.sqrt(squares.mean(0).max())), float(np.sqrt(squares.mean()))
    return graded(
        name,
        largest if whole >= SMALLEST else whole,
        largest > LARGEST or whole < SMALLEST,
        f"root mean square {whole:.3g}, of the largest feature {largest:.3g}",
        f"{SMALLEST:g} to {LARGEST:g}",
        "take off the mean and divide by the deviation of the training set: normalize(mean, std) as the first layer",
    )
