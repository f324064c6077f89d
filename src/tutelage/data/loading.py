"""``load``: a data set by its name or its path."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DataError, unknown
from .archives import read_npz
from .butterflies import butterflies
from .folders import read_image_folder
from .glyphs import glyphs
from .hub import HubError, read_hub
from .images import Size
from .parquet import read_parquet
from .published import CIFAR10_CLASSES
from .record_files import is_cifar_binary, read_cifar_binary, read_csv, read_tfrecord
from .sources import DataSet, Source

_DIGITS = tuple(str(d) for d in range(10))
_HUB_NAMES = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
_CLASSES = {"mnist": _DIGITS, "cifar10": CIFAR10_CLASSES}
_SIMULATED = {"glyphs-sim": glyphs, "butterflies-sim": butterflies}
NAMES = ("digits", *_HUB_NAMES, *_SIMULATED)
_SUFFIXES = (".parquet", ".npz", ".csv", ".tfrecord")


def load(
    name_or_path: str | Path,
    *,
    label: str | None = None,
    image: str | None = None,
    resize: Size | None = None,
    num_classes: int | None = None,
    cache: bool = True,
) -> DataSet:
    """Load a data set into memory.

    Args:
        name_or_path: ``digits`` (no download), ``glyphs-sim``, ``butterflies-sim`` (drawn, see :func:`glyphs` and
            :func:`butterflies`), ``mnist``, ``cifar10``, ``cifar100`` (from the folder in the variable TUTELAGE_DATA,
            as NAME-train.parquet and NAME-test.parquet, else from the Hub), a Parquet, CSV or TFRecord file (with
            NAME-test beside NAME-train as the test source), a folder of ``train-*.parquet`` shards, of images or of
            CIFAR's own binary files, an .npz file, or the name of a data set of the Hub, ``owner/name``.
        label: label column of Parquet, CSV, TFRecord or Hub data; None: the usual names.
        image: image column of Parquet, TFRecord or Hub data; None: the usual names.
        resize: (height, width) to bring images to, and to draw those that are drawn; None: they must be of one size.
        num_classes: K, for files that do not name their classes.
        cache: keep decoded images on disk, in TUTELAGE_CACHE or the user's cache folder.

    Returns:
        the training source, and the test source if the data set has one.

    Raises:
        ConfigError: if the number of classes is not known, or drawn images are not to be square.
        DataError: if the data set is not known, not found, damaged or not usable.
    """
    name = str(name_or_path)
    if name == "digits":
        return DataSet(load_digits())
    if name in _HUB_NAMES:
        return _load_named(name, label, resize, cache)
    if name in _SIMULATED:
        return _draw(name, resize)
    path = Path(name_or_path)
    if path.is_dir():
        shards = {split: sorted(path.glob(f"{split}-*.parquet")) for split in ("train", "test")}
        if is_cifar_binary(path):
            return read_cifar_binary(path, label=label)
        if not shards["train"]:
            return read_image_folder(path, resize=resize, cache=cache)
        return _read_shards(path.name, shards, label, image, resize, num_classes, cache)
    if path.is_file():
        return _load_file(path, label, image, resize, num_classes, cache)
    if path.suffix in _SUFFIXES or path.is_absolute() or name.count("/") > 1:
        raise DataError(f"{name}: no such file or folder.")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return read_hub(name, label=label, image=image, resize=resize, num_classes=num_classes)
    raise DataError(unknown("data set", name, NAMES))


def load_digits() -> Source:
    """Return the 1,797 digits of scikit-learn: uint8, shape (1797, 1, 8, 8), values 0..16.

    Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998 (its test
        part).
    """
    from sklearn.datasets import load_digits as embedded

    bunch = embedded()
    x = bunch.images.astype(np.uint8)[:, None]
    return Source("digits", x, bunch.target.astype(np.int64), _DIGITS, maximum=16.0)


def _draw(name: str, resize: Size | None) -> DataSet:
    if resize is None:
        return _SIMULATED[name]().data()
    if resize[0] != resize[1]:
        raise ConfigError(f"{name}: resize is {resize[0]}x{resize[1]}; it is drawn in squares, so give one side twice.")
    return _SIMULATED[name](size=resize[0]).data()


def _load_named(name: str, label: str | None, resize: Size | None, cache: bool) -> DataSet:
    folder = os.environ.get("TUTELAGE_DATA")
    train = Path(folder) / f"{name}-train.parquet" if folder else None
    if train is not None and train.is_file():
        return _load_file(train, label, None, resize, _num_classes(name, label), cache)
    try:
        return read_hub(_HUB_NAMES[name], label=label, resize=resize)
    except HubError:
        raise DataError(
            f"{name}: not in TUTELAGE_DATA, and the Hub is not reachable; "
            f"put {name}-train.parquet there or use --data digits."
        ) from None


def _num_classes(name: str, label: str | None) -> int:
    """Return K of a named data set: CIFAR-100 has fine labels and, on request, 20 coarse ones."""
    if name != "cifar100":
        return 10
    return 20 if label == "coarse_label" else 100


def _load_file(
    path: Path,
    label: str | None,
    image: str | None,
    resize: Size | None,
    num_classes: int | None,
    cache: bool,
) -> DataSet:
    if path.suffix == ".npz":
        return read_npz(path, num_classes=num_classes)
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: not a data set; a {', '.join(_SUFFIXES)} file or a folder of images is needed.")
    stem, _, split = path.stem.rpartition("-")
    beside = path.with_name(f"{stem}-test{path.suffix}")
    test = [beside] if split == "train" and beside.is_file() else []
    name = stem if split == "train" else path.stem
    if path.suffix == ".csv":
        return read_csv(path, *test, label=label, num_classes=num_classes)
    if path.suffix == ".tfrecord":
        read = partial(read_tfrecord, label=label, image=image, resize=resize, num_classes=num_classes, cache=cache)
        train = read([path], f"{name}-train")
        return DataSet(train, read(test, f"{name}-test", classes=train.classes) if test else None)
    return _read_shards(name, {"train": [path], "test": test}, label, image, resize, num_classes, cache)


def _read_shards(
    name: str,
    shards: dict[str, list[Path]],
    label: str | None,
    image: str | None,
    resize: Size | None,
    num_classes: int | None,
    cache: bool,
) -> DataSet:
    def read(split: str, classes: Sequence[str] | None) -> Source:
        return read_parquet(
            shards[split],
            f"{name}-{split}",
            label=label,
            image=image,
            resize=resize,
            num_classes=num_classes,
            classes=classes,
            cache=cache,
        )

    train = read("train", _CLASSES.get(name) if label in (None, "label") else None)
    return DataSet(train, read("test", train.classes) if shards["test"] else None)
