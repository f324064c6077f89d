"""Single-use links: each lets one person in, who may come back by it."""

from sqlalchemy import insert

from . import tables
from .room import Room, note
from .tokens import random_id


def make_links(room: Room, count: int) -> list[str]:
    """Return codes for links, which end in ``/?code=CODE``; only a hash of them is stored.

    Args:
        room: the experiment.
        count: how many, at least 1.
    """
    codes, now = [random_id() for _ in range(count)], room.now()
    rows = [
        {"code_hmac": room.key.external("direct", code), "experiment_id": room.experiment_id, "created_at": now}
        for code in codes
    ]
    with room.database.write() as connection:
        connection.execute(insert(tables.link), rows)
        note(connection, now, "admin", {"links": count})
    return codes
