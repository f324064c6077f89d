"""Fixed-length records: header, footer, several files, gathering, the writer."""

import os
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data.records import FixedLengthReader, FixedLengthWriter, mapped
from tutelage.errors import ConfigError, DataError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"HEAD" + bytes(range(12)) + b"END")
    return path


def test_records(path):
    reader = FixedLengthReader(path, 3, header_bytes=4, footer_bytes=3)
    assert len(reader) == 4
    elements = reader.read(np.array([3, 0]))
    assert [e.tolist() for e in elements] == [[9, 10, 11], [0, 1, 2]]
    assert elements[0].dtype == np.uint8
    gathered = reader.gather(np.array([1, 1, 2]))
    np.testing.assert_array_equal(gathered, np.uint8([[3, 4, 5], [3, 4, 5], [6, 7, 8]]), strict=True)
    gathered[:] = 0  # the caller's to keep
    assert reader.gather(np.array([1])).tolist() == [[3, 4, 5]]
    assert reader.gather(np.array([], dtype=np.int64)).shape == (0, 3)
    assert reader.signature() == "uint8 (3,)"
    assert reader.kind == "fixed_length"


def test_a_file_without_header_is_all_records(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(6)))
    assert FixedLengthReader(tmp_path / "a", 2).gather(np.arange(3)).tolist() == [[0, 1], [2, 3], [4, 5]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_several_files_against_one_array(tmp_path_factory, counts, data):
    folder = tmp_path_factory.mktemp("files")
    rows = np.random.default_rng(0).integers(0, 256, (sum(counts), 5), dtype=np.uint8)
    parts = np.split(rows, np.cumsum(counts)[:-1])
    for k, part in enumerate(parts):
        (folder / str(k)).write_bytes(b"HH" + part.tobytes() + b"F")
    reader = FixedLengthReader([folder / str(k) for k in range(len(parts))], 5, 2, 1)
    index = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1))), dtype=np.int64)
    assert len(reader) == len(rows)
    np.testing.assert_array_equal(reader.gather(index), rows[index], strict=True)
    np.testing.assert_array_equal(reader.columns(index, slice(1, 3)), rows[index, 1:3], strict=True)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3,), "a.bin: body of 19 bytes is not a multiple of record_bytes=3."),
        ((3, 4), "a.bin: body of 15 bytes"),
        ((3, 10, 9), "a.bin: 19 bytes leave no record beside header and footer."),
        ((3, 10, 10), "a.bin: 19 bytes leave no record beside header and footer."),
    ],
)
def test_bodies_that_do_not_fit(path, sizes, message):
    if message.endswith("15 bytes"):
        assert len(FixedLengthReader(path, *sizes)) == 5
        return
    with pytest.raises(DataError, match=re.escape(message)):
        FixedLengthReader(path, *sizes)


def test_the_message_of_the_remainder(tmp_path):
    (tmp_path / "a").write_bytes(bytes(8))
    with pytest.raises(DataError, match=f"^{tmp_path}/a: body of 8 bytes is not a multiple of record_bytes=3.$"):
        FixedLengthReader(tmp_path / "a", 3)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0,), "record_bytes is 0; it must be at least 1."),
        ((3, -1), "header_bytes is -1; it must be at least 0."),
        ((3, 0, -1), "footer_bytes is -1; it must be at least 0."),
    ],
)
def test_sizes_that_cannot_be(path, sizes, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        FixedLengthReader(path, *sizes)


def test_closing_and_pickling(path):
    reader = FixedLengthReader(path, 3, 4, 3)
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    reader.close()
    with pytest.raises(DataError, match="the reader is closed"):
        reader.gather(np.arange(1))
    assert copy.gather(np.array([3])).tolist() == [[9, 10, 11]]


def test_fingerprint(tmp_path, path, monkeypatch):
    reader = FixedLengthReader(path, 3, 4, 3)
    first = reader.fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert FixedLengthReader(path, 4, 4, 3).fingerprint() != first
    (tmp_path / "b").write_bytes(b"HEAD" + bytes(range(11)) + b"X" + b"END")
    assert FixedLengthReader(tmp_path / "b", 3, 4, 3).fingerprint() != first
    monkeypatch.setattr(mapped, "_FULL_HASH_BYTES", 5)
    sampled = reader.fingerprint()
    assert sampled.startswith("sampled-")
    assert FixedLengthReader(tmp_path / "b", 3, 4, 3).fingerprint() != sampled


def test_writer(tmp_path):
    path = tmp_path / "a"
    with FixedLengthWriter(path, 2, header=b"H", footer=b"FF") as out:
        out.write(b"ab")
        out.write(np.frombuffer(b"cd", dtype=np.uint8))
    assert path.read_bytes() == b"HabcdFF"
    assert FixedLengthReader(path, 2, 1, 2).gather(np.arange(2)).tobytes() == b"abcd"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"abc", "a record of 3 bytes, needs record_bytes=2."),
        (b"", "a record of 0 bytes, needs record_bytes=2."),
        (np.zeros(2, dtype=np.int64), "a record of int64, needs bytes or uint8."),
    ],
)
def test_records_that_do_not_fit(tmp_path, record, message):
    with (
        pytest.raises(DataError, match=f"^{tmp_path}/a: {message}$"),
        FixedLengthWriter(tmp_path / "a", 2) as out,
    ):
        out.write(record)
    assert os.listdir(tmp_path) == []


def test_a_writer_of_empty_records(tmp_path):
    with pytest.raises(ConfigError, match=r"record_bytes is 0; it must be at least 1."):
        FixedLengthWriter(tmp_path / "a", 0)
    assert os.listdir(tmp_path) == []
