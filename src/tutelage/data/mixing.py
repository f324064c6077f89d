"""Mixup and cutmix: each row of a batch is combined with another one, and so are the targets.

Both depend on the batch, so they are drawn per global step, not per index: ``s = h(stream(seed, name),
step)``, the partners are the positions in ascending order of ``h(s, position)``, and Beta variates come from
a numpy PCG64 seeded with s.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import ConfigError
from ..lesson import Mixed
from ..randomness import counter, hashed_tensor, stream
from .transforms import Stage, sides

_SIGN = -(1 << 63)


@dataclass(frozen=True, eq=False)
class MixParams:
    """How the rows of one batch are mixed.

    Attributes:
        partner: int64, shape (N,): row i is mixed with row ``partner[i]``.
        share: float64, shape (1,) or (N,): how much of its own a row keeps, lambda in the papers.
        centre: of the box as shares of height and width, each in [0, 1); used by cutmix.
    """

    partner: Tensor
    share: Tensor
    centre: tuple[float, float] = (0.0, 0.0)


class Mixing(ABC):
    """A transform that combines the rows of a batch and their targets."""

    stage: ClassVar[Stage] = Stage.MIX
    linear: ClassVar[bool] = False
    """Whether a mixed row is a weighted mean of two."""

    @abstractmethod
    def draw(self, seed: int, step: int, size: int, device: torch.device) -> MixParams:
        """Return the parameters for the batch of ``size`` rows at a global step."""

    @abstractmethod
    def apply(self, x: Tensor, y: Tensor, params: MixParams) -> tuple[Tensor, Tensor]:
        """Return mixed rows and soft targets (N, K); y holds class ids (N,) or soft targets (N, K)."""

    @abstractmethod
    def kept(self, x: Tensor, params: MixParams) -> Tensor:
        """Return how much of its own each row keeps, (N,) or (1,), in the type of x."""

    def record(self, x: Tensor, params: MixParams, index: Tensor, view: Tensor | None) -> Mixed:
        """Return which other examples are in the rows x, (N, ...), of the examples ``index``, (N,)."""
        share = self.kept(x, params).expand(len(x))
        return Mixed(index[params.partner], share, self.linear, None if view is None else view[params.partner])


@dataclass(frozen=True)
class Mixup(Mixing):
    """``x' = lam x + (1 - lam) x[partner]``, targets alike, ``lam ~ Beta(alpha, alpha)``.

    Args:
        num_classes: K, the width of the soft targets.
        alpha: > 0; 1 makes lam uniform.
        per_example: one lam a row instead of one a batch.
        name: of the random stream.

    Raises:
        ConfigError: if ``alpha`` or ``num_classes`` is not above 0.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """

    linear: ClassVar[bool] = True
    num_classes: int
    alpha: float = 1.0
    per_example: bool = False
    name: str = "mixup"

    def __post_init__(self) -> None:
        _check("mixup", self.alpha, self.num_classes)

    def draw(self, seed: int, step: int, size: int, device: torch.device) -> MixParams:
        """Return partners and shares; see :class:`MixParams`."""
        key = counter(stream(seed, self.name), step)
        shares = _generator(key).beta(self.alpha, self.alpha, size if self.per_example else 1)
        return MixParams(_partners(key, size, device), torch.from_numpy(shares).to(device))

    def apply(self, x: Tensor, y: Tensor, params: MixParams) -> tuple[Tensor, Tensor]:
        """Return mixed rows, shape of x, and soft targets, shape (N, K) and type of x."""
        share = self.kept(x, params)
        mixed = torch.lerp(x[params.partner], x, share.view(-1, *[1] * (x.ndim - 1)))
        return mixed, _mixed_targets(x, y, self.num_classes, params.partner, share)

    def kept(self, x: Tensor, params: MixParams) -> Tensor:
        """Return the shares that were drawn."""
        return params.share.to(x.dtype)


@dataclass(frozen=True)
class Cutmix(Mixing):
    """Paste a box of ``x[partner]`` into x; targets are shared by the area of the box.

    The box is ``int(H sqrt(1 - lam))`` by ``int(W sqrt(1 - lam))`` around a uniform centre, clipped at the
    border; then lam becomes ``1 - (real box area) / (H W)``. One box a batch. Arguments and errors as in
    :class:`Mixup`.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable
        features",
    ICCV 2019, equations 1 and 2.
    """

    num_classes: int
    alpha: float = 1.0
    name: str = "cutmix"

    def __post_init__(self) -> None:
        _check("cutmix", self.alpha, self.num_classes)

    def draw(self, seed: int, step: int, size: int, device: torch.device) -> MixParams:
        """Return partners, share and centre; see :class:`MixParams`."""
        key = counter(stream(seed, self.name), step)
        generator = _generator(key)
        share = torch.from_numpy(generator.beta(self.alpha, self.alpha, 1))  # stays on the host: it shapes the box
        return MixParams(_partners(key, size, device), share, (generator.random(), generator.random()))

    def apply(self, x: Tensor, y: Tensor, params: MixParams) -> tuple[Tensor, Tensor]:
        """Return rows with the box pasted in, shape of x, and soft targets, shape (N, K) and type of x."""
        rows, columns = _box(x, params)
        mixed = x.clone()
        mixed[:, :, rows, columns] = x[params.partner, :, rows, columns]
        return mixed, _mixed_targets(x, y, self.num_classes, params.partner, self.kept(x, params))

    def kept(self, x: Tensor, params: MixParams) -> Tensor:
        """Return the share of the image outside the box."""
        height, width = sides("cutmix", x)
        rows, columns = _box(x, params)
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return torch.full((1,), 1 - area / (height * width), dtype=x.dtype, device=x.device)


def soft_targets(y: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Return class ids (N,) as one-hot rows (N, K), and soft targets as they are."""
    return (one_hot(y, num_classes) if y.ndim == 1 else y).to(dtype)


def _mixed_targets(x: Tensor, y: Tensor, num_classes: int, partner: Tensor, share: Tensor) -> Tensor:
    targets = soft_targets(y, num_classes, x.dtype)
    return torch.lerp(targets[partner], targets, share[:, None])


def _box(x: Tensor, params: MixParams) -> tuple[slice, slice]:
    height, width = sides("cutmix", x)
    side = sqrt(1 - float(params.share))
    return _span(height, side, params.centre[0]), _span(width, side, params.centre[1])


def _span(side: int, share: float, centre: float) -> slice:
    length = int(side * share)
    start = int(centre * side) - length // 2
    return slice(max(start, 0), min(start + length, side))


def _partners(key: int, size: int, device: torch.device) -> Tensor:
    hashes = hashed_tensor(key, torch.arange(size, device=device))
    return torch.argsort(hashes ^ _SIGN)  # the sign bit flipped: int64 then sorts as the unsigned hash does


def _generator(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(key))


def _check(kind: str, alpha: float, num_classes: int) -> None:
    if not alpha > 0:
        raise ConfigError(f"{kind}: alpha is {alpha}; it must be above 0.")
    if num_classes < 1:
        raise ConfigError(f"{kind}: num_classes is {num_classes}; it must be at least 1.")
