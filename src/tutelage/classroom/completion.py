"""Completion codes: issued when every answer is in, and redeemed once."""

from typing import Literal, TypeAlias

from sqlalchemy import Connection, func, insert, select, update

from . import tables
from .room import Room, note
from .sessions import Session
from .tokens import random_id, same

Redeemed: TypeAlias = Literal["redeemed", "again", "unknown"]


def issue(room: Room, connection: Connection, session: Session, now: str) -> None:
    """Write the completion of a session, from which its code follows.

    Args:
        room: the experiment.
        connection: in the transaction that has the session locked.
        session: whose items are all answered.
        now: time.
    """
    count = connection.scalar(select(func.count()).where(tables.trial.c.session_id == session.id))
    assert count == room.config.length, "a session completes only with all its answers"
    nonce = random_id()
    row = {
        "session_id": session.id,
        "nonce": nonce,
        "code_hmac": room.key.code_hmac(room.key.code(nonce)),
        "issued_at": now,
        "outcome": "completed",
    }
    connection.execute(insert(tables.completion).values(row))


def issued_code(room: Room, connection: Connection, session_id: str) -> str | None:
    """Return the code of a session, the same each time, or None if it is not completed."""
    nonce = connection.scalar(select(tables.completion.c.nonce).where(tables.completion.c.session_id == session_id))
    return None if nonce is None else room.key.code(nonce)


def session_of_code(room: Room, connection: Connection, code: str) -> str | None:
    """Return the id of the session of a code, or None."""
    completion = tables.completion
    # looked up by a keyed hash, so that how long it takes says nothing about the code
    row = connection.execute(
        select(completion.c.session_id, completion.c.nonce).where(completion.c.code_hmac == room.key.code_hmac(code))
    ).one_or_none()
    if row is None or not same("".join(code.split()).upper(), room.key.code(row.nonce)):
        return None
    return str(row.session_id)


def redeem(room: Room, code: str) -> Redeemed:
    """Mark a code as paid.

    Args:
        room: the experiment.
        code: as the person gave it; blanks and case do not count.

    Returns:
        ``again`` if it was redeemed before, ``unknown`` if it is no code of ours; then nothing is written.
    """
    completion = tables.completion
    with room.database.write() as connection:
        session_id = session_of_code(room, connection, code)
        if session_id is None:
            return "unknown"
        fresh = (completion.c.session_id == session_id) & completion.c.redeemed_at.is_(None)
        now = room.now()
        if connection.execute(update(completion).where(fresh).values(redeemed_at=now)).rowcount == 0:
            return "again"
        note(connection, now, "redeem", {}, session_id)
    return "redeemed"
