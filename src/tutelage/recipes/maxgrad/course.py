"""The courses of one seed at one rate of noise: every arm teaches the same student from the same pool."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import ConfigError, NotConverged
from ...evaluation import accuracy
from ...lesson import Lesson
from ...sequences import Course, check_fitted, teach_together
from ...student import Student
from ..selection.filters import filter_of
from .arms import TEACHERS, Arm, Setting
from .options import Chosen
from .students import Taught

Record = dict[str, Any]
_ENOUGH = 2
"""Rows a class from which on a student that has learned what it was shown is told from one that guesses."""


def open_courses(found: Taught, arms: Sequence[Arm], options: Chosen) -> dict[str, Course]:
    """Return a course for each arm, by name; arms with the same filter share it.

    Raises:
        ConfigError: if a filter leaves fewer rows than are to be shown.
        EmptiedClass: if it leaves none of a class.
    """
    drawn = found.drawn
    settings = {}
    for name in dict.fromkeys(arm.keep for arm in arms):
        keep = filter_of(name, seed=drawn.seed, folds=options.folds, quota=options.quota)
        _check_left(name, int(keep(drawn.pool, found.classes).sum()), len(drawn.pool), options.size)
        settings[name] = Setting(options, keep, drawn.pool, drawn.seed, found.classes, found.loss)
    return {arm.name: Course(TEACHERS[arm.teacher].make(settings[arm.keep]), drawn.pool, found.start) for arm in arms}


def _check_left(name: str | None, left: int, rows: int, size: int) -> None:
    if left < size:
        of = "" if left == rows else f" that the filter {name} leaves of {rows}"
        other = "" if left == rows else ", give --quota, or leave that filter out"
        raise ConfigError(f"--size {size} is more than the {left} rows of the pool{of}; ask for fewer{other}.")


def taught_alike(found: Taught, arms: Sequence[Arm], options: Chosen, advance: Callable[[], None]) -> dict[str, Record]:
    """Teach one student by every arm.

    Args:
        found: pool, test and student.
        arms: who teaches.
        options: with nothing left to choose.
        advance: called after each lesson of each course.

    Returns:
        For each arm, in the order shown: ``index`` in the source, ``score``, ``given`` and ``true`` labels, ``answer``
        and ``margin`` of the student before it saw the row, and test ``accuracy`` after each lesson; ``class_counts``
        of the rows that may be shown; of teachers that rank pairs ``counter_class`` and ``counterfactual`` beside each
        row, as :class:`tutelage.teachers.select.maxgrad.MaxGrad` notes them, -1 where a row was no pair's.

    Raises:
        ConfigError, EmptiedClass: as :func:`open_courses`.
        NotConverged: if a student that should have fitted what it was shown has not.
    """
    courses = open_courses(found, arms, options)
    teach_together(list(courses.values()), options.size, found.study, _Watch(found, advance))
    if options.schedule == "converged" and options.size >= _ENOUGH * found.classes:
        _check_fitted(courses)
    return {name: _record(course, found) for name, course in courses.items()}


def _check_fitted(courses: Mapping[str, Course]) -> None:
    for name, course in courses.items():
        try:
            check_fitted(course)
        except NotConverged as error:
            raise NotConverged(f"{name}: {error}") from error


class _Watch:
    """Looks at students after each lesson, and at what they had answered before it."""

    def __init__(self, found: Taught, advance: Callable[[], None]) -> None:
        self._found, self._advance = found, advance
        self._before: dict[int, Student] = {}

    def __call__(self, course: Course) -> Record:
        lesson = course.lessons[-1]
        told = self._before.get(id(course), course.start).predict(lesson.x)
        self._before[id(course)] = course.student
        drawn = self._found.drawn
        self._advance()
        return {
            "accuracy": accuracy(course.student.predict(drawn.test_x), drawn.test_y),
            "answer": told.argmax(1).tolist(),
            "margin": _margins(told, lesson.target).tolist(),
        }


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the given label, less the largest other one."""
    own = labels.long()[:, None]
    return logits.gather(1, own).squeeze(1) - logits.scatter(1, own, -torch.inf).amax(1)


def _record(course: Course, found: Taught) -> Record:
    rows = torch.cat([lesson.notes["row"] for lesson in course.lessons])
    seen: list[Mapping[str, Any]] = course.watched
    return {
        "index": course.index.tolist(),
        "score": course.scores.tolist(),
        "given": course.pool.y[rows].tolist(),
        "true": found.drawn.true[rows].tolist(),
        "answer": [value for each in seen for value in each["answer"]],
        "margin": [value for each in seen for value in each["margin"]],
        "accuracy": [each["accuracy"] for each in seen],
        "class_counts": course.lessons[0].notes["class_counts"].tolist(),
        **_pairs(course.lessons),
    }


def _pairs(lessons: Sequence[Lesson]) -> Record:
    """What stood beside each row, if something did."""
    names = ("counter_class", "counterfactual")
    if not any("counterfactual" in lesson.notes for lesson in lessons):
        return {}
    return {name: [value for lesson in lessons for value in _noted(lesson, name)] for name in names}


def _noted(lesson: Lesson, name: str) -> list[int]:
    values: list[int] = lesson.notes[name].tolist() if name in lesson.notes else [-1] * len(lesson)
    return values
