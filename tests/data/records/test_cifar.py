"""The binary files of CIFAR: layout, labels, and real images written in that format."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tutelage.data.parquet import read_parquet
from tutelage.data.published import CIFAR10_CLASSES
from tutelage.data.records import CifarBinaryReader, FixedLengthWriter
from tutelage.errors import ConfigError, DataError

DATA = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[3].parent / "shared" / "data")


def write(path, images, *labels):
    with FixedLengthWriter(path, len(labels) + 3072) as out:
        for image, *marks in zip(images, *labels):
            out.write(bytes(marks) + image.tobytes())


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)


def test_cifar10(tmp_path, images):
    y = [6, 9, 9, 4, 1, 0, 2]
    write(tmp_path / "data_batch_1.bin", images[:4], y[:4])
    write(tmp_path / "data_batch_2.bin", images[4:], y[4:])
    reader = CifarBinaryReader([tmp_path / "data_batch_1.bin", tmp_path / "data_batch_2.bin"])
    assert (len(reader), reader.num_classes, reader.kind) == (7, 10, "cifar_binary")
    index = np.array([5, 0, 3, 3])
    x, labels = reader.gather(index)
    np.testing.assert_array_equal(x, images[index], strict=True)
    np.testing.assert_array_equal(labels, np.array(y)[index], strict=True)
    assert x.flags.c_contiguous
    one, label = reader.read(np.array([6]))[0]
    np.testing.assert_array_equal(one, images[6], strict=True)
    np.testing.assert_array_equal(label, np.array(2), strict=True)
    assert reader.signature() == ("uint8 (3, 32, 32)", "int64 ()")
    x, _ = pickle.loads(pickle.dumps(reader)).gather(np.arange(7))  # noqa: S301
    np.testing.assert_array_equal(x, images)


def test_a_pixel_byte_by_byte(tmp_path):
    content = bytearray(3073)
    content[0] = 3
    content[1 + 1024 + 32 * 5 + 7] = 200  # green, row 5, column 7
    (tmp_path / "a").write_bytes(content)
    x, y = CifarBinaryReader(tmp_path / "a").gather(np.array([0]))
    assert (y[0], x[0, 1, 5, 7], x.sum()) == (3, 200, 200)


def test_cifar100(tmp_path, images):
    coarse, fine = [0, 19, 3, 4, 5, 6, 7], [99, 0, 1, 2, 3, 4, 5]
    write(tmp_path / "train.bin", images, coarse, fine)
    reader = CifarBinaryReader(tmp_path / "train.bin", classes=100)
    assert reader.num_classes == 100
    x, y = reader.gather(np.arange(7))
    np.testing.assert_array_equal(x, images)
    assert y.tolist() == fine
    other = CifarBinaryReader(tmp_path / "train.bin", classes=100, label="coarse")
    assert other.num_classes == 20
    assert other.gather(np.arange(7))[1].tolist() == coarse
    assert other.fingerprint() != reader.fingerprint()


def test_bad_labels(tmp_path, images):
    write(tmp_path / "a", images, [0] * 7)
    write(tmp_path / "b", images, [0, 0, 10, 0, 0, 255, 0])
    reader = CifarBinaryReader([tmp_path / "a", tmp_path / "b"])
    assert len(reader.read(np.arange(9))) == 9
    with pytest.raises(DataError, match=f"^{tmp_path}/b: record 2: label 10; K is 10.$"):
        reader.read(np.array([1, 9, 12]))


def test_other_files(tmp_path, images):
    write(tmp_path / "a", images, [0] * 7)
    message = f"^{tmp_path}/a: body of 21511 bytes is not a multiple of record_bytes=3074.$"
    with pytest.raises(DataError, match=message):
        CifarBinaryReader(tmp_path / "a", classes=100)
    with pytest.raises(ConfigError, match=r"^CIFAR has 10 or 100 classes, not 20.$"):
        CifarBinaryReader(tmp_path / "a", classes=20)
    with pytest.raises(ConfigError, match=r'^unknown label of CIFAR-100 "corse". Did you mean "coarse"'):
        CifarBinaryReader(tmp_path / "a", classes=100, label="corse")


def test_real_images(tmp_path):
    file = DATA / "cifar10-test.parquet"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in {DATA}; set TUTELAGE_DATA")
    source = read_parquet([file], "cifar10-test", classes=CIFAR10_CLASSES, cache=False)
    write(tmp_path / "test_batch.bin", source.x, source.y.tolist())
    assert (tmp_path / "test_batch.bin").stat().st_size == 30_730_000
    reader = CifarBinaryReader(tmp_path / "test_batch.bin")
    order = np.random.default_rng(0).permutation(10_000)
    x, y = reader.gather(order)
    np.testing.assert_array_equal(x, source.x[order], strict=True)
    np.testing.assert_array_equal(y, source.y[order], strict=True)
    assert np.bincount(y).tolist() == [1000] * 10
