"""What the database tells the researcher's page: its sessions, and all answers as arrays, in one pass each.

An answer is read as two numbers, and all those of a session as one text: databases hand over a few long texts several
times as fast as many rows, and join and group them slower than arrays are counted.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, Integer, Select, Text, and_, case, cast, distinct, func, select

from .plans import Phase
from .study import People, Study
from .tables import event, item, participant, session, tally, trial

PHASES: tuple[Phase, ...] = get_args(Phase)
UNKNOWN = -1
"""In place of a time that is not known."""
Ints: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


class SessionRow(NamedTuple):
    """A session.

    Attributes:
        id: of the session.
        arm_id: of its arm.
        state: as stored.
        position: of the item that it is at.
        last_seen_at: time.
        consent_at: time.
    """

    id: str
    arm_id: str
    state: str
    position: int
    last_seen_at: str
    consent_at: str


@dataclass(frozen=True, eq=False)
class Answers:
    """All answers, int64 (N,) each, by session.

    Attributes:
        session: place in the list of sessions.
        position: from 0.
        phase: place in :data:`PHASES`.
        response: the class that was chosen.
        right: 1 or 0.
        time: by the browser, in milliseconds, or :data:`UNKNOWN`.
    """

    session: Ints
    position: Ints
    phase: Ints
    response: Ints
    right: Ints
    time: Ints

    def of(self, phase: Phase) -> Mask:
        """Return which answers are of a phase."""
        mask: Mask = self.phase == PHASES.index(phase)
        return mask


class Missed(NamedTuple):
    """Wrong answers of the test that have something in common.

    Attributes:
        arm_id: of the arm.
        label: the right class.
        response: the chosen one.
        answers: how many.
    """

    arm_id: str
    label: int
    response: int
    answers: int


@dataclass(frozen=True, eq=False)
class Counts:
    """All that the page is made of.

    Attributes:
        sessions: in the order in which they began.
        answers: that are kept.
        missed: of completed sessions.
        events: by kind, how many there are and in how many sessions.
        tallies: of people of whom nothing else is kept.
        repeats: (first session, later session) with the same items and answers.
    """

    sessions: tuple[SessionRow, ...]
    answers: Answers
    missed: tuple[Missed, ...]
    events: dict[str, tuple[int, int]]
    tallies: dict[str, int]
    repeats: tuple[tuple[str, str], ...]

    @cached_property
    def completed(self) -> Mask:
        """Which sessions went to the end."""
        return np.array([row.state == "completed" for row in self.sessions], dtype=np.bool_)

    def total(self, which: Mask) -> Ints:
        """Return of each session how many of the answers ``which`` it has, (S,)."""
        return np.bincount(self.answers.session[which], minlength=len(self.sessions))


def count(study: Study, people: People) -> Counts:
    """Return the sessions and answers of real or of simulated people, at one moment."""
    with study.database.read() as connection:
        sessions = _sessions(connection, study, people)
        answers = _answers(connection, study, people, sessions)
        return Counts(
            sessions,
            answers,
            _missed(connection, study, people),
            _events(connection, study, people),
            _tallies(connection, study),
            _repeats(connection, sessions, answers),
        )


def completed_by_arm(study: Study, people: People) -> dict[str, int]:
    """Return how many sessions of real or of simulated people completed, by id of the arm, where there are any."""
    with study.database.read() as connection:
        found = connection.execute(
            select(session.c.arm_id, func.count())
            .where(session.c.state == "completed", session.c.id.in_(of_people(study, people)))
            .group_by(session.c.arm_id)
        )
        return {row[0]: row[1] for row in found}


def of_people(study: Study, people: People) -> Select[str]:
    """Return the ids of the sessions of real or of simulated people."""
    return select(session.c.id).join(participant).where(_whose(study, people))


def _whose(study: Study, people: People) -> ColumnElement[bool]:
    simulated = participant.c.source == "simulated"
    return and_(participant.c.experiment_id == study.id, simulated if people == "simulated" else ~simulated)


def _sessions(connection: Connection, study: Study, people: People) -> tuple[SessionRow, ...]:
    columns = [session.c[name] for name in SessionRow._fields if name != "consent_at"]
    found = connection.execute(
        select(*columns, participant.c.consent_at)
        .join(participant)
        .where(_whose(study, people))
        .order_by(session.c.created_at, session.c.id)
    )
    return tuple(SessionRow._make(row) for row in found)


def _answers(connection: Connection, study: Study, people: People, sessions: tuple[SessionRow, ...]) -> Answers:
    classes, kinds = len(study.classes), len(PHASES)
    phase = case(*((trial.c.phase == name, i) for i, name in enumerate(PHASES)))
    place = (trial.c.position * kinds + phase) * 2 + cast(trial.c.correct, Integer)
    answer = cast(place * classes + trial.c.response, Text)
    time = cast(func.coalesce(trial.c.rt_ms_client, UNKNOWN), Text)
    found = connection.execute(
        select(trial.c.session_id, func.count(), func.aggregate_strings(answer.concat(",").concat(time), ","))
        .where(trial.c.response.is_not(None), trial.c.session_id.in_(of_people(study, people)))
        .group_by(trial.c.session_id)
    ).all()
    places = {row.id: place for place, row in enumerate(sessions)}
    of_session = np.repeat([places[row[0]] for row in found], [row[1] for row in found]).astype(np.int64)
    numbers = np.fromstring(",".join(row[2] for row in found), dtype=np.int64, sep=",")
    rest, response = np.divmod(numbers[::2], classes)
    rest, right = np.divmod(rest, 2)
    position, of_phase = np.divmod(rest, kinds)
    return Answers(of_session, position, of_phase, response, right, numbers[1::2])


def _missed(connection: Connection, study: Study, people: People) -> tuple[Missed, ...]:
    by = (session.c.arm_id, item.c.label, trial.c.response)
    found = connection.execute(
        select(*by, func.count())
        .select_from(trial)
        .join(session, session.c.id == trial.c.session_id)
        .join(item, item.c.id == trial.c.item_id)
        .where(trial.c.phase == "test", ~trial.c.correct, session.c.state == "completed")
        .where(session.c.id.in_(of_people(study, people)))
        .group_by(*by)
    )
    return tuple(Missed._make(row) for row in found)


def _events(connection: Connection, study: Study, people: People) -> dict[str, tuple[int, int]]:
    found = connection.execute(
        select(event.c.kind, func.count(), func.count(distinct(event.c.session_id)))
        .where(event.c.session_id.in_(of_people(study, people)))
        .group_by(event.c.kind)
        .order_by(event.c.kind)
    )
    return {kind: (events, sessions) for kind, events, sessions in found}


def _tallies(connection: Connection, study: Study) -> dict[str, int]:
    found = connection.execute(select(tally.c.kind, tally.c.count).where(tally.c.experiment_id == study.id))
    return {row[0]: row[1] for row in found}


def _repeats(connection: Connection, sessions: tuple[SessionRow, ...], answers: Answers) -> tuple[tuple[str, str], ...]:
    """Completed sessions that repeat an earlier one of their arm.

    Those whose answers have the same sums by position are compared item by item.
    """
    place = answers.position + 1
    sums = [
        np.bincount(answers.session, power * (answers.response + 1), len(sessions)).astype(np.int64).tolist()
        for power in (place, place * place)
    ]
    marks = {
        row.id: (row.arm_id, first, second) for row, first, second in zip(sessions, *sums) if row.state == "completed"
    }
    often = Counter(marks.values())
    seen: dict[object, str] = {}
    found = []
    for id in (id for id, mark in marks.items() if often[mark] > 1):
        shown = connection.execute(
            select(trial.c.item_id, trial.c.response).where(trial.c.session_id == id).order_by(trial.c.position)
        )
        earlier = seen.setdefault((marks[id][0], tuple(map(tuple, shown))), id)
        if earlier != id:
            found.append((earlier, id))
    return tuple(found)
