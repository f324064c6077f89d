"""The loop: teach, learn, study; with a guard against numbers that are not finite."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from .errors import NotFiniteError
from .lesson import Batch, Lesson
from .rules import Scalar
from .stacked import StackedStudent
from .student import Student
from .teacher import Teacher


class Step(NamedTuple):
    """What happened in one step of training.

    Attributes:
        number: counted from 0.
        batch: what the teacher was given.
        lesson: what the student studied; ``lesson.notes`` holds what the teacher saw.
        metrics: ``loss`` (weighted mean before the step, a tensor without gradient) and what the teacher reports.
    """

    number: int
    batch: Batch
    lesson: Lesson
    metrics: dict[str, Any]


@dataclass
class FiniteGuard:
    """Stops training when a loss is NaN or infinite, and names the step, the teacher and the learning rate.

    Reading a number from a CUDA device waits for it, so there the losses are looked at every ``every`` steps; the
    step that is named is the first bad one all the same.

    Attributes:
        every: how many losses are gathered before they are looked at.
    """

    every: int = 1
    _waiting: list[tuple[int, str, Scalar, Tensor]] = field(default_factory=list)

    def watch(self, number: int, teacher: Teacher, lr: Scalar, loss: Tensor) -> None:
        """Take in a step's loss; look at all that wait if there are enough.

        Raises:
            NotFiniteError: at the first loss that is not finite.
        """
        if self.every == 1:
            _check(number, type(teacher).__name__, lr, loss.item())
            return
        self._waiting.append((number, type(teacher).__name__, lr, loss))
        if len(self._waiting) >= self.every:
            self.look()

    def look(self) -> None:
        """Look at all losses that wait.

        Raises:
            NotFiniteError: at the first loss that is not finite.
        """
        if not self._waiting:
            return
        values = torch.stack([loss for *_, loss in self._waiting]).tolist()
        waiting, self._waiting = self._waiting, []
        for (number, teacher, lr, _), value in zip(waiting, values):
            _check(number, teacher, lr, value)


def _check(number: int, teacher: str, lr: Scalar, loss: float) -> None:
    if not math.isfinite(loss):
        raise NotFiniteError(
            f"the loss is {loss} at step {number} (teacher {teacher}, learning rate {float(lr):g}); "
            "lower the learning rate, or look for bad values in the data."
        )


def check_finite(student: Student) -> None:
    """Make sure that a student is worth keeping.

    Raises:
        NotFiniteError: if one of its parameters or buffers holds NaN or infinity.
    """
    for name, tensor in student.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NotFiniteError(
                f"{name} is not finite after {student.step} steps (learning rate {float(student.lr):g}); "
                "lower the learning rate, or look for bad values in the data."
            )


def guard_on(device: torch.device) -> FiniteGuard:
    """Return a guard that looks at every loss, or at 50 at a time where reading one waits for the device."""
    return FiniteGuard(every=1 if device.type == "cpu" else 50)


_Item = TypeVar("_Item")


def with_next(items: Iterable[_Item], count: int) -> Iterator[tuple[_Item, tuple[_Item, ...]]]:
    """Yield each item with the ``count`` that come after it, fewer at the end; read that far ahead, no further."""
    source = iter(items)
    waiting: deque[_Item] = deque()
    for item in source:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft(), tuple(waiting)
    while waiting:
        yield waiting.popleft(), tuple(waiting)


def train(
    student: Student, teacher: Teacher, batches: Iterable[Batch], validation: Batch | None = None
) -> Iterator[Step]:
    """Train a student, a step at a time.

    Logging, early stopping, checkpoints and plots are the caller's ``for`` body.

    Args:
        student: changes at every step.
        teacher: teaches before, and learns before, the student studies.
        batches: what to teach from; ends the training when it ends.
        validation: trusted examples for teachers that learn from them.

    Raises:
        NotFiniteError: if a loss is NaN or infinite.
    """
    guard: FiniteGuard | None = None
    for batch, ahead in with_next(batches, teacher.ahead):
        guard = guard or guard_on(batch.x.device)
        number, lr = student.step, student.lr
        batch = replace(batch, ahead=ahead) if ahead else batch
        lesson = teacher.teach(batch, student)
        learned = teacher.learn(lesson, student, validation)
        lesson = teacher.revise(lesson, student)
        metrics = learned | student.study(lesson)
        guard.watch(number, teacher, lr, metrics["loss"])
        yield Step(number, batch, lesson, metrics)
    if guard is not None:
        guard.look()


def train_stacked(
    students: StackedStudent,
    teachers: Sequence[Teacher],
    batches: Iterable[Sequence[Batch]],
    validation: Sequence[Batch | None],
) -> Iterator[tuple[Step, ...]]:
    """Train several students at once, each with a teacher of its own; otherwise as :func:`train`.

    Args:
        students: the stack.
        teachers: one a student.
        batches: one batch a student and step, of equal sizes.
        validation: one a student.
    """
    guard: FiniteGuard | None = None
    for batch, ahead in with_next(batches, max(teacher.ahead for teacher in teachers)):
        guard = guard or guard_on(batch[0].x.device)
        number = students.step
        batch = [replace(b, ahead=tuple(each[s] for each in ahead)) for s, b in enumerate(batch)] if ahead else batch
        members = students.members(batch)
        lr = members[0].lr
        lessons = [teacher.teach(b, member) for teacher, b, member in zip(teachers, batch, members)]
        metrics = [
            teacher.learn(lesson, member, v)
            for teacher, lesson, member, v in zip(teachers, lessons, members, validation)
        ]
        lessons = [teacher.revise(lesson, member) for teacher, lesson, member in zip(teachers, lessons, members)]
        steps = []
        for teacher, b, lesson, learned, studied in zip(teachers, batch, lessons, metrics, students.study(lessons)):
            guard.watch(number, teacher, lr, studied["loss"])
            steps.append(Step(number, b, lesson, learned | studied))
        yield tuple(steps)
    if guard is not None:
        guard.look()
