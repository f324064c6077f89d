"""The researcher's page as values: who takes part, what they reached, and what to be careful about."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import compress
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .counting import PHASES, UNKNOWN, Answers, Counts, Mask, SessionRow, count
from .figures import Contrast, Interval, Mean, contrasts, mean_of, wilson, worst
from .plans import Phase
from .room import as_text
from .states import ACTIVE
from .study import People, Study, StudyArm

Scores: TypeAlias = npt.NDArray[np.float64]
WORST = 0.2
"""Share of an arm that the last exclusion leaves out."""
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of answers, for the quantiles of their times."""
WHY_HIDDEN = (
    "Results are hidden until every arm has its planned number of people: whoever looks before and then goes on or "
    "stops makes the intervals invalid."
)


class ArmCounts(NamedTuple):
    """The sessions of an arm by state; ``consented`` is all of them.

    Attributes:
        arm: name.
        target: people wanted.
        consented: sessions.
        started: with at least one answer that is kept.
        active: that go on.
        completed: to the end.
        abandoned: idle for too long; their places are free again.
        withdrawn: by the person.
        timed_out: replaced by a new session.
    """

    arm: str
    target: int
    consented: int
    started: int
    active: int
    completed: int
    abandoned: int
    withdrawn: int
    timed_out: int


class Outcome(NamedTuple):
    """What the people of an arm reached, in per cent of right answers.

    Attributes:
        arm: name.
        train: of teaching items.
        test: of test items.
    """

    arm: str
    train: Mean
    test: Mean


class CurvePoint(NamedTuple):
    """The answers at one position of an arm.

    Attributes:
        position: from 0.
        phase: of the item.
        right: right answers.
        of: answers.
        interval: of the share that is right, in [0, 1].
    """

    position: int
    phase: str
    right: int
    of: int
    interval: Interval


class Times(NamedTuple):
    """How long answers took in the browser, in milliseconds.

    Attributes:
        arm: name.
        phase: of the items.
        n: answers whose time is known.
        quantiles: at :data:`SHARES`: of each the least time that this share does not exceed.
    """

    arm: str
    phase: str
    n: int
    quantiles: tuple[int, ...]


class Exclusion(NamedTuple):
    """What would be shown without some people; nobody is left out elsewhere.

    Attributes:
        rule: who is left out, in words.
        left_out: people, by arm.
        outcomes: of the others.
    """

    rule: str
    left_out: Mapping[str, int]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Results:
    """What people reached, of those who completed.

    Attributes:
        outcomes: by arm.
        contrasts: of the test, in points, between arms.
        curves: by arm, in the order of positions.
        confusions: by arm, of the test: rows are right classes.
        exclusions: beside the full data.
    """

    outcomes: tuple[Outcome, ...]
    contrasts: tuple[Contrast, ...]
    curves: Mapping[str, tuple[CurvePoint, ...]]
    confusions: Mapping[str, tuple[tuple[int, ...], ...]]
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True)
class Dashboard:
    """The page.

    Attributes:
        study: what it is about.
        people: real or simulated ones.
        arms: sessions by state.
        declined: people who did not consent.
        screened_out: people who could not take part.
        results: None: hidden, see :data:`WHY_HIDDEN`.
        times: by arm and phase, of those who completed.
        dropouts: by arm, of those who left, how many by the position that they had reached.
        flags: by kind, answers or events and sessions that have them; nobody is left out for them.
        repeats: (first session, later session) with the same items and answers.
        purge_by: day by which the first person's data should be purged; None: no reminder.
    """

    study: Study
    people: People
    arms: tuple[ArmCounts, ...]
    declined: int
    screened_out: int
    results: Results | None
    times: tuple[Times, ...]
    dropouts: Mapping[str, Mapping[int, int]]
    flags: Mapping[str, tuple[int, int]]
    repeats: tuple[tuple[str, str], ...]
    purge_by: str | None


def dashboard(study: Study, people: People = "real", *, now: datetime | None = None) -> Dashboard:
    """Return the page.

    Args:
        study: whose.
        people: real or simulated ones, never both.
        now: the time, with its zone; None: that of the clock.
    """
    now = datetime.now(UTC) if now is None else now
    counts = count(study, people)
    states = _states(study, counts, now)
    arms = tuple(_arm_counts(study, counts, states))
    completed = Counter(row.arm_id for row in counts.sessions if row.state == "completed")
    return Dashboard(
        study,
        people,
        arms,
        counts.tallies.get("declined", 0),
        counts.tallies.get("screened_out", 0),
        None if is_hidden(study, completed) else _results(study, counts),
        _times(study, counts),
        _dropouts(study, counts, states),
        _flags(study, counts),
        counts.repeats,
        _purge_by(study, counts),
    )


def is_hidden(study: Study, completed: Mapping[str, int]) -> bool:
    """Whether results are hidden: some arm that people come into does not have its number yet.

    Args:
        study: whose.
        completed: by id of the arm, sessions that went to the end.
    """
    return study.blind and any(completed.get(arm.id, 0) < arm.target_n for arm in study.arms if arm.active)


def _states(study: Study, counts: Counts, now: datetime) -> list[str]:
    """The state of each session, with those that are abandoned by now."""
    idle_since = as_text(now - timedelta(minutes=study.abandon_after_minutes))

    def of(row: SessionRow) -> str:
        if row.state not in ACTIVE:
            return row.state
        return "active" if row.last_seen_at >= idle_since else "abandoned"

    return [of(row) for row in counts.sessions]


def _arm_counts(study: Study, counts: Counts, states: Sequence[str]) -> list[ArmCounts]:
    shown = ("active", "completed", "abandoned", "withdrawn", "timed_out")
    begun = np.zeros(len(states), dtype=np.bool_)
    begun[counts.answers.session] = True
    found = []
    for arm in study.arms:
        mine = [row.arm_id == arm.id for row in counts.sessions]
        by_state = Counter(compress(states, mine))
        started = int(begun[mine].sum())
        found.append(ArmCounts(arm.name, arm.target_n, sum(mine), started, *(by_state[state] for state in shown)))
    return found


def _results(study: Study, counts: Counts) -> Results:
    done = {arm.name: counts.completed & _of_arm(counts, arm) for arm in study.arms}
    scores = {phase: _percentages(counts, phase) for phase in ("train", "test")}
    return Results(
        _outcomes(done, scores),
        contrasts({arm: _known(scores["test"][mask]) for arm, mask in done.items()}, seed=study.seed),
        {arm: _curve(counts.answers, mask) for arm, mask in done.items()},
        {arm.name: _confusion(study, counts, arm, done[arm.name]) for arm in study.arms},
        _exclusions(study, counts, done, scores),
    )


def _percentages(counts: Counts, phase: Phase) -> Scores:
    """Of each session the right answers of a phase in per cent; NaN where it has none."""
    mine = counts.answers.of(phase)
    right, of = counts.total(mine & (counts.answers.right == 1)), counts.total(mine)
    scores: Scores = np.divide(100.0 * right, of, out=np.full(len(of), np.nan), where=of > 0)
    return scores


def _outcomes(done: Mapping[str, Mask], scores: Mapping[str, Scores]) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(arm, *(mean_of(_known(scores[phase][mask])) for phase in ("train", "test")))
        for arm, mask in done.items()
    )


def _curve(answers: Answers, done: Mask) -> tuple[CurvePoint, ...]:
    mine = done[answers.session]
    key = answers.position[mine] * len(PHASES) + answers.phase[mine]
    of = np.bincount(key)
    right = np.bincount(key, answers.right[mine], len(of)).astype(np.int64)
    found = []
    for k in of.nonzero()[0].tolist():
        position, phase = divmod(k, len(PHASES))
        among = (int(right[k]), int(of[k]))
        found.append(CurvePoint(position, PHASES[phase], *among, wilson(*among)))
    return tuple(found)


def _confusion(study: Study, counts: Counts, arm: StudyArm, done: Mask) -> tuple[tuple[int, ...], ...]:
    """Right answers are on the diagonal; the database was asked for the others."""
    answers, classes = counts.answers, len(study.classes)
    right = done[answers.session] & answers.of("test") & (answers.right == 1)
    table = np.diag(np.bincount(answers.response[right], minlength=classes))
    for missed in counts.missed:
        if missed.arm_id == arm.id:
            table[missed.label, missed.response] += missed.answers
    return tuple(map(tuple, table.tolist()))


def _exclusions(
    study: Study, counts: Counts, done: Mapping[str, Mask], scores: Mapping[str, Scores]
) -> tuple[Exclusion, ...]:
    answers = counts.answers
    fast, slow = _fast_and_slow(study, answers)
    rules = {
        f"people with an answer in under {study.response_times.fast_ms / 1000:g} s": fast,
        f"people with an answer that took over {study.response_times.slow_ms / 1000:g} s": slow,
        "people who missed a catch trial": answers.of("catch") & (answers.right == 0),
    }
    kept = {
        rule: {arm: mask & (counts.total(which) == 0) for arm, mask in done.items()} for rule, which in rules.items()
    }
    kept[f"the lowest {100 * WORST:.0f}\N{NO-BREAK SPACE}% of each arm in the test"] = {
        arm: _without_worst(mask, scores["test"]) for arm, mask in done.items()
    }
    return tuple(
        Exclusion(rule, {arm: int(done[arm].sum() - mask.sum()) for arm, mask in by.items()}, _outcomes(by, scores))
        for rule, by in kept.items()
    )


def _without_worst(done: Mask, test: Scores) -> Mask:
    kept = done.copy()
    kept[done] = ~worst(test[done], WORST)
    return kept


def _fast_and_slow(study: Study, answers: Answers) -> tuple[Mask, Mask]:
    limits = study.response_times
    return (answers.time != UNKNOWN) & (answers.time < limits.fast_ms), answers.time > limits.slow_ms


def _times(study: Study, counts: Counts) -> tuple[Times, ...]:
    answers = counts.answers
    found = []
    for arm in study.arms:
        mine = (counts.completed & _of_arm(counts, arm))[answers.session] & (answers.time != UNKNOWN)
        for phase in PHASES:
            times = answers.time[mine & answers.of(phase)]
            if len(times):
                at = np.quantile(times, SHARES, method="inverted_cdf")
                found.append(Times(arm.name, phase, len(times), tuple(at.tolist())))
    return tuple(found)


def _dropouts(study: Study, counts: Counts, states: Sequence[str]) -> dict[str, dict[int, int]]:
    left = [state in ("abandoned", "withdrawn", "timed_out") for state in states]
    gone = list(compress(counts.sessions, left))
    return {
        arm.name: dict(sorted(Counter(row.position for row in gone if row.arm_id == arm.id).items()))
        for arm in study.arms
    }


def _flags(study: Study, counts: Counts) -> dict[str, tuple[int, int]]:
    found = {}
    for name, which in zip(("fast", "slow"), _fast_and_slow(study, counts.answers)):
        found[name] = (int(which.sum()), int((counts.total(which) > 0).sum()))
    return {**found, **counts.events}


def _purge_by(study: Study, counts: Counts) -> str | None:
    if study.retention_days is None or not counts.sessions:
        return None
    first = datetime.fromisoformat(min(row.consent_at for row in counts.sessions))
    return (first + timedelta(days=study.retention_days)).date().isoformat()


def _of_arm(counts: Counts, arm: StudyArm) -> Mask:
    return np.array([row.arm_id == arm.id for row in counts.sessions], dtype=np.bool_)


def _known(values: Scores) -> list[float]:
    found: list[float] = values[~np.isnan(values)].tolist()
    return found
