"""What people who were taught reached in each arm, and how they differ.

The unit is a person. With ``p_i`` the share of right answers of person i among k test items, mean m and variance v
over people (n - 1), people differ by more than chance as

    rho = (v / (m (1 - m)) - 1 / k) / (1 - 1 / k)

the correlation of two answers of one person, and their true abilities as Beta(a, b) with a + b = 1 / rho - 1 and
a / (a + b) = m: the moments of the beta-binomial distribution.

Source: Kleinman, "Proportions with extraneous variance: single and independent samples", Journal of the American
Statistical Association 68, 1973.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from .errors import DataError
from .human_answers import Answer


class Group(NamedTuple):
    """What the people of an arm reached, in per cent of right answers.

    Attributes:
        experiment: its name.
        arm: name of the teaching sequence.
        n: number of people.
        train: mean over people of the teaching items; None if there were none.
        test: mean over people of the test items; None if there were none, as for all that follows.
        std: standard deviation over people of the test (n - 1); None for one person.
        sem: standard error of ``test``, std / sqrt(n).
        median: over people, of the test.
    """

    experiment: str
    arm: str
    n: int
    train: float | None
    test: float | None
    std: float | None
    sem: float | None
    median: float | None


class LogNormal(NamedTuple):
    """Seconds whose logarithm is normal.

    Attributes:
        mean: of the natural logarithm.
        std: of the natural logarithm (n - 1).
    """

    mean: float
    std: float


class Ability(NamedTuple):
    """How the shares of right answers that people would reach in an endless test are distributed.

    Attributes:
        a: first parameter of the Beta distribution.
        b: the second one.
        std: its standard deviation, in percentage points.
        correlation: of two answers of one person, in (0, 1).
    """

    a: float
    b: float
    std: float
    correlation: float


class Calibration(NamedTuple):
    """What simulated people of an arm need.

    Attributes:
        experiment: its name.
        arm: name of the teaching sequence.
        n: number of people.
        ability: in the test; None where people differ by no more than chance.
        train_time: between answers to teaching items; None for fewer than two.
        test_time: between answers to test items, likewise.
    """

    experiment: str
    arm: str
    n: int
    ability: Ability | None
    train_time: LogNormal | None
    test_time: LogNormal | None


def groups(answers: Iterable[Answer], *, duplicates: bool = True) -> tuple[Group, ...]:
    """Return what each arm of each experiment reached, in the order of their names.

    Args:
        answers: of one or several experiments.
        duplicates: count a session that was saved twice as two.
    """
    return tuple(_group(*key, people) for key, people in _by_arm(answers, duplicates).items())


def calibration(answers: Iterable[Answer], *, duplicates: bool = True) -> tuple[Calibration, ...]:
    """Return what simulated people of each arm need, in the order of :func:`groups`.

    Args:
        answers: of one or several experiments.
        duplicates: count a session that was saved twice as two.

    Raises:
        DataError: if people of an arm had tests of different lengths.
    """
    found = []
    for (experiment, arm), people in _by_arm(answers, duplicates).items():
        sizes = sorted({len(_of(person, "test")) for person in people})
        if len(sizes) > 1:
            raise DataError(f"{experiment}, {arm}: tests of {sizes[0]} and of {sizes[-1]} items; they must be as long.")
        right = [sum(answer.correct for answer in _of(person, "test")) for person in people]
        times = (_log_normal(_seconds(people, phase)) for phase in ("train", "test"))
        found.append(Calibration(experiment, arm, len(people), fit_ability(right, sizes[0]), *times))
    return tuple(found)


def fit_ability(right: Sequence[int], items: int) -> Ability | None:
    """Return the distribution of ability that test results show, by moments; see the module.

    Args:
        right: number of right answers of each person, in 0..items.
        items: length k of the test.

    Returns:
        None for fewer than two people or items, and where people differ by no more than chance.
    """
    if len(right) < 2 or items < 2:
        return None
    share = np.asarray(right, dtype=np.float64) / items
    m = float(share.mean())
    chance = m * (1 - m)
    if not chance:
        return None
    rho = (float(share.var(ddof=1)) / chance - 1 / items) / (1 - 1 / items)
    if not 0 < rho < 1:
        return None
    total = 1 / rho - 1
    return Ability(m * total, (1 - m) * total, 100 * math.sqrt(rho * chance), rho)


_Person: TypeAlias = list[Answer]


def _by_arm(answers: Iterable[Answer], duplicates: bool) -> dict[tuple[str, str], list[_Person]]:
    people: dict[tuple[str, str], dict[int, _Person]] = {}
    for answer in answers:
        if duplicates or not answer.duplicate:
            arm = people.setdefault((answer.experiment, answer.arm), {})
            arm.setdefault(answer.session, []).append(answer)
    return {key: list(people[key].values()) for key in sorted(people)}


def _group(experiment: str, arm: str, people: list[_Person]) -> Group:
    train, test = (_percentages(people, phase) for phase in ("train", "test"))
    n = len(people)
    std = float(np.std(test, ddof=1)) if len(test) > 1 else None
    sem = None if std is None else std / math.sqrt(len(test))
    median = float(np.median(test)) if test else None
    return Group(experiment, arm, n, _mean(train), _mean(test), std, sem, median)


def _percentages(people: Iterable[_Person], phase: str) -> list[float]:
    """Of each person who had such items, the percentage of right answers."""
    shares = ([answer.correct for answer in _of(person, phase)] for person in people)
    return [100 * sum(right) / len(right) for right in shares if right]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _of(person: _Person, phase: str) -> _Person:
    return [answer for answer in person if answer.phase == phase]


def _seconds(people: Iterable[_Person], phase: str) -> list[float]:
    """Times above 0; those of less than the clock's second have no logarithm."""
    return [a.seconds for person in people for a in _of(person, phase) if a.seconds]


def _log_normal(seconds: Sequence[float]) -> LogNormal | None:
    if len(seconds) < 2:
        return None
    logs = np.log(seconds)
    return LogNormal(float(logs.mean()), float(logs.std(ddof=1)))
