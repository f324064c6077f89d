"""tf.train.Example: named lists of bytes, floats or integers, parsed and written without TensorFlow.

The message, as its ``.proto`` files say it: ``Example {Features features = 1}``, ``Features {map<string, Feature>
feature = 1}``, ``Feature {oneof kind {BytesList = 1, FloatList = 2, Int64List = 3}}``, and each list
``{repeated value = 1}``, where numbers may be packed or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...errors import ConfigError, DataError, ShapeError, unknown
from ..elements import Array, Signature, as_element
from .wire import I32, LEN, VARINT, encode_field, encode_varints, fields, varints

_BYTES, _FLOATS, _INTS = 1, 2, 3
_WIRES = {_BYTES: (LEN,), _FLOATS: (LEN, I32), _INTS: (LEN, VARINT)}
_HOLDS = {_BYTES: "bytes", _FLOATS: "float32", _INTS: "int64"}
_KINDS = {"bytes": _BYTES, "str": _BYTES, "float32": _FLOATS, "int64": _INTS}
_DEFAULTS: dict[str, type | tuple[type, ...]] = {"bytes": bytes, "str": str, "float32": (int, float), "int64": int}


@dataclass(frozen=True)
class Feature:
    """What a feature of an Example becomes in an element.

    Attributes:
        dtype: ``"float32"``, ``"int64"``, ``"bytes"``, or ``"str"`` for bytes that are UTF-8.
        shape: of the array; () for one value, where bytes and texts become plain ``bytes`` and ``str``;
            None for any number of values, which become an array of shape (n,).
        default: every value of a feature that is missing; None: missing is an error, or n = 0 with ``shape=None``.

    Raises:
        ConfigError: if one of them is not valid.
    """

    dtype: str
    shape: tuple[int, ...] | None = ()
    default: float | bytes | str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in _KINDS:
            raise ConfigError(unknown("dtype of a feature", str(self.dtype), _KINDS))
        if self.shape is not None and not _is_shape(self.shape):
            raise ConfigError(
                f"Feature: shape {self.shape} is no tuple of sides of 0 or more, nor None for any length."
            )
        if self.default is None:
            return
        if self.shape is None:
            raise ConfigError("Feature: one of any length is empty where it is missing; leave out default.")
        if not isinstance(self.default, _DEFAULTS[self.dtype]):
            raise ConfigError(f"Feature: default {self.default!r} is no {self.dtype}.")


def checked_features(features: Any) -> dict[str, Feature]:
    """Return names and what the features of these names become.

    Raises:
        ConfigError: if they are not given as Feature.
    """
    if not isinstance(features, Mapping) or not all(isinstance(f, Feature) for f in features.values()):
        raise ConfigError('features: needed is a dict of names and Feature, such as {"label": Feature("int64")}.')
    return dict(features)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, tuple) and all(isinstance(side, int) and side >= 0 for side in shape)


def parse_example(data: bytes, features: Mapping[str, Feature] | None = None) -> dict[str, Any]:
    """Parse a serialised tf.train.Example.

    Args:
        data: the message.
        features: what to take; None: all there is, as arrays of shape (n,).

    Returns:
        float32 and int64 arrays, ``bytes``, ``str``, and arrays of objects for several bytes or texts.

    Raises:
        DataError: if the message is damaged, or a feature is missing, of another type or of another size.
    """
    found = _lists(data, features)
    if features is None:
        return {
            name: _array(name, Feature(_HOLDS[kind], None), pieces) for name, (kind, pieces) in found.items() if kind
        }
    out = {}
    for name, feature in features.items():
        kind, pieces = found.get(name, (0, []))
        if not kind and feature.shape is not None and feature.default is None:
            names = ", ".join(sorted(_lists(data, None))) or "none"
            raise DataError(f'feature "{name}" is missing among {names}; pass default= if it may be.')
        out[name] = _value(name, feature, kind, pieces) if kind else _missing(feature)
    return out


def encode_example(values: Mapping[str, Any]) -> bytes:
    """Serialise named values as a tf.train.Example.

    Args:
        values: ``bytes`` and ``str`` (as UTF-8), lists and arrays of them, and anything that becomes an array of
            numbers: floats are stored as float32, integers and truth values as int64; shapes are not stored.

    Raises:
        DataError: if a value is nothing of these, or does not fit into float32 or int64.
    """
    entries = []
    for name, value in values.items():
        kind, content = _content(name, value)
        feature = encode_field(kind, content)
        entries.append(encode_field(1, encode_field(1, name.encode()) + encode_field(2, feature)))
    return encode_field(1, b"".join(entries))


def example_signature(features: Mapping[str, Feature]) -> Signature | None:
    """Return dtype and shape of each feature as text; None if one is of any length."""
    out = {}
    for name, feature in features.items():
        if feature.shape is None:
            return None
        texts = _KINDS[feature.dtype] == _BYTES
        dtype = "object" if texts else feature.dtype
        out[name] = feature.dtype if texts and not feature.shape else f"{dtype} {feature.shape}"
    return out


def _lists(data: bytes, wanted: Mapping[str, Feature] | None) -> dict[str, tuple[int, list[bytes]]]:
    """Return name -> (kind, encoded values in pieces) of the wanted features; the last entry of a name counts."""
    found = {}
    for start, end in _messages(data, 1, 0, len(data)):
        for at, to in _messages(data, 1, start, end):
            name, spans = _entry(data, at, to)
            if wanted is None or name in wanted:
                found[name] = _pieces(data, spans)
    return found


def _messages(data: bytes, number: int, start: int, end: int) -> list[tuple[int, int]]:
    """Return (first byte, end) of the messages that stand in the fields of a number."""
    spans = []
    for found, wire, at, to in fields(data, start, end):
        if found == number:
            _expect(wire == LEN, at)
            spans.append((at, to))
    return spans


def _entry(data: bytes, start: int, end: int) -> tuple[str, list[tuple[int, int]]]:
    """Return the name in an entry of the map, and where its feature lies, which may come in parts."""
    name = b""
    spans = []
    for number, wire, at, to in fields(data, start, end):
        _expect(wire == LEN or number > 2, at)
        if number == 1:
            name = data[at:to]
        elif number == 2:
            spans.append((at, to))
    try:
        return name.decode(), spans
    except UnicodeDecodeError:
        raise DataError(f"damaged: the name of a feature, {name[:20]!r}, is not UTF-8.") from None


def _pieces(data: bytes, spans: list[tuple[int, int]]) -> tuple[int, list[bytes]]:
    """Return kind and values of a feature; parts of one kind add up, another kind replaces the one before."""
    kind = 0
    pieces: list[bytes] = []
    for start, end in spans:
        for number, wire, first, last in fields(data, start, end):
            if number not in _WIRES:
                continue
            _expect(wire == LEN, first)
            if number != kind:
                kind, pieces = number, []
            for value, wire, at, to in fields(data, first, last):
                if value == 1:
                    _expect(wire in _WIRES[kind], at)
                    pieces.append(data[at:to])
    return kind, pieces


def _expect(right: bool, at: int) -> None:
    if not right:
        raise DataError(f"damaged at byte {at}: not the wire type of a tf.train.Example.")


def _value(name: str, feature: Feature, kind: int, pieces: list[bytes]) -> Any:
    if kind != _KINDS[feature.dtype]:
        raise DataError(f'feature "{name}" holds {_HOLDS[kind]}, needs {feature.dtype}.')
    array = _array(name, feature, pieces)
    if feature.shape is None:
        return array
    if array.size != prod(feature.shape):
        raise DataError(f'feature "{name}" has {array.size} values, shape {feature.shape} needs {prod(feature.shape)}.')
    return _shaped(array, feature.shape)


def _missing(feature: Feature) -> Any:
    dtype = np.dtype(object if _KINDS[feature.dtype] == _BYTES else feature.dtype)
    if feature.shape is None:
        return np.empty(0, dtype=dtype)
    return _shaped(np.full(prod(feature.shape), feature.default, dtype=dtype), feature.shape)


def _shaped(array: Array, shape: tuple[int, ...]) -> Any:
    return array[0] if array.dtype == object and not shape else array.reshape(shape)


def _array(name: str, feature: Feature, pieces: list[bytes]) -> Array:
    """Return the values of a feature, (n,)."""
    if feature.dtype == "float32":
        if any(len(piece) % 4 for piece in pieces):
            raise DataError(f'feature "{name}" is damaged: a float of less than 4 bytes.')
        return np.frombuffer(b"".join(pieces), dtype="<f4").astype(np.float32)
    if feature.dtype == "int64":
        if any(piece[-1:] >= b"\x80" for piece in pieces):
            raise DataError(f'feature "{name}" is damaged: a number does not end.')
        return varints(b"".join(pieces))
    array = np.empty(len(pieces), dtype=object)
    array[:] = pieces if feature.dtype == "bytes" else [_text(name, piece) for piece in pieces]
    return array


def _text(name: str, piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        raise DataError(f'feature "{name}" is not UTF-8; read it as "bytes".') from None


def _content(name: str, value: Any) -> tuple[int, bytes]:
    """Return kind and encoded list of a value."""
    texts = _texts(value)
    if texts is None:
        return _numbers(name, value)
    for item in texts:
        if not isinstance(item, bytes | str):
            raise DataError(f'feature "{name}": {type(item).__name__} is neither bytes nor text.')
    return _BYTES, b"".join(encode_field(1, item.encode() if isinstance(item, str) else item) for item in texts)


def _texts(value: Any) -> list[Any] | None:
    if isinstance(value, bytes | str):
        return [value]
    if isinstance(value, np.ndarray):
        return value.flatten().tolist() if value.dtype.kind in "OSU" else None
    return list(value) if isinstance(value, list | tuple) and value and isinstance(value[0], bytes | str) else None


def _numbers(name: str, value: Any) -> tuple[int, bytes]:
    try:
        array = as_element(list(value) if isinstance(value, tuple) else value, f'feature "{name}"')
    except ShapeError as error:
        raise DataError(str(error)) from None
    if isinstance(array, dict) or array.dtype.kind not in "biuf":
        held = type(value).__name__ if isinstance(array, dict) else array.dtype
        raise DataError(f'feature "{name}": {held} is neither numbers nor bytes.')
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            floats = array.astype("<f4")
        if np.isinf(floats).sum() != np.isinf(array).sum():
            raise DataError(f'feature "{name}": {np.abs(array[np.isfinite(array)]).max():g} does not fit into float32.')
        return _FLOATS, encode_field(1, floats.tobytes())
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(f'feature "{name}": {array.max()} does not fit into int64.')
    return _INTS, encode_field(1, encode_varints(array.astype(np.int64).flatten()))
