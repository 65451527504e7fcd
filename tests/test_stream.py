"""A stream trains to the bits of its data in memory, however it is cut, read, ended and resumed."""

import importlib
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import tree
from jaxnn.augmentation import shift
from jaxnn.data import Stream, from_array_record, from_arrays, from_npy_files
from jaxnn.data.images import load
from jaxnn.layers import normalize, sequential
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import NotFiniteError, NotReadError, early_stopping, feed, fit, loop
from jaxnn.training.checkpoint import checkpoints
from jaxnn.training.resume import fingerprint

pytest.importorskip("grain")
MODULE = importlib.import_module("jaxnn.training.fit")  # the name in the package is the function
MODEL = sequential(normalize(0.5, 0.3), mlp((36, 8, 3), dropout=0.3, batch_norm=True))
SIZE, BATCH = 59, 8  # 8 steps an epoch, the last of 3 examples
BATCH_BYTES = BATCH * (36 + 4)
OPTIONS = {"epochs": 2, "batch_size": BATCH, "augment": shift(1), "verbose": False}


def images(size=SIZE, seed=0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (size, 6, 6, 1), dtype=np.uint8), generator.integers(0, 3, size)


def saved(folder, inputs, targets):
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "targets.npy", targets)
    return from_npy_files(folder / "inputs.npy", folder / "targets.npy")


def train(data, folder=None, **options):
    return fit(MODEL, softmax_cross_entropy, optax.adam(1e-2), data, checkpoints=folder, **OPTIONS | options)


def watched():
    return {"validation": from_arrays(*images(20, seed=1)), "early_stopping": early_stopping(patience=9)}


@pytest.fixture(scope="module")
def in_memory():
    return train(from_arrays(*images()), **watched())


@pytest.fixture
def two_batches(monkeypatch):
    """Send two batches at a time: 4 chunks of full batches an epoch, the last of which holds one, and the short one."""
    monkeypatch.setattr(feed, "CHUNK_BYTES", 2 * BATCH_BYTES)


def assert_same(found, expected):
    assert tree.sha256(found.train_state._asdict()) == tree.sha256(expected.train_state._asdict())
    for record, other in zip(found.history, expected.history, strict=True):
        times = {"seconds", "examples_per_second"}
        assert {name: record[name] for name in record.keys() - times} == {n: other[n] for n in other.keys() - times}


@pytest.mark.parametrize("batches", [1, 3, 1000])
def test_the_bits_are_those_of_the_data_in_memory(tmp_path, in_memory, monkeypatch, batches):
    monkeypatch.setattr(feed, "CHUNK_BYTES", batches * BATCH_BYTES)
    assert_same(train(saved(tmp_path, *images()), **watched()), in_memory)


def kill_at(monkeypatch, steps):
    """Die after a checkpoint of one of these steps, as a killed process does; save after every piece, of two steps."""

    def save_and_die(folder, reached, **options):
        save_reached(folder, reached, **options)
        if int(reached.train_state.step) in steps:
            steps.remove(int(reached.train_state.step))
            raise KeyError("killed")

    save_reached = MODULE.save_reached
    monkeypatch.setattr(MODULE, "save_reached", save_and_die)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "FIRST_PIECE_STEPS", 1)
    monkeypatch.setattr(loop, "PIECE_SECONDS", 0.0)  # then a piece is one step


# Inside of a chunk, and at the beginning of one in the next epoch; at every step.
@pytest.mark.parametrize("steps", [[3, 10], pytest.param(list(range(1, 16)), marks=pytest.mark.slow)])
def test_killed_and_resumed_it_goes_on_to_the_same_bits(tmp_path, in_memory, two_batches, monkeypatch, steps):
    stream, steps = saved(tmp_path, *images()), list(steps)
    kill_at(monkeypatch, steps)
    while steps:
        with pytest.raises(KeyError, match="killed"):
            train(stream, tmp_path / "run", resume=True, **watched())
    assert_same(train(stream, tmp_path / "run", resume=True, **watched()), in_memory)


def test_array_records_are_read_as_npy_files_are(tmp_path):
    module = pytest.importorskip("array_record.python.array_record_module")
    inputs, targets = images()
    files = [tmp_path / "0.array_record", tmp_path / "1.array_record"]
    for file, part in zip(files, (slice(0, 40), slice(40, SIZE)), strict=True):
        writer = module.ArrayRecordWriter(str(file), "group_size:1")
        for x, y in zip(inputs[part], targets[part], strict=True):
            writer.write(bytes([y]) + x.tobytes())
        writer.close()
    records = from_array_record(files, lambda r: (np.frombuffer(r[1:], np.uint8).reshape(6, 6, 1), r[0]))
    stream = saved(tmp_path, inputs, targets)
    assert (records.inputs, records.targets) == (stream.inputs, stream.targets)
    order = np.random.default_rng(2).permutation(SIZE)[:30]
    for name, field in records.read(order)._asdict().items():
        np.testing.assert_array_equal(field, getattr(stream.read(order), name))
    assert fingerprint(records) != fingerprint(stream)  # of which all targets are known


@pytest.mark.parametrize("kinds", [(np.float64, np.int64), (">f4", np.uint8), (np.int16, np.float16), (bool, ">i8")])
def test_arrays_become_what_from_arrays_makes_of_them(tmp_path, kinds):
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 2, (3000, 5)).astype(kinds[0])
    targets = generator.integers(0, 2, 3000).astype(kinds[1])
    stream, whole = saved(tmp_path, inputs, targets), from_arrays(inputs, targets)
    order = generator.integers(0, 3000, 2500)
    found = stream.read(order)
    for form, field, expected in zip(
        (stream.inputs, stream.targets), (found.inputs, found.targets), (whole.inputs, whole.targets), strict=True
    ):
        assert (form.shape, form.dtype) == (expected.shape, expected.dtype)
        assert field.dtype == expected.dtype
        np.testing.assert_array_equal(field, expected[order])


def test_a_number_that_is_none_is_named_by_its_place(tmp_path, two_batches):
    inputs, targets = np.ones((20, 2), np.float32), np.ones((20, 1), np.float32)
    inputs[13] = np.nan
    with pytest.raises(NotFiniteError, match=r"inputs\[13\] holds NaN"):
        fit(
            mlp((2, 1)),
            mean_squared_error,
            optax.sgd(0.1),
            saved(tmp_path, inputs, targets),
            **OPTIONS | {"augment": None},
        )


def reading_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("grain")]


def test_what_cannot_be_read_ends_the_run_and_loses_nothing(tmp_path, two_batches, in_memory):
    stream = saved(tmp_path, *images())
    content = (tmp_path / "inputs.npy").read_bytes()

    def damage(record, state):
        (tmp_path / "inputs.npy").write_bytes(content[:-1])

    with pytest.raises(NotReadError, match=r"epoch 2 cannot go on, since .*inputs.npy was changed") as caught:
        train(stream, tmp_path / "run", callback=damage, **watched())
    result = caught.value.result
    assert isinstance(caught.value.__cause__, ValueError)
    assert [record["epoch"] for record in result.history] == [1]
    step = int(result.train_state.step)
    assert 8 <= step < 16  # what was read before is trained on
    assert checkpoints(tmp_path / "run")[0].name == f"step_{step:08d}"
    (tmp_path / "inputs.npy").write_bytes(content)
    again = from_npy_files(tmp_path / "inputs.npy", tmp_path / "targets.npy")
    assert_same(train(again, tmp_path / "run", resume=True, **watched()), in_memory)
    until = time.monotonic() + 10
    while reading_threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert reading_threads() == []


def test_a_stream_is_known_by_a_part_of_its_examples(tmp_path):
    inputs, targets = images(2000)
    before = fingerprint(saved(tmp_path, inputs, targets))
    assert fingerprint(saved(tmp_path, inputs, targets)) == before
    for changed in ((inputs[:-1], targets[:-1]), (inputs ^ 1, targets), (inputs, np.where(np.arange(2000) == 3, 2, 0))):
        assert fingerprint(saved(tmp_path, *changed)) != before


def test_any_function_that_reads_makes_a_stream(two_batches, in_memory):
    data = from_arrays(*images())
    form = {
        "inputs": jax.ShapeDtypeStruct(data.inputs.shape, jnp.uint8),
        "targets": jax.ShapeDtypeStruct((SIZE,), jnp.int32),
    }
    stream = Stream("mine", **form, read=lambda i: from_arrays(data.inputs[i], data.targets[i]))
    assert_same(train(stream, **watched()), in_memory)


@pytest.mark.slow
def test_on_several_devices_and_processes_each_reads_its_own_rows(tmp_path):
    from test_parallel import assert_same_run, found, start

    train_digits = load("digits").train
    saved(tmp_path, train_digits.inputs, train_digits.targets)
    size, short = train_digits.size, train_digits.size % 64
    stream = {"files": [f"{tmp_path}/inputs.npy", f"{tmp_path}/targets.npy"], "split": "batch"}
    folders = [tmp_path / name for name in ("one", "four", "two")]
    for folder in folders:
        folder.mkdir()
    (alone,) = found(folders[0], start(folders[0], 1, 1, [{"epochs": 3, "validation_split": 0.0}]))[0]
    half = stream | {"checkpoints": f"{tmp_path}/saved"}
    two = [stream | {"epochs": 3}, half | {"epochs": 2}, half | {"epochs": 3, "resume": True}]
    (four,) = found(folders[1], start(folders[1], 1, 4, [stream | {"epochs": 3}]))[0]
    first, second = found(folders[2], start(folders[2], 2, 2, two))
    assert_same_run(four, alone)
    assert_same_run(first[0], alone)
    for process in (first, second):
        unbroken, _, resumed = process
        assert (resumed["params"], resumed["history"]) == (unbroken["params"], unbroken["history"])
    assert four["read"] == 3 * size
    # Half of each batch; of the short one, which four devices cannot share, both read all. 256 tell data apart.
    assert short % 4
    each = 3 * ((size - short) // 2 + short) + 256
    assert [process[0]["read"] for process in (first, second)] == [each, each]
