"""Results of explain_teach in a database of the classroom, without their images.

The tables have no place for some of what a record says: its code, and the ids of images as they were stored. An event
``imported`` of the session keeps these, so that an export gives back what came in. Times are taken as UTC; of what
was shown when, nothing is known.

Source of the records: Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual
explanations", CVPR 2018.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, insert, select

from .. import __version__
from ..errors import ConfigError, DataError
from ..explain_teach import Experiment, Session
from ..human_answers import answers_of
from . import tables
from .database import Database
from .room import as_text
from .study import IMPORTED

EVENT = "imported"
"""Kind of the event that keeps what the tables have no place for."""


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        records: in the file.
        distinct: of these, without repeats of the same answers under the same code.
        sessions: in the database.
        unresolved: answers whose image is not known.
    """

    records: int
    distinct: int
    sessions: int
    unresolved: int


def import_results(experiment: Experiment, database: Database, *, duplicates: bool = False) -> Imported:
    """Write an experiment of explain_teach and its records into an empty database, all or nothing.

    Args:
        experiment: with sessions.
        database: without an experiment.
        duplicates: keep records that repeat an earlier one; else the first one is kept.

    Raises:
        DataError: if there are no records.
        ConfigError: if the database holds an experiment.

    Warns:
        UserWarning: once, if ids of images do not belong to the list of images.
    """
    if not experiment.sessions:
        raise DataError(f"{experiment.name}: nobody's answers; results.json is missing or empty.")
    answers = answers_of(experiment)
    names: list[list[str]] = [[] for _ in experiment.sessions]
    for answer in answers:
        names[answer.session].append(answer.image)
    repeats = {answer.session for answer in answers if answer.duplicate}
    kept = [i for i in range(len(experiment.sessions)) if duplicates or i not in repeats]
    urls = {image.image_url for image in experiment.images}
    with database.write() as connection:
        if (other := connection.scalar(select(tables.experiment.c.name))) is not None:
            raise ConfigError(f"{database.name}: holds the experiment {other} already; import into an empty database.")
        _write(connection, experiment, names, kept)
    return Imported(
        len(experiment.sessions),
        len(experiment.sessions) - len(repeats),
        len(kept),
        sum(name not in urls for i in kept for name in names[i]),
    )


def _write(connection: Connection, experiment: Experiment, names: Sequence[Sequence[str]], kept: Sequence[int]) -> None:
    row = _experiment_row(experiment)
    connection.execute(insert(tables.experiment).values(row))
    items = _item_rows(experiment, names, kept)
    connection.execute(insert(tables.item), [{**item, "experiment_id": row["id"]} for item in items.values()])
    arms = _arm_rows(experiment, items)
    connection.execute(insert(tables.arm), [{**arm, "experiment_id": row["id"]} for arm in arms.values()])
    people: set[str] = set()
    for place in kept:
        session = experiment.sessions[place]
        person = _id("participant", session.mturk_code)
        if person not in people:
            people.add(person)
            connection.execute(insert(tables.participant).values(_participant_row(row["id"], person, session)))
        session_id = _id("session", str(place))
        arm_id = arms[session.strategy]["id"]
        connection.execute(insert(tables.session).values(_session_row(session_id, person, arm_id, session, experiment)))
        shown = [items[key]["id"] for key in zip(names[place], session.gt_label)]
        plans, trials = _answers(session_id, session, shown, experiment)
        connection.execute(insert(tables.plan), plans)
        connection.execute(insert(tables.trial), trials)
        told = {"record": place, "mturk_code": session.mturk_code, "image_id": session.image_id}
        told |= {"experiment_id": session.experiment_id}
        at = as_text(_saved(session))
        connection.execute(
            insert(tables.event).values(session_id=session_id, at=at, kind=EVENT, detail=json.dumps(told))
        )


def _experiment_row(experiment: Experiment) -> dict[str, Any]:
    facts = {
        "name": experiment.name,
        "settings": experiment.settings.model_dump(mode="json", exclude_unset=True),
        "images": [image.model_dump(mode="json", exclude_unset=True) for image in experiment.images],
        "strategies": {
            name: strategy.model_dump(mode="json", exclude_unset=True)
            for name, strategy in experiment.strategies.items()
        },
    }
    config = json.dumps({IMPORTED: facts}, sort_keys=True, ensure_ascii=False)
    return {
        "id": _id("experiment", experiment.name),
        "key_check": "",
        "name": experiment.name,
        "config_json": config,
        "config_hash": hashlib.sha256(config.encode()).hexdigest(),
        "seed": 0,
        "status": "closed",
        "consent_version": f"{IMPORTED}, imported by tutelage {__version__}",
        "created_at": as_text(min(_saved(session) for session in experiment.sessions)),
    }


def _item_rows(
    experiment: Experiment, names: Sequence[Sequence[str]], kept: Sequence[int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows by name and label: all images of the list, and what was shown besides."""
    tested = set(experiment.settings.test_indices)
    items: dict[tuple[str, int], dict[str, Any]] = {}
    for i, image in enumerate(experiment.images):
        split = "test" if i in tested else "train"
        row = _item_row(image.image_url, image.class_label, split, image.explain_url)
        items[image.image_url, image.class_label] = row
    for place in kept:
        session = experiment.sessions[place]
        for name, label, train in zip(names[place], session.gt_label, session.is_train):
            if (name, label) not in items:
                items[name, label] = _item_row(name, label, "train" if train else "test", None)
    return items


def _item_row(name: str, label: int, split: str, explain_path: str | None) -> dict[str, Any]:
    return {
        "id": _id("item", f"{label}/{name}"),
        "label": label,
        "split": split,
        "path": name,
        "explain_path": explain_path,
        "source_name": PurePosixPath(name).name,
    }


def _arm_rows(experiment: Experiment, items: Mapping[tuple[str, int], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys([*experiment.strategies, *(session.strategy for session in experiment.sessions)])
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        strategy = experiment.strategies.get(name)
        sequence = None if strategy is None else strategy.im_ids
        images = None if sequence is None else [experiment.images[i] for i in sequence]
        shown = None if images is None else [items[image.image_url, image.class_label]["id"] for image in images]
        rows[name] = {
            "id": _id("arm", name),
            "name": name,
            "teacher": "random" if sequence is None else "fixed",
            "sequence_json": None if shown is None else json.dumps(shown),
            "show_explanation": strategy is not None and any(map(strategy.explained, range(strategy.num_train))),
            "target_n": max(1, sum(session.strategy == name for session in experiment.sessions)),
            "active": False,
        }
    return rows


def _participant_row(experiment_id: str, person: str, session: Session) -> dict[str, Any]:
    return {
        "id": person,
        "experiment_id": experiment_id,
        "source": "mturk",
        "consent_at": as_text(_answered(session)[0]),
        "consent_version": IMPORTED,
    }


def _session_row(session_id: str, person: str, arm_id: str, session: Session, experiment: Experiment) -> dict[str, Any]:
    saved = as_text(_saved(session))
    return {
        "id": session_id,
        "participant_id": person,
        "arm_id": arm_id,
        "bearer_hash": f"{IMPORTED}:{session_id}",
        "state": "completed",
        "position": len(session.image_id),
        "stage": "over",
        "button_order": "[]",  # was not recorded
        "seed": "",
        "created_at": as_text(_answered(session)[0]),
        "last_seen_at": saved,
        "completed_at": saved,
        "resumes": 0,
    }


def _answers(
    session_id: str, session: Session, shown: Sequence[str], experiment: Experiment
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    strategy = experiment.strategies.get(session.strategy)
    times = _answered(session)
    plans, trials = [], []
    for position, item_id in enumerate(shown):
        train = bool(session.is_train[position])
        explained = train and strategy is not None and position < strategy.num_train and strategy.explained(position)
        given, label = session.response[position], session.gt_label[position]
        both = {"session_id": session_id, "position": position, "item_id": item_id}
        both["phase"] = "train" if train else "test"
        plans.append({**both, "show_explanation": explained})
        answer = {"answered_at": as_text(times[position]), "response": given, "correct": given == label}
        trials.append({**both, **answer})
    return plans, trials


def _saved(session: Session) -> datetime:
    return datetime.strptime(session.completion_time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def _answered(session: Session) -> list[datetime]:
    """When each answer came: the last one is of the day on which all were saved, or of the day before."""
    saved, seconds = _saved(session), session.seconds()
    day = saved.replace(hour=0, minute=0, second=0)
    last = day + timedelta(seconds=seconds[-1] % 86_400)
    last -= timedelta(days=last > saved)
    return [last - timedelta(seconds=seconds[-1] - second) for second in seconds]


def _id(kind: str, name: str) -> str:
    return hashlib.sha256(f"{IMPORTED}/{kind}/{name}".encode()).hexdigest()[:32]
