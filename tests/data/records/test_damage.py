"""Damaged TFRecord files: every flipped bit and every cut is refused, and the place is named."""

import gzip
import re
import tracemalloc

import numpy as np
import pytest

from tutelage.data.records import TFRecordReader, TFRecordWriter, iter_tfrecord
from tutelage.data.records.sizes import human
from tutelage.errors import DataError

from .oracles import flipped, record

RECORDS = [b"", b"a", b"five!", bytes(range(40)), b"end"]
CONTENT = b"".join(map(record, RECORDS))
STARTS = np.cumsum([0, *(16 + len(r) for r in RECORDS)])


def by_position(path):
    reader = TFRecordReader(path)
    return reader.read(np.arange(len(reader)))


def by_stream(path):
    return list(iter_tfrecord(path))


def by_gzip(path):
    path.write_bytes(gzip.compress(path.read_bytes(), 0))
    return list(iter_tfrecord(path))


FORMS = pytest.mark.parametrize("read", [by_position, by_stream, by_gzip])


def write(path, content):
    """Write to a new file: what is mapped must not shrink."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


@FORMS
def test_every_flipped_bit_is_refused(tmp_path, read):
    path = tmp_path / "a"
    assert read(write(path, CONTENT)) == RECORDS
    for bit in range(8 * len(CONTENT)):
        with pytest.raises(DataError) as caught:
            read(write(path, flipped(CONTENT, bit)))
        number = int(np.searchsorted(STARTS, bit // 8, side="right")) - 1
        assert str(caught.value).startswith(f"{path}: record {number} at byte {STARTS[number]}: ")
        place = bit // 8 - STARTS[number]
        what = "data CRC" if place >= 12 else "length CRC|claims" if place < 8 else "length CRC"
        assert re.search(f": ({what}) ", str(caught.value)), bit


@FORMS
def test_every_cut_is_refused(tmp_path, read):
    """But behind a whole record: nothing in the format tells such a file from a shorter one."""
    path = tmp_path / "a"
    for size in range(1, len(CONTENT)):
        write(path, CONTENT[:size])
        if size in STARTS:
            assert read(path) == RECORDS[: list(STARTS).index(size)]
            continue
        number = int(np.searchsorted(STARTS, size, side="right")) - 1
        left = size - STARTS[number]
        with pytest.raises(DataError) as caught:
            read(path)
        where = f"{path}: record {number} at byte {STARTS[number]}: "
        length = human(len(RECORDS[number]))
        assert str(caught.value) == where + (
            f"header cut off, {left} of 12 bytes remain."
            if left < 12
            else f"claims {length}, {human(max(left - 16, 0))} remain."
        )


@FORMS
def test_every_cut_of_equal_records_is_refused(tmp_path, read):
    """Their heads are equal too, and known when the last one comes."""
    content = record(b"same") * 3
    for size in range(41, 60):
        with pytest.raises(DataError, match=r": record 2 at byte 40: (header cut off|claims 4 bytes), "):
            read(write(tmp_path / "a", content[:size]))


@FORMS
def test_crc_messages(tmp_path, read):
    path = tmp_path / "a"
    content = bytearray(record(b"zero") + record(b"123456789"))
    content[20 + 12] = ord("0")
    with pytest.raises(DataError) as caught:
        read(write(path, bytes(content)))
    start = f"{path}: record 1 at byte 20: data CRC stored 0xc78ab0e5, computed 0x"
    assert re.fullmatch(re.escape(start) + r"[0-9a-f]{8}; damaged file\.", str(caught.value))
    content = bytearray(record(b"zero"))
    content[8] ^= 1
    with pytest.raises(DataError, match=r"length CRC stored 0x.{8}, computed 0x.{8}; damaged file.$"):
        read(write(path, bytes(content)))


@FORMS
@pytest.mark.parametrize(("claim", "text"), [(1 << 28, "268 MB"), (1 << 62, "4.61 EB"), ((1 << 64) - 1, "18.4 EB")])
def test_a_claimed_length_is_not_allocated(tmp_path, read, claim, text):
    path = write(tmp_path / "a", record(b"ok") + record(bytes(41), claim=claim))
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value) == f"{path}: record 1 at byte 18: claims {text}, 41 bytes remain."
    assert peak < 8 << 20


def test_a_flipped_length_is_compared_with_the_file_first(tmp_path):
    path = write(tmp_path / "a", flipped(record(bytes(41)), 28))
    with pytest.raises(DataError, match=r"record 0 at byte 0: claims 268 MB, 41 bytes remain.$"):
        TFRecordReader(path)


def test_the_damaged_file_of_several_is_named(tmp_path):
    whole, damaged = write(tmp_path / "a", CONTENT), write(tmp_path / "b", CONTENT[:-5] + b"X" + CONTENT[-4:])
    reader = TFRecordReader([whole, damaged])
    assert reader.read(np.arange(9)) == RECORDS + RECORDS[:4]
    with pytest.raises(DataError, match=f"^{damaged}: record 4 at byte {STARTS[4]}: data CRC"):
        reader.read(np.array([9]))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (41, "41 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (3100, "3.1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (1 << 28, "268 MB"),
        (10**18, "1 EB"),
        ((1 << 64) - 1, "18.4 EB"),
    ],
)
def test_sizes(size, text):
    assert human(size) == text


def write_random(path, count, size, seed):
    rng = np.random.default_rng(seed)
    with TFRecordWriter(path) as out:
        for _ in range(count):
            out.write(rng.bytes(size))


def read_through(path):
    reader = TFRecordReader(path)
    return sum(len(reader.read(block)) for block in np.array_split(np.arange(len(reader)), len(reader) // 256 + 1))


@pytest.mark.slow
def test_each_of_100_flips_in_20_000_records_is_named(tmp_path):
    path, size = tmp_path / "a", 3100 + 16
    write_random(path, 20_000, 3100, seed=1)
    content = np.memmap(path, np.uint8, "r+")
    for bit in np.random.default_rng(2).integers(0, 8 * content.size, 100).tolist():
        content[bit // 8] ^= 1 << bit % 8
        number = bit // 8 // size
        with pytest.raises(DataError, match=f"^{path}: record {number} at byte {number * size}: "):
            read_through(path)
        content[bit // 8] ^= 1 << bit % 8
    assert read_through(path) == 20_000


@pytest.mark.slow
def test_of_1_000_flips_in_100_000_records_none_passes(tmp_path):
    """Flips of heads one by one, as they are found on opening; those of data and its CRC together."""
    path, size, count = tmp_path / "a", 64 + 16, 100_000
    write_random(path, count, 64, seed=3)
    whole = TFRecordReader(path).read(np.arange(count))
    content = np.memmap(path, np.uint8, "r+")
    rng = np.random.default_rng(4)
    records = rng.choice(count, 1000, replace=False)
    bits = rng.integers(0, 8 * size, 1000)
    heads = bits < 8 * 12
    for record_, bit in zip(records[heads].tolist(), bits[heads].tolist()):
        byte = record_ * size + bit // 8
        content[byte] ^= 1 << bit % 8
        with pytest.raises(DataError, match=f": record {record_} at byte {record_ * size}: (length CRC|claims) "):
            TFRecordReader(path)
        content[byte] ^= 1 << bit % 8
    for record_, bit in zip(records[~heads].tolist(), bits[~heads].tolist()):
        content[record_ * size + bit // 8] ^= 1 << bit % 8
    reader = TFRecordReader(path)
    refused = {}
    for k in range(count):
        try:
            assert reader.read(np.array([k])) == [whole[k]]
        except DataError as error:
            refused[k] = str(error)
    assert 100 < heads.sum() < 200
    assert refused.keys() == set(records[~heads].tolist())
    for k, message in refused.items():
        assert f": record {k} at byte {k * size}: data CRC stored " in message
