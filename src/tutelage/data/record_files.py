"""Labelled data sets in CSV files, TFRecords of encoded images, and CIFAR's own binary files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError
from .cache import decoded
from .images import Size, decode
from .parquet import IMAGE_COLUMNS, LABEL_COLUMNS, pick_column, text_labels
from .published import CIFAR10_CLASSES
from .records import CifarBinaryReader, CsvReader, Feature, TFRecordReader, parse_example
from .sources import DataSet, Source, as_labels, class_names


def read_csv(
    train: Path, test: Path | None = None, *, label: str | None = None, num_classes: int | None = None
) -> DataSet:
    """Read tables whose columns besides the label are numbers.

    Args:
        train: a file with a header.
        test: another one with the same columns, if there is one.
        label: the label column; None: ``label``, ``fine_label``, ``coarse_label``, ``labels`` or ``y``.
        num_classes: K, where labels are integers; texts name their classes, sorted.

    Raises:
        ConfigError: if the number of classes is not known.
        DataError: if a file or a column is missing or not usable.
    """
    files = [train] if test is None else [train, test]
    label = pick_column(str(train), "label", label, (*LABEL_COLUMNS, "y"), _header(train))
    reader = CsvReader(files, label)  # together, so that texts get the same numbers
    names = class_names(str(train), num_classes, reader.classes)
    x, y = reader.gather(np.arange(len(reader)))
    end = len(CsvReader(train, label))
    sources = [Source(str(f), x[rows], y[rows], names) for f, rows in zip(files, (slice(end), slice(end, None)))]
    return DataSet(*sources)


def is_cifar_binary(folder: Path) -> bool:
    """Tell whether a folder holds CIFAR-10 or CIFAR-100 in its own binary format."""
    return (folder / "data_batch_1.bin").is_file() or (folder / "train.bin").is_file()


def read_cifar_binary(folder: Path, *, label: str | None = None) -> DataSet:
    """Read a folder of ``data_batch_*.bin`` and ``test_batch.bin`` (CIFAR-10), or ``train.bin`` and ``test.bin``
    (CIFAR-100).

    Args:
        folder: the folder.
        label: of CIFAR-100, ``fine_label`` (None too) or ``coarse_label``.

    Raises:
        ConfigError: for another label.
        DataError: if a file is damaged.
    """
    ten = sorted(folder.glob("data_batch_*.bin"))
    if ten:
        return _cifar(ten, folder / "test_batch.bin", 10, "fine", CIFAR10_CLASSES)
    kind = (label or "fine_label").removesuffix("_label")
    return _cifar([folder / "train.bin"], folder / "test.bin", 100, kind, None)


def _cifar(train: Sequence[Path], test: Path, classes: int, label: str, names: Sequence[str] | None) -> DataSet:
    def source(files: Sequence[Path]) -> Source:
        reader = CifarBinaryReader(files, classes, label)
        x, y = reader.gather(np.arange(len(reader)))
        return Source(str(files[0].parent), x, y, class_names(str(files[0]), reader.num_classes, names))

    return DataSet(source(train), source([test]) if test.is_file() else None)


def read_tfrecord(
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
    """Read Examples of an encoded image and a label, an integer or a text.

    Args:
        files: the shards in order.
        name: of the source.
        label: the feature with the label; None: the usual names.
        image: the feature with the image; None: ``image``, ``img`` or ``image/encoded``.
        resize: (height, width) to bring images to.
        num_classes: K, where labels are integers.
        classes: the class names, if known.
        cache: keep the decoded images on disk.

    Raises:
        ConfigError: if the number of classes is not known.
        DataError: if a file is damaged, a feature is missing, or an image or label is not usable.
    """
    raw = TFRecordReader(files)
    first = parse_example(raw.read(np.array([0]))[0])
    image = pick_column(str(files[0]), "image", image, (*IMAGE_COLUMNS, "image/encoded"), list(first))
    label = pick_column(str(files[0]), "label", label, (*LABEL_COLUMNS, "image/class/label"), list(first))
    text = first[label].dtype == object
    kinds = {image: Feature("bytes"), label: Feature("str" if text else "int64")}
    reader = TFRecordReader(files, kinds)
    labels = [row[label] for row in reader.read(np.arange(len(reader)))]
    y, found = text_labels(name, labels, classes) if text else (as_labels(name, np.asarray(labels)), None)

    def encoded() -> list[tuple[str, bytes]]:
        return [(f"{name} record {i}", row[image]) for i, row in enumerate(reader.read(np.arange(len(reader))))]

    x = decoded(files, f"tfrecord {image} {resize}", len(y), lambda: decode(encoded(), resize), use=cache)
    return Source(name, x, y, class_names(name, num_classes, found or classes))


def _header(path: Path) -> list[str]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
