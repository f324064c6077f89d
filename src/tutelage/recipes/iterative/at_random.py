"""The baseline: rows at random, as stochastic gradient descent takes them."""

import torch

from ...lesson import Batch, Lesson
from ...linear_sgd import LinearLoss
from ...randomness import counter, smallest, stream
from ...student import Student
from ...teacher import Teacher


class RandomSteps(Teacher):
    """Shows a row of the pool at random, with replacement, with its own label.

    The draws are those of :class:`tutelage.teachers.label.label_synthesis.LabelSynthesis` with the same seed, which so
    differs from this one in its labels alone.

    Args:
        loss: what the student studies by.
        seed: of the draws.
    """

    def __init__(self, loss: LinearLoss, *, seed: int = 0) -> None:
        super().__init__()
        self.linear, self.seed = loss, seed

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return one row; ``notes``: its ``index`` in the data and its ``row`` in the pool, int64 (1,)."""
        key = counter(stream(self.seed, "rows to be labelled"), student.step)
        row = smallest(key, batch.index, 1).nonzero().squeeze(1)
        weight = torch.ones(1, dtype=batch.weight_dtype, device=batch.x.device)
        notes = {"index": batch.index[row], "row": row}
        return Lesson(batch.x[row], batch.y[row], weight, self.linear.losses, notes)
