"""load: every kind of file, the cache, and one clear line for every bad input."""

import io
import json
import os
import sys
import types

import numpy as np
import pytest

from tutelage.data import load
from tutelage.data.loading import load_digits
from tutelage.data.records import TFRecordWriter
from tutelage.errors import ConfigError, DataError

Image = pytest.importorskip("PIL.Image")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def _folders(monkeypatch, tmp_path):
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TUTELAGE_DATA", raising=False)


def pixels(n, height=4, width=6, channels=3):
    shape = (n, height, width, channels) if channels == 3 else (n, height, width)
    return np.random.default_rng(n).integers(0, 256, shape, dtype=np.uint8)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def write_parquet(path, images, labels, *, image="image", label="label", names=None, struct=True):
    encoded = [i if isinstance(i, bytes) or i is None else png(i) for i in images]
    column = pa.array([{"bytes": e, "path": None} for e in encoded] if struct else encoded)
    table = pa.table({image: column, label: pa.array(labels)})
    if names:
        features = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, row_group_size=2)
    return path


def write_folder(folder, classes):
    for name, images in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return folder


def forbid_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("decoded again")

    for module in ("parquet", "folders"):
        monkeypatch.setattr(f"tutelage.data.{module}.decode", fail)


def test_digits():
    import hashlib

    data = load("digits")
    source = data.train
    assert data.test is None
    assert hashlib.sha256(source.x.tobytes() + source.y.tobytes()).hexdigest().startswith("65e5b4619795efb4")
    assert source.x.shape == (1797, 1, 8, 8)
    assert source.scale == 16.0
    assert source.x.max() == 16
    assert np.bincount(source.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert source.fingerprint() == load_digits().fingerprint()


@pytest.mark.parametrize("struct", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_parquet(tmp_path, struct, channels):
    images = pixels(5, channels=channels)
    path = write_parquet(tmp_path / "a.parquet", images, [0, 1, 2, 0, 1], names=["x", "y", "z"], struct=struct)
    data = load(path)
    want = images[:, None] if channels == 1 else images.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.train.x, want)
    assert data.train.x.flags.c_contiguous
    assert data.train.y.tolist() == [0, 1, 2, 0, 1]
    assert data.train.classes == ("x", "y", "z")
    assert data.test is None


def test_parquet_train_and_test(tmp_path):
    write_parquet(tmp_path / "birds-train.parquet", pixels(4), [0, 1, 0, 1], image="img", label="fine_label")
    write_parquet(tmp_path / "birds-test.parquet", pixels(2), [1, 1], image="img", label="fine_label")
    data = load(tmp_path / "birds-train.parquet", num_classes=2)
    assert (len(data.train), len(data.test)) == (4, 2)
    assert data.train.name == "birds-train"


def test_parquet_shards(tmp_path):
    for shard, labels in (("train-00000", [0, 1]), ("train-00001", [1, 1, 0]), ("test-00000", [1])):
        write_parquet(tmp_path / f"{shard}.parquet", pixels(len(labels)), labels, names=["a", "b"])
    data = load(tmp_path)
    assert data.train.y.tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(data.train.x[2:], pixels(3).transpose(0, 3, 1, 2))
    assert len(data.test) == 1


def test_text_labels_name_themselves(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pixels(3), ["dog", "cat", "dog"])
    assert load(path).train.classes == ("cat", "dog")
    assert load(path).train.y.tolist() == [1, 0, 1]


def test_chosen_columns(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pixels(3), [0, 1, 0], image="photo", label="kind")
    assert len(load(path, image="photo", label="kind", num_classes=2).train) == 3


def test_named_data_sets_come_from_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTELAGE_DATA", str(tmp_path))
    write_parquet(tmp_path / "cifar10-train.parquet", pixels(3), [0, 9, 1], image="img")
    write_parquet(tmp_path / "cifar10-test.parquet", pixels(2), [3, 3], image="img")
    write_parquet(tmp_path / "cifar100-train.parquet", pixels(2), [99, 0], label="fine_label")
    data = load("cifar10")
    assert data.train.classes[9] == "truck"
    assert data.train.classes == data.test.classes
    assert load("cifar100").train.num_classes == 100


def test_the_second_load_decodes_nothing(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "images", {"a": pixels(2), "b": pixels(3)})
    path = write_parquet(tmp_path / "a.parquet", pixels(3), [0, 1, 0])
    first = load(path, num_classes=2).train, load(folder).train
    forbid_decoding(monkeypatch)
    second = load(path, num_classes=2).train, load(folder).train
    for a, b in zip(first, second):
        assert a.fingerprint() == b.fingerprint()
    with pytest.raises(AssertionError, match="decoded again"):
        load(path, num_classes=2, cache=False)
    with pytest.raises(AssertionError, match="decoded again"):
        load(path, num_classes=2, resize=(2, 2))


def test_a_changed_file_is_decoded_anew(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pixels(3), [0, 1, 0])
    load(path, num_classes=2)
    write_parquet(path, 255 - pixels(3), [0, 1, 0])
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(load(path, num_classes=2).train.x, 255 - pixels(3).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"nonsense"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    path = write_parquet(tmp_path / "a.parquet", pixels(3), [0, 1, 0])
    want = load(path, num_classes=2).train.fingerprint()
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(damage)
    assert load(path, num_classes=2).train.fingerprint() == want
    assert entry.stat().st_size > 100


def test_without_a_cache_folder_it_still_loads(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "file" / "cache"))
    path = write_parquet(tmp_path / "a.parquet", pixels(3), [0, 1, 0])
    assert len(load(path, num_classes=2).train) == 3


def test_image_folder(tmp_path):
    images = pixels(3)
    folder = write_folder(tmp_path / "images", {"cat": images[:1], "ant": images[1:]})
    (folder / ".hidden").mkdir()
    (folder / "cat" / "notes.txt").write_text("no image")
    data = load(str(folder))
    assert data.train.classes == ("ant", "cat")
    assert data.train.y.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(data.train.x, images[[1, 2, 0]].transpose(0, 3, 1, 2))


def test_image_folder_with_a_test_set(tmp_path):
    write_folder(tmp_path / "images" / "train", {"a": pixels(2), "b": pixels(1)})
    write_folder(tmp_path / "images" / "test", {"a": pixels(1), "b": pixels(1)})
    data = load(tmp_path / "images")
    assert (len(data.train), len(data.test)) == (3, 2)
    write_folder(tmp_path / "images" / "test", {"c": pixels(1)})
    with pytest.raises(DataError, match='class "c" is not in'):
        load(tmp_path / "images")


def test_grey_among_colour_gets_three_channels(tmp_path):
    grey = pixels(1, channels=1)
    folder = write_folder(tmp_path / "images", {"a": grey, "b": pixels(1)})
    x = load(folder).train.x
    assert x.shape == (2, 3, 4, 6)
    assert (x[0] == grey[0]).all()


def test_resize(tmp_path):
    folder = write_folder(tmp_path / "images", {"a": pixels(1), "b": pixels(1, height=8)})
    assert load(folder, resize=(5, 7)).train.x.shape == (2, 3, 5, 7)


def test_npz(tmp_path):
    x, y = pixels(4).transpose(0, 3, 1, 2), np.array([0, 1, 2, 0])
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x[:2], y_test=y[:2])
    data = load(tmp_path / "a.npz", num_classes=3)
    np.testing.assert_array_equal(data.train.x, x)
    assert len(data.test) == 2
    np.savez(tmp_path / "b.npz", x=x, y=y, classes=np.array(["r", "g", "b"]))
    assert load(tmp_path / "b.npz").train.classes == ("r", "g", "b")


def one_line(call, error, *parts):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_unknown_and_missing(tmp_path):
    one_line(lambda: load("cifra10"), DataError, 'unknown data set "cifra10". Did you mean "cifar10"?')
    one_line(lambda: load("data/birds.parquet"), DataError, "data/birds.parquet: no such file or folder.")
    one_line(lambda: load(tmp_path / "none"), DataError, "none: no such file or folder.")
    (tmp_path / "a.txt").write_text("text")
    one_line(
        lambda: load(tmp_path / "a.txt"), DataError, "a.txt: not a data set; a .parquet, .npz, .csv, .tfrecord file"
    )


def test_bad_parquet(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pixels(4), [0, 1, 0, 1], image="a", label="b")
    one_line(lambda: load(path), DataError, 'a.parquet: no image column among a, b; pass image="a".')
    one_line(lambda: load(path, image="c"), DataError, 'no column "c" among a, b')
    one_line(lambda: load(path, image="a"), DataError, "no label column among a, b; pass label=")
    one_line(lambda: load(path, image="b", label="b", num_classes=2), DataError, "needs encoded images")
    one_line(lambda: load(path, image="a", label="b"), ConfigError, "number of classes is not known")
    one_line(lambda: load(path, image="a", label="b", num_classes=1), DataError, "label 1 at index 1; K is 1.")


def test_bad_rows_of_parquet(tmp_path):
    broken = [*pixels(2), b"no image", pixels(1)[0]]
    path = write_parquet(tmp_path / "a.parquet", broken, [0, 1, 0, 1])
    one_line(lambda: load(path, num_classes=2), DataError, "a.parquet row 2: not a readable image.")
    path = write_parquet(tmp_path / "b.parquet", [pixels(1)[0], None], [0, 1])
    one_line(lambda: load(path, num_classes=2), DataError, "b.parquet row 1: not a readable image.")
    path = write_parquet(tmp_path / "c.parquet", pixels(2), [0, None])
    one_line(lambda: load(path, num_classes=2), DataError, "c.parquet row 1: no label.")
    path = write_parquet(tmp_path / "d.parquet", pixels(2), [0.5, 1.0])
    one_line(lambda: load(path, num_classes=2), DataError, "d.parquet: column label: y is float64")
    path = write_parquet(tmp_path / "e.parquet", [], pa.array([], pa.int64()))
    one_line(lambda: load(path, num_classes=2), DataError, "e.parquet")


def test_deep_images(tmp_path):
    """Pillow would cut 16 bits to 255."""
    deep = np.array([[0, 200, 300, 65535]], dtype=np.uint16)
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.fromarray(deep).save(tmp_path / "images" / "a" / "1.png")
    one_line(lambda: load(tmp_path / "images"), DataError, "1.png", "more than 8 bits a channel", "convert it first")


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.9, -1])
def test_cut_parquet(tmp_path, keep):
    path = write_parquet(tmp_path / "a.parquet", pixels(8, height=32, width=32), [0, 1] * 4)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    one_line(lambda: load(path, num_classes=2), DataError, "a.parquet: not a readable Parquet file")


def test_damaged_parquet(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", pixels(8, height=32, width=32), [0, 1] * 4)
    content = bytearray(path.read_bytes())
    content[4:600] = b"\xff" * 596
    path.write_bytes(content)
    one_line(lambda: load(path, num_classes=2), DataError, "a.parquet")


def test_bad_folders(tmp_path):
    folder = write_folder(tmp_path / "images", {"ant": pixels(1), "cat": []})
    one_line(lambda: load(folder), DataError, 'images: class "cat" is empty.')
    (folder / "cat" / "0.png").write_bytes(png(pixels(1)[0])[:60])
    one_line(lambda: load(folder), DataError, "0.png: not a readable image.")
    write_folder(folder, {"cat": pixels(1, height=8)})
    one_line(lambda: load(folder), DataError, "0.png 4x6, ", "0.png 8x6; pass resize=(H, W) (--resize N).")
    (tmp_path / "empty").mkdir()
    one_line(lambda: load(tmp_path / "empty"), DataError, "no class folders")


def test_bad_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((2, 3)), y=np.array([None, 1], dtype=object))
    one_line(lambda: load(path, num_classes=2), DataError, 'a.npz: "y" holds Python objects.')
    np.savez(path, x=np.zeros((2, 3)), labels=np.zeros(2))
    one_line(lambda: load(path, num_classes=2), DataError, 'a.npz: no "y" among x, labels.')
    np.savez(path, x=np.zeros((2, 3)), y=np.zeros(3, int))
    one_line(lambda: load(path, num_classes=2), DataError, "x has 2 rows, y has 3; leading sizes must agree.")
    np.savez(path, x=np.zeros((2, 3)), y=np.zeros(2, int))
    one_line(lambda: load(path), ConfigError, "number of classes is not known")
    whole = path.read_bytes()
    for content in (b"", whole[:100], b"nonsense", whole[:-30]):
        path.write_bytes(content)
        one_line(lambda: load(path, num_classes=2), DataError, "a.npz: not a readable .npz file.")
    np.savez_compressed(path, x=np.arange(3000.0).reshape(1000, 3), y=np.zeros(1000, int))
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    one_line(lambda: load(path, num_classes=2), DataError, 'a.npz: "x" is damaged.')
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    one_line(lambda: load(path, num_classes=2), DataError, "a single array")


class FakeRows:
    """What the package ``datasets`` gives for a split, as far as it is used."""

    def __init__(self, columns, names):
        self.columns, self.column_names = columns, list(columns)
        self.features = {"label": types.SimpleNamespace(names=names)}

    def cast_column(self, column, feature):
        assert feature == "encoded"
        return self

    def __getitem__(self, column):
        return self.columns[column]


def test_hub(monkeypatch):
    rows = {"image": [{"bytes": png(i)} for i in pixels(3)], "label": [0, 1, 0]}

    def fake(load_dataset):
        module = types.SimpleNamespace(
            load_dataset=load_dataset, Image=lambda decode: "encoded", ClassLabel=types.SimpleNamespace
        )
        monkeypatch.setitem(sys.modules, "datasets", module)

    fake(lambda name: {"train": FakeRows(rows, ["a", "b"]), "test": FakeRows(rows, ["a", "b"])})
    data = load("owner/birds")
    np.testing.assert_array_equal(data.test.x, pixels(3).transpose(0, 3, 1, 2))
    assert data.train.classes == ("a", "b")

    def offline(name):
        raise ConnectionError("cannot reach it\nin the least")

    fake(offline)
    one_line(lambda: load("owner/birds"), DataError, "owner/birds: not to be had from the Hub (cannot reach it).")
    message = "mnist: not in TUTELAGE_DATA, and the Hub is not reachable; put mnist-train.parquet there or use "
    one_line(lambda: load("mnist"), DataError, message + "--data digits.")
    fake(lambda name: {"validation": None})
    one_line(lambda: load("owner/birds"), DataError, 'no split "train" among validation.')


def test_hub_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    one_line(lambda: load("owner/birds"), DataError, 'pip install "tutelage[hub]"')
    one_line(lambda: load("cifar10"), DataError, "cifar10: not in TUTELAGE_DATA")


def test_csv(tmp_path):
    (tmp_path / "a-train.csv").write_text("width,height,label\n1,2,cat\n3,4.5,ant\n5,6,cat\n")
    (tmp_path / "a-test.csv").write_text("width,height,label\n7,8,ant\n")
    data = load(tmp_path / "a-train.csv")
    np.testing.assert_array_equal(data.train.x, np.float32([[1, 2], [3, 4.5], [5, 6]]))
    assert data.train.y.tolist() == [1, 0, 1]
    assert data.train.classes == data.test.classes == ("ant", "cat")
    assert data.test.y.tolist() == [0]
    (tmp_path / "b.csv").write_text("y,a\n2,1\n0,3\n")
    assert load(tmp_path / "b.csv", num_classes=3).train.y.tolist() == [2, 0]
    with pytest.raises(ConfigError, match="number of classes is not known"):
        load(tmp_path / "b.csv")
    with pytest.raises(DataError, match='no column "kind" among y, a'):
        load(tmp_path / "b.csv", label="kind")


@pytest.mark.parametrize("texts", [False, True])
def test_tfrecord(tmp_path, texts):
    images, labels = pixels(4), [2, 0, 1, 2]
    for split, rows in (("train", range(3)), ("test", range(3, 4))):
        with TFRecordWriter(tmp_path / f"a-{split}.tfrecord") as out:
            for i in rows:
                label = f"class {labels[i]}".encode() if texts else labels[i]
                out.write_example({"image": png(images[i]), "label": label})
    data = load(tmp_path / "a-train.tfrecord", num_classes=3)
    np.testing.assert_array_equal(data.train.x, images[:3].transpose(0, 3, 1, 2))
    assert data.train.y.tolist() == labels[:3]
    assert data.train.classes == (("class 0", "class 1", "class 2") if texts else ("0", "1", "2"))
    assert data.test.y.tolist() == [2]
    with pytest.raises(DataError, match='no column "picture" among image, label'):
        load(tmp_path / "a-train.tfrecord", image="picture", num_classes=3)


def test_cifar_binary(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (4, 3072), dtype=np.uint8), np.uint8([3, 9, 0, 1])
    ten, hundred = tmp_path / "ten", tmp_path / "hundred"
    for folder in (ten, hundred):
        folder.mkdir()
    for i, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        (ten / f"{name}.bin").write_bytes(bytes([y[i]]) + x[i].tobytes())
    data = load(ten)
    np.testing.assert_array_equal(data.train.x, x[:2].reshape(2, 3, 32, 32))
    assert data.train.y.tolist() == [3, 9]
    assert data.train.classes[9] == "truck"
    assert data.test.y.tolist() == [0]
    (hundred / "train.bin").write_bytes(bytes([19, 99]) + x[0].tobytes())
    assert load(hundred).train.y.tolist() == [99]
    assert load(hundred, label="coarse_label").train.num_classes == 20
    with pytest.raises(ConfigError, match="unknown label of CIFAR-100"):
        load(hundred, label="rough_label")
