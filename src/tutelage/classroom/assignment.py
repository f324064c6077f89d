"""Which arm a person comes into: the one with the fewest people, relative to what is wanted."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, or_, select

from ..errors import ConfigError
from ..randomness import permutation, stream
from .states import ACTIVE
from .tables import arm, participant, session


class Filled(NamedTuple):
    """An arm that takes people in.

    Attributes:
        id: of the arm.
        taken: people who completed it, or are in it.
        target: people wanted, at least 1.
    """

    id: str
    taken: int
    target: int


def least_filled(arms: Sequence[Filled], seed: int) -> str:
    """Return the id of the arm with the smallest share of its target; among equal ones a drawn one.

    Args:
        arms: at least one.
        seed: of the session.

    Raises:
        ConfigError: if there is no arm.
    """
    if not arms:
        raise ConfigError("no arm takes people in; set active = true for one.")
    least = min(Fraction(each.taken, each.target) for each in arms)
    tied = sorted(each.id for each in arms if Fraction(each.taken, each.target) == least)
    return tied[int(permutation(stream(seed, "arm"), len(tied))[0])]


def filled(connection: Connection, experiment_id: str, *, idle_since: str, simulated: bool) -> list[Filled]:
    """Return how full the active arms are.

    Args:
        connection: in the transaction that creates the session, so that nobody else can take the place.
        experiment_id: of the experiment.
        idle_since: time; sessions that go on, but were last seen before it, have lost their place.
        simulated: count simulated people, or the others; they do not take places from each other.
    """
    occupying = and_(
        session.c.arm_id == arm.c.id,
        or_(session.c.state == "completed", and_(session.c.state.in_(ACTIVE), session.c.last_seen_at >= idle_since)),
        session.c.participant_id.in_(
            select(participant.c.id).where((participant.c.source == "simulated") == simulated)
        ),
    )
    found = connection.execute(
        select(arm.c.id, func.count(session.c.id), arm.c.target_n)
        .select_from(arm.outerjoin(session, occupying))
        .where(arm.c.experiment_id == experiment_id, arm.c.active)
        .group_by(arm.c.id, arm.c.target_n)
    )
    return [Filled(*row) for row in found]
