"""Where the rows of a loader lie, and how a batch of them is gathered and cropped: on the host or on the
device.
"""

from typing import Protocol

import torch
from torch import Tensor

from .geometry import Crop
from .sources import Array, IntArray

_PADDED_COPY_BYTES = 4 << 30


class Rows(Protocol):
    """The rows of a subset, gathered by their place in it."""

    @property
    def device(self) -> torch.device:
        """Where places are expected."""

    def take(self, places: Tensor, shift: Tensor | None) -> Tensor:
        """Return the rows at ``places`` (int64, (B,)) as stored, cropped by ``shift`` (int64, (2, B)) if
        given.
        """


class HostRows:
    """Rows in main memory: one numpy gather a batch.

    With a crop the rows are padded once and a batch is one index into the view of all their windows, which
    takes a copy of (1 + 2 padding / side)^2 times their size; sets whose copy would be above 4 GiB are padded
    batch by batch.

    Args:
        x: all rows of the source, (N, ...).
        index: rows of the subset, int64, (n,).
        crop: how rows are cropped.
    """

    def __init__(self, x: Array, index: IntArray, crop: Crop | None) -> None:
        self._x = x
        self._index = index
        self._crop = crop
        self._padded: Tensor | None = None
        if crop is not None and _size(x, index, crop) <= _PADDED_COPY_BYTES:
            self._padded = crop.pad(torch.from_numpy(x[index]))

    @property
    def device(self) -> torch.device:
        """The host."""
        return torch.device("cpu")

    def take(self, places: Tensor, shift: Tensor | None) -> Tensor:
        """Return the rows at ``places``, cropped by ``shift``; see :class:`Rows`."""
        at = places.numpy()
        if self._crop is None or shift is None:
            return torch.from_numpy(self._x.take(self._index[at], axis=0))
        if self._padded is None:
            return self._crop.apply(torch.from_numpy(self._x.take(self._index[at], axis=0)), shift)
        dy, dx = shift.numpy()
        windows: Array = self._crop.windows(self._padded).numpy()
        return torch.from_numpy(windows[at, :, dy, dx])


class ResidentRows:
    """Rows on the device, uploaded once as they are stored; gathers and crops without synchronising.

    Args:
        x: all rows of the source, (N, ...).
        index: rows of the subset, int64, (n,).
        crop: how rows are cropped.
        device: where they go.
    """

    def __init__(self, x: Array, index: IntArray, crop: Crop | None, device: torch.device) -> None:
        rows = torch.from_numpy(x[index]).to(device)
        self._rows = rows if crop is None else crop.pad(rows)
        self._crop = crop
        self.device = device

    def take(self, places: Tensor, shift: Tensor | None) -> Tensor:
        """Return the rows at ``places``, cropped by ``shift``; see :class:`Rows`."""
        if self._crop is None or shift is None:
            return self._rows.index_select(0, places)
        return self._crop.cut(self._crop.windows(self._rows), places, shift)


def fits_on(device: torch.device, x: Array, index: IntArray, crop: Crop | None) -> bool:
    """Tell whether the padded subset takes at most half of the free memory of a CUDA device."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return _size(x, index, crop) <= free // 2


def _size(x: Array, index: IntArray, crop: Crop | None) -> int:
    """Return the bytes that the rows of the subset take when padded."""
    row = torch.from_numpy(x[:1].copy())
    return (row if crop is None else crop.pad(row)).nbytes * len(index)
