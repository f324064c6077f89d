"""The people of an experiment one by one, for the researcher: who is where, whose code is paid, who is removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, or_, select

from . import tables
from .removal import purge, withdraw
from .replies import Accepted
from .room import Room
from .states import ACTIVE
from .study import People

PAGE = 50
"""People on one page of the list."""
_COLUMNS = ("id", "participant_id", "state", "position", "created_at", "last_seen_at", "completed_at", "resumes")


class SessionFacts(NamedTuple):
    """A session of somebody.

    Attributes:
        id: of the session.
        participant_id: random id of the person.
        state: as stored; ``abandoned`` if it goes on and was idle for too long.
        position: of the item that it is at.
        created_at: time.
        last_seen_at: time.
        completed_at: time; None: not completed.
        resumes: how often the person went on after a longer gap.
        arm: name.
        source: where the person came from.
        comment: of the person; None: none.
    """

    id: str
    participant_id: str
    state: str
    position: int
    created_at: str
    last_seen_at: str
    completed_at: str | None
    resumes: int
    arm: str
    source: str
    comment: str | None


@dataclass(frozen=True)
class PeoplePage:
    """A page of the list.

    Attributes:
        sessions: the latest first.
        page: from 1.
        pages: at least 1.
        count: sessions on all pages.
    """

    sessions: tuple[SessionFacts, ...]
    page: int
    pages: int
    count: int


class CodeFacts(NamedTuple):
    """A completion code.

    Attributes:
        code: as the person has it.
        outcome: for which it was issued.
        issued_at: time.
        redeemed_at: time; None: not yet.
        raw_id: the platform's id of the person; None: not kept.
    """

    code: str
    outcome: str
    issued_at: str
    redeemed_at: str | None
    raw_id: str | None


def list_people(room: Room, people: People = "real", *, find: str = "", page: int = 1) -> PeoplePage:
    """Return a page of the sessions.

    Args:
        room: the experiment.
        people: real or simulated ones.
        find: how the id of the participant or of the session begins, or the name of a state; empty: all.
        page: from 1; a later one than the last gives the last.
    """
    session, participant = tables.session, tables.participant
    simulated = participant.c.source == "simulated"
    wanted: list[ColumnElement[bool]] = [simulated if people == "simulated" else ~simulated]
    if not find.isprintable():  # what PostgreSQL cannot store, it cannot look for
        return PeoplePage((), 1, 1, 0)
    if find:
        starts = (column.startswith(find, autoescape=True) for column in (participant.c.id, session.c.id))
        wanted.append(or_(*starts, _in_state(room, find)))
    with room.database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(session).join(participant).where(*wanted)) or 0
        pages = max(1, -(-count // PAGE))
        page = min(max(1, page), pages)
        latest = (session.c.created_at.desc(), session.c.id)
        rows = connection.execute(_facts().where(*wanted).order_by(*latest).limit(PAGE).offset((page - 1) * PAGE))
        return PeoplePage(tuple(_told(room, row) for row in rows), page, pages, count)


def person(room: Room, participant_id: str) -> tuple[SessionFacts, ...]:
    """Return the sessions of a participant, the first one first; empty: there is no such person."""
    with room.database.read() as connection:
        mine = tables.participant.c.id == participant_id
        rows = connection.execute(_facts().where(mine).order_by(tables.session.c.created_at))
        return tuple(_told(room, row) for row in rows)


def withdraw_person(room: Room, participant_id: str) -> bool:
    """Withdraw a participant who asked for it by other means than the pages; False: that was done, or nobody is."""
    sessions = person(room, participant_id)
    if not sessions:
        return False
    session_id = sessions[-1].id
    token = room.key.form(session_id, 0, "withdraw")
    reply = withdraw(room, room.key.bearer(session_id), token=token)
    return isinstance(reply, Accepted) and reply.written


def purge_simulated(room: Room) -> int:
    """Remove all simulated people, so that the experiment is as before the simulation, and return how many."""
    participant = tables.participant
    with room.database.read() as connection:
        ids = connection.scalars(select(participant.c.id).where(participant.c.source == "simulated")).all()
    return sum(purge(room, id) for id in ids)


def codes(room: Room) -> tuple[CodeFacts, ...]:
    """Return the completion codes of real people, in the order in which they were issued."""
    completion, session, participant = tables.completion, tables.session, tables.participant
    with room.database.read() as connection:
        rows = connection.execute(
            select(completion, tables.external_id.c.raw_id)
            .join(session, session.c.id == completion.c.session_id)
            .join(participant, participant.c.id == session.c.participant_id)
            .outerjoin(tables.external_id, tables.external_id.c.participant_id == participant.c.id)
            .where(participant.c.source != "simulated")
            .order_by(completion.c.issued_at, completion.c.session_id)
        ).all()
    return tuple(
        CodeFacts(room.key.code(row.nonce), row.outcome, row.issued_at, row.redeemed_at, row.raw_id) for row in rows
    )


def _in_state(room: Room, name: str) -> ColumnElement[bool]:
    """Whether a session is in a state as :class:`SessionFacts` has it."""
    session = tables.session
    idle_since = room.before(room.config.abandon_after_minutes)
    abandoned = session.c.state.in_(ACTIVE) & (session.c.last_seen_at < idle_since)
    return abandoned if name == "abandoned" else (session.c.state == name.replace(" ", "_")) & ~abandoned


def _facts() -> Select[Any]:
    session, participant = tables.session, tables.participant
    columns: Sequence[ColumnElement[Any]] = [session.c[name] for name in _COLUMNS]
    return select(*columns, session.c.arm_id, participant.c.source, session.c.comment).join(participant)


def _told(room: Room, row: Any) -> SessionFacts:
    facts = row._asdict()
    facts["arm"] = room.arm_names[facts.pop("arm_id")]
    if row.state in ACTIVE and row.last_seen_at < room.before(room.config.abandon_after_minutes):
        facts["state"] = "abandoned"
    return SessionFacts(**facts)
