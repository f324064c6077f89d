"""Simulated people in an experiment that is served, and a count of what they did beside what is stored.

They test the machinery and the statistics; they are no evidence about teaching people.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import numpy as np
from sqlalchemy import select

from ..errors import ConfigError, TutelageError, unknown
from . import tables
from .room import Room, status
from .simulated_person import PROFILES, MakeClient, Person, Profile, Walk, World

SHARES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Simulation:
    """What simulated people did, beside what is stored of them.

    Attributes:
        walks: of the people, in their order.
        completed: people who reached the end.
        withdrew: people who withdrew.
        answers: that the server accepted, of people who did not withdraw.
        lost: accepted answers that are not stored, or stored otherwise.
        extra: stored answers that the server did not accept.
        incomplete: completed sessions with more or fewer answers than there are items.
        misjudged: stored answers whose mark is not what the item's label says.
        arms: completed sessions of these people by name of the arm.
        answer_ms: time of an answer, to the next page, at :data:`SHARES`; None: there were none.
        unexpected: what was not as it should be, a line each.
    """

    walks: tuple[Walk, ...]
    completed: int
    withdrew: int
    answers: int
    lost: int
    extra: int
    incomplete: int
    misjudged: int
    arms: Mapping[str, int]
    answer_ms: tuple[float, ...] | None
    unexpected: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.extra or self.incomplete or self.misjudged or self.unexpected)


async def simulate(
    room: Room,
    make_client: MakeClient,
    people: int,
    *,
    profiles: Sequence[str] = PROFILES,
    seed: int = 0,
    at_once: int = 200,
    pace: float = 0.0,
) -> Simulation:
    """Send people through an experiment that is served, and count afterwards.

    Args:
        room: the experiment, opened beside the server.
        make_client: makes a client with the address of the server, a fresh one for each browser.
        people: how many.
        profiles: of the people, in turn.
        seed: of all that they do.
        at_once: how many at the same time.
        pace: of thinking: 1 as people, 0 without a pause.

    Raises:
        ConfigError: for an unknown profile, for numbers outside their ranges, and if the experiment is closed.
    """
    if people < 1 or at_once < 1 or not pace >= 0 or not profiles:
        raise ConfigError(f"{people} people, {at_once} at once, pace {pace:g}: needs 1 or more, and a pace >= 0.")
    if status(room) == "closed":
        raise ConfigError(f"{room.folder}: closed; open it for simulated people too: tutelage classroom open")
    chosen = [_profile(name) for name in profiles]
    world = World(room, make_client, seed, pace)
    free = asyncio.Semaphore(at_once)

    async def one(number: int) -> Walk:
        walk = Walk(number, chosen[number % len(chosen)])
        async with free:
            try:
                await Person(world, walk).go()
            except (httpx.HTTPError, TutelageError) as error:
                walk.unexpected.append(f"{type(error).__name__}: {error}")
        return walk

    return recount(room, await asyncio.gather(*map(one, range(people))))


def recount(room: Room, walks: Sequence[Walk]) -> Simulation:
    """Return what people were told beside what is stored."""
    stored, arms = _stored(room, [walk.session_id for walk in walks])
    left = [walk for walk in walks if not walk.withdrew and walk.session_id]
    lost = extra = 0
    for walk in left:
        told = {position: response for position, (response, _) in stored.get(walk.session_id, {}).items()}
        lost += sum(told.get(position) != response for position, response in walk.acknowledged.items())
        extra += len(told.keys() - walk.acknowledged.keys())
    done = [walk for walk in left if walk.completed]
    seconds = [second for walk in walks for second in walk.seconds]
    return Simulation(
        tuple(walks),
        len(done),
        sum(walk.withdrew for walk in walks),
        sum(len(walk.acknowledged) for walk in left),
        lost,
        extra,
        sum(len(stored.get(walk.session_id, {})) != room.config.length for walk in done),
        sum(not right for walk in left for _, right in stored.get(walk.session_id, {}).values()),
        dict(sorted(Counter(arms[walk.session_id] for walk in done).items())),
        tuple((1000 * np.quantile(seconds, SHARES)).tolist()) if seconds else None,
        tuple(f"{walk.profile} {walk.number}: {line}" for walk in walks for line in walk.unexpected)
        + tuple(f"{w.profile} {w.number}: status {s}" for w in walks for s in sorted(w.statuses) if s >= 500),
    )


def _stored(
    room: Room, session_ids: Sequence[str]
) -> tuple[dict[str, dict[int, tuple[int | None, bool]]], dict[str, str]]:
    """By session and position the response and whether its mark is true; and the arm of each session."""
    session, trial = tables.session, tables.trial
    stored: dict[str, dict[int, tuple[int | None, bool]]] = {}
    wanted = set(session_ids)
    with room.database.read() as connection:
        arms = {id: room.arm_names[arm_id] for id, arm_id in connection.execute(select(session.c.id, session.c.arm_id))}
        columns = (trial.c.session_id, trial.c.position, trial.c.item_id, trial.c.response, trial.c.correct)
        for session_id, position, item_id, response, correct in connection.execute(select(*columns)):
            if session_id in wanted:
                true = correct == (response == room.material.items[item_id].label)
                stored.setdefault(session_id, {})[position] = (response, true)
    return stored, arms


def _profile(name: str) -> Profile:
    found = next((profile for profile in PROFILES if profile == name), None)
    if found is None:
        raise ConfigError(unknown("profile", name, PROFILES))
    return found
