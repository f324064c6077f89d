"""What an adaptive arm shows next: its teacher is asked, with a limit of time, and what it says goes into the plan."""

import json
from collections.abc import Mapping
from concurrent.futures import CancelledError

from pydantic import JsonValue
from sqlalchemy import select

from . import tables
from .plans import Planned, decision_key, fallback
from .room import Room, note
from .sessions import Session, around, by_id, grant, plan_rows
from .teaching import Answered


def decide(room: Room, session: Session, position: int) -> None:
    """Write the plan for one teaching position of an adaptive arm, unless it is there.

    The teacher runs outside of transactions, so that nobody waits for it but the person. It is given up when its time
    is over, when it fails, or names an item that is none of its pool; then the next item of a drawn sequence is shown.

    Args:
        room: the experiment.
        session: in an adaptive arm.
        position: of the next teaching item; all before it are answered.
    """
    arm = room.material.arms[session.arm]
    with room.database.read() as connection:
        if position in around(connection, session.id, position):
            return
        trial, plan = tables.trial, tables.plan
        rows = connection.execute(
            select(trial.c.item_id, trial.c.response, plan.c.show_explanation)
            .join(plan, (plan.c.session_id == trial.c.session_id) & (plan.c.position == trial.c.position))
            .where(trial.c.session_id == session.id, trial.c.position < position)
            .order_by(trial.c.position)
        )
        history = [Answered(*row) for row in rows]
    item_id, notes, reason = _asked(room, session, position, history)
    row = Planned(position, "train", item_id, arm.explained[arm.item_ids.index(item_id)])
    with room.database.write() as connection:
        current = by_id(room, connection, session.id, lock=True)
        # the same decision for a second request may have been faster; and the person may have withdrawn
        if current is None or not current.active or position in around(connection, session.id, position):
            return
        plan_rows(connection, session.id, [row], json.dumps(notes, sort_keys=True))
        grant(connection, session.id, position, item_id, "image")
        if reason is not None:
            note(connection, room.now(), "fallback", {"position": position, "reason": reason}, session.id)


def _asked(
    room: Room, session: Session, position: int, history: list[Answered]
) -> tuple[str, Mapping[str, JsonValue], str | None]:
    """Return the item, what the teacher saw, and why it is not the teacher's; None: it is."""
    arm, teacher, pool = room.material.arms[session.arm], room.teachers[session.arm], room.pool(session.arm)
    future = room.deciding.submit(teacher.next_item, history, pool, decision_key(session.seed, position))
    instead = fallback(session.seed, arm, [answer.item_id for answer in history])
    try:
        error = future.exception(timeout=room.config.adaptive_limit_ms / 1000)
    except (TimeoutError, CancelledError):
        future.cancel()
        return instead, {}, "time"
    if error is not None:
        return instead, {}, f"error: {type(error).__name__}: {error}"[:200]
    item_id, notes = future.result()
    return (item_id, notes, None) if item_id in arm.item_ids else (instead, {}, "not in the pool")
