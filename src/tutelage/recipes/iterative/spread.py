"""Numbers over seeds that differ by orders of magnitude: medians, and intervals that know nothing of their size."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

LEVEL = 0.05


class Median(TypedDict):
    """One number a seed.

    Attributes:
        median: of them; None where half of them or more are not there.
        low, high: the 95 % interval of the median; None for fewer than six seeds.
        values: the numbers; None for one that is not there, such as a time of something that did not happen, which
            counts as larger than all others.
    """

    median: float | None
    low: float | None
    high: float | None
    values: list[float | None]


def median(values: Sequence[float | None]) -> Median:
    """Return the median and its interval from the k-th smallest to the k-th largest of n values.

    That interval misses the median with probability ``2 P(B < k)``, B binomial (n, 1/2), whatever the values are
    distributed like; k is the largest for which this is at most 5 %.

    Args:
        values: at least one.
    """
    ordered = np.sort([np.inf if value is None else value for value in values])
    k = _rank(len(ordered))
    low, high = (None, None) if k == 0 else (_there(ordered[k - 1]), _there(ordered[-k]))
    return Median(median=_there(_middle(ordered)), low=low, high=high, values=list(values))


def _middle(ordered: "np.typing.NDArray[np.float64]") -> float:
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float((low + high) / 2)


def _there(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rank(n: int) -> int:
    """The largest k with ``2 P(B < k) <= 0.05``, 0 if there is none."""
    from scipy import stats

    k = 0
    while 2 * float(stats.binom.cdf(k, n, 0.5)) <= LEVEL:
        k += 1
    return k


def marks(steps: int) -> tuple[int, ...]:
    """Return the steps at which tables look: a tenth, three tenths and all of them."""
    return tuple(sorted({max(1, steps // 10), max(1, 3 * steps // 10), steps}))
