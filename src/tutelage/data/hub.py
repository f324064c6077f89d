"""Data sets of the Hugging Face hub, through the optional package ``datasets``."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from .images import Size, decode
from .parquet import IMAGE_COLUMNS, LABEL_COLUMNS, pick_column, text_labels
from .sources import DataSet, Source, as_labels, class_names


class HubError(DataError):
    """The hub cannot be used: the extra is not installed, or the data set cannot be had."""


def read_hub(
    name: str,
    *,
    label: str | None = None,
    image: str | None = None,
    resize: Size | None = None,
    num_classes: int | None = None,
) -> DataSet:
    """Read the splits ``train`` and ``test`` (if there is one) of a data set such as ``"ylecun/mnist"``.

    Args:
        name: owner and name.
        label: the label column; None: the usual names, see :func:`tutelage.data.parquet.read_parquet`.
        image: the image column; None: ``image`` or ``img``.
        resize: (height, width) to bring images to.
        num_classes: K, where the data set does not name its classes.

    Raises:
        HubError: if the extra is missing or the data set cannot be had.
        ConfigError: if the number of classes is not known.
        DataError: if a column is missing or an image is not readable.
    """
    splits = _download(name)
    if "train" not in splits:
        raise DataError(f'{name}: no split "train" among {", ".join(splits)}.')
    sources = [
        _source(f"{name}-{split}", splits[split], label, image, resize, num_classes)
        for split in ("train", "test")
        if split in splits
    ]
    return DataSet(*sources)


def _download(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise HubError(f'{name}: the Hub needs the package datasets: pip install "tutelage[hub]".') from None
    try:
        return datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise HubError(f"{name}: not to be had from the Hub ({why}).") from None


def _source(
    name: str, rows: Any, label: str | None, image: str | None, resize: Size | None, num_classes: int | None
) -> Source:
    import datasets

    image = pick_column(name, "image", image, IMAGE_COLUMNS, rows.column_names)
    label = pick_column(name, "label", label, LABEL_COLUMNS, rows.column_names)
    encoded = rows.cast_column(image, datasets.Image(decode=False))[image]
    x = decode(((f"{name} row {i}", value["bytes"] or b"") for i, value in enumerate(encoded)), resize)
    values: Sequence[Any] = list(rows[label])
    if isinstance(values[0], str):
        y, found = text_labels(name, values)
        return Source(name, x, y, class_names(name, num_classes, found))
    feature = rows.features[label]
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    return Source(name, x, as_labels(name, np.asarray(values)), class_names(name, num_classes, names))
