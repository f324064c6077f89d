"""Curves over seeds: a middle line and a band around it."""

from typing import NamedTuple

import numpy as np

from ..evaluation import summary
from .reading import Floats

_ENOUGH = 3
"""From so many seeds on, an interval of the mean says more than the range."""


class Band(NamedTuple):
    """Mean over seeds, and the edges of the band around it; each (T,), NaN where no seed has a value."""

    mean: Floats
    low: Floats
    high: Floats


def band(values: Floats) -> Band:
    """Return the mean over seeds with its 95 % confidence interval, or the range for fewer than three seeds.

    Args:
        values: (S, T), NaN where a seed has no value.
    """
    points = [_point(column[np.isfinite(column)]) for column in values.T]
    mean, low, high = np.array(points, dtype=np.float64).reshape(-1, 3).T
    return Band(mean, low, high)


def describe(seeds: int) -> str:
    """Return what the band of so many seeds shows, as a sentence."""
    if seeds >= _ENOUGH:
        return f"The band is the 95 % confidence interval of the mean over {seeds} seeds."
    if seeds > 1:
        return f"The band is the range of the {seeds} seeds, too few for an interval."
    return "There is one seed, so there is no band."


def _point(known: Floats) -> tuple[float, float, float]:
    if not len(known):
        return np.nan, np.nan, np.nan
    mean = float(known.mean())
    if len(known) < _ENOUGH:
        return mean, float(known.min()), float(known.max())
    half = summary(known.tolist())["ci95"] or 0.0
    return mean, mean - half, mean + half
