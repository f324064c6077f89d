"""The rows of a run: what is in the pool of a seed, with which labels, and what students are tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data import Source, corrupt, split
from ...data.image_lists import ImageList, ImagePool, folder_images, load_listed, load_listed_pair, read_image_list
from ...data.items import Item, tensor_items
from ...data.loading import NAMES
from ...data.sources import IntArray
from ...errors import ConfigError, DataError, unknown
from ...lesson import Batch
from ...randomness import hashed, stream
from .. import naming

_PUBLISHED = {"digits": "3,4,5,8,9"}
"""Classes that are used if none are named."""
_TEST = 0.2


@dataclass(frozen=True, eq=False)
class Material:
    """All rows that a run may use.

    Attributes:
        source: rows to draw pool and test from.
        test: test rows of their own; None: they are drawn from the source.
        chosen: ids in the source of the classes that are used, in order: class k of the run is ``chosen[k]``.
        images: the files of the source's rows; None: they are no files of a folder.
        test_images: those of the test rows of their own.
        fingerprints: by role.
    """

    source: Source
    test: Source | None
    chosen: tuple[int, ...]
    images: ImagePool | None
    test_images: ImagePool | None
    fingerprints: Mapping[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that are used."""
        return tuple(self.source.classes[c] for c in self.chosen)

    @property
    def tested(self) -> tuple[Source, ImagePool | None]:
        """The rows that test rows are drawn from, and their files."""
        return (self.source, self.images) if self.test is None else (self.test, self.test_images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        return tuple(self.source.x.shape[1:])

    def items(self, rows: Sequence[int]) -> tuple[Item, ...]:
        """Return the identity of some rows of the source."""
        if self.images is not None:
            return tuple(self.images.items[row] for row in rows)
        return tensor_items(self.source.name, torch.from_numpy(self.source.x[list(rows)]))


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pool and test of one seed, at one rate of label noise.

    Attributes:
        seed: which.
        pool: rows (N, ...) as the source divides them, given labels in 0..K-1, positions in the source.
        true: labels (N,) before the noise.
        test_x, test_y: what students are tested on.
        test_index: positions of these rows among those that they are drawn from, see :attr:`Material.tested`.
        realised: share of the pool's labels that are wrong.
    """

    seed: int
    pool: Batch
    true: Tensor
    test_x: Tensor
    test_y: Tensor
    test_index: IntArray
    realised: float


def read(options: Any) -> Material:
    """Return the rows that options name.

    Raises:
        ConfigError: for classes that there are not.
        DataError: if something cannot be read.
    """
    images: ImagePool | None = None
    test_images: ImagePool | None = None
    test: Source | None = None
    size = None if options.resize is None else (options.resize, options.resize)
    if options.lists is not None:
        images, test_images = _listed(options, size)
        source, test = images.source, test_images.source
    elif _is_folder_of_classes(options.data):
        images = load_listed(folder_images(options.data), options.data, resize=size)
        source = images.source
    else:
        data, _ = naming.loaded(options)
        source, test = data.train, data.test
    if test is not None and options.per_class is not None:
        test = None
    if test is not None and options.test is not None:
        raise ConfigError(
            f"--test is for rows that are divided, but {source.name} has {len(test):,} test rows of its own; leave it "
            "out, or give --per-class."
        )
    prints = {"training": source.fingerprint()} | ({} if test is None else {"test": test.fingerprint()})
    named = options.only or (_PUBLISHED.get(options.data) if options.data in _PUBLISHED else None)
    return Material(source, test, _chosen(named, source.classes), images, test_images, prints)


def _listed(options: Any, size: tuple[int, int] | None) -> tuple[ImagePool, ImagePool]:
    paths = [part.strip() for part in options.lists.split(",")]
    if len(paths) != 2:
        raise ConfigError(f"--lists is {options.lists}; give the two lists of training and test, TRAIN.txt,TEST.txt.")
    train: ImageList = read_image_list(paths[0])
    return load_listed_pair(train, read_image_list(paths[1], train.classes), options.data, resize=size)


def _is_folder_of_classes(name: str) -> bool:
    """Whether it is a folder with a folder a class, and not one of other files or with parts of its own."""
    path = Path(name)
    if name in NAMES or not path.is_dir() or (path / "train").is_dir() or any(path.glob("*.parquet")):
        return False
    return any(entry.is_dir() and entry.name[0] != "." for entry in path.iterdir())


def _chosen(text: str | None, classes: Sequence[str]) -> tuple[int, ...]:
    if text is None:
        if len(classes) < 2:
            raise ConfigError(
                f"the data has one class, {classes[0]}, but teachers tell two or more apart: add another."
            )
        found = list(range(len(classes)))
    else:
        found = [_class(part.strip(), classes) for part in text.split(",") if part.strip()]
    if len(set(found)) < max(2, len(found)):
        raise ConfigError(f"--only is {text}; name two classes or more, each once.")
    return tuple(found)


def _class(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    raise ConfigError(unknown("class", name, classes))


def draw(material: Material, options: Any, seed: int, rate: float) -> Drawn:
    """Return pool and test of a seed; rates of noise share the split.

    Raises:
        DataError: if a class has too few rows.
    """
    source, device = material.source, torch.device(options.device)
    rows = np.concatenate([_of_class(source.y, c, options.per_class, seed, source.classes) for c in material.chosen])
    rows.sort()
    labels = _renumbered(source.y[rows], material.chosen)
    if material.test is None:
        share = _TEST if options.test is None else options.test
        roles = split(labels, {"test": share, "train": "rest"}, seed=seed)
        pool, held = roles.train, roles.test
        tested, test_y = rows[held], labels[held]
    else:
        pool = np.arange(len(rows))
        tested = np.flatnonzero(np.isin(material.test.y, material.chosen))
        test_y = _renumbered(material.test.y[tested], material.chosen)
    true = labels[pool]
    noise = corrupt(true, "uniform", rate, num_classes=len(material.chosen), seed=seed)
    batch = Batch(
        _scaled(source, rows[pool]).to(device),
        torch.from_numpy(noise.noisy).to(device),
        torch.from_numpy(rows[pool]).to(device),
    )
    tests = _scaled(material.tested[0], tested).to(device), torch.from_numpy(test_y).to(device)
    return Drawn(seed, batch, torch.from_numpy(true).to(device), *tests, tested, noise.realised)


def others(material: Material, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the rows (M, ...) of classes that are not used, and their labels, numbered from 0."""
    left = tuple(c for c in range(material.source.num_classes) if c not in material.chosen)
    rows = np.flatnonzero(np.isin(material.source.y, left))
    labels = _renumbered(material.source.y[rows], left)
    return _scaled(material.source, rows).to(device), torch.from_numpy(labels).to(device)


def _of_class(y: IntArray, label: int, count: int | None, seed: int, names: Sequence[str]) -> IntArray:
    rows = np.flatnonzero(y == label)
    if len(rows) < max(2, count or 0):
        lower = "" if count is None else ", or lower --per-class"
        raise DataError(
            f"class {names[label]} has {len(rows)} rows, but {max(2, count or 0)} are needed: leave it out with "
            f"--only{lower}."
        )
    order: IntArray = rows[np.argsort(hashed(stream(seed, "rows of a class"), rows), kind="stable")]
    return order[:count]


def _renumbered(y: IntArray, chosen: Sequence[int]) -> IntArray:
    places = {c: k for k, c in enumerate(chosen)}
    return np.asarray([places[label] for label in y.tolist()], dtype=np.int64)


def _scaled(source: Source, rows: IntArray) -> Tensor:
    return torch.from_numpy(source.x[rows]).float() / source.scale
