"""Answers of people who were taught, as one table: a row an answer.

Source of the answers that are at hand: Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with
visual explanations", CVPR 2018.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from .data.columns import write_columns
from .data.records.atomic import AtomicWriter
from .errors import ConfigError, DataError
from .explain_teach import Experiment, Session, item_names

Phase: TypeAlias = Literal["train", "test"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run."""


class Answer(NamedTuple):
    """One answer of one person.

    Attributes:
        experiment: its name.
        session: position of the person's record in the file, from 0.
        participant: code of the person; may occur in two sessions, if something was saved twice.
        arm: name of the teaching sequence.
        phase: ``train``: a teaching item; ``test``: without feedback.
        position: of the item in the session, from 0 over both phases.
        image: URL of the image, or ``strategy:id`` where the image is not known.
        true_class: name of the right class.
        given_class: name of the class that was chosen.
        correct: whether they are the same.
        seconds: since the answer before, in whole seconds of the server's clock; None for the first.
        duplicate: the session repeats an earlier one of the same person, answer for answer.
    """

    experiment: str
    session: int
    participant: str
    arm: str
    phase: Phase
    position: int
    image: str
    true_class: str
    given_class: str
    correct: bool
    seconds: float | None
    duplicate: bool


def read_answers(folders: Iterable[str | os.PathLike[str]]) -> tuple[Answer, ...]:
    """Read the answers of experiments in the layout of explain_teach.

    Args:
        folders: one an experiment, of different names.

    Raises:
        DataError: if a folder is no experiment, damaged or without answers.
        ConfigError: if two have the same name.
    """
    answers: list[Answer] = []
    names: set[str] = set()
    for folder in folders:
        experiment = Experiment.read(folder)
        if experiment.name in names:
            raise ConfigError(f"{folder}: a second experiment of the name {experiment.name}; rename its folder.")
        if not experiment.sessions:
            raise DataError(f"{folder}: nobody's answers; results.json is missing or empty.")
        names.add(experiment.name)
        answers += answers_of(experiment)
    return tuple(answers)


def answers_of(experiment: Experiment) -> tuple[Answer, ...]:
    """Return the answers of an experiment, by session and position."""
    classes = experiment.settings.class_names
    names, repeated = item_names(experiment), _repeated(experiment.sessions)
    answers: list[Answer] = []
    for place, session in enumerate(experiment.sessions):
        times = session.seconds()
        for i, (true, given) in enumerate(zip(session.gt_label, session.response)):
            answers.append(
                Answer(
                    experiment=experiment.name,
                    session=place,
                    participant=session.mturk_code,
                    arm=session.strategy,
                    phase="train" if session.is_train[i] else "test",
                    position=i,
                    image=names[place][i],
                    true_class=classes[true],
                    given_class=classes[given],
                    correct=true == given,
                    seconds=float(times[i] - times[i - 1]) if i else None,
                    duplicate=repeated[place],
                )
            )
    return tuple(answers)


def export_answers(answers: Sequence[Answer], path: str | os.PathLike[str]) -> None:
    """Write the table to a ``.csv``, ``.parquet`` or ``.json`` file, whole or not at all.

    In a CSV file, text that a spreadsheet would take for a formula has a quote before it.

    Raises:
        ConfigError: for another suffix.
        DataError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".parquet", ".json"):
        raise ConfigError(f"{path}: answers are written as .csv, .parquet or .json.")
    if path.suffix == ".json":
        text = json.dumps([answer._asdict() for answer in answers], indent=1, allow_nan=False, ensure_ascii=False)
        AtomicWriter(path, text.encode() + b"\n").close()
        return
    columns = dict(zip(Answer._fields, map(list, zip(*answers)))) if answers else {name: [] for name in Answer._fields}
    columns["seconds"] = [math.nan if value is None else value for value in columns["seconds"]]
    if path.suffix == ".csv":
        columns = {name: [_safe(value) for value in values] for name, values in columns.items()}
    write_columns({name: np.asarray(values) for name, values in columns.items()}, path)


def _repeated(sessions: Sequence[Session]) -> list[bool]:
    """Of each session whether it is an earlier one, saved again."""
    seen: set[tuple[object, ...]] = set()
    found = []
    for session in sessions:
        told = (session.mturk_code, session.strategy, session.image_id, session.response)
        found.append(told in seen)
        seen.add(told)
    return found


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
