"""Naming data: the options that say what to read, and reading it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import DataSet, load
from ..data.loading import NAMES


@dataclass(frozen=True)
class DataOptions:
    """Options that name data."""

    data: str = "digits"
    """Data set: digits, mnist, cifar10, cifar100, glyphs-sim, butterflies-sim, a Parquet, npz, csv or TFRecord file, an
    image folder, a folder of CIFAR's own binary files, or a Hub name owner/name."""
    label: str | None = None
    """Label column of Parquet, csv, TFRecord or Hub data."""
    image: str | None = None
    """Image column of Parquet, TFRecord or Hub data."""
    classes: int | None = None
    """Number of classes, for files that do not name them."""
    resize: int | None = None
    """Bring images to this many pixels a side."""


def full(path: str | None) -> str | None:
    """Return a name as it is, or the full path of a file, which a run that goes on elsewhere finds again."""
    return str(Path(path).resolve()) if path and path not in NAMES and Path(path).exists() else path


def loaded(options: Any) -> tuple[DataSet, dict[str, str]]:
    """Return the data that options name, and its fingerprints by role."""
    resize = None if options.resize is None else (options.resize, options.resize)
    data = load(options.data, label=options.label, image=options.image, num_classes=options.classes, resize=resize)
    fingerprints = {"training": data.train.fingerprint()}
    if data.test is not None:
        fingerprints["test"] = data.test.fingerprint()
    return data, fingerprints
