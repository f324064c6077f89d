"""The two tables of an export: a row an answer, and a row a session; and what their columns mean."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Select, select

from .. import __version__
from .counting import of_people
from .study import People, Study
from .tables import completion, item, participant, plan, session, trial

Cell: TypeAlias = str | int | None
SHOWN_DIGITS = 12
_MS = timedelta(milliseconds=1)
_AT_ONCE = 1000
"""Rows that are held."""

_OF_ALL = {
    "experiment": "name of the experiment",
    "config": f"first {SHOWN_DIGITS} digits of the hash of its configuration",
    "tutelage": "version that wrote this file",
    "arm": "name of the arm",
    "participant": "random id of the person, which is nothing outside of this experiment",
    "session": "random id of the session; a person who began anew has two",
    "source": "where the person came from: direct, prolific, mturk or simulated",
    "state": "of the session when this file was written; completed: to the end",
}
TRIALS: Mapping[str, str] = MappingProxyType(
    {
        **_OF_ALL,
        "position": "of the item in the session, from 0, over all phases",
        "phase": "train: with feedback; test: without; catch: an easy item in the test, which does not count",
        "item": "id of the item: of what its file holds and of its name",
        "image": "path of its image",
        "true_class": "right class",
        "given_class": "class that was chosen; empty if the answer was stripped on withdrawal",
        "correct": "1 if they are the same, else 0",
        "explained": "1 if the explanation was shown after the answer, else 0",
        "shown_at": "when the server sent the item, UTC",
        "answered_at": "when the server had the answer, UTC",
        "rt_ms_client": "milliseconds from the decoded image to the answer, by the browser; empty: not known",
        "rt_ms_server": "answered_at less shown_at, in milliseconds; a reload does not start it anew",
        "gap_ms": "milliseconds since the answer before of the same session",
        "feedback_ms": "milliseconds from the answer to going on",
        "blurs": "how often the page lost the focus",
        "fast": "1 if rt_ms_client is below the limit of the configuration, else 0",
        "slow": "1 if it is above the limit, else 0",
    }
)
"""Columns of trials.csv, and what they mean."""
SESSIONS: Mapping[str, str] = MappingProxyType(
    {
        **_OF_ALL,
        "teacher": "of the arm",
        "consent_at": "when the person agreed, UTC",
        "consent_version": "of the text that the person agreed to",
        "language": "that the person named",
        "age_band": "that the person named",
        "created_at": "when the session began, UTC",
        "last_seen_at": "when the person last sent something, UTC",
        "completed_at": "when the person finished, UTC",
        "position": "of the item that the session has reached",
        "resumes": "how often the person went on after a longer gap",
        "button_order": "classes in the order of their buttons, separated by |",
        "seed": "of all that was drawn for the session",
        "outcome": "for which a completion code was issued",
        "redeemed_at": "when the code was handed in, UTC",
        "comment": "of the person",
    }
)
"""Columns of sessions.csv, and what they mean."""


def kept_sessions(study: Study, people: People, withdrawn: bool) -> Select[str]:
    """Return the ids of the sessions that are exported.

    Args:
        study: whose.
        people: real or simulated ones.
        withdrawn: with those who withdrew, of whom the configuration may keep that they answered.
    """
    found = of_people(study, people)
    return found if withdrawn else found.where(participant.c.withdrawn_at.is_(None), session.c.state != "withdrawn")


def trial_rows(connection: Connection, study: Study, kept: Select[str]) -> Iterator[list[Cell]]:
    """Return the rows of trials.csv, by session and position."""
    found = connection.execution_options(yield_per=_AT_ONCE).execute(
        select(
            session.c.id,
            session.c.arm_id,
            session.c.participant_id,
            session.c.state,
            participant.c.source,
            trial.c.position,
            trial.c.phase,
            trial.c.item_id,
            item.c.path,
            item.c.label,
            trial.c.response,
            trial.c.correct,
            plan.c.show_explanation,
            trial.c.shown_at,
            trial.c.answered_at,
            trial.c.rt_ms_client,
            trial.c.feedback_ms,
            trial.c.blurs,
        )
        .select_from(trial)
        .join(session, session.c.id == trial.c.session_id)
        .join(participant, participant.c.id == session.c.participant_id)
        .join(item, item.c.id == trial.c.item_id)
        .join(plan, (plan.c.session_id == trial.c.session_id) & (plan.c.position == trial.c.position))
        .where(session.c.id.in_(kept))
        .order_by(session.c.created_at, session.c.id, trial.c.position)
    )
    arms, head, limits = {arm.id: arm.name for arm in study.arms}, _head(study), study.response_times
    last: tuple[str, datetime | None] = ("", None)
    for row in found:  # by place, as names cost half of the time
        (
            id, arm_id, participant_id, state, source, position, phase, item_id, path, label, given, correct, explained,
            shown_at, answered_at, time, feedback_ms, blurs,
        ) = row  # fmt: skip
        shown, answered = _moment(shown_at), _moment(answered_at)
        before = last[1] if last[0] == id else None
        last = (id, answered)
        yield [
            *head, arms[arm_id], participant_id, id, source, state, position, phase, item_id, path,
            study.classes[label], None if given is None else study.classes[given], _flag(correct), _flag(explained),
            shown_at, answered_at, time, _between(shown, answered), _between(before, answered), feedback_ms, blurs,
            None if time is None else int(time < limits.fast_ms), None if time is None else int(time > limits.slow_ms),
        ]  # fmt: skip


def session_rows(connection: Connection, study: Study, kept: Select[str]) -> Iterator[list[Cell]]:
    """Return the rows of sessions.csv, in the order in which the sessions began."""
    told = ("consent_at", "consent_version", "language", "age_band")
    found = connection.execute(
        select(session, participant.c.source, *(participant.c[name] for name in told))
        .add_columns(completion.c.outcome, completion.c.redeemed_at)
        .select_from(session)
        .join(participant, participant.c.id == session.c.participant_id)
        .outerjoin(completion, completion.c.session_id == session.c.id)
        .where(session.c.id.in_(kept))
        .order_by(session.c.created_at, session.c.id)
    )
    arms, head = {arm.id: arm for arm in study.arms}, _head(study)
    for row in found:
        arm = arms[row.arm_id]
        yield [
            *head, arm.name, row.participant_id, row.id, row.source, row.state, arm.teacher,
            *(getattr(row, name) for name in told), row.created_at, row.last_seen_at, row.completed_at,
            row.position, row.resumes, _buttons(study, row), row.seed, row.outcome, row.redeemed_at, row.comment,
        ]  # fmt: skip


def _head(study: Study) -> tuple[str, str, str]:
    return study.name, study.config_hash[:SHOWN_DIGITS], __version__


def _buttons(study: Study, row: Row[Any]) -> str:
    return "|".join(study.classes[i] for i in json.loads(row.button_order))


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _between(since: datetime | None, until: datetime | None) -> int | None:
    return None if since is None or until is None else max(0, (until - since) // _MS)
