"""Teacher: what every method of the four levers is."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from .lesson import Batch, Lesson
from .student import Student


class Teacher(nn.Module, ABC):
    """Turns a batch into a lesson, and may learn from how the student fares.

    ``teach`` reads, ``learn`` writes. All that a teacher remembers is in its ``state_dict`` (buffers and parameters),
    so that a run can stop and go on. Randomness comes from counters (``student.seed``, ``student.step``, the
    example's index), never from global state.

    Attributes:
        ahead: how many batches after the present one ``learn`` wants to look at; they come as ``batch.ahead``.
    """

    ahead: int = 0

    @abstractmethod
    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the lesson for this batch; change neither the teacher nor the student.

        ``student.logits(batch.x)`` is the pass that the student will study from: using it costs nothing.
        """

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Take in the lesson that the student is about to study; return metrics.

        The default is for teachers without memory: nothing to learn. A teacher that descends a validation loss looks
        ahead with ``student.after(lesson)`` and leaves the gradient that it descended in ``.grad``.
        """
        return {}

    def revise(self, lesson: Lesson, student: Student) -> Lesson:
        """Return the lesson that the student will study, after ``learn``.

        The default keeps it. A teacher that has just changed its mind may teach the same batch again, so that what it
        learned counts at once.
        """
        return lesson
