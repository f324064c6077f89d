"""Courses: a teacher chooses what to show, the student studies all that was shown, and so on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .codewords import Fit
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
    """Linear codeword students, fitted anew to all shown rows from where they started, all courses at once.

    Attributes:
        fit: how.
    """

    fit: Fit = field(default_factory=Fit)

    def __call__(self, courses: Sequence[Course]) -> list[Student]:
        """Return students whose last layer was fitted; see :class:`Study`.

        Raises:
            ConfigError: if a student is more than one linear layer without bias.
        """
        heads = [_only_layer(course.start) for course in courses]
        batches = [course.shown for course in courses]
        longest = max(len(batch) for batch in batches)
        x = torch.stack([_padded(batch.x.flatten(1), longest) for batch in batches])
        y = torch.stack([_padded(batch.y, longest) for batch in batches])
        weight = torch.stack([_padded(torch.ones_like(batch.x.flatten(1)[:, 0]), longest) for batch in batches])
        words = self.fit(x, y, torch.stack([head for _, head in heads]), weight)
        return [
            course.start.at({name: own.detach().requires_grad_()})
            for course, (name, _), own in zip(courses, heads, words)
        ]


@dataclass(frozen=True)
class Studied:
    """Any students, each of which studies all that it was shown for a number of steps, on all rows at once.

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
        size: how many rows each has shown in the end.
        study: how the students take in what was shown.
        watch: called after each lesson was studied; what it returns is kept in ``course.watched``.

    Returns:
        The courses given.

    Raises:
        ConfigError: if a pool has fewer rows than are asked for.
    """
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
        size: how many rows.
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


def _only_layer(student: Student) -> tuple[str, Tensor]:
    """Name and values of the weights of a network that is one linear layer."""
    name, words = student.head
    others = [n for n in student.params if n != name]
    if others or student.has_constants:
        raise ConfigError(
            f"this student has more parameters than one linear layer without bias "
            f"({', '.join(others) or 'constants'}), so its "
            "codewords cannot be fitted alone: embed the pool first, or let it study in steps (Studied)."
        )
    return name, words.detach()


def _padded(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])])
