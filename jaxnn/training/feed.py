"""What the programs of an epoch are fed with: all data on the device, or the batches of a stream, read ahead."""

import threading
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxnn.data import Dataset, Stream
from jaxnn.data.stream import load_grain
from jaxnn.functional.shards import DATA
from jaxnn.training.order import epoch_order, host_order
from jaxnn.training.placement import ONE_DEVICE, Placement, place_whole
from jaxnn.training.result import NotReadError
from jaxnn.training.state import RunKeys

CHUNK_BYTES = 16 * 2**20  # of a stream, sent to the device together; a few such chunks are in memory at a time
READERS = 2  # threads that read chunks
AHEAD = 2  # chunks that are read before they are needed


class Stretch(NamedTuple):
    """The batches first..last-1 of `order`, or without an order of those that lie in the dataset one after another."""

    epoch: int
    short: bool  # the last batch of an epoch, of fewer examples
    dataset: Dataset
    order: jax.Array | None
    first: int
    last: int


class Feed(NamedTuple):
    """The data of a run, and how they come to its programs.

    `stretches(keys, epoch, done, epochs)` gives what is left of a run after `done` steps of an epoch. `forms(keys)` are
    dataset and order as the program of the full batches gets them, and that of the short last batch, where there is
    one. `rows(keys, epoch, step)` are the places of the examples of a step.
    """

    dataset: Dataset | Stream
    batch_size: int
    forms: Callable[[RunKeys], Sequence[tuple[Any, Any]]]
    stretches: Callable[[RunKeys, int, int, int], Generator[Stretch, None, None]]
    rows: Callable[[RunKeys, int, int], np.ndarray]


def make_feed(place: Placement, dataset: Dataset | Stream, batch_size: int) -> Feed:
    """Put a Dataset on the device, or get ready to read a stream; the programs see the same batches either way.

    >>> from jaxnn.training import run_keys
    >>> from jaxnn.training.placement import ONE_DEVICE
    >>> feed = make_feed(ONE_DEVICE, Dataset(np.zeros((5, 2)), np.zeros(5)), 2)
    >>> [(stretch.epoch, stretch.first, stretch.last) for stretch in feed.stretches(run_keys(0), 0, 1, 2)]
    [(0, 1, 2), (0, 0, 1), (1, 0, 2), (1, 0, 1)]
    """
    if isinstance(dataset, Stream):
        return _stream_feed(place, dataset, batch_size)
    data = place_whole(place, dataset)

    def orders(keys: RunKeys, epoch: int) -> list[jax.Array]:
        parts = epoch_order(keys.order, epoch, size=data.size, batch_size=batch_size)
        return [place_whole(place, part) for part in parts if part.size]

    def stretches(keys: RunKeys, epoch: int, done: int, epochs: int) -> Generator[Stretch, None, None]:
        for e in range(epoch, epochs):
            for part, order in enumerate(orders(keys, e)):
                yield Stretch(e, bool(part), data, order, 0 if part else done, len(order))
            done = 0

    def rows(keys: RunKeys, epoch: int, step: int) -> np.ndarray:
        full, *short = orders(keys, epoch)
        return np.asarray(full[step] if step < len(full) else short[0][0])

    return Feed(data, batch_size, lambda keys: [(data, order) for order in orders(keys, 0)], stretches, rows)


def batch_like(dataset: Dataset | Stream, batch_size: int) -> Dataset:
    """Return what has the shapes and dtypes of a batch.

    >>> batch_like(Dataset(np.zeros((5, 2)), np.zeros(5)), 2).inputs.shape
    (2, 2)
    """
    if isinstance(dataset, Stream):
        return _form(ONE_DEVICE, dataset, 1, batch_size)
    return jax.tree.map(lambda field: field[:batch_size], dataset)


def _stream_feed(place: Placement, stream: Stream, batch_size: int) -> Feed:
    """Read chunks of a few batches, in the order in which an epoch of a Dataset would take its examples."""
    grain = load_grain("fit")
    full, rest = divmod(stream.size, batch_size)
    batch_bytes = sum(field.size * field.dtype.itemsize for field in jax.tree.leaves(batch_like(stream, batch_size)))
    # Never one alone: XLA would take computations with it out of the loop, and round otherwise than for a Dataset.
    together = min(full, max(2, CHUNK_BYTES // batch_bytes))
    chunks = -(-full // together)  # of full batches in an epoch; the short last batch is one more
    in_epoch = chunks + bool(rest)

    def batches(order: np.ndarray, chunk: int) -> np.ndarray:
        """Return the examples of a chunk, [batches, batch size]."""
        if chunk == chunks:
            return order[None, full * batch_size :]
        return order[: full * batch_size].reshape(full, batch_size)[chunk * together : (chunk + 1) * together]

    shapes = [(together, batch_size), (1, rest)][: 1 + bool(rest)]
    orders = [_in_a_row(place, *shape) for shape in shapes]

    def read(order_of: Callable[[int], np.ndarray], number: int) -> Dataset:
        epoch, chunk = divmod(number, in_epoch)
        examples = batches(order_of(epoch), chunk)
        size = examples.shape[1]
        own = _own_rows(place, size)
        part = _read(stream, examples[:, own].ravel())
        count = (1 if size < batch_size else together) * len(own)
        return jax.tree.map(lambda field: _placed(place, _filled(field, count), own, size), part)

    def stretches(keys: RunKeys, epoch: int, done: int, epochs: int) -> Generator[Stretch, None, None]:
        start = epoch * in_epoch + (done // together if done < full else chunks)
        numbers = grain.MapDataset.range(start, epochs * in_epoch)
        chunk_of = partial(read, _orders(keys, stream.size))
        ahead = iter(numbers.map(chunk_of).to_iter_dataset(grain.ReadOptions(READERS, AHEAD)))
        try:
            for number in range(start, epochs * in_epoch):
                e, chunk = divmod(number, in_epoch)
                try:
                    data = next(ahead)
                except Exception as error:  # of whatever reads
                    raise NotReadError(f"epoch {e + 1} cannot go on, since {error}") from error
                short = chunk == chunks
                first = max(done - chunk * together, 0) if e == epoch and not short else 0
                yield Stretch(
                    e, short, data, orders[short], first, 1 if short else min(together, full - chunk * together)
                )
        finally:
            ahead.close()

    def rows(keys: RunKeys, epoch: int, step: int) -> np.ndarray:
        return _orders(keys, stream.size)(epoch)[step * batch_size : (step + 1) * batch_size]

    forms = [(_form(place, stream, *shape), order) for shape, order in zip(shapes, orders, strict=True)]
    return Feed(stream, batch_size, lambda _: forms, stretches, rows)


def _orders(keys: RunKeys, size: int) -> Callable[[int], np.ndarray]:
    """Make `order(epoch)`, for threads, which keeps the two latest."""
    # Of this process alone: what lies on devices of several would have to be computed with by all in the same turn.
    data, kind = np.asarray(jax.random.key_data(keys.order)), jax.random.key_impl(keys.order)
    lock = threading.Lock()

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return host_order(jax.random.wrap_key_data(jnp.asarray(data), impl=kind), epoch, size)

    def locked(epoch: int) -> np.ndarray:
        with lock:
            return order(epoch)

    return locked


def _read(stream: Stream, indices: np.ndarray) -> Dataset:
    """Read examples, which have to be what the stream says they are."""
    part = stream.read(indices)
    for name, field, form in (("inputs", part.inputs, stream.inputs), ("targets", part.targets, stream.targets)):
        shape = len(indices), *form.shape[1:]
        if (field.shape, field.dtype) != (shape, form.dtype):
            raise ValueError(
                f"{stream.name} gave {name} of {field.dtype} {field.shape} where {form.dtype} {shape} is expected"
            )
    return part


def _in_a_row(place: Placement, count: int, size: int) -> jax.Array | None:
    """Return the order of `count` batches that lie one after another; on a mesh they lie so already.

    On one device the program is that of a Dataset, which picks examples by an order, and so are its bits.
    """
    return jnp.arange(count * size, dtype=jnp.int32).reshape(count, size) if place.mesh is None else None


def _form(place: Placement, stream: Stream, count: int, size: int) -> Dataset:
    """Return batches of a stream in shape and dtype: [count * size, ...], on a mesh [count, size, ...]."""
    leading = (count * size,) if place.mesh is None else (count, size)
    fields, sharding = (stream.inputs, stream.targets), _sharding(place, size)
    return Dataset(*(jax.ShapeDtypeStruct(leading + f.shape[1:], f.dtype, sharding=sharding) for f in fields))


def _sharding(place: Placement, size: int) -> NamedSharding | None:
    """Return where batches in a row lie, [batches, size, ...]: their examples split if they can be."""
    if place.mesh is None:
        return None
    return NamedSharding(place.mesh, PartitionSpec(None, DATA) if size % place.ways == 0 else PartitionSpec())


def _own_rows(place: Placement, size: int) -> np.ndarray:
    """Return the places in a batch of those examples that devices of this process need."""
    sharding, places = _sharding(place, size), np.arange(size)
    if sharding is None:
        return places
    slices = sharding.addressable_devices_indices_map((1, size)).values()
    return np.unique([places[index[1]] for index in slices if index is not None])


def _filled(field: np.ndarray, count: int) -> np.ndarray:
    """Return `count` examples; the last chunk of an epoch is filled with zeros, which nothing looks at."""
    if len(field) == count:
        return field
    return np.concatenate([field, np.zeros((count - len(field), *field.shape[1:]), field.dtype)])


def _placed(place: Placement, field: np.ndarray, own: np.ndarray, size: int) -> jax.Array:
    """Send batches to the device, [examples, ...]; on a mesh each device gets its own examples of each.

    There they are [batches, size, ...], of which this process has read the examples at the places `own`.
    """
    sharding = _sharding(place, size)
    if sharding is None:
        return jax.device_put(field)
    batches = field.reshape(-1, len(own), *field.shape[1:])

    def part(index: Any) -> np.ndarray:
        first, last, _ = index[1].indices(size)
        return batches[:, np.searchsorted(own, first) : np.searchsorted(own, last)]

    return jax.make_array_from_callback((len(batches), size, *field.shape[1:]), sharding, part)
