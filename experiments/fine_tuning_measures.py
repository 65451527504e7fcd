"""The tasks of fine-tuning, the groups of parameters with their rates, and training by one program for every size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks, tree
from jaxnn.data import Dataset, take
from jaxnn.data.images import available, load
from jaxnn.losses import softmax_cross_entropy
from jaxnn.optimizers import adamw
from jaxnn.schedules import cosine_annealing
from jaxnn.training import TrainState, train_step
from jaxnn.types import Array, Layer, Params, State

HEAD = r"1\.1[36]\..*"  # the two linear layers after the convolutions, in `sequential(normalize(...), cnn(...))`
WEIGHTS = r".*\.weight"
DECAY = 0.01
BATCH = 32
RATES = (0.003, 0.01, 0.03)  # to choose the head's from


class Method(NamedTuple):
    """Whether the network starts from the trained one, and the features' rate as a share of the head's."""

    loaded: bool
    share: float


METHODS = {
    "from scratch": Method(False, 1.0),
    "frozen features": Method(True, 0.0),
    "layer-wise rates": Method(True, 0.1),
    "full fine-tuning": Method(True, 1.0),
}


class Target(NamedTuple):
    """A new task: images to learn from, to choose rates on, and to test on; the classes are numbered from 0."""

    name: str
    train: Dataset
    validation: Dataset
    test: Dataset
    classes: int


def load_tasks(dataset: str, data_dir: Path | None, most: int) -> tuple[str, Dataset, list[Target], str | None]:
    """Load what is learned first, at most so many of the digits 0 to 4, and the new tasks.

    One is near, the digits 5 to 9, and one far, Fashion-MNIST. Where MNIST or Fashion-MNIST is not here there is the
    near one alone, on scikit-learn's digits; the last that is returned is the sentence that says so.
    """
    checks.one_of("fine_tuning", "dataset", dataset, ("auto", "digits"))
    real = dataset == "auto" and available("mnist", data_dir) and available("fashion_mnist", data_dir)
    data = load("mnist", data_dir) if real else load("digits")
    (source, near), (_, near_test) = (halves(part) for part in (data.train, data.test))
    targets = [target("digits 5 to 9", near, near_test, 5)]
    if real:
        clothes = load("fashion_mnist", data_dir)
        targets.append(target("Fashion-MNIST", clothes.train, clothes.test, 10))
    missing = "MNIST and Fashion-MNIST are not both here: these are scikit-learn's digits, 8x8."
    source = take(source, np.arange(min(most, source.size)))
    return data.name, source, targets, missing if dataset == "auto" and not real else None


def halves(data: Dataset) -> list[Dataset]:
    """Return the classes 0 to 4, and 5 to 9 numbered from 0, each in an order of chance."""
    order = np.random.default_rng(0).permutation(data.size)  # scikit-learn's digits are sorted by class
    high = np.asarray(data.targets)[order] >= 5
    parts = take(data, order[~high]), take(data, order[high])
    return [part._replace(targets=part.targets % 5) for part in parts]


def target(name: str, train: Dataset, test: Dataset, classes: int) -> Target:
    """Set the last images, at most a thousand, aside for validation; test on at most two thousand."""
    aside = min(1000, train.size // 4)
    known, new = np.arange(train.size - aside), np.arange(train.size - aside, train.size)
    few = take(train, known[:2000])  # all that is drawn from: the program holds no more
    return Target(name, few, take(train, new), take(test, np.arange(min(2000, test.size))), classes)


def groups(params: Params) -> Params:
    """Name the group of every leaf, "head" or "features"."""
    return jax.tree.map(lambda head: "head" if head else "features", tree.mask(params, HEAD))


def decayed_adam(rate: Any) -> Any:
    """Make AdamW that decays weights only: no biases, and no scale of a batch norm."""
    return adamw(rate, weight_decay=DECAY, mask=lambda params: tree.mask(params, WEIGHTS))


def optimizer(rate: Callable[[Any], Any], share: float) -> Any:
    """Make AdamW with a schedule for the head and a share of it for the features; a share of 0 freezes them."""
    import optax

    features = decayed_adam(lambda step: share * rate(step)) if share else optax.set_to_zero()
    return optax.multi_transform({"head": decayed_adam(rate), "features": features}, groups)


def learner(model: Layer, share: float) -> Callable[..., TrainState]:
    """Make `learn(start, data, rows, rate, key)`: a step for each row of indices [steps, batch], in one program.

    The rate falls to 0 along a cosine.
    """

    @jax.jit
    def learn(start: tuple[Params, State], data: Dataset, rows: Array, rate: Array, key: Any) -> TrainState:
        rule = optimizer(cosine_annealing(rate, len(rows)), share)
        step = train_step(model, softmax_cross_entropy, rule)
        first = TrainState(*start, rule.init(start[0]), jnp.int32(0))

        def one(train_state, numbered):
            i, row = numbered
            batch = Dataset(data.inputs[row], data.targets[row])
            return step(train_state, batch, jax.random.fold_in(key, i))[0], None

        return jax.lax.scan(one, first, (jnp.arange(len(rows)), rows))[0]

    return learn


def batches(count: int, steps: int, generator: np.random.Generator, size: int) -> np.ndarray:
    """Draw `count` of `size` examples, and an order in which to go through them again and again: [steps, BATCH]."""
    chosen = generator.choice(size, count, replace=False)
    passes = [generator.permutation(chosen) for _ in range(-(-steps * BATCH // count))]
    return np.concatenate(passes)[: steps * BATCH].reshape(steps, BATCH).astype(np.int32)


def with_new_head(model: Layer, start: tuple[Params, State], key: Any) -> tuple[Params, State]:
    """Take the features from a trained network; the head is drawn anew, for the classes of this model."""
    fresh, _ = model.init(key)
    return jax.tree.map(lambda head, new, old: new if head else old, tree.mask(fresh, HEAD), fresh, start[0]), start[1]
