"""Weight against loss over training: the numbers behind the surfaces."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .reading import Array, Floats

_FLOOR = 1e-3
"""Losses below count as this: they differ in nothing that a teacher of these would care about."""
_SAMPLE = 200_000
"""So many losses of an arm are enough to choose the bins."""


@dataclass(frozen=True)
class Surface:
    """Mean weight over loss and time.

    Attributes:
        weight: (R, B), NaN where no example had such a loss.
        loss_edges: (B + 1,), ascending, logarithmic.
        percent_edges: (R + 1,), from 0 to 100, percent of training.
    """

    weight: Floats
    loss_edges: Floats
    percent_edges: Floats


def loss_edges(losses: Sequence[Array], *, bins: int = 32) -> Floats:
    """Return logarithmic bins (bins + 1,) that hold the losses of all arms, but for the utmost few.

    Args:
        losses: of each arm, any shape, >= 0; NaN is left out.
        bins: how many.
    """
    samples = [np.ravel(loss)[:: max(1, loss.size // _SAMPLE)].astype(np.float64) for loss in losses]
    known = np.concatenate([sample[np.isfinite(sample)] for sample in samples])
    low, high = np.quantile(known, (0.01, 0.999)) if known.size else (_FLOOR, 1.0)
    low = max(low, _FLOOR)
    return np.geomspace(low, max(high, 2.0 * low), bins + 1)


def surface(weight: Array, loss: Array, edges: Floats, *, rows: int = 50) -> Surface:
    """Return the mean weight of examples by loss and by percent of training.

    Args:
        weight: (epochs, N); NaN for examples that were not drawn.
        loss: (epochs, N), unweighted.
        edges: bins of the loss (B + 1,); what lies outside is counted in the outermost ones.
        rows: at most so many rows; each covers the same number of epochs, the last one maybe fewer.
    """
    epochs, bins = len(weight), len(edges) - 1
    step = max(1, math.ceil(epochs / rows))
    starts = range(0, epochs, step)
    means = [_mean_by_bin(weight[s : s + step], loss[s : s + step], edges) for s in starts]
    percents = np.array([*starts, epochs]) * 100.0 / max(epochs, 1)
    return Surface(np.array(means).reshape(-1, bins), edges, percents)


def _mean_by_bin(weight: Array, loss: Array, edges: Floats) -> Floats:
    known = np.isfinite(weight) & np.isfinite(loss)
    values, losses = weight[known].astype(np.float64), loss[known].astype(np.float64)
    bins = len(edges) - 1
    position = np.clip(np.searchsorted(edges, losses, side="right") - 1, 0, bins - 1)
    count = np.bincount(position, minlength=bins)
    total = np.bincount(position, weights=values, minlength=bins)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
