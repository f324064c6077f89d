"""A curriculum as numbers: its weights on a grid of losses and differences, and on the line that occurs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from ...curricula import CurriculumFunction
from ...errors import ConfigError, NotFiniteError, ShapeError
from ...mentors import Mentor
from ..reading import Array, Floats

PERCENTS = (0, 10, 18, *range(20, 91, 10), 95, 99)
"""Frames: the burn-in ends at 18, and the published mixture changes after 18 and at 90."""
CLEAR = 0.8
"""So much more than the loss 10 must the loss 0 count, or there is no clear curriculum."""
_SIDE = 61
"""Points along each axis of the grid; odd, so that d = 0 is one of them."""
_FAR = 10
"""The loss that stands for an example that the student finds hopeless."""
_PER_LOSS = 100
"""Points of the line for a loss of 1; whole numbers and hundredths lie on it."""


@dataclass(frozen=True)
class Scale:
    """What all curricula of a drawing share; G = 61.

    Attributes:
        bound: the grid covers l in [0, bound] and d in [-bound, bound].
        percents: e of each frame, whole numbers in 0..99, ascending.
        threshold: of the line that occurs, where l = threshold + d: a batch has one threshold and many losses.

    Raises:
        ConfigError: for a bound that is not positive, a threshold below 0, or percents that are not as above.
    """

    bound: float = 5.0
    percents: Sequence[int] = PERCENTS
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.bound < math.inf:
            raise ConfigError(f"bound is {self.bound}; it must be positive: 5, or 15 for a data-driven mentor.")
        if not 0 <= self.threshold < math.inf:
            raise ConfigError(f"threshold is {self.threshold}; a percentile of losses is finite and >= 0.")
        given = tuple(self.percents)
        whole = all(isinstance(e, int | np.integer) and 0 <= e <= 99 for e in given)
        if not given or not whole or any(b <= a for a, b in pairwise(given)):
            raise ConfigError(f"percents are {given}; they must be whole numbers in 0..99, ascending: never 100.")

    @property
    def losses(self) -> Floats:
        """l of the grid (G,), from 0 to the bound."""
        return self.bound * np.arange(_SIDE) / (_SIDE - 1)

    @property
    def differences(self) -> Floats:
        """d = loss - threshold of the grid (G,), from -bound to bound; exactly 0 in the middle."""
        return self.bound * np.arange(1 - _SIDE, _SIDE, 2) / (_SIDE - 1)

    @property
    def impossible(self) -> Array:
        """Whether d > l (G, G), indexed by loss and difference: the threshold would be negative."""
        return self.differences > self.losses[:, None]

    @property
    def line(self) -> Floats:
        """l of the line that occurs (M,), in hundredths, from 0 to the bound and at least to 10."""
        return np.arange(math.ceil(_PER_LOSS * max(_FAR, self.bound)) + 1) / _PER_LOSS


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is drawn of one curriculum; F frames.

    Attributes:
        weights: v (F, G, G), indexed by frame, loss and difference. In [0, 1] where d <= l; elsewhere NaN where the
            curriculum gives nothing in [0, 1].
        line: v on the line that occurs (F, M).
        cuts: d* (F,), the first d on that line at which v crosses .5, to 1e-5; NaN where it never does.
        learned: whether the curriculum is a module that may have failed to find one, neither a written function nor a
            mentor of one.
    """

    weights: Floats
    line: Floats
    cuts: Floats
    learned: bool

    @property
    def near(self) -> Floats:
        """v at the loss 0 of the line that occurs (F,)."""
        return self.line[:, 0]

    @property
    def far(self) -> Floats:
        """v at the loss 10 of the line that occurs (F,)."""
        return self.line[:, _FAR * _PER_LOSS]

    @property
    def clear(self) -> Array:
        """Whether v(0) - v(10) >= .8 on the line that occurs, or the curriculum was written and not learned (F,)."""
        return (self.near - self.far >= CLEAR) | (not self.learned)


def evaluate(name: str, v: CurriculumFunction, scale: Scale) -> Drawn:
    """Evaluate a curriculum in every frame.

    Args:
        name: of the curriculum, for errors.
        v: (loss (N,), threshold (N,), progress) -> weights (N,) in [0, 1]; float32 on the CPU.
        scale: where.

    Raises:
        ConfigError: if a weight is outside [0, 1] at a point that can occur.
        ShapeError: if ``v`` does not return one weight for each loss.
        NotFiniteError: if a weight is not finite at a point that can occur.
    """
    loss, d = np.meshgrid(scale.losses, scale.differences, indexing="ij")
    weights, line, cuts = [], [], []
    for percent in scale.percents:
        weights.append(_weights(name, v, loss, loss - d, percent))
        line.append(_on_line(name, v, scale.line, scale.threshold, percent))
        cuts.append(_cut(name, v, scale, line[-1], percent))
    return Drawn(np.stack(weights), np.stack(line), np.array(cuts), learned=_is_learned(v))


def _is_learned(v: CurriculumFunction) -> bool:
    imitates = isinstance(v, Mentor) and "curriculum" in v.settings.origin
    return isinstance(v, nn.Module) and not imitates


def _weights(name: str, v: CurriculumFunction, loss: Floats, threshold: Floats, percent: int) -> Floats:
    """Return the weights, of the shape of the losses, checked where the threshold is not negative."""
    given = torch.from_numpy(loss.ravel()).float()
    with torch.no_grad():
        found = torch.as_tensor(v(given, torch.from_numpy(threshold.ravel()).float(), percent / 100))
    if found.shape != given.shape:
        raise ShapeError(
            f'"{name}" returned shape {tuple(found.shape)}, but needs {tuple(given.shape)}, one weight per loss.'
        )
    weights: Floats = found.double().cpu().numpy().reshape(loss.shape)
    good = (weights >= 0) & (weights <= 1)
    wrong = ~good & (threshold >= 0)
    if wrong.any():
        value = weights[wrong][0]
        place = f"at loss {loss[wrong][0]:g}, threshold {threshold[wrong][0]:g}, e = {percent}"
        if not math.isfinite(value):
            raise NotFiniteError(f'"{name}" returned the weight {value:g} {place}; weights are finite, in [0, 1].')
        raise ConfigError(f'"{name}" returned the weight {value:g} {place}; weights are in [0, 1]: use .clamp(0, 1).')
    return np.where(good, weights, np.nan)


def _on_line(name: str, v: CurriculumFunction, losses: Floats, threshold: float, percent: int) -> Floats:
    return _weights(name, v, losses, np.full_like(losses, threshold), percent)


def _cut(name: str, v: CurriculumFunction, scale: Scale, weights: Floats, percent: int) -> float:
    """Return d where v first crosses .5, looked for again between the two points, so that a cliff is found too."""
    i = _crossing(weights)
    if i is None:
        return math.nan
    between = np.linspace(scale.line[i], scale.line[i + 1], 1001)
    j = _crossing(_on_line(name, v, between, scale.threshold, percent))
    return float(between[j or 0]) - scale.threshold


def _crossing(weights: Floats) -> int | None:
    """Return the last place before v first changes from below .5 to at least that, or back."""
    above = weights >= 0.5
    (places,) = np.nonzero(above[1:] != above[:-1])
    return int(places[0]) if len(places) else None
