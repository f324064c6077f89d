"""tf.train.Example: bytes by hand from the format's definition, round trips, every message."""

import contextlib
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tutelage.data.records import Feature, encode_example, parse_example
from tutelage.data.records.example import example_signature
from tutelage.data.records.wire import encode_varint, encode_varints, fields, read_varint, varints
from tutelage.errors import ConfigError, DataError

INTS = bytes.fromhex("0a0d 0a0b 0a0161 1206 1a04 0a029601")
"""a: int64_list {150}: Example, Features, entry, name, Feature, Int64List, packed values, each with its length."""


def field(number, content):
    """A field with a length below 128, written out."""
    return bytes([number << 3 | 2, len(content)]) + content


def entry(name, *features):
    return field(1, field(1, name.encode()) + b"".join(field(2, feature) for feature in features))


def example(*entries):
    return field(1, b"".join(entries))


def plain(data):
    return {name: values.tolist() for name, values in parse_example(data).items()}


@pytest.mark.parametrize(
    ("data", "dtype", "values"),
    [
        ("0a0d 0a0b 0a0161 1206 1a04 0a029601", np.int64, [150]),
        ("0a0e 0a0c 0a0161 1207 1a05 0801089601", np.int64, [1, 150]),  # not packed
        ("0a0e 0a0c 0a0161 1207 1a05 0a01010802", np.int64, [1, 2]),  # both
        ("0a16 0a14 0a0161 120f 1a0d 0a0b05ffffffffffffffffff01", np.int64, [5, -1]),
        ("0a13 0a11 0a0161 120c 120a 0a080000803f000000c0", np.float32, [1, -2]),
        ("0a13 0a11 0a0161 120c 120a 0d0000803f0d000000c0", np.float32, [1, -2]),  # not packed
        ("0a0f 0a0d 0a0161 1208 0a06 0a0268690a00", object, [b"hi", b""]),
    ],
)
def test_bytes_by_hand(data, dtype, values):
    data = bytes.fromhex(data)
    parsed = parse_example(data)
    assert parsed["a"].dtype == dtype
    assert plain(data) == {"a": values}
    packed = encode_example(parsed)
    assert plain(packed) == {"a": values}
    assert (packed == data) == (b"\x08\x01" not in data and b"\x08\x02" not in data and b"\x0d\x00" not in data)


def test_an_example_without_features():
    assert encode_example({}) == b"\x0a\x00"
    assert parse_example(b"\x0a\x00") == parse_example(b"") == {}


def test_merging():
    """As protocol buffers do: parts of a message add up, another member of a oneof and a second entry replace."""
    ints, floats = field(3, b"\x08\x01"), field(2, field(1, np.float32([2]).tobytes()))
    assert plain(example(entry("a", ints)) + example(entry("b", floats))) == {"a": [1], "b": [2.0]}
    assert plain(example(entry("a", ints), entry("a", floats))) == {"a": [2.0]}
    assert plain(example(entry("a", ints + ints))) == {"a": [1, 1]}
    assert plain(example(entry("a", ints, ints))) == {"a": [1, 1]}
    assert plain(example(entry("a", ints + floats))) == {"a": [2.0]}
    assert plain(example(field(1, field(2, ints)))) == {"": [1]}


def test_unknown_fields_are_passed_over():
    unknown = b"\x38\x05" + b"\x3d1234" + b"\x3912345678" + field(9, b"text")
    ints = field(3, unknown + b"\x08\x01" + unknown)
    inner = field(1, b"a" + b"") + unknown + field(2, unknown + ints)
    assert plain(unknown + field(1, unknown + field(1, inner)) + unknown) == {"a": [1]}


def test_features():
    data = encode_example(
        {"x": np.arange(6.0).reshape(2, 3), "n": [1, 2, 3], "y": 7, "raw": b"\0\1", "text": "né", "words": ["a", "bc"]}
    )
    spec = {
        "x": Feature("float32", (2, 3)),
        "n": Feature("int64", None),
        "y": Feature("int64"),
        "raw": Feature("bytes"),
        "text": Feature("str"),
        "words": Feature("str", (2,)),
    }
    out = parse_example(data, spec)
    assert list(out) == list(spec)
    np.testing.assert_array_equal(out["x"], np.arange(6, dtype=np.float32).reshape(2, 3), strict=True)
    np.testing.assert_array_equal(out["n"], np.array([1, 2, 3]), strict=True)
    np.testing.assert_array_equal(out["y"], np.array(7), strict=True)
    assert (out["raw"], out["text"]) == (b"\0\1", "né")
    assert out["words"].dtype == object
    assert out["words"].tolist() == ["a", "bc"]
    assert parse_example(data, {"text": Feature("bytes", (1,))})["text"].tolist() == ["né".encode()]
    assert plain(encode_example(out)) == plain(data)


def test_missing_features():
    spec = {
        "x": Feature("float32", (2,), 1.5),
        "y": Feature("int64", (), -1),
        "b": Feature("bytes", (), b"none"),
        "s": Feature("str", (1, 2), "no"),
        "any": Feature("float32", None),
        "texts": Feature("str", None),
    }
    out = parse_example(example(entry("y", b""), field(1, field(1, b"any"))), spec)  # a Feature without a list is none
    np.testing.assert_array_equal(out["x"], np.float32([1.5, 1.5]), strict=True)
    np.testing.assert_array_equal(out["y"], np.array(-1), strict=True)
    assert (out["b"], out["s"].tolist()) == (b"none", [["no", "no"]])
    np.testing.assert_array_equal(out["any"], np.empty(0, np.float32), strict=True)
    assert (out["texts"].shape, out["texts"].dtype) == ((0,), object)


def test_signature():
    spec = {"x": Feature("float32", (2, 3)), "y": Feature("int64"), "b": Feature("bytes"), "w": Feature("str", (2,))}
    expected = {"x": "float32 (2, 3)", "y": "int64 ()", "b": "bytes", "w": "object (2,)"}
    assert example_signature(spec) == expected
    assert example_signature(spec | {"v": Feature("int64", None)}) is None


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (Feature("int64"), 'feature "z" is missing among a; pass default= if it may be.'),
        (Feature("float32"), 'feature "a" holds int64, needs float32.'),
        (Feature("str"), 'feature "a" holds int64, needs str.'),
        (Feature("int64", (2, 2)), 'feature "a" has 1 values, shape (2, 2) needs 4.'),
        (Feature("int64", (0,)), 'feature "a" has 1 values, shape (0,) needs 0.'),
    ],
)
def test_features_that_do_not_fit(feature, message):
    name = "z" if "missing" in message else "a"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        parse_example(INTS, {name: feature})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (INTS[:-1], "damaged at byte 0: a field claims 13 bytes, 12 remain."),
        (example(b"\x0a\x03\x0a\x02a") + INTS, "damaged at byte 4: a field claims 2 bytes, 1 remain."),
        (b"\x0b\x00", "damaged at byte 0: wire type 3 is not in use."),
        (b"\x02\x00", "damaged at byte 0: field number 0."),
        (bytes(8), "damaged at byte 0: field number 0."),
        (b"\x0a", "damaged at byte 1: a number does not end."),
        (b"\x0a" + b"\x80" * 11, "damaged at byte 1: a number does not end."),
        (b"\x08\x00", "damaged at byte 1: not the wire type of a tf.train.Example."),
        (b"\x0a\x02\x08\x00", "damaged at byte 3: not the wire type of a tf.train.Example."),
        (example(entry("a", b"\x18\x01")), "damaged at byte 10: not the wire type of a tf.train.Example."),
        (example(entry("a", field(3, b"\x0d1234"))), "damaged at byte 12: not the wire type of a tf.train.Example."),
        (example(entry("a", field(3, b"\x0a\x01\x80"))), 'feature "a" is damaged: a number does not end.'),
        (example(entry("a", field(3, field(1, b"\x80" * 10 + b"\x01")))), "damaged: a number does not end."),
        (example(entry("a", field(2, field(1, b"123")))), 'feature "a" is damaged: a float of less than 4 bytes.'),
        (
            example(field(1, field(1, b"\xff"))),
            "damaged: the name of a feature, b'\\xff', is not UTF-8.",
        ),
    ],
)
def test_damaged_messages(data, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        parse_example(data)


def test_a_number_cut_in_one_piece_is_not_completed_by_the_next():
    cut = example(entry("a", field(3, field(1, b"\x80") + field(1, b"\x01"))))
    with pytest.raises(DataError, match="a number does not end"):
        parse_example(cut)


def test_text_that_is_not_utf8():
    data = encode_example({"a": b"\xff"})
    assert parse_example(data, {"a": Feature("bytes")}) == {"a": b"\xff"}
    with pytest.raises(DataError, match=r'^feature "a" is not UTF-8; read it as "bytes".$'):
        parse_example(data, {"a": Feature("str")})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("float46",),
            'unknown dtype of a feature "float46". Did you mean "float32"? Known: bytes, str, float32, int64.',
        ),
        (("int64", (2, -1)), "Feature: shape (2, -1) is no tuple of sides of 0 or more, nor None for any length."),
        (("int64", [2]), "Feature: shape [2] is no tuple of sides of 0 or more, nor None for any length."),
        (("int64", None, 3), "Feature: one of any length is empty where it is missing; leave out default."),
        (("int64", (), 1.5), "Feature: default 1.5 is no int64."),
        (("bytes", (), "text"), "Feature: default 'text' is no bytes."),
    ],
)
def test_features_that_cannot_be(arguments, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Feature(*arguments)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), 'feature "a": object is no leaf of an element'),
        ({"b": 1}, 'feature "a": dict is neither numbers nor bytes.'),
        (1j, 'feature "a": complex64 is neither numbers nor bytes.'),
        (["text", 1], 'feature "a": int is neither bytes nor text.'),
        (np.array([None]), 'feature "a": NoneType is neither bytes nor text.'),
        (np.array([np.nan, np.inf, 1e300]), 'feature "a": 1e+300 does not fit into float32.'),
        (np.array([2**63], dtype=np.uint64), 'feature "a": 9223372036854775808 does not fit into int64.'),
    ],
)
def test_values_that_cannot_be_written(value, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        encode_example({"a": value})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, [1]),
        (torch.tensor([[1, 2], [3, 4]]), [1, 2, 3, 4]),
        (np.arange(6).reshape(2, 3).T, [0, 3, 1, 4, 2, 5]),
        (np.array([1, 255], dtype=np.uint8), [1, 255]),
        (np.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1]),
        ((1, 2), [1, 2]),
        ([1.0, 2.5], [1.0, 2.5]),
        (np.array([np.inf, -np.inf]), [np.inf, -np.inf]),
        (np.array([1.5], dtype=">f8"), [1.5]),
        ([], []),
        ((b"a", "é"), [b"a", "é".encode()]),
        (np.array(["a", "b"]), [b"a", b"b"]),
        (np.array([], dtype=object), []),
    ],
)
def test_values_that_can_be_written(value, expected):
    assert plain(encode_example({"a": value})) == {"a": expected}


integers = st.integers(-(2**63), 2**63 - 1)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
values = st.one_of(
    hnp.arrays(np.int64, shapes, elements=integers),
    hnp.arrays(np.float32, shapes, elements=st.floats(width=32)),
    st.lists(st.binary(max_size=200), min_size=1, max_size=5),
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_round_trip(example_):
    data = encode_example(example_)
    spec = {
        name: Feature("bytes", (len(value),)) if isinstance(value, list) else Feature(str(value.dtype), value.shape)
        for name, value in example_.items()
    }
    out = parse_example(data, spec)
    assert out.keys() == example_.keys() == parse_example(data).keys()
    for name, value in example_.items():
        if isinstance(value, list):
            assert out[name].tolist() == value
        else:
            np.testing.assert_array_equal(out[name], value, strict=True)


@given(st.lists(integers))
def test_varints(numbers):
    data = encode_varints(np.array(numbers, dtype=np.int64))
    assert data == b"".join(encode_varint(n % 2**64) for n in numbers)
    assert varints(data).tolist() == numbers
    at = 0
    for n in numbers:
        value, at = read_varint(data, at, len(data))
        assert value == n % 2**64
    assert at == len(data)


def test_known_varints():
    """Source: the page "Encoding" of protobuf.dev."""
    assert encode_varint(150) == b"\x96\x01"
    assert encode_varint(0) == b"\x00"
    assert encode_varints(np.array([-2])) == bytes.fromhex("feffffffffffffffff01")


@given(st.binary(max_size=40))
def test_random_bytes_give_a_message_or_an_error(data):
    try:
        spans = list(fields(data, 0, len(data)))
    except DataError:
        with pytest.raises(DataError, match="damaged"):
            parse_example(data)
    else:
        assert all(0 < start <= stop <= len(data) for _, _, start, stop in spans)


@given(st.data())
def test_flipped_bits_raise_no_other_error(draw):
    data = bytearray(encode_example({"x": [1, 300, -5], "b": [b"abc", b""], "f": [1.0, 2.0]}))
    for bit in draw.draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=3)):
        data[bit // 8] ^= 1 << bit % 8
    spec = {"x": Feature("int64", None), "b": Feature("str", (2,)), "f": Feature("float32", (2,))}
    with contextlib.suppress(DataError):
        assert parse_example(bytes(data), spec).keys() == spec.keys()
