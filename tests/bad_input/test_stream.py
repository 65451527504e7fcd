"""What a user gets for streams that cannot be read or trained on."""

import sys

import numpy as np
import optax
import pytest
from refusal import refused

from jaxnn.data import Dataset, Stream, from_array_record, from_npy_files
from jaxnn.layers import linear
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import NotReadError, evaluate, fit, lr_finder

INPUTS, TARGETS = np.ones((10, 2), np.float32), np.zeros(10, np.int32)


def files(folder, inputs=INPUTS, targets=TARGETS):
    for name, array in (("inputs.npy", inputs), ("targets.npy", targets)):
        np.save(folder / name, array, allow_pickle=True)
    return folder / "inputs.npy", folder / "targets.npy"


def train(stream, **options):
    return fit(linear(2, 3), softmax_cross_entropy, optax.sgd(0.1), stream, **{"epochs": 1, "verbose": False} | options)


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "words"),
    [
        (INPUTS, TARGETS[:7], ValueError, ["7 targets", "10 inputs", "targets.npy"]),
        (np.asfortranarray(INPUTS), TARGETS, ValueError, ["inputs.npy", "Fortran", "np.ascontiguousarray"]),
        (INPUTS, np.array([None] * 10), ValueError, ["targets.npy", "Python objects", "pickle", "refused"]),
        (INPUTS, np.array(["cat"] * 10), TypeError, ["targets.npy", "numbers", "np.unique"]),
        (np.zeros(10, [("a", "f4")]), TARGETS, TypeError, ["inputs.npy", "numbers"]),
        (np.ones((0, 2)), TARGETS[:0], ValueError, ["inputs.npy", "examples on axis 0", "(0, 2)"]),
        (np.float32(3), TARGETS, ValueError, ["inputs.npy", "examples on axis 0", "()"]),
    ],
)
def test_arrays_that_are_no_examples(tmp_path, inputs, targets, error, words):
    refused(error, lambda: from_npy_files(*files(tmp_path, inputs, targets)), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda whole: whole[:-1], ["expected 208 bytes", "(10, 2) of float32", "found 207"]),
        (lambda whole: whole + b"x", ["expected 208 bytes", "found 209"]),
        (lambda whole: whole.replace(b"(10, 2)", b"(10,-2)"), ["examples on axis 0", "(10, -2)"]),
        (lambda whole: whole.replace(b"(10, 2), }  ", b"(2**40,2), }"), ["undamaged .npy file", "found"]),
        (lambda whole: whole.replace(b"(10, 2), }    ", b"(9999999, 2),}"), ["expected 80000120 bytes", "found 208"]),
        (lambda whole: whole[:40], ["undamaged .npy file", "found"]),
        (lambda whole: b"", ["undamaged .npy file", "found"]),
        (lambda whole: b"PK\3\4" + whole, ["undamaged .npy file", "found"]),
    ],
)
def test_damaged_npy_files(tmp_path, content, words):
    paths = files(tmp_path)
    paths[0].write_bytes(content(paths[0].read_bytes()))
    refused(ValueError, lambda: from_npy_files(*paths), str(paths[0]), *words)


def test_files_that_are_not_there(tmp_path):
    inputs, _ = files(tmp_path)
    refused(FileNotFoundError, lambda: from_npy_files(inputs, tmp_path / "no.npy"), "no.npy", "there is none")
    pytest.importorskip("grain")
    refused(FileNotFoundError, lambda: from_array_record(tmp_path / "no", len), "ArrayRecord", "there is none")
    refused(ValueError, lambda: from_array_record([], len), "no files")


def test_a_file_that_changes_while_it_is_read(tmp_path):
    paths = files(tmp_path)
    stream = from_npy_files(*paths)
    paths[0].write_bytes(paths[0].read_bytes() + b"x")
    refused(ValueError, lambda: stream.read(np.arange(2)), "inputs.npy", "changed after it was opened")
    paths[0].unlink()
    refused(FileNotFoundError, lambda: stream.read(np.arange(2)), "inputs.npy")


def test_without_grain(tmp_path, monkeypatch):
    stream = from_npy_files(*files(tmp_path))
    monkeypatch.setitem(sys.modules, "grain", None)
    refused(ImportError, lambda: train(stream), "fit needs Grain", "pip install 'jaxnn[stream]'")
    refused(ImportError, lambda: from_array_record(tmp_path / "inputs.npy", len), "pip install 'jaxnn[stream]'")


class TestWithGrain:
    """What only speaks where Grain is."""

    @pytest.fixture(autouse=True)
    def _grain(self):
        pytest.importorskip("grain")

    def test_what_needs_all_of_the_data(self, tmp_path):
        stream = from_npy_files(*files(tmp_path))
        refused(ValueError, lambda: train(stream, validation_split=0.2), "cannot split a stream", "validation=")
        refused(ValueError, lambda: train(stream, class_weights=[1, 1, 1]), "cannot weight", "stream")
        refused(TypeError, lambda: train(Dataset(INPUTS, TARGETS), validation=stream), "validation", "Stream", "fit")
        model = linear(2, 3)
        refused(TypeError, lambda: evaluate(model, {}, (), stream, softmax_cross_entropy), "expected a Dataset", "fit")
        refused(TypeError, lambda: lr_finder(model, softmax_cross_entropy, optax.sgd, stream), "expected a Dataset")

    def test_labels_without_an_output(self, tmp_path):
        labels = TARGETS.copy()
        labels[4] = 3
        stream = from_npy_files(*files(tmp_path, targets=labels))
        refused(ValueError, lambda: train(stream), "labels in 0..2", "targets[4] is 3")
        # Where targets cannot be read alone, they are refused as they are read.
        alone = Stream("mine", stream.inputs, stream.targets, stream.read)
        refused(NotReadError, lambda: train(alone), "epoch 1 cannot go on", "targets[4] is 3")

    def test_a_stream_that_gives_another_form(self, tmp_path):
        stream = from_npy_files(*files(tmp_path))
        lying = Stream("mine", stream.inputs, stream.targets, lambda i: Dataset(INPUTS[i].astype(float), TARGETS[i]))
        refused(NotReadError, lambda: train(lying), "mine gave inputs of float64", "float32 (10, 2)")
        shorter = Stream("mine", stream.inputs, from_npy_files(*files(tmp_path, INPUTS[:3], TARGETS[:3])).targets, len)
        refused(ValueError, lambda: train(shorter), "as many targets as inputs")

    def test_a_run_of_other_data(self, tmp_path):
        paths = files(tmp_path)
        train(from_npy_files(*paths), checkpoints=tmp_path / "run")
        stream = from_npy_files(*files(tmp_path, 2 * INPUTS))
        refused(ValueError, lambda: train(stream, checkpoints=tmp_path / "run", resume=True), "another", "data was")

    def test_records(self, tmp_path):
        module = pytest.importorskip("array_record.python.array_record_module")
        path = tmp_path / "train.array_record"

        def write(*records):
            writer = module.ArrayRecordWriter(str(path), "group_size:1")
            for record in records:
                writer.write(record)
            writer.close()

        def decode(record):
            return np.frombuffer(record[1:], np.uint8), record[0]

        refused(ValueError, lambda: from_array_record(files(tmp_path)[0], decode), "undamaged ArrayRecord")
        write()
        refused(ValueError, lambda: from_array_record(path, decode), "train.array_record", "none")
        write(b"\0ab", b"\1abc", b"\1ab")
        refused(TypeError, lambda: from_array_record(path, None), "decode")
        refused(TypeError, lambda: from_array_record(path, len), "(input, target)", "int")
        refused(ValueError, lambda: from_array_record(path, lambda r: 1 / 0), "decode failed on record 0", "division")
        refused(TypeError, lambda: from_array_record(path, lambda r: (r, 0)), "train.array_record", "numbers")
        stream = from_array_record(path, decode)
        refused(ValueError, lambda: stream.read(np.array([2, 1])), "record 1 is uint8 (3,)", "uint8 (2,)")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(ValueError, lambda: from_array_record(path, decode), "train.array_record")
