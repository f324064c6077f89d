"""Taking answers back: withdrawal by the person, and removal by the researcher."""

from sqlalchemy import Connection, Select, delete, select, update

from . import tables
from .completion import session_of_code
from .replies import Accepted, Refused
from .room import Room, note
from .sessions import Session, by_id, find, of_participant
from .states import after

_OF_ANSWERS = ("response", "correct", "shown_at", "answered_at", "rt_ms_client", "feedback_ms", "blurs")


def withdraw(room: Room, bearer: str, *, token: str) -> Accepted | Refused:
    """Withdraw the person of a session, at any page.

    Args:
        room: the experiment.
        bearer: of the session.
        token: of the page's form that withdraws.
    """
    with room.database.write() as connection:
        session = find(room, connection, bearer, lock=True)
        if session is None:
            return Refused("unknown")
        if not room.key.check_form(token, session.id, 0, "withdraw"):
            return Refused("forged", session.position)
        return Accepted(_withdraw(room, connection, session))


def withdraw_by_code(room: Room, code: str) -> bool:
    """Withdraw a person who completed, by the completion code; False: there is no such code."""
    with room.database.write() as connection:
        session_id = session_of_code(room, connection, code)
        session = None if session_id is None else by_id(room, connection, session_id, lock=True)
        if session is None:
            return False
        _withdraw(room, connection, session)
        return True


def purge(room: Room, participant_id: str) -> bool:
    """Remove a participant everywhere; of events only kind and time stay.

    Returns:
        False if there is no such participant.
    """
    with room.database.write() as connection:
        known = select(tables.participant.c.id).where(tables.participant.c.id == participant_id)
        if connection.scalar(known.with_for_update()) is None:
            return False
        sessions = select(tables.session.c.id).where(tables.session.c.participant_id == participant_id)
        connection.execute(
            update(tables.event).where(tables.event.c.session_id.in_(sessions)).values(session_id=None, detail="{}")
        )
        for table in (tables.image_token, tables.trial, tables.plan, tables.completion):
            connection.execute(delete(table).where(table.c.session_id.in_(sessions)))
        for table in (tables.session, tables.external_id):
            connection.execute(delete(table).where(table.c.participant_id == participant_id))
        connection.execute(delete(tables.participant).where(tables.participant.c.id == participant_id))
        note(connection, room.now(), "admin", {"purged": 1})
    room.database.erase()
    return True


def purge_raw_ids(room: Room) -> int:
    """Delete the platforms' ids of all people, and return how many there were."""
    with room.database.write() as connection:
        count = connection.execute(delete(tables.external_id)).rowcount
        note(connection, room.now(), "admin", {"purged_raw_ids": count})
    room.database.erase()
    return count


def _withdraw(room: Room, connection: Connection, session: Session) -> bool:
    """Withdraw the person of a session, with all sessions; False: that was done before."""
    current = of_participant(room, connection, session.participant_id, lock=True)
    if current is None or current.state == "withdrawn":
        return False
    now, person = room.now(), session.participant_id
    ids = select(tables.session.c.id).where(tables.session.c.participant_id == person)
    _forget(room, connection, ids)
    connection.execute(update(tables.session).where(tables.session.c.id.in_(ids)).values(comment=None))
    connection.execute(
        update(tables.session)
        .where(tables.session.c.id == current.id)
        .values(state=after(current.state, "withdraw"), stage="over", last_seen_at=now)
    )
    connection.execute(delete(tables.external_id).where(tables.external_id.c.participant_id == person))
    connection.execute(
        update(tables.participant)
        .where(tables.participant.c.id == person)
        .values(withdrawn_at=now, language=None, age_band=None)
    )
    note(connection, now, "withdraw", {}, current.id)
    return True


def _forget(room: Room, connection: Connection, ids: Select[tuple[str]]) -> None:
    """Delete what sessions hold of answers, or all of it but that there were some."""
    trial, plan = tables.trial, tables.plan
    connection.execute(delete(tables.image_token).where(tables.image_token.c.session_id.in_(ids)))
    connection.execute(update(tables.event).where(tables.event.c.session_id.in_(ids)).values(detail="{}"))
    if room.config.on_withdraw == "delete":
        connection.execute(delete(trial).where(trial.c.session_id.in_(ids)))
        connection.execute(delete(plan).where(plan.c.session_id.in_(ids)))
        return
    nothing = dict.fromkeys(_OF_ANSWERS)
    connection.execute(update(trial).where(trial.c.session_id.in_(ids)).values(nothing))
    connection.execute(update(plan).where(plan.c.session_id.in_(ids)).values(shown_at=None, notes_json=None))
