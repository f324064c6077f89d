"""The rows of a run: training and test rows of the data, and of the domain that networks know, as networks see them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ...data import DataSet, Normalise, Source, load
from ...data.loading import NAMES
from ...data.scaling import Statistics
from ...data.sources import IntArray
from ...distilled.pools import data_fingerprint
from ...distilled.whitening import Whitening, fitted_whitening
from ...errors import ConfigError, DataError, unknown
from ...lesson import Batch
from ...real_sets import Real
from .options import Chosen

_TUNING = 5000
"""Rows, at most, on which step sizes and rates are chosen."""
_MOST_WHITENED = 64 * 64 * 3


@dataclass(frozen=True, eq=False)
class Domain:
    """Training and test rows, normalised by the training rows.

    Attributes:
        source: of the training rows.
        scaling: ``(x / scale - mean) / std``.
        x, y: training rows (N, ...) and class ids (N,).
        test_x, test_y: test rows.
        fingerprint: of the test rows before they are whitened, which rounds as the machine likes.
        whitening: of normalised rows; None: there is none.
    """

    source: Source
    scaling: Normalise
    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    fingerprint: str
    whitening: Whitening | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        return tuple(self.x.shape[1:])

    @property
    def classes(self) -> int:
        """How many there are."""
        return self.source.num_classes

    @cached_property
    def real(self) -> Real:
        """The training rows, as real sets are chosen from them."""
        return Real(self.x, self.y, self.classes)

    @cached_property
    def batch(self) -> Batch:
        """The training rows as one batch."""
        return Batch(self.x, self.y, torch.arange(len(self.y), device=self.y.device))

    @cached_property
    def tuning(self) -> tuple[Tensor, Tensor]:
        """Training rows on which step sizes are chosen: all of them, or 5,000 spread evenly."""
        count = min(len(self.y), _TUNING)
        rows = torch.linspace(0, len(self.y) - 1, count, dtype=torch.float64).long().to(self.y.device)
        return self.x[rows], self.y[rows]


def read(options: Any) -> tuple[DataSet, DataSet | None]:
    """Return the data, and the domain that networks know if there is one, of the same shape and classes.

    Raises:
        DataError: if something cannot be read, is no image where that is needed, or does not fit.
    """
    size = None if options.resize is None else (options.resize, options.resize)
    data = load(options.data, label=options.label, image=options.image, num_classes=options.classes, resize=size)
    data = _with_channels(data, options.channels)
    if data.train.x.ndim < 2:
        raise DataError(f"{data.train.name}: x has shape {data.train.x.shape}; a row must be a vector or an image.")
    if options.source is None:
        return data, None
    if options.source in CHANGES:
        return data, _changed(data, options.source)
    if "/" not in options.source and options.source not in NAMES and not Path(options.source).exists():
        raise ConfigError(unknown("source", options.source, (*CHANGES, *NAMES)))
    known = load(options.source, num_classes=data.train.num_classes, resize=size)
    known = _with_channels(known, options.channels)
    for what, here, there in (
        ("rows of shape", data.train.x.shape[1:], known.train.x.shape[1:]),
        ("classes", data.train.num_classes, known.train.num_classes),
    ):
        if here != there:
            raise DataError(
                f"--source {known.train.name} has {what} {there}, but {data.train.name} {here}: networks that know "
                "one cannot see the other; use --resize and --channels, or another source."
            )
    return data, known


def domain(data: DataSet, options: Chosen) -> Domain:
    """Return training and test rows on the run's device.

    Raises:
        DataError: if a role would be empty, or a class has no training row.
    """
    source = data.train
    rows, held = divided(data, options)
    counts = np.bincount(source.y[rows], minlength=source.num_classes)
    if not counts.all():
        missing = source.classes[int(np.argmin(counts))]
        raise DataError(
            f"{source.name}: class {missing} has no training row, and images of it can be neither made nor judged; "
            "add some, or lower --classes."
        )
    if source.num_classes < 2:
        raise DataError(f"{source.name} has one class, and nothing to tell it from; add examples of others.")
    scaling = Normalise.fit(source, rows, _statistics(source))
    device = torch.device(options.device)

    def seen(of: Source, index: IntArray) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(of.x[index]).to(device, torch.float32) / of.scale
        return scaling.apply(x), torch.from_numpy(of.y[index]).to(device)

    test = seen(source, held) if data.test is None else seen(data.test, np.arange(len(data.test)))
    plain = Domain(source, scaling, *seen(source, rows), *test, data_fingerprint(*test))
    return plain if options.whitening == "none" else whitened(plain, _fitted(plain))


def whitened(plain: Domain, whitening: Whitening | None) -> Domain:
    """Return a domain with its rows whitened; as it is without a whitening."""
    if whitening is None:
        return plain
    return replace(plain, x=whitening(plain.x), test_x=whitening(plain.test_x), whitening=whitening)


def _fitted(plain: Domain) -> Whitening:
    size = plain.x[0].numel()
    if size > _MOST_WHITENED:
        raise DataError(
            f"--whitening zca of {plain.source.name}: rows have {size:,} numbers, and their correlations are too many "
            f"above {_MOST_WHITENED:,}: make images smaller with --resize, or use none."
        )
    return fitted_whitening(plain.x)


def divided(data: DataSet, options: Chosen) -> tuple[IntArray, IntArray]:
    """Return training rows, and test rows of data that has none of its own, by ``split_seed`` and ``test``.

    Raises:
        DataError: if one of them would be empty.
    """
    n = len(data.train)
    order: IntArray = np.random.RandomState(options.split_seed % 2**32).permutation(n)  # one of its own
    tested = 0 if data.test is not None else round(options.test * n)
    if tested >= n or (data.test is None and tested < 1):
        raise DataError(f"{data.train.name}: {n} rows are too few for {tested} test rows; change --test.")
    return order[: n - tested], order[n - tested :]


def _statistics(source: Source) -> Statistics:
    """One mean and deviation for grey images, those of each channel or column for others."""
    return "scalar" if source.x.ndim == 4 and source.x.shape[1] == 1 else "channel"


def poisoned_classes(text: str, source: Source) -> tuple[int, int]:
    """Read an attack, ``a:b``, of class ids or names.

    Raises:
        ConfigError: for another form, one that is not a class, or one class taken for itself.
    """
    parts = [part.strip() for part in text.split(":")]
    names = list(source.classes)
    ids = [names.index(p) if p in names else int(p) if p.isdecimal() else -1 for p in parts]
    if len(ids) != 2 or not all(0 <= c < len(names) for c in ids):
        raise ConfigError(
            f'--poison "{text}" is not of the form a:b with two of the classes {", ".join(names[:12])}'
            f"{', ...' if len(names) > 12 else ''}, or their ids 0..{len(names) - 1}."
        )
    if ids[0] == ids[1]:
        raise ConfigError(f'--poison "{text}" takes a class for itself; name two, such as 0:1.')
    return ids[0], ids[1]


def _rotated(x: Any, top: Any) -> Any:
    return np.rot90(x, axes=(2, 3))


def _shifted(x: Any, top: Any) -> Any:
    moved = np.zeros_like(x)
    moved[:, :, 1:, 1:] = x[:, :, :-1, :-1]
    return moved


def _inverted(x: Any, top: Any) -> Any:
    return top - x


CHANGES: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "rotated": _rotated,
    "shifted": _shifted,
    "inverted": _inverted,
}
"""Domains that are made of the data itself: turned by 90 degrees, moved by (1, 1) with zeros behind, or dark for
light."""


def _changed(data: DataSet, name: str) -> DataSet:
    def change(source: Source) -> Source:
        if source.x.ndim != 4 or source.x.shape[2] != source.x.shape[3]:
            raise DataError(
                f"--source {name} needs square images (N, C, H, H), but {source.name} has {source.x.shape}."
            )
        top = source.x.dtype.type(source.scale)
        x = np.ascontiguousarray(CHANGES[name](source.x, top))
        return replace(source, name=f"{source.name} {name}", x=x, check=False)

    return DataSet(change(data.train), None if data.test is None else change(data.test))


def _with_channels(data: DataSet, channels: int | None) -> DataSet:
    def bring(source: Source) -> Source:
        if source.x.ndim != 4 or source.x.shape[1] not in (1, 3):
            raise DataError(f"--channels needs images of 1 or 3 channels, but {source.name} has {source.x.shape}.")
        if source.x.shape[1] == channels:
            return source
        x = np.repeat(source.x, 3, axis=1) if channels == 3 else source.x.mean(1, keepdims=True)
        return replace(source, x=np.ascontiguousarray(x.astype(source.x.dtype)), check=False)

    if channels is None:
        return data
    return DataSet(bring(data.train), None if data.test is None else bring(data.test))
