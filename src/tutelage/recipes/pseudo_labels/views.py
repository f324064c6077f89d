"""Weak and strong views of the same rows: noise for vectors and small images, motions and distortions for pictures."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...data import Augmentation, Crop, Cutout, Flip, Normalise, RandAugment
from ...randomness import counter, seeded, stream

Role = Literal["labelled", "weak", "strong", "clean"]


class Views(ABC):
    """How rows look in a role, as a function of the seed, the step and the example."""

    @abstractmethod
    def look(self, role: Role, x: Tensor, index: Tensor, step: int) -> Tensor:
        """Return the rows as a network sees them, (N, ...), float.

        Args:
            role: whose view; ``clean`` is the one of tests, without anything random.
            x: rows as they are in the source, (N, ...).
            index: their positions, (N,).
            step: counted from 0; each step draws anew.
        """


@dataclass(frozen=True)
class Noise(Views):
    """Gaussian noise of a size by role.

    Attributes:
        seed: of the noise.
        scale: what integer rows are divided by.
        scaling: of floats in the working range; None: as they are.
        labelled, weak, strong: standard deviations, of scaled values.
    """

    seed: int
    scale: float
    scaling: Normalise | None
    labelled: float
    weak: float
    strong: float

    def look(self, role: Role, x: Tensor, index: Tensor, step: int) -> Tensor:
        """Return the scaled rows with the role's noise."""
        x = x.to(torch.float32) / self.scale
        x = x if self.scaling is None else self.scaling.apply(x)
        size = 0.0 if role == "clean" else getattr(self, role)
        if size == 0.0:
            return x
        with seeded(counter(stream(self.seed, f"{role} noise"), step)):
            return x + size * torch.randn(x.shape).to(x.device)


class Pictures(Views):
    """Crop and flip; in the strong view, RandAugment and cut-out as well.

    Args:
        seed: of what is drawn.
        scale: what integer pixels are divided by.
        scaling: by channel.
        pad: pixels at each side before the crop.
        operations: of RandAugment.
        magnitude: of these, 0..30.
        cutout: side of the square that is cut out.
    """

    def __init__(
        self, seed: int, scale: float, scaling: Normalise, *, pad: int, operations: int, magnitude: int, cutout: int
    ) -> None:
        self.seed, self.scale = seed, scale

        def moved(role: str) -> tuple[Crop, Flip]:
            return Crop(pad, name=f"{role} crop"), Flip(name=f"{role} flip")

        strong = (RandAugment(operations, magnitude), scaling, *([Cutout(cutout)] if cutout else []))
        self._by_role: dict[str, Augmentation] = {
            "clean": Augmentation(scaling),
            "labelled": Augmentation(*moved("labelled"), scaling),
            "weak": Augmentation(*moved("weak"), scaling),
            "strong": Augmentation(*moved("strong"), *strong),
        }

    def look(self, role: Role, x: Tensor, index: Tensor, step: int) -> Tensor:
        """Return the rows moved, in the strong view also distorted, and scaled."""
        by = self._by_role[role].to(x.device)
        return by.apply(x, by.draw(self.seed, step, index), self.scale)
