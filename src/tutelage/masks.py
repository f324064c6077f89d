"""Masks that adapt to what a network is sure of: FlexMatch, FreeMatch, SoftMatch. What they remember is in buffers."""

import warnings
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from .errors import ConfigError, ShapeError
from .semi_supervised import confidences

SILENT = 500
"""Steps without one unmasked example after which a warning is given."""


class Mask(nn.Module, ABC):
    """How much each unlabelled example counts, by the probabilities that a network gives to its weak view."""

    @abstractmethod
    def weights(self, q: Tensor, index: Tensor) -> Tensor:
        """Return the weights (N,) in [0, 1]; read only.

        Args:
            q: probabilities (N, C), without gradient.
            index: positions in the data set (N,).
        """

    @abstractmethod
    def update(self, q: Tensor, index: Tensor) -> None:
        """Take in the probabilities of a step."""


def _check(classes: int, momentum: float = 0.0) -> None:
    if classes < 2:
        raise ConfigError(f"a mask needs at least 2 classes, but got {classes}.")
    if not 0 <= momentum < 1:
        raise ConfigError(f"momentum of a mask is {momentum}; it must be in [0, 1).")


class FlexMatch(Mask):
    """Lower thresholds for classes that are seldom confident: ``p >= threshold b_c / (2 - b_c)``.

    ``b_c`` is how many examples were last confident of class c, over the most of any class; examples not yet
    confident of any join that maximum, so that all thresholds start low.

    Args:
        classes: C.
        size: of the data set that ``index`` counts in; those of it that are unlabelled are all that is counted.
        threshold: in [0, 1].
        unlabelled: how many rows are unlabelled, if not all of ``size``.

    Source: Zhang et al., "FlexMatch: boosting semi-supervised learning with curriculum pseudo labeling", NeurIPS
    2021, equations 5 to 11, convex mapping; the counts used are those before the step, as in its published code.
    """

    chosen: Tensor

    def __init__(self, classes: int, size: int, threshold: float = 0.95, *, unlabelled: int | None = None) -> None:
        super().__init__()
        _check(classes)
        self.classes, self.threshold = classes, threshold
        self.unlabelled = size if unlabelled is None else unlabelled
        self.register_buffer("chosen", torch.full((size,), -1, dtype=torch.int64))

    def thresholds(self) -> Tensor:
        """Return the threshold of each class, (C,)."""
        counts = torch.bincount(self.chosen[self.chosen >= 0], minlength=self.classes).double()
        b = counts / torch.maximum(counts.max(), self.unlabelled - counts.sum()).clamp_min(1.0)
        return self.threshold * b / (2.0 - b)

    def weights(self, q: Tensor, index: Tensor) -> Tensor:
        """Return 1 where the largest probability reaches its class's threshold."""
        p, label = q.max(-1)
        return (p >= self.thresholds()[label]).to(q.dtype)

    def update(self, q: Tensor, index: Tensor) -> None:
        """Note the class of the rows that reach the full threshold."""
        if len(index) and int(index.max()) >= len(self.chosen):
            raise ShapeError(f"FlexMatch is of {len(self.chosen)} examples, but one has index {int(index.max())}.")
        p, label = q.max(-1)
        sure = p >= self.threshold
        self.chosen[index[sure]] = label[sure]


class FreeMatch(Mask):
    """Thresholds that follow the network: ``p > m pbar_c / max pbar``, moving averages of its confidence and classes.

    Args:
        classes: C.
        momentum: of both averages, m of the largest probability and pbar (C,) of the probabilities; both start at 1/C.

    Source: Wang et al., "FreeMatch: self-adaptive thresholding for semi-supervised learning", ICLR 2023, equations 5
    to 8.
    """

    confidence: Tensor
    share: Tensor

    def __init__(self, classes: int, momentum: float = 0.999) -> None:
        super().__init__()
        _check(classes, momentum)
        self.momentum = momentum
        self.register_buffer("confidence", torch.tensor(1.0 / classes, dtype=torch.float64))
        self.register_buffer("share", torch.full((classes,), 1.0 / classes, dtype=torch.float64))

    def thresholds(self) -> Tensor:
        """Return the threshold of each class, (C,)."""
        return self.confidence * self.share / self.share.max()

    def weights(self, q: Tensor, index: Tensor) -> Tensor:
        """Return 1 where the largest probability is above its class's threshold."""
        p, label = q.max(-1)
        return (p > self.thresholds()[label]).to(q.dtype)

    @torch.no_grad()
    def update(self, q: Tensor, index: Tensor) -> None:
        """Move both averages."""
        self.confidence.lerp_(q.amax(-1).mean().to(self.confidence.dtype), 1.0 - self.momentum)
        self.share.lerp_(q.mean(0).to(self.share.dtype), 1.0 - self.momentum)


class SoftMatch(Mask):
    """Less weight the further below the usual confidence: ``exp(-2 (p - mu)^2 / s^2)`` for p < mu, else 1.

    Args:
        classes: C.
        momentum: of the moving mean mu, from 1/C, and variance s^2, from 1, of the largest probability.

    Source: Chen et al., "SoftMatch: addressing the quantity-quality trade-off in semi-supervised learning", ICLR
    2023, equations 6 to 8, with the published code's two standard deviations.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, classes: int, momentum: float = 0.999) -> None:
        super().__init__()
        _check(classes, momentum)
        self.momentum = momentum
        self.register_buffer("mean", torch.tensor(1.0 / classes, dtype=torch.float64))
        self.register_buffer("variance", torch.tensor(1.0, dtype=torch.float64))

    def weights(self, q: Tensor, index: Tensor) -> Tensor:
        """Return the weights (N,) in (0, 1]."""
        below = (q.amax(-1).double() - self.mean).clamp_max(0.0)
        return torch.exp(-2.0 * below.square() / self.variance).to(q.dtype)

    @torch.no_grad()
    def update(self, q: Tensor, index: Tensor) -> None:
        """Move both averages."""
        p = q.amax(-1).to(self.mean.dtype)
        self.mean.lerp_(p.mean(), 1.0 - self.momentum)
        if len(p) > 1:
            self.variance.lerp_(p.var(), 1.0 - self.momentum)


class Silence(nn.Module):
    """Warns when a mask has kept no example for long: the consistency loss is then 0, which looks like success."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, mask: Tensor, q: Tensor, step: int) -> None:
        """Take in the mask (N,) and the probabilities (N, C) of a step; looks at its count every 50 steps."""
        self.steps.add_(1).mul_(~mask.any())
        if step % 50 == 49 and int(self.steps) >= SILENT:
            warnings.warn(
                f"the consistency loss was 0 for {int(self.steps)} steps, since its mask keeps no example; examples "
                f"by confidence, in tenths: {confidences(q).tolist()}. Lower the threshold, or the temperature.",
                stacklevel=4,
            )
