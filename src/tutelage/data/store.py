"""Records on disk: what a pipeline's ``cache(path)`` writes once and reads ever after.

One safetensors file. The records are parted by layout, which is their structure with the dtype and the number of axes
of each leaf; commonly there is one. A leaf of all records of a layout is one column: stacked if its shapes agree, else
flat with the shapes beside it. Texts are UTF-8 or bytes with their ends. The header says in one JSON text what the
columns mean and what their checksums are.
"""

import json
import os
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import DataError, ShapeError
from .elements import Array, Element

FORMAT = 1
"""Version of the layout of a file; a file of another version is refused."""

Layout: TypeAlias = Any
"""``("dict", ((key, layout), ...))``, ``("tuple", (layout, ...))`` or a leaf, ``(kind, axes)``."""

_ENTRY = "tutelage"


def write_records(
    path: str | Path, key: str, values: Sequence[Element], index: Sequence[Any], epoch: Sequence[Any]
) -> None:
    """Write records, one value, index and epoch each, so that at every moment the whole file is there or none.

    Args:
        path: the file; its folder is made.
        key: what :func:`read_records` must be asked with: it says where the records come from.
        values: elements with numpy leaves of any shape, ``str``, ``bytes``, or object arrays of these two; not
            necessarily alike.
        index: an int, or an int64 array, for each record.
        epoch: likewise.

    Raises:
        ShapeError: if a leaf has a dtype that the file cannot hold.
        DataError: if the file cannot be written.
    """
    parts: dict[Layout, list[list[Any]]] = defaultdict(list)
    places: dict[Layout, list[int]] = defaultdict(list)
    for place, record in enumerate(zip(values, index, epoch, strict=True)):
        leaves: list[Any] = []
        layout = _take_apart(record, leaves)
        parts[layout].append(leaves)
        places[layout].append(place)
    columns: dict[str, Array] = {}
    for number, (layout, rows) in enumerate(parts.items()):
        columns[f"{number}.place"] = np.array(places[layout], dtype=np.int64)
        for leaf, ((kind, axes), column) in enumerate(zip(_leaves_of(layout), zip(*rows), strict=True)):
            for name, array in _packed(kind, axes, column).items():
                columns[f"{number}.{leaf}.{name}"] = array
    sums = {name: _checksum(array) for name, array in columns.items()}
    facts = {"format": FORMAT, "key": key, "records": len(values), "layouts": list(parts), "sums": sums}
    _write(Path(path), columns, json.dumps(facts))


def read_records(path: str | Path, key: str) -> tuple[list[Element], list[Any], list[Any]]:
    """Return the values, indices and epochs that were written with a key, bit for bit; named tuples as tuples.

    Arrays are read-only: they are parts of columns, which are read once.

    Raises:
        DataError: if the file was written with another key or format, is damaged or cannot be read.
    """
    try:
        with safe_open(path, framework="np") as file:
            facts = _facts((file.metadata() or {})[_ENTRY])
            if facts["format"] != FORMAT:
                raise DataError(
                    f"{path}: has format {facts['format']}, this version reads {FORMAT}; remove it or use another path."
                )
            if facts["key"] != key:
                raise DataError(
                    f"{path}: was made by another pipeline or from other data; remove it or use another path."
                )
            columns: dict[str, Array] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, stored in facts["sums"].items():
            if _checksum(columns[name]) != stored:
                raise DataError(f"{path}: is damaged: the checksum of column {name} differs; remove it.")
        records = _records(facts, columns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is damaged: {error}; remove it.") from error
    return [r[0] for r in records], [r[1] for r in records], [r[2] for r in records]


def _records(facts: Mapping[str, Any], columns: dict[str, Array]) -> list[Any]:
    records: list[Any] = [None] * facts["records"]
    parts: dict[str, dict[str, Array]] = defaultdict(dict)
    for name, column in columns.items():
        leaf, part = name.rsplit(".", 1)
        parts[leaf][part] = column
    for number, layout in enumerate(facts["layouts"]):
        leaves = [_unpacked(kind, axes, parts[f"{number}.{i}"]) for i, (kind, axes) in enumerate(_leaves_of(layout))]
        places = columns[f"{number}.place"].tolist()
        for place, row in zip(places, zip(*leaves, strict=True), strict=True):
            records[place] = _put_together(layout, iter(row))
    return records


def _take_apart(nest: Element, leaves: list[Any]) -> Layout:
    """Append the leaves of a nest to a list, and return its layout."""
    if isinstance(nest, dict):
        for key in nest:
            if type(key) not in (str, int):
                raise ShapeError(f"cache: a dict has the key {key!r}; a file holds keys that are str or int.")
        return "dict", tuple((key, _take_apart(value, leaves)) for key, value in nest.items())
    if isinstance(nest, tuple):
        return "tuple", tuple(_take_apart(value, leaves) for value in nest)
    leaves.append(nest)
    if isinstance(nest, str | bytes):
        return "text", 0
    if isinstance(nest, int):
        return "int", 0
    return nest.dtype.str, nest.ndim


def _put_together(layout: Layout, leaves: Iterator[Any]) -> Element:
    kind, parts = layout
    if kind == "dict":
        return {key: _put_together(part, leaves) for key, part in parts}
    if kind == "tuple":
        return tuple(_put_together(part, leaves) for part in parts)
    return next(leaves)


def _leaves_of(layout: Layout) -> Iterator[tuple[str, int]]:
    kind, parts = layout
    if kind == "dict":
        for _, part in parts:
            yield from _leaves_of(part)
    elif kind == "tuple":
        for part in parts:
            yield from _leaves_of(part)
    else:
        yield kind, parts


def _packed(kind: str, axes: int, leaves: Sequence[Any]) -> dict[str, Array]:
    """Return the leaves at one place of all records as the columns of a file."""
    if kind == "text":
        return _packed_texts(leaves)
    if kind == "int":
        return {"stacked": np.array(leaves, dtype=np.int64)}
    shapes = np.array([leaf.shape for leaf in leaves], dtype=np.int64).reshape(len(leaves), axes)
    if np.dtype(kind).kind in "OSU":
        return {"shapes": shapes} | _packed_texts([text for leaf in leaves for text in leaf.ravel().tolist()])
    plain = np.dtype(kind).newbyteorder("=")
    if plain.kind not in "biuf" or plain.itemsize > 8:
        raise ShapeError(f"cache: a leaf is {plain.name}, which a file cannot hold; cast with map first.")
    if (shapes == shapes[0]).all():
        return {"stacked": np.stack(leaves).astype(plain, copy=False)}
    return {"shapes": shapes, "flat": np.concatenate([leaf.ravel() for leaf in leaves]).astype(plain, copy=False)}


def _unpacked(kind: str, axes: int, columns: Mapping[str, Array]) -> list[Any]:
    """Return what :func:`_packed` was given."""
    if kind == "text":
        return _unpacked_texts(columns)
    if kind == "int":
        return list(map(int, columns["stacked"]))
    dtype = np.dtype(kind)
    if "stacked" in columns:
        column = columns["stacked"].astype(dtype, copy=False)
        column.flags.writeable = False
        return [column[i, ...] for i in range(len(column))]
    shapes = columns["shapes"]
    ends = shapes.prod(axis=1).cumsum()
    if dtype.kind in "OSU":
        texts = _unpacked_texts(columns)
        flat = np.empty(len(texts), dtype=dtype)
        flat[:] = texts
    else:
        flat = columns["flat"].astype(dtype, copy=False)
    flat.flags.writeable = False
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes.tolist())]


def _packed_texts(texts: Sequence[Any]) -> dict[str, Array]:
    coded = []
    for text in texts:
        if isinstance(text, str):
            coded.append(b"s" + text.encode("utf-8", "surrogatepass"))
        elif isinstance(text, bytes):
            coded.append(b"b" + text)
        else:
            raise ShapeError(f"cache: an array holds a {type(text).__name__}; a file holds numbers, str and bytes.")
    ends = np.cumsum([len(code) for code in coded], dtype=np.int64)
    return {"text": np.frombuffer(b"".join(coded), dtype=np.uint8), "ends": ends}


def _unpacked_texts(columns: Mapping[str, Array]) -> list[str | bytes]:
    whole, ends = columns["text"].tobytes(), columns["ends"].tolist()
    codes = [whole[start:end] for start, end in zip([0, *ends], ends)]
    return [code[1:].decode("utf-8", "surrogatepass") if code[:1] == b"s" else code[1:] for code in codes]


def _checksum(array: Array) -> int:
    what = repr((array.dtype.str, array.shape)).encode()
    return zlib.crc32(array.reshape(-1).view(np.uint8).data, zlib.crc32(what))


def _sealed(facts: str) -> str:
    return f"{zlib.crc32(facts.encode()):08x}{facts}"


def _facts(sealed: str) -> dict[str, Any]:
    facts = sealed[8:]
    if sealed != _sealed(facts):
        raise ValueError("the checksum of the header differs")
    found: dict[str, Any] = json.loads(facts)
    return found


def _write(path: Path, columns: Mapping[str, Array], facts: str) -> None:
    """Write in full, then rename: a reader or a second writer never meets half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        os.close(handle)
        try:
            # one entry: safetensors writes several in an order that changes from process to process
            save_file(dict(columns), name, {_ENTRY: _sealed(facts)})
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be written: {error}; use another path.") from error
