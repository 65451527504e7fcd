"""The records of training, written for TensorBoard too."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from jaxnn.training.result import Callback
from jaxnn.training.resume import Record


@contextmanager
def tensorboard(folder: str | PathLike[str]) -> Iterator[Callback]:
    """Give a callback for `fit` that writes each number of an epoch's record into `folder`, for TensorBoard to show.

    The numbers stand at the record's step, so that runs with other batch sizes can be compared; `validation_loss`
    is the line `validation` of the chart `loss`. A resumed run adds to what is there. `tensorboard --logdir FOLDER`
    shows it. Needs the extra `tensorboard`: ImportError says so.

    >>> import optax, tempfile
    >>> from jaxnn.data import from_arrays
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.training import fit
    >>> data = from_arrays([[0.0], [1.0]], [0, 1])
    >>> options = {"epochs": 2, "verbose": False}
    >>> with tempfile.TemporaryDirectory() as folder, tensorboard(folder) as write:
    ...     result = fit(linear(1, 2), softmax_cross_entropy, optax.sgd(0.1), data, callback=write, **options)
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard needs tensorboardX: install jaxnn[tensorboard]") from error
    with SummaryWriter(str(folder)) as writer:

        def write(record: Record, train_state: Any) -> None:
            for name, value in record.items():
                if name not in ("epoch", "step"):
                    writer.add_scalar(chart(name), value, int(record["step"]))
            writer.flush()

        yield write


def chart(name: str) -> str:
    """Return the tag of a number: TensorBoard draws what stands before the slash as one group.

    >>> chart("validation_loss"), chart("loss"), chart("seconds")
    ('loss/validation', 'loss/train', 'seconds/train')
    """
    return f"{name.removeprefix('validation_')}/{'validation' if name.startswith('validation_') else 'train'}"
