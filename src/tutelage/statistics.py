"""What paired runs over several seeds show: differences, intervals, and verdicts that were fixed before.

With ``d_k = a_k - b_k`` of seed k, ``t = mean / (sd / sqrt(n))`` and the 95 % interval ``mean +- t_{.975, n-1} sd /
sqrt(n)``, a method is

* ``better`` or ``worse`` if the interval lies above or below 0 (over a table of methods: if Holm's p is at most .05),
* else ``equivalent`` if the 90 % interval lies within ``+-margin`` (two one-sided tests at 5 %),
* else ``not shown``; ``identical`` if every difference is 0;
* ``numbers only`` below three seeds, and where every difference is the same: without spread there is no t.

Sources: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987; Holm, "A simple
sequentially rejective multiple test procedure", 1979.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import evaluation
from .errors import ConfigError, DataError
from .evaluation import Comparison, paired

Verdict: TypeAlias = Literal["better", "worse", "equivalent", "not shown", "identical", "numbers only"]
MARGIN = 0.005
"""Half a point of accuracy: differences within it count as none, and claims within it come with a power warning."""
LEVEL = 0.05
FEWEST = 3
"""Seeds below which there is no verdict."""


_MANY = 10_000
_FEW = 5


class Runs(NamedTuple):
    """What one method reached with each seed.

    Attributes:
        name: of the method.
        values: its metric by seed; larger is better.
        shared: by seed, what it must have in common with whatever it is paired with: split, initialisation, batch
            order, augmentation draws, teacher; numbers, words or fingerprints, of which ``==`` says whether they are
            the same.
    """

    name: str
    values: Mapping[int, float]
    shared: Mapping[int, Mapping[str, Any]] = {}


class PairedDifference(Comparison):
    """A :class:`Comparison` with all that its verdict rests on; plain JSON.

    Attributes:
        seeds: n of them, in order.
        differences: one a seed.
        std: their standard deviation (n - 1); None for one seed.
        t: None for one seed and where there is no spread.
        p: two-sided, of t.
        p_holm: adjusted for the table of methods; that of :func:`compare` alone is p.
        ci90: half width of the 90 % interval.
        share_above: of the seeds whose difference is above 0.
        least: smallest difference.
        most: largest difference.
        margin: within which a difference counts as none.
        seeds_needed: for t = 3 at this mean and spread, ``(3 sd / mean)^2``.
        verdict: see the module.
    """

    seeds: list[int]
    differences: list[float]
    std: float | None
    t: float | None
    p: float | None
    p_holm: float | None
    ci90: float | None
    share_above: float
    least: float
    most: float
    margin: float
    seeds_needed: int | None
    verdict: Verdict


def compare(first: Runs, second: Runs, metric: str, *, margin: float = MARGIN) -> PairedDifference:
    """Return the paired difference of two methods, first minus second, with its verdict.

    Args:
        first: a method.
        second: what it is compared with, over the same seeds.
        metric: what the values are.
        margin: of equivalence, in the units of the values, above 0.

    Raises:
        ConfigError: if the runs are not paired: other seeds, or something that they do not share; for arrays among
            what they share.
        DataError: for a value that is not finite.
    """
    from scipy.special import stdtr, stdtrit

    if not margin > 0:
        raise ConfigError(f"margin is {margin}; it must be above 0, such as 0.005 for half a point of accuracy.")
    _check_paired(first, second)
    seeds = sorted(first.values)
    a, b = ([float(runs.values[seed]) for seed in seeds] for runs in (first, second))
    d = _differences(a, b)
    n, spread = len(d), float(np.ptp(d))
    alone = paired(first.name, second.name, metric, d.tolist(), [0.0] * n)
    mean = alone["mean_difference"]
    sd = None if n < 2 else float(d.std(ddof=1)) if spread else 0.0
    t = mean / (sd / math.sqrt(n)) if sd else None
    p = None if t is None else float(2 * stdtr(n - 1, -abs(t)))
    found = PairedDifference(
        **alone,
        seeds=seeds,
        differences=d.tolist(),
        std=sd,
        t=t,
        p=p,
        p_holm=p,
        ci90=None if sd is None else float(stdtrit(n - 1, 0.95) * sd / math.sqrt(n)),
        share_above=float((d > 0).mean()),
        least=float(d.min()),
        most=float(d.max()),
        margin=margin,
        seeds_needed=math.ceil((3 * sd / mean) ** 2) if sd and abs(mean) > _rounding(a, b) else None,
        verdict="numbers only",
    )
    return {**found, "verdict": _verdict(found)}


def table(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Return the differences of a table with verdicts that hold for all of them together, by Holm's procedure.

    Those without a t are not tested, and do not count. Equivalence needs no adjustment: it is claimed for each.
    """
    tested = {i: d["p"] for i, d in enumerate(differences) if d["p"] is not None and len(d["seeds"]) >= FEWEST}
    adjusted = dict(zip(tested, holm(list(tested.values()))))
    found: list[PairedDifference] = [{**d, "p_holm": adjusted.get(i, d["p"])} for i, d in enumerate(differences)]
    return [{**d, "verdict": _verdict(d)} for d in found]


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for m tests: the i-th smallest times ``m - i + 1``, never falling, at most 1."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def power_warning(difference: PairedDifference) -> str | None:
    """Return a warning where a mean within the margin is seen on too few seeds, else None.

    Too few are fewer than would show it, and for one that is claimed, better or worse, five: their spread, by which
    it is shown, is itself uncertain.
    """
    mean, needed, n = difference["mean_difference"], difference["seeds_needed"], len(difference["seeds"])
    claimed = difference["verdict"] in ("better", "worse")
    if needed is None or abs(mean) >= difference["margin"] or not (claimed or difference["verdict"] == "not shown"):
        return None
    if needed <= n and not (claimed and n <= _FEW):
        return None
    about = f"about {needed}" if needed <= _MANY else f"more than {_MANY:,}"
    rest = f"; {about} are needed to show it (t = 3)." if needed > n else ", whose spread is uncertain: take more."
    return (
        f"{difference['a']} − {difference['b']}: a difference of {_signed(100 * mean, 2)} points is small for {n} "
        f"seeds{rest}"
    )


def told(difference: PairedDifference) -> str:
    """Return a paired difference of accuracies in words, in points.

    Such as ``kd − ce +6.35 points (95 % CI +5.55 to +7.15, sd 1.70, t 16.7, above 0 on 20 of 20 seeds): better``.
    """
    d, mean = difference, 100 * difference["mean_difference"]
    n = len(d["seeds"])
    facts = [f"above 0 on {d['wins']} of {n} seed{'s' * (n != 1)}"]
    if d["t"] is not None:
        facts.insert(0, f"t {_signed(d['t'], 1).lstrip('+')}")
    if d["std"] is not None:
        facts.insert(0, f"sd {100 * d['std']:.2f}")
    if d["ci95"] is not None:
        half = 100 * d["ci95"]
        facts.insert(0, f"95 % CI {_signed(mean - half, 2)} to {_signed(mean + half, 2)}")
    if d["p_holm"] is not None and d["p_holm"] > LEVEL and evaluation.verdict(d) in ("better", "worse"):
        facts.append(f"Holm's p over the table {d['p_holm']:.2f}")
    return f"{d['a']} − {d['b']} {_signed(mean, 2)} points ({', '.join(facts)}): {d['verdict']}"


def _verdict(d: PairedDifference) -> Verdict:
    if len(d["seeds"]) < FEWEST or d["t"] is None:
        still = len(d["seeds"]) >= FEWEST and d["least"] == d["most"] == 0.0
        return "identical" if still else "numbers only"
    alone = evaluation.verdict(d)
    if alone in ("better", "worse") and (d["p_holm"] or 0.0) <= LEVEL:
        return alone
    inside = abs(d["mean_difference"]) + (d["ci90"] or 0.0) < d["margin"]
    return "equivalent" if inside else "not shown"


def _differences(a: Sequence[float], b: Sequence[float]) -> npt.NDArray[np.float64]:
    """``a - b``, without the 1e-17 that subtracting adds to differences which are all the same, or 0."""
    d, rounding = np.asarray(a) - np.asarray(b), _rounding(a, b)
    d = np.full_like(d, d[np.abs(d).argmin()]) if np.ptp(d) <= rounding else d
    return np.where(np.abs(d) <= rounding, 0.0, d)


def _rounding(a: Sequence[float], b: Sequence[float]) -> float:
    """What subtracting adds, at most."""
    return 4 * float(np.finfo(np.float64).eps) * max(map(abs, (*a, *b)))


def _check_paired(first: Runs, second: Runs) -> None:
    names = f"{first.name} and {second.name} are not paired"
    if first.values.keys() != second.values.keys() or not first.values:
        only = [
            f"{runs.name} alone has seeds {', '.join(map(str, extra))}"
            for runs, other in ((first, second), (second, first))
            if (extra := sorted(runs.values.keys() - other.values.keys()))
        ]
        raise ConfigError(f"{names}: {'; '.join(only) or 'they have no seeds'}. Run both with the same seeds.")
    for runs in (first, second):
        for seed, value in runs.values.items():
            if not math.isfinite(value):
                raise DataError(f"the value of {runs.name} with seed {seed} is {value}; it must be finite.")
    for seed in sorted(first.values):
        ours, theirs = first.shared.get(seed, {}), second.shared.get(seed, {})
        for fact in sorted(ours.keys() | theirs.keys()):
            if fact not in ours or fact not in theirs:
                knows = first.name if fact in ours else second.name
                raise ConfigError(f"{names}: with seed {seed} only {knows} has a record of its {fact}.")
            if _differ(ours[fact], theirs[fact], f"{names}: with seed {seed} their {fact}"):
                raise ConfigError(
                    f"{names}: with seed {seed} their {fact} differs, {ours[fact]} and {theirs[fact]}. Paired runs "
                    "share everything but the method."
                )


def _differ(ours: Any, theirs: Any, what: str) -> bool:
    try:
        return bool(ours != theirs)
    except (ValueError, RuntimeError) as error:  # of arrays and tensors, also inside of others
        kinds = " and ".join(dict.fromkeys(type(fact).__name__ for fact in (ours, theirs)))
        raise ConfigError(
            f"{what} cannot be compared as one value ({kinds}); give numbers, words or a fingerprint, such as "
            "the array's .tolist()."
        ) from error


def _signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus, and none before zero."""
    shown = f"{value:+.{digits}f}"
    return shown.lstrip("+-") if not float(shown) else shown.replace("-", "−")
