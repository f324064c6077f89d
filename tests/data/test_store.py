"""Records on disk: bit-equal round trips of any nest, damage, another key, what a file cannot hold."""

import json
import os
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tutelage.data.store import FORMAT, read_records, write_records
from tutelage.errors import DataError, ShapeError

NUMBERS = ["?", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", ">i4", ">f8"]
TEXTS = st.text(st.characters(), max_size=5) | st.sampled_from(["", "ü\0", "\ud800"])


def same(a, b):
    """Equal in structure, dtype, shape and bits."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return type(b) is tuple and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        if not isinstance(b, np.ndarray) or (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        return a.tolist() == b.tolist() if a.dtype.kind in "OSU" else a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def round_trip(path, values, index=None, epoch=None):
    index = list(range(len(values))) if index is None else index
    epoch = [0] * len(values) if epoch is None else epoch
    write_records(path, "key", values, index, epoch)
    found = read_records(path, "key")
    assert all(isinstance(part, list) for part in found)
    assert same(tuple(map(tuple, found)), (tuple(values), tuple(index), tuple(epoch)))
    return found


@st.composite
def numbers(draw, axes=3):
    dtype = np.dtype(draw(st.sampled_from(NUMBERS)))
    shape = draw(st.lists(st.integers(0, 3), max_size=axes))
    count = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if dtype.kind == "b":
        raw = bytes(b & 1 for b in raw)
    return np.frombuffer(raw, dtype=dtype).reshape(shape)  # any bits, NaNs of any kind too


@st.composite
def texts(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=2))
    count = int(np.prod(shape))
    words = draw(st.lists(TEXTS | st.binary(max_size=4), min_size=count, max_size=count))
    out = np.empty(count, dtype=object)
    out[:] = words
    return out.reshape(shape)


LEAVES = numbers() | texts() | TEXTS | st.binary(max_size=4)
NESTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(-2, 2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(NESTS, max_size=6), st.integers(0, 2**63 - 1))
def test_any_records_come_back(tmp_path_factory, values, top):
    round_trip(tmp_path_factory.getbasetemp() / "any", values, [top - i for i in range(len(values))])


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(NUMBERS), st.integers(0, 2), st.booleans())
def test_alike_records_come_back_whether_their_shapes_agree_or_not(tmp_path_factory, data, dtype, axes, ragged):
    one = st.tuples(*[st.integers(0, 4)] * axes)
    shapes = data.draw(st.lists(one, min_size=1, max_size=8) if ragged else one.map(lambda shape: [shape] * 5))
    values = [{"x": np.full(shape, i % 2).astype(dtype), "name": f"record {i}"} for i, shape in enumerate(shapes)]
    round_trip(tmp_path_factory.getbasetemp() / "alike", values)


def test_batches_with_their_indices_come_back(tmp_path):
    index = np.arange(10)
    values = [
        (np.ones((len(i), 2), np.float32), np.array(["a", "bb"])[i % 2]) for i in (index[:4], index[4:8], index[8:])
    ]
    found, indices, epochs = round_trip(
        tmp_path / "deep" / "er" / "file", values, [index[:4], index[4:8], index[8:]], [index[:4] * 0, 3, index[8:] * 0]
    )
    assert [i.tolist() for i in indices] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert type(epochs[1]) is int
    assert found[0][1].dtype == np.dtype("<U2")


def test_columns_are_stacked_and_typed(tmp_path):
    """What a file holds can be read by others."""
    values = [(np.full((2, 3), i, np.float16), np.array(i, dtype=np.uint8)) for i in range(5)]
    round_trip(tmp_path / "file", values)
    held = load_file(tmp_path / "file")
    assert {(c.dtype.name, c.shape) for c in held.values()} == {
        ("float16", (5, 2, 3)),
        ("uint8", (5,)),
        ("int64", (5,)),
    }


def test_named_tuples_come_back_as_tuples(tmp_path):
    Point = namedtuple("Point", "x y")
    write_records(tmp_path / "file", "key", [Point(np.zeros(2), "a")], [0], [0])
    (value,), _, _ = read_records(tmp_path / "file", "key")
    assert type(value) is tuple
    assert value[1] == "a"


def test_leaves_in_any_memory_order_come_back(tmp_path):
    base = np.arange(24).reshape(4, 6)
    round_trip(tmp_path / "file", [base.T, base[::-1, ::2], np.asfortranarray(base)])


def test_what_is_read_cannot_be_written_in(tmp_path):
    write_records(tmp_path / "file", "key", [np.zeros(2), np.zeros(2)], [0, 1], [0, 0])
    (value, _), _, _ = read_records(tmp_path / "file", "key")
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 1


def test_no_records_are_fine(tmp_path):
    round_trip(tmp_path / "file", [])


def test_a_file_is_the_same_whenever_it_is_written(tmp_path):
    """The order of a header's entries is drawn anew for each; there must be one only."""
    for name in "abcd":
        write_records(tmp_path / name, "key", [{"x": np.arange(3), "y": "a"}], [0], [0])
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_another_key_is_refused(tmp_path):
    path = tmp_path / "file"
    write_records(path, "key", ["a"], [0], [0])
    line = f"{path}: was made by another pipeline or from other data; remove it or use another path."
    with pytest.raises(DataError) as caught:
        read_records(path, "other")
    assert str(caught.value) == line


def test_another_format_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    monkeypatch.setattr("tutelage.data.store.FORMAT", FORMAT + 1)
    write_records(path, "key", ["a"], [0], [0])
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"file: has format 2, this version reads 1; remove it or use another path\.$"):
        read_records(path, "key")


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_and_every_cut_is_refused(tmp_path, step):
    path = tmp_path / "file"
    write_records(path, "key", [(np.arange(3, dtype=np.float32), "a")], [7], [0])
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), step):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"file: is damaged: "):
            read_records(path, "key")
    for size in range(0, len(whole), step):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"file: "):
            read_records(path, "key")
    path.write_bytes(whole)
    assert read_records(path, "key")[1:] == ([7], [0])


@pytest.mark.parametrize("change", [lambda x: x.view(np.int32), lambda x: x.reshape(3, 2)])
def test_a_column_of_another_type_or_shape_is_refused(tmp_path, change):
    path = tmp_path / "file"
    write_records(path, "key", [np.arange(3, dtype=np.float32)] * 2, [0, 1], [0, 0])
    with safe_open(path, framework="np") as file:
        header = file.metadata()
    columns = load_file(path)
    save_file(columns | {"0.0.stacked": change(columns["0.0.stacked"])}, path, header)
    with pytest.raises(DataError, match=r"is damaged: the checksum of column 0\.0\.stacked differs; remove it\."):
        read_records(path, "key")


@pytest.mark.parametrize("header", [None, {}, {"tutelage": "no"}, {"other": "x"}, {"tutelage": json.dumps({})}])
def test_a_file_of_something_else_is_refused(tmp_path, header):
    save_file({"x": np.zeros(2)}, tmp_path / "file", header)
    with pytest.raises(DataError, match=r"file: is damaged: .*; remove it\."):
        read_records(tmp_path / "file", "key")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none: cannot be read: No such file or directory"):
        read_records(tmp_path / "none", "key")


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (np.zeros(2, np.complex64), r"cache: a leaf is complex64, which a file cannot hold; cast with map first\."),
        (np.zeros(2, np.longdouble), r"a leaf is (float128|longdouble)"),
        (np.zeros(2, "datetime64[s]"), r"a leaf is datetime64\[s\], which"),
        (np.zeros(2, [("a", "i4")]), r"a leaf is void32, which"),
        (
            np.array([None, "a"], dtype=object),
            r"cache: an array holds a NoneType; a file holds numbers, str and bytes\.",
        ),
        ({1.5: "a"}, r"cache: a dict has the key 1\.5; a file holds keys that are str or int\."),
    ],
)
def test_what_a_file_cannot_hold_is_refused_and_leaves_the_old_file(tmp_path, leaf, message):
    path = tmp_path / "file"
    write_records(path, "key", ["a"], [0], [0])
    with pytest.raises(ShapeError, match=message):
        write_records(path, "key", [leaf], [0], [0])
    assert read_records(path, "key")[0] == ["a"]
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "taken" / "file", tmp_path / "folder"):
        with pytest.raises(DataError, match=rf"{path.name}: cannot be written: .*; use another path\."):
            write_records(path, "key", ["a"], [0], [0])
    assert sorted(os.listdir(tmp_path)) == ["folder", "taken"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_records(path, "key", ["old"], [0], [0])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_records(path, "key", ["new"], [0], [0])
    monkeypatch.undo()
    assert read_records(path, "key")[0] == ["old"]
    assert os.listdir(tmp_path) == ["file"]
