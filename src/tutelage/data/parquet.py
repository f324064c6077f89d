"""Parquet files in the layout of the Hugging Face hub: encoded images beside integer labels."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .cache import decoded
from .images import Size, decode
from .sources import IntArray, Source, as_labels, class_names

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label", "coarse_label", "labels")


def read_parquet(
    files: Sequence[Path],
    name: str,
    *,
    label: str | None = None,
    image: str | None = None,
    resize: Size | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    cache: bool = True,
) -> Source:
    """Read images and labels from the shards of one split.

    Args:
        files: the shards in order.
        name: of the source.
        label: the label column; None: ``label``, ``fine_label``, ``coarse_label`` or ``labels``.
        image: the image column, a struct of ``bytes`` and ``path`` or binary; None: ``image`` or ``img``.
        resize: (height, width) to bring images to.
        num_classes: K, where the file does not name its classes.
        classes: the class names, if known; else those in the metadata of the file; text labels name
            themselves.
        cache: keep the decoded images on disk.

    Raises:
        ConfigError: if the number of classes is not known.
        DataError: if a file is damaged, a column is missing, or an image or label is not usable.
    """
    tables = [_open(file) for file in files]
    columns = tables[0].schema_arrow.names
    image = pick_column(str(files[0]), "image", image, IMAGE_COLUMNS, columns)
    label = pick_column(str(files[0]), "label", label, LABEL_COLUMNS, columns)
    names = classes or _named_classes(tables[0].schema_arrow.metadata, label)
    y, found = _labels(files, tables, label, classes)
    x = decoded(
        files,
        f"parquet {image} {resize}",
        len(y),
        lambda: decode(_encoded(files, tables, image), resize),
        use=cache,
    )
    return Source(name, x, y, class_names(name, num_classes, found or names))


def pick_column(where: str, role: str, given: str | None, usual: Sequence[str], columns: Sequence[str]) -> str:
    """Return the column for a role: the given one, or the first usual one that is there.

    Raises:
        DataError: if there is none.
    """
    for column in (given,) if given is not None else usual:
        if column in columns:
            return column
    missing = f'no column "{given}"' if given is not None else f"no {role} column"
    raise DataError(f'{where}: {missing} among {", ".join(columns)}; pass {role}="{columns[0]}".')


def text_labels(
    where: str, values: Sequence[str], classes: Sequence[str] | None = None
) -> tuple[IntArray, tuple[str, ...]]:
    """Return ids of text labels and the class names they stand for: those given, or those met, sorted.

    Raises:
        DataError: if a text is not among the given names.
    """
    names = tuple(sorted(set(values)) if classes is None else classes)
    numbers = {name: i for i, name in enumerate(names)}
    for row, value in enumerate(values):
        if value not in numbers:
            raise DataError(f'{where} row {row}: label "{value}" is not among the classes {", ".join(names[:10])}.')
    return np.asarray([numbers[value] for value in values], dtype=np.int64), names


def _open(file: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({_first_line(error)}).") from None


def _column(file: Path, table: Any, column: str) -> Iterator[Any]:
    """Yield a column in parts, so that encoded images are not all held at once."""
    import pyarrow

    try:
        for part in table.iter_batches(columns=[column]):
            yield part.column(0)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file}: damaged Parquet file ({_first_line(error)}).") from None


def _labels(
    files: Sequence[Path], tables: Sequence[Any], column: str, classes: Sequence[str] | None
) -> tuple[IntArray, tuple[str, ...] | None]:
    """Return the labels of all shards, and the class names if the labels are text."""
    values: list[Any] = []
    for file, table in zip(files, tables):
        part = [v for chunk in _column(file, table, column) for v in chunk.to_pylist()]
        if None in part:
            raise DataError(f"{file} row {part.index(None)}: no label.")
        values += part
    if values and isinstance(values[0], str):
        return text_labels(str(files[0]), values, classes)
    return as_labels(f"{files[0]}: column {column}", np.asarray(values)), None


def _encoded(files: Sequence[Path], tables: Sequence[Any], column: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow

    for file, table in zip(files, tables):
        row = 0
        for chunk in _column(file, table, column):
            if pyarrow.types.is_struct(chunk.type) and chunk.type.get_field_index("bytes") >= 0:
                chunk = chunk.field("bytes")
            if not (pyarrow.types.is_binary(chunk.type) or pyarrow.types.is_large_binary(chunk.type)):
                raise DataError(f'{file}: column "{column}" is {chunk.type}, needs encoded images (binary).')
            for value in chunk.to_pylist():
                yield f"{file} row {row}", value or b""
                row += 1


def _named_classes(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Return the names that the hub's ``ClassLabel`` feature left in the metadata, if any."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(n) for n in features[label]["names"])
    except (KeyError, ValueError, TypeError):
        return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
