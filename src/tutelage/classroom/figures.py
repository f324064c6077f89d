"""What answers of people show: pure statistics whose unit is a person.

With scores of n people of an arm, mean m and standard deviation s (n - 1), the interval of the mean is
``m +- t_{.975, n-1} s / sqrt(n)``. Two arms differ by ``m_a - m_b`` with the squared error
``e = s_a^2 / n_a + s_b^2 / n_b`` and ``df = e^2 / sum_i (s_i^2 / n_i)^2 / (n_i - 1)`` degrees of freedom.

Sources: Welch, "The generalization of 'Student's' problem when several different population variances are involved",
Biometrika 34, 1947; Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
American Statistical Association 22, 1927; Holm, "A simple sequentially rejective multiple test procedure", 1979; Efron,
"Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..evaluation import summary
from ..randomness import stream
from ..statistics import holm

RESAMPLES = 5000
Z_LEVEL, Z_POWER = 1.959964, 0.841621
"""Normal quantiles of a two-sided test at 5 % and of a power of 80 %."""


class Interval(NamedTuple):
    """A 95 % interval.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float


class Mean(NamedTuple):
    """The mean over people, in the units of the values.

    Attributes:
        n: people.
        mean: None for nobody.
        std: standard deviation (n - 1); None for fewer than two people.
        interval: of the mean by Student's t; None for fewer than two people.
        median: None for nobody.
    """

    n: int
    mean: float | None
    std: float | None
    interval: Interval | None
    median: float | None


class Difference(NamedTuple):
    """Mean of one arm less that of another, by Welch's t.

    Attributes:
        difference: of the means.
        interval: of the difference.
        df: degrees of freedom.
        p: two-sided.
    """

    difference: float
    interval: Interval
    df: float
    p: float


class Contrast(NamedTuple):
    """Two arms among several.

    Attributes:
        a: name of the first arm.
        b: name of the second arm.
        welch: of a less b.
        p_holm: adjusted for all contrasts of the table.
        bootstrap: percentile interval of the difference over resamples of people.
    """

    a: str
    b: str
    welch: Difference
    p_holm: float
    bootstrap: Interval


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of one value a person."""
    if not values:
        return Mean(0, None, None, None, None)
    if len(values) > 1 and _are_equal(values):
        value = float(values[0])
        return Mean(len(values), value, 0.0, Interval(value, value), value)
    told = summary(values)
    mean, half = told["mean"], told["ci95"]
    interval = None if half is None else Interval(mean - half, mean + half)
    return Mean(len(values), mean, told["std"], interval, float(np.median(values)))


def wilson(right: int, of: int) -> Interval:
    """Return the interval of a share by its score test, in [0, 1].

    Args:
        right: in 0..of.
        of: >= 1.

    Raises:
        ConfigError: for numbers outside these ranges.
    """
    if not 0 <= right <= of or of < 1:
        raise ConfigError(f"{right} of {of} right: needs 1 answer or more, and no more right ones than answers.")
    share, z2 = right / of, Z_LEVEL**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_LEVEL * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def welch(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Return the difference of the means of two groups of people.

    Returns:
        None for fewer than two people in a group, and where nobody differs from their group.
    """
    from scipy.special import stdtr, stdtrit

    if min(len(a), len(b)) < 2 or (_are_equal(a) and _are_equal(b)):
        return None
    parts = [0.0 if _are_equal(values) else float(np.var(values, ddof=1)) / len(values) for values in (a, b)]
    error = math.sqrt(sum(parts))
    df = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b)))
    difference = float(np.mean(a) - np.mean(b))
    half = float(stdtrit(df, 0.975)) * error
    p = float(2 * stdtr(df, -abs(difference) / error))
    return Difference(difference, Interval(difference - half, difference + half), df, p)


def resampled_means(values: Sequence[float], key: int, resamples: int = RESAMPLES) -> npt.NDArray[np.float64]:
    """Return the means of resamples of people, with replacement, (resamples,).

    People with the same value are drawn together, by their number: the same distribution, at a cost that does not grow
    with the number of people.

    Args:
        values: a value a person, at least one.
        key: of the draws.
        resamples: how many.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    draws = np.random.Generator(np.random.PCG64(key))
    drawn = draws.multinomial(len(values), counts / len(values), size=resamples)
    means: npt.NDArray[np.float64] = drawn @ distinct / len(values)
    return means


def contrasts(scores: Mapping[str, Sequence[float]], *, seed: int = 0) -> tuple[Contrast, ...]:
    """Return all pairs of arms, the first less the second in the order given, where both have a spread.

    Args:
        scores: by arm, a value a person.
        seed: of the bootstrap.
    """
    pairs = itertools.combinations(scores, 2)
    tested = [(a, b, found) for a, b in pairs if (found := welch(scores[a], scores[b])) is not None]
    adjusted = holm([found.p for _, _, found in tested])
    means = {
        arm: resampled_means(scores[arm], stream(seed, f"bootstrap/{arm}"))
        for arm in dict.fromkeys(arm for a, b, _ in tested for arm in (a, b))
    }
    return tuple(
        Contrast(a, b, found, p, Interval(*np.quantile(means[a] - means[b], (0.025, 0.975)).tolist()))
        for (a, b, found), p in zip(tested, adjusted)
    )


def required_n(std: float, difference: float) -> int:
    """Return the people an arm that show a difference with a power of 80 %, tested at 5 %.

    ``ceil(2 ((z_.975 + z_.8) std / difference)^2)``.

    Args:
        std: of people, > 0.
        difference: of means, in the same units, > 0.

    Raises:
        ConfigError: for others.
    """
    if not (std > 0 and difference > 0):
        raise ConfigError(f"std = {std:g} and difference = {difference:g}: both must be above 0.")
    return math.ceil(2 * ((Z_LEVEL + Z_POWER) * std / difference) ** 2)


def _are_equal(values: Sequence[float]) -> bool:
    """Whether nobody differs; the variance of equal numbers may be above 0 by rounding."""
    return min(values) == max(values)


def worst(scores: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Return which people are the lowest ``floor(share n)``, bool (n,); of equal ones those that come first.

    Args:
        scores: (n,).
        share: in [0, 1).
    """
    found = np.zeros(len(scores), dtype=np.bool_)
    found[np.argsort(scores, kind="stable")[: math.floor(share * len(scores))]] = True
    return found
