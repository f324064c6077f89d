"""The students of all seeds of a trajectory, trained in step: stacked where the network allows, else in turn."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from ..lesson import Batch
from ..stacked import StackedStudent, stackable
from ..student import Student
from ..teacher import Teacher
from ..training import Step, train, train_stacked


class Cohort(ABC):
    """Students of one architecture, one a seed."""

    @abstractmethod
    def rounds(
        self, teachers: Sequence[Teacher], streams: Sequence[Iterable[Batch]], validation: Sequence[Batch | None]
    ) -> Iterator[tuple[Step, ...]]:
        """Train: yield one step of every student at a time."""

    @abstractmethod
    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return each student's logits for its inputs, in evaluation mode."""

    @abstractmethod
    def students(self) -> Sequence[Student]:
        """Return the students as they stand."""


class Separate(Cohort):
    """Students that take their steps one after another."""

    def __init__(self, students: Sequence[Student]) -> None:
        self._students = students

    def rounds(
        self, teachers: Sequence[Teacher], streams: Sequence[Iterable[Batch]], validation: Sequence[Batch | None]
    ) -> Iterator[tuple[Step, ...]]:
        """Train: yield one step of every student at a time."""
        runs = [train(*each) for each in zip(self._students, teachers, streams, validation)]
        return zip(*runs, strict=True)

    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return each student's logits for its inputs, in evaluation mode."""
        return [student.predict(x) for student, x in zip(self._students, xs)]

    def students(self) -> Sequence[Student]:
        """Return the students as they stand."""
        return self._students


class Together(Cohort):
    """Students that share every pass through a stack of their parameters."""

    def __init__(self, students: Sequence[Student]) -> None:
        self._stack = StackedStudent(students)

    def rounds(
        self, teachers: Sequence[Teacher], streams: Sequence[Iterable[Batch]], validation: Sequence[Batch | None]
    ) -> Iterator[tuple[Step, ...]]:
        """Train: yield one step of every student at a time."""
        return train_stacked(self._stack, teachers, zip(*streams, strict=True), validation)

    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return each student's logits for its inputs, in evaluation mode."""
        return self._stack.predict(xs)

    def students(self) -> Sequence[Student]:
        """Return the students as they stand."""
        return self._stack.students()


def cohort(students: Sequence[Student], example: Tensor, *, stack: bool = True) -> Cohort:
    """Return the students as a cohort, stacked if asked for and possible.

    Args:
        students: of one architecture and rule.
        example: a few inputs (N, ...), to try the stack on.
        stack: False: always one after another.
    """
    return Together(students) if stack and stackable(students, example) else Separate(students)
