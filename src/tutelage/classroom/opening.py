"""To let people in: only what has no error."""

from .check import Problem, check
from .room import Room, set_status


def open_to_people(room: Room) -> tuple[Problem, ...]:
    """Open an experiment if nothing is wrong with it.

    Args:
        room: the experiment.

    Returns:
        what is wrong with it; with an error among it the experiment stays as it was.
    """
    found = check(room.folder)
    if not any(problem.kind == "error" for problem in found):
        set_status(room, "open")
    return found
