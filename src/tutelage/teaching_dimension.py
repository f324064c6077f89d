"""The smallest sets from which a linear learner learns given weights exactly.

The learner has no bias and minimises ``sum_i loss(<w, x_i>, y_i) + decay / 2 ||w||^2``. A teacher who knows that
chooses items as it likes, such that the minimiser is ``w*``; the size of the smallest such set is the teaching
dimension of ``w*``. Source: Liu and Zhu, "The teaching dimension of linear learners", JMLR 2016: exact parameters of
homogeneous learners.
"""

import math
from typing import NamedTuple

from torch import Tensor

from .errors import ConfigError, ShapeError

LOGISTIC_PEAK = 1.278464542761074
"""Where ``t / (1 + e^t)`` is largest: the t with ``(t - 1) e^t = 1``."""
LOGISTIC_MOST = LOGISTIC_PEAK - 1
"""How large it is there, 0.2784645: at the peak ``1 + e^t = t e^t``, so that ``t / (1 + e^t) = e^-t = t - 1``."""


class TeachingSet(NamedTuple):
    """Items to show, all at once.

    Attributes:
        x: inputs (n, d).
        y: labels (n,), in the type of the inputs.
    """

    x: Tensor
    y: Tensor

    @property
    def size(self) -> int:
        """How many items: the teaching dimension."""
        return len(self.x)


def ridge_set(target: Tensor, decay: float, *, scale: float = 1.0) -> TeachingSet:
    """Return the one item that teaches ridge regression, of the loss ``1/2 (<w, x> - y)^2``.

    ``x = a w*``, ``y = a ||w*||^2 + decay / a``.

    Args:
        target: w* (d,), not 0.
        decay: > 0.
        scale: a > 0, any.

    Raises:
        ConfigError, ShapeError: for values outside these ranges.
    """
    squared = _squared_norm(target, decay)
    if not 0 < scale < math.inf:
        raise ConfigError(f"scale = {scale}, but the item is a positive multiple of the target: give a number above 0.")
    return TeachingSet(scale * target.detach()[None], target.new_tensor([scale * squared + decay / scale]))


def svm_set(target: Tensor, decay: float) -> TeachingSet:
    """Return what teaches a support vector machine, of the loss ``max(0, 1 - y <w, x>)``.

    ``n = ceil(decay ||w*||^2)`` copies of ``x = decay / n w*``, ``y = +1``.

    Args:
        target: w* (d,), not 0.
        decay: > 0.

    Raises:
        ConfigError, ShapeError: for values outside these ranges.
    """
    n = _copies(decay * _squared_norm(target, decay))
    return _repeated(decay / n * target, n)


def logistic_set(target: Tensor, decay: float) -> TeachingSet:
    """Return what teaches logistic regression, of the loss ``ln(1 + exp(-y <w, x>))``.

    ``n = ceil(decay ||w*||^2 / max_t t / (1 + e^t))`` copies of ``x = t / ||w*||^2 w*``, ``y = +1``, with the smaller
    t that solves ``t / (1 + e^t) = decay ||w*||^2 / n``.

    Args:
        target: w* (d,), not 0.
        decay: > 0.

    Raises:
        ConfigError, ShapeError: for values outside these ranges.
    """
    squared = _squared_norm(target, decay)
    n = _copies(decay * squared / LOGISTIC_MOST)
    return _repeated(_logistic_margin(decay * squared / n) / squared * target, n)


def _squared_norm(target: Tensor, decay: float) -> float:
    if target.ndim != 1 or not target.is_floating_point():
        raise ShapeError(
            f"the target has shape {tuple(target.shape)} and type {target.dtype}, but needs (d,), floating: one vector "
            "of weights."
        )
    if not 0 < decay < math.inf:
        raise ConfigError(
            f"decay = {decay}, but needs a number above 0: without weight decay no finite set has the target as its "
            "only minimiser."
        )
    squared = float(target.detach().double().square().sum())
    if not 0 < squared < math.inf:
        raise ConfigError(
            f"the target has squared norm {squared}, but needs one above 0, and finite: weights of 0 are what weight "
            "decay learns from nothing."
        )
    return squared


def _copies(needed: float) -> int:
    """The number rounded up, but not for the sake of a rounding error."""
    return max(1, math.ceil(needed * (1 - 1e-12)))


def _repeated(item: Tensor, n: int) -> TeachingSet:
    return TeachingSet(item.detach().repeat(n, 1), item.new_ones(n))


def _logistic_margin(value: float) -> float:
    """The t in (0, peak] with ``t / (1 + e^t) = value``, by bisection: the left side grows up to the peak."""
    low, high = 0.0, LOGISTIC_PEAK
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if middle / (1 + math.exp(middle)) < value else (low, middle)
    return high
