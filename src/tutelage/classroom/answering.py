"""How a session goes on: an answer, or a step to the next page, each in one transaction.

Safe to repeat: what was done before is accepted and writes nothing. What is not allowed is refused and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, update

from . import tables
from .completion import issue
from .config import ADAPTIVE
from .deciding import decide
from .replies import Accepted, Refused
from .room import Room, milliseconds, note
from .sessions import Session, Step, around, expired, find, grant, move, show
from .states import Event, stage_order

_LONGEST_RT = 24 * 3600 * 1000
_LONGEST_COMMENT = 5000
_MOST_BLURS = 100_000

_TRIAL = insert(tables.trial)
_LOOKED = update(tables.trial).where(
    tables.trial.c.session_id == bindparam("id"), tables.trial.c.position == bindparam("at")
)


class _Told(NamedTuple):
    """What a form says of an answer."""

    response: int | str | None
    rt_ms: float | str | None
    blurs: int | str | None


@dataclass(frozen=True)
class _Undecided:
    """An adaptive teacher must choose first what is shown at a position."""

    session: Session
    position: int


def answer(
    room: Room,
    bearer: str,
    *,
    position: int | str,
    token: str,
    response: int | str | None,
    rt_ms: float | str | None = None,
    blurs: int | str | None = None,
) -> Accepted | Refused:
    """Take the answer to an item.

    Args:
        room: the experiment.
        bearer: of the session.
        position: of the item, as the form says.
        token: of the form.
        response: position of the class, in 0..K-1.
        rt_ms: the browser's time from image to answer, in milliseconds; kept as missing if it cannot be.
        blurs: how often the page was left; likewise.
    """
    with room.database.write() as connection:
        session = find(room, connection, bearer, lock=True)
        reply = _answer(room, connection, session, position, token, _Told(response, rt_ms, blurs))
    if isinstance(reply, Accepted) and reply.written and session is not None:
        # the next item is chosen while the person looks at the feedback
        following = session.position + 1
        if room.material.arms[session.arm].config.teacher in ADAPTIVE and following < room.config.num_train:
            decide(room, session, following)
    return reply


def advance(
    room: Room, bearer: str, *, position: int | str, stage: str, token: str, comment: str | None = None
) -> Accepted | Refused:
    """Go on from a page that needs no answer: of the tutorial, feedback, a dialog, or the last one.

    Args:
        room: the experiment.
        bearer: of the session.
        position: as the form says.
        stage: as the form says.
        token: of the form.
        comment: of the last page; cut after 5000 characters.
    """
    for _ in range(2):
        with room.database.write() as connection:
            session = find(room, connection, bearer, lock=True)
            reply = _advance(room, connection, session, position, stage, token, comment)
        if not isinstance(reply, _Undecided):
            return reply
        decide(room, reply.session, reply.position)
    return Refused("unknown")  # the person withdrew meanwhile


def _answer(
    room: Room, connection: Connection, session: Session | None, position: int | str, token: str, told: _Told
) -> Accepted | Refused:
    now = room.now()
    if session is None or session.state in ("withdrawn", "timed_out") or expired(room, session, now):
        return Refused("unknown")
    at = _whole(position)
    if at is None or at > session.position or at >= room.config.length:
        return Refused("ahead", session.position)
    if not room.key.check_form(token, session.id, at, "question"):
        return Refused("forged", session.position)
    given = _whole(told.response)
    if given is None or given >= len(room.material.classes):
        return Refused("invalid", session.position)
    plans = around(connection, session.id, at)
    if at in plans and plans[at].answered_at is not None:
        return Accepted(written=False) if plans[at].response == given else Refused("conflict", session.position)
    if session.stage != "question" or at != session.position:
        return Refused("ahead", session.position)
    item = room.material.items[plans[at].item_id]
    if not room.images.available(item.id, item.file):
        note(connection, now, "missing_image", {"position": at}, session.id)
        return Refused("missing", session.position)
    _keep(connection, session, plans[at], given, item.label, told, now)
    _leave(room, connection, session, plans, now)
    return Accepted(written=True)


def _keep(connection: Connection, session: Session, step: Step, given: int, label: int, told: _Told, now: str) -> None:
    """Write the answer to the item that a session is at."""
    blurs = _whole(told.blurs)
    row = {
        "session_id": session.id,
        "position": session.position,
        "phase": step.phase,
        "item_id": step.item_id,
        "shown_at": step.shown_at,
        "answered_at": now,
        "response": given,
        "correct": given == label,
        "rt_ms_client": _time(told.rt_ms),
        "blurs": 0 if blurs is None or blurs > _MOST_BLURS else blurs,
    }
    connection.execute(_TRIAL, row)
    if row["blurs"]:
        note(connection, now, "blur", {"position": session.position, "count": row["blurs"]}, session.id)


def _leave(room: Room, connection: Connection, session: Session, plans: Mapping[int, Step], now: str) -> None:
    """Go on from a question that was answered, with all that the next page needs."""
    at = session.position
    if session.state == "teaching":
        move(room, connection, session, "answer", at, "feedback", now)
        if plans[at].show_explanation:
            grant(connection, session.id, at, plans[at].item_id, "explanation")
    elif at + 1 < room.config.length:
        move(room, connection, session, "answer", at + 1, "question", now)
        show(connection, session.id, at + 1, plans.get(at + 2), now)
    else:
        move(room, connection, session, "last_answer", at + 1, "debrief", now)


def _advance(
    room: Room,
    connection: Connection,
    session: Session | None,
    position: int | str,
    stage: str,
    token: str,
    comment: str | None,
) -> Accepted | Refused | _Undecided:
    now = room.now()
    if session is None or session.state in ("withdrawn", "timed_out") or expired(room, session, now):
        return Refused("unknown")
    at, order = _whole(position), stage_order(stage)
    if at is None or order < 0 or (at, order) > session.place:
        return Refused("ahead", session.position)
    if not room.key.check_form(token, session.id, at, stage):
        return Refused("forged", session.position)
    if (at, order) < session.place:
        return Accepted(written=False)
    if stage in ("question", "over"):  # a question is left by its answer alone
        return Refused("ahead", session.position)
    if stage == "debrief":
        issue(room, connection, session, now)
        connection.execute(delete(tables.image_token).where(tables.image_token.c.session_id == session.id))
        told = _comment(comment or "")
        move(room, connection, session, "finish", at, "over", now, comment=told, completed_at=now)
        return Accepted(written=True)
    event, to, next_stage = _following(room, session)
    plans = around(connection, session.id, at)
    if next_stage == "question" and to not in plans:
        return _Undecided(session, to)
    if stage == "feedback" and (answered_at := plans[at].answered_at) is not None:
        _looked(room, connection, session, answered_at, now)
    move(room, connection, session, event, to, next_stage, now)
    if next_stage == "question":
        show(connection, session.id, to, plans.get(to + 1), now)
    return Accepted(written=True)


def _following(room: Room, session: Session) -> tuple[Event, int, str]:
    """Return the event, position and stage that follow a page of the tutorial, a dialog or feedback."""
    if session.state == "tutorial":
        number = int(session.stage.removeprefix("page-"))
        if number < len(room.config.tutorial):
            return "next", 0, f"page-{number + 1}"
        return "begin", 0, "question"
    if session.state != "feedback":
        return "next", session.position, "question"
    following = session.position + 1
    if following == room.config.num_train:
        return "end", following, "dialog"
    if following == room.config.num_train // 2:
        return "half", following, "dialog"
    return "next", following, "question"


def _looked(room: Room, connection: Connection, session: Session, answered_at: str, now: str) -> None:
    """Write how long feedback was looked at; too short a time is flagged and no more."""
    passed = milliseconds(answered_at, now)
    connection.execute(_LOOKED, {"id": session.id, "at": session.position, "feedback_ms": passed})
    if passed < room.config.feedback_ms:
        note(connection, now, "early_next", {"position": session.position, "feedback_ms": passed}, session.id)


def _whole(given: int | str | None) -> int | None:
    """Return a number of a form, in 0..10^9; None: it is none."""
    text = str(given)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _comment(given: str) -> str | None:
    """Return a comment without what is no text, such as the zero byte, which PostgreSQL does not store."""
    told = given.replace("\r\n", "\n")
    return "".join(c for c in told if c.isprintable() or c in "\n\t").strip()[:_LONGEST_COMMENT] or None


def _time(given: float | str | None) -> int | None:
    try:
        found = float(given) if given is not None else -1.0
    except ValueError:
        return None
    return round(found) if 0 <= found <= _LONGEST_RT else None
