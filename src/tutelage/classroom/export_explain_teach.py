"""An experiment of the classroom in the layout of explain_teach: what that layout can say of it.

It knows no catch trials, which are left out, and a person is told by the code: here the random id of the participant.
The ids of people in an imported experiment, and those of its images, are given back as they were.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select

from ..explain_teach import Experiment, Session, Settings, Strategy, TeachingImage
from ..explain_teach.formats import DRAWN
from . import tables
from .export_tables import kept_sessions
from .importing import EVENT
from .study import People, Study, StudyArm

_DIGITS = 7


def to_explain_teach(study: Study, people: People = "real") -> Experiment:
    """Return the study with the sessions that were completed, in the order in which they began.

    A fixed arm is a strategy; one that is drawn is a strategy with ``random`` in its name; of an adaptive arm there are
    only sessions.

    Args:
        study: whose.
        people: real or simulated ones.
    """
    with study.database.read() as connection:
        answers = _answers(connection, study, people)
        if study.imported is not None:
            return replace(study.imported, sessions=_imported_sessions(connection, study, answers))
        experiment, ids = _without_sessions(connection, study)
    names = {arm.id: strategy_name(arm) for arm in study.arms}
    sessions = tuple(
        _session(
            rows,
            {
                "strategy": names[rows[0].arm_id],
                "image_id": tuple(ids[row.item_id] for row in rows),
                "mturk_code": str(uuid.UUID(rows[0].participant_id)),
                "experiment_id": experiment.settings.experiment_id,
            },
        )
        for rows in answers.values()
    )
    return replace(experiment, sessions=sessions)


def strategy_name(arm: StudyArm) -> str:
    """Return the name of the strategy of an arm: what is drawn for each person must have ``random`` in it."""
    return f"random_{arm.name}" if arm.teacher == "random" and "random" not in arm.name else arm.name


def _answers(connection: Connection, study: Study, people: People) -> dict[str, list[Row[Any]]]:
    """The answers of each session that was completed, in order."""
    session, trial, item = tables.session, tables.trial, tables.item
    columns = (session.c.id, session.c.participant_id, session.c.arm_id, session.c.completed_at)
    found = connection.execute(
        select(*columns, trial.c.phase, trial.c.item_id, trial.c.response, trial.c.correct, trial.c.answered_at)
        .add_columns(item.c.label)
        .select_from(trial)
        .join(session, session.c.id == trial.c.session_id)
        .join(item, item.c.id == trial.c.item_id)
        .where(session.c.id.in_(kept_sessions(study, people, False)), session.c.state == "completed")
        .where(trial.c.phase != "catch")
        .order_by(session.c.created_at, session.c.id, trial.c.position)
    )
    answers: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in found:
        answers[row.id].append(row)
    return answers


def _session(rows: list[Row[Any]], told: Mapping[str, Any]) -> Session:
    """A record; ``told`` is what is not in the answers."""
    tested = [row.correct for row in rows if row.phase == "test"]
    return Session(
        completion_time=rows[0].completed_at[:19].replace("T", " "),
        response=tuple(row.response for row in rows),
        gt_label=tuple(row.label for row in rows),
        is_train=tuple(1 if row.phase == "train" else 0 for row in rows),
        time=tuple(row.answered_at[11:19] for row in rows),
        score=round(100 * sum(tested) / len(tested), 2) if tested else 0.0,
        **told,
    )


def _imported_sessions(connection: Connection, study: Study, answers: dict[str, list[Row[Any]]]) -> tuple[Session, ...]:
    """The records in the order of their file, with what the tables have no place for."""
    found = connection.execute(
        select(tables.event.c.session_id, tables.event.c.detail).where(tables.event.c.kind == EVENT)
    )
    records = []
    for session_id, detail in found:
        if session_id in answers:
            told = json.loads(detail)
            place = told.pop("record")
            told["image_id"] = tuple(told["image_id"])
            told["strategy"] = study.arm_name(answers[session_id][0].arm_id)
            records.append((place, answers[session_id], told))
    records.sort(key=lambda record: record[0])
    return tuple(_session(rows, told) for _, rows, told in records)


def _without_sessions(connection: Connection, study: Study) -> tuple[Experiment, dict[str, int]]:
    """The experiment, and the place of each item in its list of images."""
    wanted = tables.item.c.experiment_id == study.id
    by_path = select(tables.item).where(wanted).order_by(tables.item.c.split.desc(), tables.item.c.path)
    items = connection.execute(by_path).all()  # train before test
    ids = {item.id: place for place, item in enumerate(items)}
    config = json.loads(study.config_json)
    tests = tuple(place for place, item in enumerate(items) if item.split == "test")
    fixed = config["test_items"]
    places = {item.path: place for place, item in enumerate(items)}
    settings = Settings(
        class_names=study.classes,
        train_indices=tuple(place for place, item in enumerate(items) if item.split == "train"),
        test_indices=tests,
        test_sequence=(DRAWN,) * config["num_test"] if fixed == "random" else tuple(places[path] for path in fixed),
        experiment_id=int(study.id[:_DIGITS], 16),
        scale=config["scale"],
    )
    images = tuple(
        TeachingImage(class_label=item.label, image_url=item.path, explain_url=item.explain_path)
        if item.split == "train" and item.explain_path is not None
        else TeachingImage(class_label=item.label, image_url=item.path)
        for item in items
    )
    explained = {item.id for item in items if item.explain_path is not None}
    strategies = {
        strategy_name(arm): _strategy(config, arm, ids, explained)
        for arm in study.arms
        if arm.teacher in ("fixed", "random")
    }
    return Experiment(study.name, settings, images, strategies), ids


def _strategy(config: Any, arm: StudyArm, ids: dict[str, int], explained: set[str]) -> Strategy:
    told = next(each for each in config["arms"] if each["name"] == arm.name)
    if arm.sequence is None:
        return Strategy(num_train=config["num_train"], display_explain_image=1 if told["show_explanation"] else 0)
    shown = arm.sequence[: config["num_train"]]
    return Strategy(
        num_train=len(shown),
        display_explain_image=tuple(1 if told["show_explanation"] and id in explained else 0 for id in shown),
        im_ids=tuple(ids[id] for id in shown),
    )
