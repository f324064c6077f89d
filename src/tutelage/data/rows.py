"""Where the rows of a fast path lie, and how a batch of them is gathered and cropped: on the host or on the
device.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .elements import Array, IntArray, as_tensors
from .geometry import Crop

_PADDED_COPY_BYTES = 4 << 30


class Rows(Protocol):
    """Rows, gathered by their index."""

    def take(self, index: Tensor, shift: Tensor | None) -> Tensor:
        """Return the rows at ``index`` (int64, (B,)) as stored, cropped by ``shift`` (int64, (2, B)) if
        given.
        """


class HostRows:
    """Rows in main memory: one numpy gather a batch.

    With a crop the rows are padded once and a batch is one index into the view of all their windows, which
    takes a copy of (1 + 2 padding / side)^2 times their size; sets whose copy would be above 4 GiB are padded
    batch by batch.

    Args:
        x: all rows of the source, (N, ...).
        used: the rows that will be asked for, int64, (n,); None: all.
        crop: how rows are cropped.
    """

    def __init__(self, x: Array, used: IntArray | None, crop: Crop | None) -> None:
        self._x, self._crop = x, crop
        self._padded: Tensor | None = None
        if crop is not None and _size(x, used, crop) <= _PADDED_COPY_BYTES:
            self._padded = crop.pad(_tensor(x, used))
            self._places = None if used is None else _places(len(x), used)

    def take(self, index: Tensor, shift: Tensor | None) -> Tensor:
        """Return the rows at ``index``, cropped by ``shift``; see :class:`Rows`."""
        at = index.numpy()
        if self._crop is None or shift is None:
            return torch.from_numpy(self._x.take(at, axis=0))
        if self._padded is None:
            return self._crop.apply(torch.from_numpy(self._x.take(at, axis=0)), shift)
        dy, dx = shift.numpy()
        windows: Array = self._crop.windows(self._padded).numpy()
        return torch.from_numpy(windows[at if self._places is None else self._places[at], :, dy, dx])


class ResidentRows:
    """Rows on the device, uploaded once as they are stored; gathers and crops without synchronising.

    Args:
        x: all rows of the source, (N, ...).
        used: the rows that will be asked for, int64, (n,); None: all.
        crop: how rows are cropped.
        device: where they go.
    """

    def __init__(self, x: Array, used: IntArray | None, crop: Crop | None, device: torch.device) -> None:
        rows = _tensor(x, used).to(device)
        self._rows = rows if crop is None else crop.pad(rows)
        self._places = None if used is None else torch.from_numpy(_places(len(x), used)).to(device)
        self._crop = crop

    def take(self, index: Tensor, shift: Tensor | None) -> Tensor:
        """Return the rows at ``index``, cropped by ``shift``; see :class:`Rows`."""
        places = index if self._places is None else self._places.index_select(0, index)
        if self._crop is None or shift is None:
            return self._rows.index_select(0, places)
        return self._crop.cut(self._crop.windows(self._rows), places, shift)


def fits_on(device: torch.device, x: Array, used: IntArray | None, crop: Crop | None) -> bool:
    """Tell whether the padded rows take at most half of the free memory of a CUDA device."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return _size(x, used, crop) <= free // 2


def _tensor(x: Array, used: IntArray | None) -> Tensor:
    rows: Tensor = as_tensors(x if used is None else x[used])
    return rows


def _size(x: Array, used: IntArray | None, crop: Crop | None) -> int:
    """Return the bytes that the rows take when padded."""
    row = torch.from_numpy(x[:1].copy())
    return (row if crop is None else crop.pad(row)).nbytes * len(x if used is None else used)


def _places(length: int, used: IntArray) -> IntArray:
    """Return the place of each used row among them."""
    places = np.zeros(length, dtype=np.int64)
    places[used] = np.arange(len(used))
    return places
