"""Courses: a teacher chooses what to show, the student studies all that was shown, and so on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .codewords import Fit, codewords_of, wide
from .errors import ConfigError, NotConverged
from .lesson import Batch, Lesson, Loss
from .mcboost import mcboost_published
from .rules import SGD
from .student import Student
from .teacher import Teacher


@dataclass
class Course:
    """One teacher, one pool, one student, and what was shown so far.

    Attributes:
        teacher: chooses; changed by the course.
        pool: what it chooses from.
        start: the student before the first row; not changed.
        student: as it is now.
        lessons: what was shown, in order.
        watched: what the watch returned, for each lesson.
    """

    teacher: Teacher
    pool: Batch
    start: Student
    student: Student = field(init=False)
    lessons: list[Lesson] = field(default_factory=list)
    watched: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.student = self.start

    @property
    def index(self) -> Tensor:
        """Indices of the shown rows in the data set, int64 (T,), in order."""
        return torch.cat([lesson.notes["index"] for lesson in self.lessons])

    @property
    def scores(self) -> Tensor:
        """Their scores when they were chosen, (T,)."""
        return torch.cat([lesson.notes["score"] for lesson in self.lessons])

    @property
    def shown(self) -> Batch:
        """The shown rows, with the labels that the student was told."""
        x = torch.cat([lesson.x for lesson in self.lessons])
        return Batch(x, torch.cat([lesson.target for lesson in self.lessons]), self.index)


class Study(Protocol):
    """How students take in what was shown."""

    def __call__(self, courses: Sequence[Course]) -> list[Student]:
        """Return the student of each course after it studied all that it was shown."""
        ...


@dataclass(frozen=True)
class Refitted:
    """Students whose last layer, without bias, is fitted anew to all shown rows from where it started, all at once.

    What is before that layer must have nothing to train: it may be nothing at all, or frozen.

    Attributes:
        fit: how.
    """

    fit: Fit = field(default_factory=Fit)

    def __call__(self, courses: Sequence[Course]) -> list[Student]:
        """Return students whose last layer was fitted; see :class:`Study`. All have as many classes and features.

        Raises:
            ConfigError: if a student has parameters to train beside one linear layer without bias.
            ShapeError: if this layer does not give its logits.
        """
        batches = [course.shown for course in courses]
        embedded = [course.start.embed(batch.x) for course, batch in zip(courses, batches)]
        features = [wide(found) for found, _ in embedded]
        starts = [_codewords(course.start, f, wide(z)) for course, f, (_, z) in zip(courses, features, embedded)]
        longest = max(len(batch) for batch in batches)
        x = torch.stack([_padded(found, longest) for found in features])
        y = torch.stack([_padded(batch.y, longest) for batch in batches])
        weight = torch.stack([_padded(torch.ones_like(found[:, 0]), longest) for found in features])
        return [
            course.start.at({name: own.to(head.dtype).clone().requires_grad_()})
            for course, own in zip(courses, self.fit(x, y, torch.stack(starts), weight))
            for name, head in [course.start.head]
        ]


@dataclass(frozen=True)
class Studied:
    """Any students, each of which studies all that it was shown for a number of steps, on all rows at once.

    Batch norm would take its statistics from these few rows, and refuses a single one that gives it one number a
    channel: begin with ``student.evaluated()``, which keeps those that it has.

    Attributes:
        steps: updates after each lesson.
        loss: (logits, labels) -> (n,); default: that of the lessons.
        fresh: begin from the start each time; otherwise go on from the last lesson (a warm start).
    """

    steps: int = 50
    loss: Loss | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps = {self.steps}, but a student studies for 1 step or more.")

    def __call__(self, courses: Sequence[Course]) -> list[Student]:
        """Return students after these steps; see :class:`Study`."""
        return [self._studied(course) for course in courses]

    def _studied(self, course: Course) -> Student:
        shown, student = course.shown, course.start if self.fresh else course.student
        weight = torch.ones(len(shown), dtype=shown.weight_dtype, device=shown.x.device)
        lesson = Lesson(shown.x, shown.y, weight, self.loss or course.lessons[-1].loss)
        for _ in range(self.steps):
            student = student.after(lesson, differentiable=False)
        return student


PUBLISHED_RULE = SGD(1e-4, momentum=0.9, weight_decay=1e-4)
"""How the students of MaxGrad's published code learn, on all parameters."""
PUBLISHED = Studied(steps=10, loss=mcboost_published)
"""Ten steps a row from where the last ones ended, with the loss of MaxGrad's published code: an under-trained student,
for whom the score is not made."""


def teach_together(
    courses: Sequence[Course],
    size: int,
    study: Study,
    watch: Callable[[Course], Any] | None = None,
) -> Sequence[Course]:
    """Teach several courses side by side until each has shown ``size`` rows.

    Args:
        courses: fresh ones, or such as go on.
        size: how many rows each has shown in the end, at least: a teacher that shows several at a time may end with
            more.
        study: how the students take in what was shown.
        watch: called after each lesson was studied; what it returns is kept in ``course.watched``.

    Returns:
        The courses given.

    Raises:
        ConfigError: for fewer than 1 row, and if a pool has fewer than are asked for.
    """
    if size < 1:
        raise ConfigError(f"asked for {size} rows, but a course shows 1 row or more.")
    for course in courses:
        again = getattr(course.teacher, "again", True)
        if size > len(course.pool) and not again:
            raise ConfigError(f"asked for {size} rows, but the pool has {len(course.pool)}: ask for fewer.")
    while unfinished := [c for c in courses if sum(len(lesson) for lesson in c.lessons) < size]:
        for course in unfinished:
            lesson = course.teacher.teach(course.pool, course.student)
            course.teacher.learn(lesson, course.student, None)
            course.lessons.append(lesson)
        for course, student in zip(unfinished, study(unfinished), strict=True):
            course.student = student
            if watch is not None:
                course.watched.append(watch(course))
    return courses


def teaching_set(
    teacher: Teacher,
    pool: Batch,
    student: Student,
    size: int,
    study: Study | None = None,
    watch: Callable[[Course], Any] | None = None,
) -> Course:
    """Choose an ordered teaching set: show the rows that a teacher chooses, have the student study them, and so on.

    Args:
        teacher: one that selects; it remembers what it showed.
        pool: labelled rows.
        student: the one that is taught; not changed.
        size: how many rows; see :func:`teach_together`.
        study: how the student takes in what was shown; default: :class:`Refitted` for a linear student without bias.
        watch: called after each lesson was studied.

    Returns:
        The course, with the student in its last state.

    Raises:
        ConfigError, DataError, NotFiniteError: as the teacher does.
    """
    return teach_together([Course(teacher, pool, student)], size, study or Refitted(), watch)[0]


def check_fitted(course: Course) -> None:
    """Raise unless the student has learned something of what it was shown.

    Raises:
        NotConverged: if it is right on no larger a share of the shown rows than a guess of the commonest label.
    """
    shown = course.shown
    right = int((course.student.predict(shown.x).argmax(1) == shown.y).sum())
    commonest = int(torch.bincount(shown.y.long()).max())
    if right <= commonest < len(shown):
        raise NotConverged(
            f"after {len(shown)} rows the student is right on {right} of them, and a guess on {commonest}: it has not "
            "learned what it was shown, for which no teacher can be judged; use a smaller learning rate, more steps a "
            "row, or scale its embedding."
        )


def _codewords(student: Student, features: Tensor, logits: Tensor) -> Tensor:
    """The weights of a student's last layer, which has no bias and is all that it trains."""
    name, _ = student.head
    if list(student.params) != [name] or getattr(student.last_linear, "bias", None) is not None:
        raise ConfigError(
            f"this student trains {', '.join(student.params) or 'nothing'}, but only a last linear layer without bias "
            "can be fitted alone: embed the pool first, freeze the other layers, or let it study in steps (Studied)."
        )
    return codewords_of(student, features, logits)


def _padded(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])])
