"""Simulated participants of an experiment with people: they answer and take their time as people did.

They test the machinery and the statistics of an experiment; they are no evidence about teaching people.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from statistics import NormalDist
from types import MappingProxyType
from typing import NamedTuple

from .errors import ConfigError, DataError, unknown
from .human_answers import Phase
from .human_groups import LogNormal, fit_ability
from .randomness import counter, stream

_ABILITY, _SECONDS, _LAPSE, _CHOICE = range(4)
"""What is drawn for a participant."""
_PHASES: tuple[Phase, ...] = ("train", "test")
TRAIN_TIME, TEST_TIME = LogNormal(2.2, 0.44), LogNormal(1.6, 0.56)
"""How long people took in the experiments of :data:`POPULATIONS`, in seconds."""


class Reply(NamedTuple):
    """One answer.

    Attributes:
        given: the class that was chosen.
        seconds: that it took, > 0.
    """

    given: int
    seconds: float


@dataclass(frozen=True)
class Population:
    """How people differ, and how long they take.

    With the probability ``lapses`` a person guesses; else the answer is right with the person's ability, which is
    distributed as Beta(a, b), and any wrong class is as likely as another.

    Attributes:
        classes: K >= 2, of the answers.
        a: > 0.
        b: > 0.
        train_time: of an answer to a teaching item.
        test_time: of one to a test item.
        lapses: in [0, 1).

    Raises:
        ConfigError: for values outside these ranges.
    """

    classes: int
    a: float
    b: float
    train_time: LogNormal = TRAIN_TIME
    test_time: LogNormal = TEST_TIME
    lapses: float = 0.05

    def __post_init__(self) -> None:
        spreads = self.train_time.std, self.test_time.std
        if self.classes < 2 or not (self.a > 0 and self.b > 0 and 0 <= self.lapses < 1 and min(spreads) >= 0):
            raise ConfigError(f"{self}: needs 2 classes or more, a and b > 0, lapses in [0, 1) and times of std >= 0.")

    @classmethod
    def of_accuracy(
        cls,
        classes: int,
        a: float,
        b: float,
        train_time: LogNormal = TRAIN_TIME,
        test_time: LogNormal = TEST_TIME,
        lapses: float = 0.05,
    ) -> "Population":
        """Return the population whose share of right answers, lapses included, has the mean and spread of Beta(a, b).

        Lapses pull accuracies towards 1 / K: with ability p a person reaches ``(1 - lapses) p + lapses / K``.

        Raises:
            ConfigError: if no ability gives such accuracies.
        """
        if a > 0 and b > 0 and 0 <= lapses < 1:
            mean = (a / (a + b) - lapses / classes) / (1 - lapses)
            variance = a * b / ((a + b) ** 2 * (a + b + 1)) / (1 - lapses) ** 2
            total = mean * (1 - mean) / variance - 1
            if 0 < mean < 1 and total > 0:
                return cls(classes, mean * total, (1 - mean) * total, train_time, test_time, lapses)
        raise ConfigError(
            f"accuracies as Beta({a:g}, {b:g}) of {classes} classes with {lapses:g} lapses: there are no such people; "
            "needs a and b > 0 and fewer lapses, which alone make answers wrong."
        )

    def participant(self, number: int, *, seed: int = 0, name: str = "participants") -> "Participant":
        """Return a person: the same for the same seed, name and number.

        Args:
            number: >= 0.
            seed: of all draws.
            name: of the group of people.
        """
        from scipy.special import betaincinv

        key = counter(stream(seed, name), number)
        ability = float(betaincinv(self.a, self.b, _uniform(key, _ABILITY)))
        return Participant(self, ability, key)


@dataclass(frozen=True)
class Participant:
    """One simulated person.

    Attributes:
        population: that it belongs to.
        ability: in [0, 1], the probability of a right answer when it does not guess.
        key: of its draws.
    """

    population: Population
    ability: float
    key: int

    def answer(self, item: int, label: int, phase: Phase = "test") -> Reply:
        """Return the answer to an item of class ``label``; the same for the same item and phase.

        Args:
            item: its position in the session, >= 0.
            label: in 0 .. K - 1.
            phase: ``train`` or ``test``, which differ in the time that they take.

        Raises:
            ConfigError: for a class that there is not, an unknown phase.
        """
        classes = self.population.classes
        if not 0 <= label < classes:
            raise ConfigError(f"an item of class {label}, but there are classes 0 to {classes - 1}.")
        other = (1 - self.ability) / (classes - 1)
        return self.follow(item, [self.ability if c == label else other for c in range(classes)], phase)

    def follow(self, item: int, probabilities: Sequence[float], phase: Phase = "test") -> Reply:
        """Return the answer of somebody who has something else to go by, such as what a simulated learner thinks.

        Args:
            item: its position in the session, >= 0.
            probabilities: (K,), >= 0, of the answers when it does not guess; such as a row of
                :meth:`tutelage.learners.VersionSpaceLearners.probabilities`.
            phase: ``train`` or ``test``.

        Raises:
            ConfigError: if they are not K numbers >= 0 that sum to 1; for an unknown phase.
        """
        given, classes = list(probabilities), self.population.classes
        if len(given) != classes or not (min(given) >= 0 and abs(sum(given) - 1) < 1e-6):
            raise ConfigError(f"answers with probabilities {given}, but needs {classes} >= 0 that sum to 1.")
        if phase not in _PHASES:
            raise ConfigError(unknown("phase", phase, _PHASES))
        draw = partial(_uniform, self.key, _PHASES.index(phase), item)
        if draw(_LAPSE) < self.population.lapses:
            given = [1 / classes] * classes
        bounds = list(accumulate(given))
        choice = bisect_right(bounds, draw(_CHOICE) * bounds[-1])
        time = self.population.train_time if phase == "train" else self.population.test_time
        return Reply(choice, math.exp(time.mean + time.std * NormalDist().inv_cdf(draw(_SECONDS))))


def fitted(
    right: Sequence[int],
    items: int,
    train_seconds: Sequence[float],
    test_seconds: Sequence[float],
    *,
    classes: int,
    lapses: float = 0.05,
) -> Population:
    """Return the population that answers of people show, by moments.

    The spread of test results is more than that of people: the part that is chance, as in throws of a coin, is taken
    out by :func:`tutelage.human_groups.fit_ability`, and lapses as in :meth:`Population.of_accuracy`.

    Args:
        right: number of right answers of each person in the test, in 0..items.
        items: length of the test.
        train_seconds: of answers to teaching items; such as are not above 0 do not count.
        test_seconds: of answers to test items, likewise.
        classes: K >= 2.
        lapses: in [0, 1), assumed.

    Raises:
        DataError: for fewer than two people, items or times, and where people differ by no more than chance.
        ConfigError: if there are more lapses than wrong answers.
    """
    ability = fit_ability(right, items)
    if ability is None:
        raise DataError(
            f"{len(right)} people and a test of {items} items: people differ by no more than chance, so that no spread "
            "of ability can be told; needs more people or items."
        )
    times = _log_normal("teaching", train_seconds), _log_normal("test", test_seconds)
    return Population.of_accuracy(classes, ability.a, ability.b, *times, lapses)


def _log_normal(which: str, seconds: Sequence[float]) -> LogNormal:
    logs = [math.log(value) for value in seconds if value > 0]
    if len(logs) < 2:
        raise DataError(f"{len(logs)} answers to {which} items took time above 0 seconds; needs 2 or more.")
    fit = NormalDist.from_samples(logs)
    return LogNormal(fit.mean, fit.stdev)


def _uniform(key: int, *counters: int) -> float:
    """In (0, 1)."""
    return ((counter(key, *counters) >> 40) + 0.5) / (1 << 24)


POPULATIONS: Mapping[str, Population] = MappingProxyType(
    {
        "oct explain": Population.of_accuracy(3, 2.85, 1.09),
        "oct random": Population.of_accuracy(3, 2.21, 2.12),
        "butterflies random": Population.of_accuracy(5, 5.90, 3.15),
        "characters random": Population.of_accuracy(3, 4.57, 5.14),
    }
)
"""People of Mac Aodha et al., "Teaching categories to human learners with visual explanations", CVPR 2018, by data set
and teaching sequence: fitted to their released answers, with 5 % lapses, which are assumed."""
