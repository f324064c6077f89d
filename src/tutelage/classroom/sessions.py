"""Rows of one session: found by the bearer of its cookie, moved on, and the images that it may see."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, insert, select, update

from ..errors import TutelageError
from . import tables
from .material import Variant
from .plans import Phase, Planned
from .room import Room, milliseconds, note
from .states import ACTIVE, Event, State, after, stage_order
from .tokens import bearer_hash, is_id, random_id

GAP_MS = 60_000
"""A pause longer than this is logged."""


@dataclass(frozen=True)
class Session:
    """A session as it is in the database.

    Attributes:
        id: of the row.
        participant_id: whose it is.
        arm: name of its arm.
        state: of the participant.
        position: of the item, from 0 over all phases.
        stage: at the position.
        button_order: classes in the order of the buttons.
        seed: of everything that is drawn for it.
        last_seen_at: when it was last changed.
        resumes: long pauses after which it went on.
    """

    id: str
    participant_id: str
    arm: str
    state: State
    position: int
    stage: str
    button_order: tuple[int, ...]
    seed: int
    last_seen_at: str
    resumes: int

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.state in ACTIVE

    @property
    def place(self) -> tuple[int, int]:
        """How far it is; only grows."""
        return self.position, stage_order(self.stage)


class Step(NamedTuple):
    """An item of a session.

    Attributes:
        phase: ``train``, ``test`` or ``catch``.
        item_id: of the item.
        show_explanation: after the answer.
        shown_at: time; None: not yet.
        response: class that was chosen; None: none yet.
        answered_at: time; None: not yet.
    """

    phase: Phase
    item_id: str
    show_explanation: bool
    shown_at: str | None
    response: int | None
    answered_at: str | None


class InSight(NamedTuple):
    """An image that a session may load now, with the item that it is of.

    Attributes:
        token: of the image.
        item_id: of the item.
        response: class that was chosen; None: none yet.
        answered_at: time; None: not yet.
    """

    token: str
    item_id: str
    response: int | None
    answered_at: str | None


def find(room: Room, connection: Connection, bearer: str, *, lock: bool = False) -> Session | None:
    """Return the session that a bearer opens, or None.

    Args:
        room: the experiment.
        connection: in a transaction.
        bearer: from the cookie; anything.
        lock: keep others from changing it until the end of the transaction.
    """
    if not is_id(bearer):
        return None
    return _one(room, connection, _BEARER, bearer_hash(bearer), lock)


def of_participant(room: Room, connection: Connection, participant_id: str, *, lock: bool = False) -> Session | None:
    """Return the session of a participant that counts: the one that was not replaced by another."""
    return _one(room, connection, _PARTICIPANT, participant_id, lock)


def by_id(room: Room, connection: Connection, session_id: str, *, lock: bool = False) -> Session | None:
    """Return a session by its id, or None."""
    return _one(room, connection, _ID, session_id, lock)


def _one(room: Room, connection: Connection, query: Select[Any], value: str, lock: bool) -> Session | None:
    row = connection.execute(_LOCKED[query] if lock else query, {"value": value}).one_or_none()
    return None if row is None else _session(room, row)


def _session(room: Room, row: Sequence[Any]) -> Session:
    # by place, as names cost more than the query
    id, participant_id, arm_id, state, position, stage, button_order, seed, last_seen_at, resumes = row
    return Session(
        id=id,
        participant_id=participant_id,
        arm=room.arm_names[arm_id],
        state=state,
        position=position,
        stage=stage,
        button_order=tuple(json.loads(button_order)),
        seed=int(seed),
        last_seen_at=last_seen_at,
        resumes=resumes,
    )


def expired(room: Room, session: Session, now: str) -> bool:
    """Whether a session that goes on was left for so long that it must not."""
    gap = milliseconds(session.last_seen_at, now)
    return session.active and room.config.resume != "resume" and gap > room.config.max_gap_minutes * 60_000


def move(
    room: Room,
    connection: Connection,
    session: Session,
    event: Event,
    position: int,
    stage: str,
    now: str,
    **values: Any,
) -> None:
    """Bring a session to another place, and log how long it had been left.

    Args:
        room: the experiment.
        connection: in the transaction that has it locked.
        session: as found there.
        event: that happened.
        position: the new one.
        stage: the new one.
        now: time.
        **values: of other columns.
    """
    if (position, stage_order(stage)) < session.place:
        raise TutelageError(f"a session cannot go back from {session.place} to {position}, {stage}.")
    gap = milliseconds(session.last_seen_at, now)
    if gap > GAP_MS:
        note(connection, now, "gap", {"ms": gap, "position": session.position}, session.id)
    if gap > room.config.max_gap_minutes * 60_000:
        note(connection, now, "resume", {"ms": gap}, session.id)
        values["resumes"] = session.resumes + 1
    if gap > room.config.abandon_after_minutes * 60_000:
        note(connection, now, "late", {"ms": gap}, session.id)
    values |= {"state": after(session.state, event), "position": position, "stage": stage, "last_seen_at": now}
    connection.execute(_MOVE, {"session_id": session.id, **values})


def around(connection: Connection, session_id: str, position: int) -> dict[int, Step]:
    """Return what is planned at a position and the two that follow, and was answered there, by position."""
    found = connection.execute(_AROUND, {"id": session_id, "first": position, "last": position + 2})
    return {at: Step(*rest) for at, *rest in found}


def plan_rows(connection: Connection, session_id: str, rows: list[Planned], notes_json: str | None = None) -> None:
    """Write rows of the plan."""
    values = [{"session_id": session_id, "notes_json": notes_json, **row._asdict()} for row in rows]
    connection.execute(_PLAN, values)


def show(connection: Connection, session_id: str, position: int, following: Step | None, now: str) -> None:
    """Write that the item at a position is shown from now on, and make a token for the one after it.

    Args:
        connection: in a transaction that writes.
        session_id: of the session.
        position: of the item.
        following: plan at the position after it; None: it is not known yet, or there is none.
        now: time.
    """
    connection.execute(_SHOWN, {"id": session_id, "at": position, "shown_at": now})
    if following is not None:
        grant(connection, session_id, position + 1, following.item_id, "image")


def grant(connection: Connection, session_id: str, position: int, item_id: str, variant: Variant) -> None:
    """Make a token for an image of a session."""
    row = {
        "token": random_id(),
        "session_id": session_id,
        "position": position,
        "item_id": item_id,
        "variant": variant,
    }
    connection.execute(_TOKEN, row)


def in_sight(connection: Connection, session: Session) -> dict[tuple[int, Variant], InSight]:
    """Return the images of a session's item and of the next, by position and variant."""
    place = {"id": session.id, "first": session.position, "last": session.position + 1}
    return {(at, variant): InSight(*rest) for at, variant, *rest in connection.execute(_IN_SIGHT, place)}


def find_image(room: Room, connection: Connection, bearer: str, token: str) -> tuple[Session, int, str, Variant] | None:
    """Return the session that a bearer opens, with position, item and variant of one of its images; or None.

    Args:
        room: the experiment.
        connection: in a transaction.
        bearer: from the cookie; anything.
        token: of the image; anything.
    """
    if not is_id(bearer) or not is_id(token):
        return None
    row = connection.execute(_IMAGE, {"value": bearer_hash(bearer), "token": token}).one_or_none()
    return None if row is None else (_session(room, row[:-3]), *row[-3:])


# made once: to put such a statement together takes longer than to run it
_SESSION = [
    tables.session.c[name]
    for name in (
        "id", "participant_id", "arm_id", "state", "position", "stage", "button_order", "seed", "last_seen_at",
        "resumes",
    )
]  # fmt: skip
_BEARER = select(*_SESSION).where(tables.session.c.bearer_hash == bindparam("value"))
_ID = select(*_SESSION).where(tables.session.c.id == bindparam("value"))
_PARTICIPANT = select(*_SESSION).where(
    tables.session.c.participant_id == bindparam("value"), tables.session.c.state != "timed_out"
)
_IMAGE = (
    _BEARER.add_columns(tables.image_token.c.position, tables.image_token.c.item_id, tables.image_token.c.variant)
    .join(tables.image_token, tables.image_token.c.session_id == tables.session.c.id)
    .where(tables.image_token.c.token == bindparam("token"))
)
_LOCKED = {query: query.with_for_update() for query in (_BEARER, _ID, _PARTICIPANT)}
_MOVE = update(tables.session).where(tables.session.c.id == bindparam("session_id"))
_AROUND = (
    select(
        tables.plan.c.position,
        tables.plan.c.phase,
        tables.plan.c.item_id,
        tables.plan.c.show_explanation,
        tables.plan.c.shown_at,
        tables.trial.c.response,
        tables.trial.c.answered_at,
    )
    .select_from(tables.plan)
    .outerjoin(
        tables.trial,
        (tables.trial.c.session_id == tables.plan.c.session_id) & (tables.trial.c.position == tables.plan.c.position),
    )
    .where(tables.plan.c.session_id == bindparam("id"))
    .where(tables.plan.c.position >= bindparam("first"), tables.plan.c.position <= bindparam("last"))
)
_PLAN, _TOKEN = insert(tables.plan), insert(tables.image_token)
_SHOWN = update(tables.plan).where(
    tables.plan.c.session_id == bindparam("id"), tables.plan.c.position == bindparam("at")
)
_IN_SIGHT = (
    select(
        tables.image_token.c.position,
        tables.image_token.c.variant,
        tables.image_token.c.token,
        tables.image_token.c.item_id,
        tables.trial.c.response,
        tables.trial.c.answered_at,
    )
    .select_from(tables.image_token)
    .outerjoin(
        tables.trial,
        (tables.trial.c.session_id == tables.image_token.c.session_id)
        & (tables.trial.c.position == tables.image_token.c.position),
    )
    .where(tables.image_token.c.session_id == bindparam("id"))
    .where(tables.image_token.c.position >= bindparam("first"), tables.image_token.c.position <= bindparam("last"))
)
