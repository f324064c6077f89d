"""Arguments of readers that are nearly right."""

import pytest

from tutelage.data.records import CsvReader, TFRecordReader, TFRecordWriter, iter_tfrecord
from tutelage.errors import TutelageError


@pytest.fixture
def record(tmp_path):
    with TFRecordWriter(tmp_path / "a.tfrecord") as out:
        out.write(b"abc")
    return tmp_path / "a.tfrecord"


@pytest.mark.parametrize("files", [None, 5, [None]])
def test_no_paths(files):
    with pytest.raises(TutelageError, match=r"^files are .*; needed is a path or a list of paths\.$"):
        TFRecordReader(files)


@pytest.mark.parametrize("features", [{"label": "int64"}, ["label"]])
def test_no_features(record, features):
    for read in (TFRecordReader, lambda *a: next(iter_tfrecord(*a))):
        with pytest.raises(TutelageError, match=r"^features: needed is a dict of names and Feature"):
            read(record, features)


def test_no_bytes(tmp_path):
    with (
        pytest.raises(TutelageError, match=r": a record is bytes, not str; encode it first\.$"),
        TFRecordWriter(tmp_path / "b") as out,
    ):
        out.write("abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("delimiter", ["", ";;", None])
def test_no_delimiter(tmp_path, delimiter):
    (tmp_path / "a.csv").write_text("a;b\n1;2\n")
    with pytest.raises(TutelageError, match=r"^CsvReader: delimiter is .*; it must be one character\.$"):
        CsvReader(tmp_path / "a.csv", delimiter=delimiter)
