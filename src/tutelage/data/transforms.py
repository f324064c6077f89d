"""What a transform of a batch is: parameters drawn per index and epoch, applied by a pure function.

``params = op.draw(seed, epoch, index)`` depends on nothing else, so a row looks the same in whatever batch,
order, device or thread it comes; ``op.apply(x, params)`` is pure and differentiable in a float x. One
``params`` on two batches augments both alike.
"""

from abc import ABC, abstractmethod
from enum import IntEnum
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import ShapeError
from ..randomness import counter, hashed, hashed_tensor, stream

Epoch: TypeAlias = int | Tensor
"""One epoch for all rows, or int64 (N,), one a row, on the device of the index."""


class Stage(IntEnum):
    """Where a transform stands in an augmentation; x is bytes before DISTORT, float in [0, 1] there, and float from
    SCALE on.
    """

    CROP = 0
    FLIP = 1
    DISTORT = 2
    SCALE = 3
    ERASE = 4
    MIX = 5


class Transform(ABC):
    """A transform of each row by itself."""

    stage: ClassVar[Stage]

    @abstractmethod
    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> Tensor:
        """Return the parameters of the rows ``index`` (int64, (N,)) in an epoch, on its device.

        A batch that straddles two passes gives an epoch a row. The last axis is N, or 0 if there is nothing to
        draw: loaders draw for many batches at once and cut.
        """

    @abstractmethod
    def apply(self, x: Tensor, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the transformed rows.

        Args:
            x: the N rows that ``params`` were drawn for; stays as it is, unless it is ``out``.
            params: of :meth:`draw`.
            out: a tensor like x that may be overwritten, x itself included, to save the memory of a new one;
                not for differentiation.
        """

    def to(self, device: torch.device) -> "Transform":
        """Return the transform with its constants on a device."""
        return self


def draws(seed: int, name: str, epoch: Epoch, index: Tensor, count: int) -> Tensor:
    """Return the hashes ``v_j = h(stream(seed, name), epoch, index, j)``, int64 bits of shape (count, N).

    Raises:
        ShapeError: if there is an epoch a row, but not as many as rows.
    """
    key = stream(seed, name)
    if isinstance(epoch, Tensor) and epoch.shape != index.shape:
        raise ShapeError(
            f"{name}: epoch has shape {tuple(epoch.shape)}, index {tuple(index.shape)}; one a row is needed."
        )
    if index.device.type == "cpu":  # numpy is 2.5 times faster here, with the same bits
        passes = hashed(key, epoch.numpy()) if isinstance(epoch, Tensor) else counter(key, epoch)
        rows = hashed(passes, index.numpy())
        return torch.from_numpy(hashed(rows, np.arange(count)[:, None]).view(np.int64))
    pass_keys = hashed_tensor(key, epoch) if isinstance(epoch, Tensor) else counter(key, epoch)
    return hashed_tensor(hashed_tensor(pass_keys, index), torch.arange(count, device=index.device)[:, None])


def sides(kind: str, x: Tensor) -> tuple[int, int]:
    """Return height and width of a batch of images (N, C, H, W).

    Raises:
        ShapeError: if x has another number of axes.
    """
    if x.ndim != 4:
        raise ShapeError(f"{kind}: x has shape {tuple(x.shape)}, but needs images (N, C, H, W).")
    return x.shape[2], x.shape[3]
