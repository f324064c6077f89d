"""Augmentation: transforms in the one order in which they are right and fast."""

import torch
from torch import Tensor

from ..errors import ConfigError
from ..lesson import Mixed
from .geometry import Crop
from .mixing import Mixing
from .transforms import Epoch, Stage, Transform

_ORDER = "crop, flip (in uint8), randaugment, normalise, cutout, mix, at most one of each"


class Augmentation:
    """Crop and flip in uint8, then float and RandAugment, normalise, then cutout, then mixup or cutmix.

    Pixels are moved while they are bytes, a quarter of the memory; RandAugment needs values in [0, 1]; cutout
    sets 0 after normalising, which is the mean colour. Another order is refused.

    Args:
        *ops: transforms in this order, at most one of each stage; any may be missing.

    Raises:
        ConfigError: if they stand in another order, or two have the same stage.
    """

    def __init__(self, *ops: Transform | Mixing) -> None:
        stages = [op.stage for op in ops]
        for op, before, after in zip(ops[1:], stages, stages[1:]):
            if after <= before:
                raise ConfigError(
                    f"augmentation: {type(op).__name__} comes after {before.name.lower()}; the order is {_ORDER}."
                )
        self.transforms = tuple(op for op in ops if isinstance(op, Transform))
        self.mixing = next((op for op in ops if isinstance(op, Mixing)), None)

    def draw(self, seed: int, epoch: Epoch, index: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of every transform but mixing, for the rows ``index`` (int64, (N,)) in an
        epoch, or each in its own (int64, (N,)).
        """
        return tuple(op.draw(seed, epoch, index) for op in self.transforms)

    def apply(self, x: Tensor, params: tuple[Tensor, ...], scale: float = 255.0) -> Tensor:
        """Return the augmented rows as float, without mixing.

        Args:
            x: rows, shape (N, ...); integers are divided by ``scale`` after crop and flip.
            params: of :meth:`draw`; the same ones on two batches augment both alike.
            scale: what integer rows are divided by.
        """
        moves = sum(op.stage < Stage.DISTORT for op in self.transforms)
        for op, drawn in zip(self.transforms[:moves], params):
            x = op.apply(x, drawn)
        given = x if x.is_floating_point() else None
        x = as_float(x, scale)
        for op, drawn in zip(self.transforms[moves:], params[moves:]):
            x = op.apply(x, drawn, out=None if x is given else x)
        return x

    def mix(
        self, x: Tensor, y: Tensor, seed: int, step: int, index: Tensor, view: Tensor | None
    ) -> tuple[Tensor, Tensor, Mixed | None]:
        """Return x and y mixed as drawn for a global step, and which examples are in the rows; unchanged, and None, if
        there is no mixup or cutmix.
        """
        if self.mixing is None:
            return x, y, None
        params = self.mixing.draw(seed, step, len(x), x.device)
        return *self.mixing.apply(x, y, params), self.mixing.record(x, params, index, view)

    def to(self, device: torch.device) -> "Augmentation":
        """Return the same augmentation with its constants on a device."""
        mixing = () if self.mixing is None else (self.mixing,)
        return Augmentation(*(op.to(device) for op in self.transforms), *mixing)

    def without_crop(self) -> tuple[Crop | None, "Augmentation"]:
        """Return the crop, if any, and the augmentation that is left after it; loaders crop while they
        gather.
        """
        first = next(iter(self.transforms), None)
        if not isinstance(first, Crop):
            return None, self
        mixing = () if self.mixing is None else (self.mixing,)
        return first, Augmentation(*self.transforms[1:], *mixing)


def as_float(x: Tensor, scale: float) -> Tensor:
    """Return integer rows as float32 divided by ``scale``; float rows as they are."""
    return x if x.is_floating_point() else x.to(torch.float32).div_(scale)
