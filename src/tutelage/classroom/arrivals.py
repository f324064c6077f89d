"""Who comes in: the start page, consent, and what creates a session."""

import json
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, insert, select, update

from . import tables
from .assignment import filled, least_filled
from .plans import button_order, planned_teaching, planned_test, session_seed
from .replies import Accepted, Entered, Refused, Welcome
from .room import Room, milliseconds, note
from .sessions import expired, find, grant, of_participant, plan_rows
from .states import after
from .tokens import bearer_hash, random_id

Source: TypeAlias = Literal["direct", "prolific", "mturk", "simulated"]
_TEACHING_S, _TEST_S = 9, 6
"""Seconds an item, until somebody has completed."""
_RECENT = 200
_LONGEST = 200
"""Characters of what a person or a platform may send."""


@dataclass(frozen=True)
class Arrival:
    """A browser at the start page.

    Attributes:
        visit: 32 random hexadecimal digits of the browser.
        source: where the person comes from.
        external_id: the platform's id of the person, or the code of a single-use link; None: there is none.
        submission: the platform's id of the submission.
        submit_to: the platform's address that takes the submission.
    """

    visit: str
    source: Source = "direct"
    external_id: str | None = None
    submission: str | None = None
    submit_to: str | None = None


def welcome(room: Room, arrival: Arrival) -> Welcome | Entered | Refused:
    """Return the start page, or the session that the person has already; writes nothing.

    Returns:
        ``Refused`` of the kind ``blocked`` if the person has no id where one is needed, or no valid link.
    """
    with room.database.read() as connection:
        known = _known(room, connection, arrival)
        if known is not None:
            return known
        if not _admitted(room, connection, arrival):
            return Refused("blocked")
        times = connection.execute(
            select(tables.session.c.created_at, tables.session.c.completed_at)
            .join(tables.participant)
            .where(tables.session.c.state == "completed", tables.participant.c.source != "simulated")
            .order_by(tables.session.c.completed_at.desc())
            .limit(_RECENT)
        ).all()
        open_now = _open(connection, arrival)
    seconds: float = room.config.num_train * _TEACHING_S + room.config.num_test * _TEST_S
    if times:
        seconds = median(milliseconds(begun, done) for begun, done in times) / 1000
    return Welcome(max(1, round(seconds / 60)), room.key.form(arrival.visit, 0, "consent"), open_now)


def consent(
    room: Room,
    arrival: Arrival,
    *,
    token: str,
    accepted: bool,
    consent_version: str,
    language: str | None = None,
    age_band: str | None = None,
) -> Entered | Refused:
    """Take a person in: participant, session, arm, order of buttons and plan, in one transaction.

    A second request of the same person, or of the same browser, gives the session that the first one made.

    Args:
        room: the experiment.
        arrival: who comes.
        token: of :class:`.replies.Welcome`.
        accepted: whether the person ticked that they agree.
        consent_version: of the text that was read.
        language: the person's, if told.
        age_band: the person's, if told.
    """
    if not room.key.check_form(token, arrival.visit, 0, "consent"):
        return Refused("forged")
    told = [text or "" for text in (language, age_band, arrival.external_id, arrival.submission, arrival.submit_to)]
    if not accepted or consent_version != room.config.consent.version or not all(map(_is_short, told)):
        return Refused("invalid")
    with room.database.write() as connection:
        # one arrival after the other: nobody comes twice, and arms are as full as they are counted
        connection.execute(select(tables.experiment.c.id).with_for_update())
        known = _known(room, connection, arrival)
        if known is not None:
            return known
        if not _admitted(room, connection, arrival):
            return Refused("blocked")
        if not _open(connection, arrival):
            return Refused("closed")
        participant_id = _participant(room, connection, arrival, language or None, age_band or None)
        return _session(room, connection, participant_id, simulated=arrival.source == "simulated")


def decline(room: Room, arrival: Arrival, *, token: str) -> Accepted | Refused:
    """Count a person who does not take part; nothing else is kept."""
    return _count(room, arrival, token, "declined")


def screen_out(room: Room, arrival: Arrival, *, token: str) -> Accepted | Refused:
    """Count a person who cannot take part, such as for want of a large enough screen; nothing else is kept."""
    return _count(room, arrival, token, "screened_out")


def restart(room: Room, bearer: str, *, token: str) -> Entered | Refused:
    """Begin anew in the same arm, where the experiment allows it to those who left for too long.

    Args:
        room: the experiment.
        bearer: of the session that was left.
        token: of :class:`.replies.End`.
    """
    with room.database.write() as connection:
        left = find(room, connection, bearer, lock=True)
        if left is None:
            return Refused("unknown")
        if not room.key.check_form(token, left.id, 0, "restart"):
            return Refused("forged", left.position)
        if left.state == "timed_out":  # this was done before
            new = of_participant(room, connection, left.participant_id)
            return Refused("unknown") if new is None else Entered(room.key.bearer(new.id), new=False)
        now = room.now()
        if room.config.resume != "restart" or not expired(room, left, now):
            return Refused("blocked", left.position)
        connection.execute(
            update(tables.session)
            .where(tables.session.c.id == left.id)
            .values(state=after(left.state, "expire"), stage="over")
        )
        arm_id = next(id for id, name in room.arm_names.items() if name == left.arm)
        entered = _session(room, connection, left.participant_id, arm_id=arm_id)
        note(connection, now, "restart", {"position": left.position}, left.id)
        return entered


def _is_short(text: str) -> bool:
    """Whether a text may come from a form; PostgreSQL cannot store all that is not printable."""
    return len(text) <= _LONGEST and text.isprintable()


def _external_hmac(room: Room, arrival: Arrival) -> str:
    if arrival.external_id is None:
        return room.key.external("visit", arrival.visit)
    return room.key.external(arrival.source, arrival.external_id)


def _known(room: Room, connection: Connection, arrival: Arrival) -> Entered | None:
    person = tables.participant
    wanted = (person.c.experiment_id == room.experiment_id) & (person.c.external_hmac == _external_hmac(room, arrival))
    participant_id = connection.scalar(select(person.c.id).where(wanted))
    session = None if participant_id is None else of_participant(room, connection, participant_id)
    return None if session is None else Entered(room.key.bearer(session.id), new=False)


def _admitted(room: Room, connection: Connection, arrival: Arrival) -> bool:
    recruitment = room.config.recruitment
    if arrival.source == "simulated":
        return True
    if recruitment.platform == "mturk_link":  # the same link for all: MTurk does not tell who follows it
        return arrival.source == "mturk"
    if recruitment.platform != "direct":
        return arrival.external_id is not None and arrival.source == recruitment.platform
    if arrival.source != "direct":
        return False
    if recruitment.links == "open":
        return arrival.external_id is None
    known = tables.link.c.code_hmac == _external_hmac(room, arrival)
    return (
        arrival.external_id is not None and connection.scalar(select(tables.link.c.code_hmac).where(known)) is not None
    )


def _open(connection: Connection, arrival: Arrival) -> bool:
    status = connection.scalar(select(tables.experiment.c.status))
    return status == "open" or (status == "draft" and arrival.source == "simulated")


def _participant(
    room: Room, connection: Connection, arrival: Arrival, language: str | None, age_band: str | None
) -> str:
    participant_id = random_id()
    row: dict[str, Any] = {
        "id": participant_id,
        "experiment_id": room.experiment_id,
        "source": arrival.source,
        "external_hmac": _external_hmac(room, arrival),
        "consent_at": room.now(),
        "consent_version": room.config.consent.version,
        "language": language,
        "age_band": age_band,
    }
    connection.execute(insert(tables.participant).values(row))
    # to hand in a submission MTurk needs its id, which says nothing of who the person is
    raw = arrival.external_id if room.config.recruitment.keep_raw_ids else None
    if raw is not None or arrival.submission is not None:
        kept = {"participant_id": participant_id, "raw_id": raw}
        kept |= {"submission": arrival.submission, "submit_to": arrival.submit_to}
        connection.execute(insert(tables.external_id).values(kept))
    return participant_id


def _session(
    room: Room, connection: Connection, participant_id: str, *, simulated: bool = False, arm_id: str | None = None
) -> Entered:
    """Make a session; without an arm it comes into the least filled one."""
    session_id, now = random_id(), room.now()
    seed, bearer = session_seed(room.config.seed, session_id), room.key.bearer(session_id)
    if arm_id is None:
        idle_since = room.before(room.config.abandon_after_minutes)
        arms = filled(connection, room.experiment_id, idle_since=idle_since, simulated=simulated)
        arm_id = least_filled(arms, seed)
    arm = room.material.arms[room.arm_names[arm_id]]
    row = {
        "id": session_id,
        "participant_id": participant_id,
        "arm_id": arm_id,
        "bearer_hash": bearer_hash(bearer),
        "state": after("consent", "accept"),
        "position": 0,
        "stage": "page-0",
        "button_order": json.dumps(button_order(room.config, seed, len(room.material.classes))),
        "seed": str(seed),
        "created_at": now,
        "last_seen_at": now,
        "resumes": 0,
    }
    connection.execute(insert(tables.session).values(row))
    rows = planned_teaching(room.config, arm, seed) + planned_test(room.config, room.material, seed)
    plan_rows(connection, session_id, rows)
    if rows[0].position == 0:
        grant(connection, session_id, 0, rows[0].item_id, "image")
    return Entered(bearer, new=True)


def _count(room: Room, arrival: Arrival, token: str, kind: str) -> Accepted | Refused:
    if not room.key.check_form(token, arrival.visit, 0, "consent"):
        return Refused("forged")
    tally = tables.tally
    with room.database.write() as connection:
        connection.execute(select(tables.experiment.c.id).with_for_update())
        if _known(room, connection, arrival) is not None:
            return Accepted(written=False)
        wanted = (tally.c.experiment_id == room.experiment_id) & (tally.c.kind == kind)
        if connection.execute(update(tally).where(wanted).values(count=tally.c.count + 1)).rowcount == 0:
            connection.execute(insert(tally).values(experiment_id=room.experiment_id, kind=kind, count=1))
    return Accepted(written=True)
