"""Loader: shuffled, augmented batches of a source in memory, whose place in the stream is one integer.

A step is a pure function of the seed and its number. Nothing is stored but that number, so going on at any
step costs no more than the shuffle of one pass, and prefetching cannot change the stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from ..lesson import Batch
from ..randomness import counter, hashed, stream
from .augment import Augmentation
from .prefetch import ahead
from .rows import HostRows, ResidentRows, Rows, fits_on
from .sources import Array, IntArray, Source

_STEPS_A_BLOCK = 16


class Loader:
    """Batches of the rows ``index`` of a source.

    Pass p visits the rows in ascending order of ``h(stream(seed, "shuffle"), p, i)``, i being the position in
    the full source; augmentation is drawn per (seed, p, i). No row comes twice in a pass.

    Args:
        source: where the rows are.
        labels: what to use as y instead of ``source.y``, such as noisy labels, for all N rows of the source:
            integers (N,) or soft labels (N, K).
        index: positions to use, int64; None: all rows.
        batch_size: rows a batch.
        seed: of shuffling and augmentation.
        shuffle: visit the rows in another order each pass; else in the order of ``index``.
        drop_last: leave out the short last batch of a pass; None: when shuffling, so that evaluation sees
            every row.
        augmentation: what happens to x; None: only ``x / scale``.
        device: where batches live.
        resident: keep the rows on the device; None: on CUDA, if they take at most half of the free memory.
            Batches are the same either way.
        prefetch: batches made ahead by a thread; 0: none.
        views: augment pass p as pass ``p mod views``: a bank of that many views of each row; None: always new
            ones.
        raw: give x as stored, neither scaled nor augmented.

    Raises:
        ConfigError: if an option is not valid, or the batch is larger than the set while short ones are
            dropped.
        DataError: if ``index`` is empty, names a row twice or leaves the source, or labels are not one a row.
    """

    def __init__(
        self,
        source: Source,
        labels: Array | Tensor | None = None,
        *,
        index: IntArray | None = None,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool | None = None,
        augmentation: Augmentation | None = None,
        device: torch.device | str = "cpu",
        resident: bool | None = None,
        prefetch: int = 0,
        views: int | None = None,
        raw: bool = False,
    ) -> None:
        if raw and augmentation is not None:
            raise ConfigError("loader: raw=True gives x as stored; it cannot be augmented.")
        for name, value, least in (
            ("batch size", batch_size, 1),
            ("prefetch", prefetch, 0),
            ("views", views, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"loader: {name} is {value}; it must be at least {least}.")
        self.device = torch.device(device)
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.drop_last = shuffle if drop_last is None else drop_last
        self._scale, self._raw, self._prefetch, self._views = source.scale, raw, prefetch, views

        chosen = _checked_index(source, index)
        self._check_batch_size(len(chosen))
        self._positions = chosen  # of each place in the subset, on the host: the shuffle is drawn from them
        self._crop, self._after = (augmentation or Augmentation()).to(self.device).without_crop()
        self._rows: Rows
        if fits_on(self.device, source.x, chosen, self._crop) if resident is None else resident:
            self._rows = ResidentRows(source.x, chosen, self._crop, self.device)
        else:
            self._rows = HostRows(source.x, chosen, self._crop)
        at = self._rows.device
        self._index = torch.from_numpy(chosen).to(at)
        self._labels = _checked_labels(source, labels)[torch.from_numpy(chosen)].to(at)
        self._order: tuple[int, Tensor] = (-1, self._index)
        self._block: tuple[tuple[int, int], _Block | None] = ((-1, -1), None)

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        rows, size = len(self._positions), self.batch_size
        return rows // size if self.drop_last else -(-rows // size)

    def batches(self, steps: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of the steps ``start .. steps - 1``, pass after pass.

        Args:
            steps: length of the whole training; ``progress`` of a batch is ``step / steps``.
            start: the step to go on at; the batches are those of an uninterrupted run.

        Raises:
            ConfigError: if ``start`` is not in 0..steps.
        """
        if not 0 <= start <= steps:
            raise ConfigError(f"loader: cannot go on at step {start} of {steps}.")
        return ahead(partial(self._batch, 0, steps), start, steps, self._prefetch)

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """Yield the batches of one pass, in which ``progress`` goes from 0 to 1; for evaluation and plain
        loops.
        """
        first = number * len(self)
        return ahead(partial(self._batch, first, len(self)), first, first + len(self), self._prefetch)

    def _batch(self, first: int, steps: int, step: int) -> Batch:
        number, place = divmod(step, len(self))
        block, row = divmod(place, _STEPS_A_BLOCK)
        drawn = self._drawn(number, block)
        here = slice(row * self.batch_size, (row + 1) * self.batch_size)
        x = self._rows.take(drawn.places[here], None if drawn.shift is None else drawn.shift[:, here])
        x, y, index = x.to(self.device), drawn.y[here].clone(), drawn.index[here].clone()
        if not self._raw:
            x = self._after.apply(x, tuple(p[..., here] for p in drawn.params), self._scale)
            x, y = self._after.mix(x, y, self.seed, step)
        return Batch(x, y, index, (step - first) / steps)

    def _drawn(self, number: int, block: int) -> "_Block":
        """Return what is drawn for a block of steps of a pass; the last one used is kept."""
        key, drawn = self._block  # read at once: a prefetching thread may replace the pair
        if drawn is None or key != (number, block):
            drawn = self._draw(number, block)
            self._block = ((number, block), drawn)
        return drawn

    def _draw(self, number: int, block: int) -> "_Block":
        size = self.batch_size * _STEPS_A_BLOCK
        places = self._places(number)[block * size : (block + 1) * size]
        index = self._index.index_select(0, places)
        epoch = number if self._views is None else number % self._views
        shift = None if self._crop is None else self._crop.draw(self.seed, epoch, index)
        y, index = self._labels.index_select(0, places).to(self.device), index.to(self.device)
        return _Block(places, index, y, shift, self._after.draw(self.seed, epoch, index))

    def _places(self, number: int) -> Tensor:
        """Return the order of a pass as places in the subset; the last one used is kept."""
        kept, order = self._order
        if kept != number:
            order = torch.from_numpy(self._shuffled(number)).to(self._rows.device)
            self._order = (number, order)
        return order

    def _shuffled(self, number: int) -> IntArray:
        if not self.shuffle:
            return np.arange(len(self._positions))
        key = counter(stream(self.seed, "shuffle"), number)
        return np.argsort(hashed(key, self._positions), kind="stable")

    def _check_batch_size(self, rows: int) -> None:
        if self.drop_last and self.batch_size > rows:
            raise ConfigError(
                f"batch size {self.batch_size} is larger than the {rows} training rows; "
                f"use --batch-size {rows} or less."
            )


@dataclass(frozen=True, eq=False)
class _Block:
    """What some consecutive steps of a pass need; drawing for many rows at once costs a fraction per row."""

    places: Tensor
    index: Tensor
    y: Tensor
    shift: Tensor | None
    params: tuple[Tensor, ...]


def _checked_index(source: Source, index: IntArray | None) -> IntArray:
    if index is None:
        return np.arange(len(source))
    chosen = np.ascontiguousarray(index, dtype=np.int64)
    if chosen.ndim != 1 or chosen.size == 0:
        raise DataError(f"{source.name}: index has shape {chosen.shape}; it must name at least one row.")
    if chosen.min() < 0 or chosen.max() >= len(source):
        raise DataError(
            f"{source.name}: index reaches from {chosen.min()} to {chosen.max()}; valid are 0..{len(source) - 1}."
        )
    values, counts = np.unique(chosen, return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{source.name}: index names row {values[counts > 1][0]} twice.")
    return chosen


def _checked_labels(source: Source, labels: Array | Tensor | None) -> Tensor:
    y = torch.as_tensor(source.y if labels is None else labels)
    if y.ndim == 0 or len(y) != len(source):
        raise DataError(
            f"{source.name}: labels have shape {tuple(y.shape)}, x has {len(source)} rows; one label a row is needed."
        )
    return y.to(torch.float32 if y.is_floating_point() else torch.int64)
