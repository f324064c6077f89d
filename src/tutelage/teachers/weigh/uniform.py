"""The teacher that does not interfere."""

from ...lesson import Batch, Lesson, Loss
from ...losses import cross_entropy
from ...student import Student
from ...teacher import Teacher


class Uniform(Teacher):
    """Plain training: every example counts 1.

    Args:
        loss: per-example loss, (logits (N, C), y (N,)) -> (N,).

    Source: the baseline of every comparison.
    """

    def __init__(self, *, loss: Loss = cross_entropy) -> None:
        super().__init__()
        self.loss = loss

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the batch with its given labels, all weights 1."""
        weight = batch.x.new_ones(len(batch), dtype=batch.weight_dtype)
        return Lesson(batch.x, batch.y, weight, self.loss)
