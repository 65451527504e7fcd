"""Sets that TFDS has prepared as ArrayRecord: MNIST where it is, and small sets written here record by record."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from jaxnn.data import available, from_tfds, load

pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
PIL_Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
array_record = pytest.importorskip("array_record.python.array_record_module", reason="array_record is not installed")

DATA_DIR = os.environ.get("JAXNN_DATA_DIR")
PREPARED = Path(DATA_DIR or "nowhere", "tfds")


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXNN_DATA_DIR", raising=False)


def multiset(dataset) -> list[bytes]:
    return sorted(
        image.tobytes() + bytes([label]) for image, label in zip(dataset.inputs, dataset.targets, strict=True)
    )


@pytest.mark.slow
@pytest.mark.skipif(not (PREPARED / "mnist").is_dir(), reason="MNIST prepared by TFDS is not in $JAXNN_DATA_DIR/tfds")
def test_mnist_equals_the_idx_files(monkeypatch):
    prepared = from_tfds("mnist:3.0.1", PREPARED)
    assert prepared.class_names == tuple("0123456789")
    assert str(PREPARED / "mnist" / "3.0.1") in prepared.source
    assert (prepared.train.size, prepared.test.size) == (60000, 10000)
    monkeypatch.setenv("JAXNN_DATA_DIR", str(DATA_DIR))
    again = from_tfds("mnist")  # the folder of the variable, and the arrays from the cache
    np.testing.assert_array_equal(again.train.inputs, prepared.train.inputs)
    np.testing.assert_array_equal(again.test.targets, prepared.test.targets)
    if not available("mnist", DATA_DIR):
        pytest.skip("MNIST's IDX files are not in $JAXNN_DATA_DIR")
    files = load("mnist", DATA_DIR)
    assert multiset(prepared.train) == multiset(files.train)  # TFDS has shuffled them
    assert multiset(prepared.test) == multiset(files.test)


# Small sets, written as the files of TFDS are: a PNG and a label in a tf.train.Example, ArrayRecord, two JSON files

IMAGE = {
    "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}, "encodingFormat": "png"},
}
LABEL = {
    "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
    "classLabel": {"numClasses": "3"},
}


def prepare(folder: Path, splits, *, features=None, file_format="array_record") -> Path:
    """Write the set "shapes" of `splits`, {name: [(image, label), ...]}, below the folder."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

    features = features or {"image": IMAGE, "label": LABEL}
    place = folder / "shapes" / "1.0.0"
    place.mkdir(parents=True)
    entries = []
    for split, examples in splits.items():
        writer = array_record.ArrayRecordWriter(
            str(place / f"shapes-{split}.{file_format}-00000-of-00001"), "group_size:1"
        )
        for image, label in examples:
            png = io.BytesIO()
            PIL_Image.fromarray(image).save(png, "png")
            example = tf_example_pb2.Example()
            names = list(features)
            example.features.feature[names[0]].CopyFrom(
                tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[png.getvalue()]))
            )
            example.features.feature[names[1]].CopyFrom(
                tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[label]))
            )
            writer.write(example.SerializeToString())
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        entries.append(
            {"name": split, "shardLengths": [str(len(examples))], "numBytes": "1", "filepathTemplate": template}
        )
    info = {"name": "shapes", "version": "1.0.0", "fileFormat": file_format, "splits": entries}
    (place / "dataset_info.json").write_text(json.dumps(info))
    kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    (place / "features.json").write_text(json.dumps({"pythonClassName": kind, "featuresDict": {"features": features}}))
    return folder


def pictures(count: int, size=(6, 5, 3), *, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, size, np.uint8), index % 3) for index in range(count)]


def test_a_set_of_a_users_own_in_colour(tmp_path):
    splits = {"train": pictures(2000), "test": pictures(4, seed=1)}
    data = from_tfds("shapes", prepare(tmp_path, splits))
    for part, examples in ((data.train, splits["train"]), (data.test, splits["test"])):
        np.testing.assert_array_equal(part.inputs, [image for image, _ in examples])
        np.testing.assert_array_equal(part.targets, [label for _, label in examples])
        assert (part.inputs.dtype, part.targets.dtype) == (np.uint8, np.int32)
    assert data.class_names == ("0", "1", "2")
    assert data.name == "shapes"
    assert data.source == f"TFDS in {tmp_path / 'shapes' / '1.0.0'}"


def test_images_of_several_sizes(tmp_path):
    prepare(tmp_path, {"train": [*pictures(3), *pictures(1, (7, 5, 3))], "test": pictures(1)})
    with pytest.raises(ValueError, match=r"one size in shapes but the first is \(6, 5, 3\) and train\[3\] is \(7"):
        from_tfds("shapes", tmp_path)


def test_splits_of_two_sizes(tmp_path):
    prepare(tmp_path, {"train": pictures(3), "test": pictures(1, (7, 5, 3))})
    with pytest.raises(ValueError, match=r"one size .* \(6, 5, 3\) .* \(7, 5, 3\)"):
        from_tfds("shapes", tmp_path)


def test_no_test_split(tmp_path):
    prepare(tmp_path, {"train": pictures(1), "validation": pictures(1)})
    with pytest.raises(ValueError, match="splits train and test in shapes but it has train, validation"):
        from_tfds("shapes", tmp_path)


def test_other_features(tmp_path):
    prepare(tmp_path, {"train": pictures(1), "test": pictures(1)}, features={"picture": IMAGE, "label": LABEL})
    with pytest.raises(ValueError, match="features image and label in shapes but found label, picture"):
        from_tfds("shapes", tmp_path)


def test_labels_that_are_no_classes(tmp_path):
    number = {
        "pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar",
        "tensor": {"shape": {}, "dtype": "int64", "encoding": "none"},
    }
    prepare(tmp_path, {"train": pictures(1), "test": pictures(1)}, features={"image": IMAGE, "label": number})
    with pytest.raises(ValueError, match="labels that are classes in shapes but found Scalar"):
        from_tfds("shapes", tmp_path)


def test_pixels_of_16_bits(tmp_path):
    deep = IMAGE | {"image": IMAGE["image"] | {"dtype": "uint16"}}
    prepare(tmp_path, {"train": pictures(1), "test": pictures(1)}, features={"image": deep, "label": LABEL})
    with pytest.raises(ValueError, match=r"images of uint8 in shapes but found Image\(.*uint16"):
        from_tfds("shapes", tmp_path)


def test_a_label_beyond_its_classes(tmp_path):
    prepare(tmp_path, {"train": [(pictures(1)[0][0], 3)], "test": pictures(1)})
    with pytest.raises(ValueError, match=r"shapes, split train, expected labels in 0\.\.2 .* targets\[0\] is 3"):
        from_tfds("shapes", tmp_path)


def test_an_empty_split(tmp_path):
    prepare(tmp_path, {"train": pictures(1), "test": []})
    with pytest.raises(ValueError, match="no examples in the split test of shapes"):
        from_tfds("shapes", tmp_path)


def test_damaged_and_missing_records(tmp_path):
    place = prepare(tmp_path, {"train": pictures(3), "test": pictures(1)}) / "shapes" / "1.0.0"
    path = place / "shapes-test.array_record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"from_tfds could not read examples 0 to 0 of shapes, split test"):
        from_tfds("shapes", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        from_tfds("shapes", tmp_path)


def test_not_prepared_says_how_to_prepare(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cifar10 is not prepared .* TensorFlow .*download_and_prepare"):
        from_tfds("cifar10", tmp_path)


def test_prepared_in_another_format(tmp_path):
    place = tmp_path / "mnist" / "3.0.1"
    prepare(tmp_path, {"train": pictures(1), "test": pictures(1)}, file_format="tfrecord")
    place.parent.mkdir()
    (tmp_path / "shapes" / "1.0.0").rename(place)
    info = json.loads((place / "dataset_info.json").read_text())
    (place / "dataset_info.json").write_text(json.dumps(info | {"name": "mnist", "version": "3.0.1"}))
    with pytest.raises(FileNotFoundError, match="mnist is not prepared as ArrayRecord, only in another format"):
        from_tfds("mnist", tmp_path)


def test_unknown_name_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="set that TFDS knows: Dataset minst not found") as caught:
        from_tfds("minst", tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere' is no folder here"):
        from_tfds("mnist", tmp_path / "nowhere")


@pytest.mark.parametrize("module", ["tensorflow_datasets", "PIL", "array_record", "importlib_resources"])
def test_missing_package(module, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else object())
    with pytest.raises(ImportError, match=r"pip install 'jaxnn\[data\]'"):
        from_tfds("mnist")
