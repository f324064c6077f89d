"""One teacher for the first rows, another one for the rest."""

from dataclasses import replace
from typing import Any

from ...errors import ConfigError
from ...lesson import Batch, Lesson
from ...selecting import Selecting
from ...student import Student
from ...teacher import Teacher


class FirstThen(Teacher):
    """Has ``first`` choose the first ``n`` rows, then ``then``; both remember all that was shown.

    Prototypes and then MaxGrad is what we recommend: a student that knows nothing yet is pulled equally hard by all
    rows, and one of each class tells it most. Give both teachers the same filter, so that they choose from the same
    rows. The student studies by the loss of ``then`` from the first row on.

    Args:
        first: chooses the first rows.
        then: chooses the others.
        n: how many ``first`` chooses; usually one of each class.

    Raises:
        ConfigError: for a negative n, and for one that is no multiple of the rows that ``first`` shows at a time.
    """

    def __init__(self, first: Selecting, then: Selecting, n: int) -> None:
        super().__init__()
        if n < 0:
            raise ConfigError(f"n = {n}, but the first teacher chooses 0 rows or more.")
        if n % first.rows:
            raise ConfigError(f"n = {n}, but the first teacher shows {first.rows} rows at a time: take a multiple.")
        self.first, self.then, self.n = first, then, n

    @property
    def again(self) -> bool:
        """Whether rows may be shown more than once."""
        return self.first.again and self.then.again

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the lesson of the teacher whose turn it is."""
        lesson = (self.first if len(self.first.shown) < self.n else self.then).teach(batch, student)
        return replace(lesson, loss=self.then.loss)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Have both remember what was shown."""
        self.first.learn(lesson, student, validation)
        return self.then.learn(lesson, student, validation)
