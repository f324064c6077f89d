"""What a distilled set is, as values: images, labels, step sizes, and the lessons that they make."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..lesson import Lesson, Loss
from ..losses import cross_entropy


@dataclass(frozen=True)
class DistilledSet:
    """S batches of synthetic examples, applied E times in turn: T = S E gradient steps, each of its own size.

    Attributes:
        images: (S, n, ...), normalised as the network expects.
        labels: class ids int64 (n,), the same for all batches, or (S, n), or logits of soft labels (S, n, C).
        step_sizes: (T,), > 0; none for a set without an order, that is to be trained on freely.
        epochs: E.

    Raises:
        ShapeError: for parts that do not fit each other.
    """

    images: Tensor
    labels: Tensor
    step_sizes: Tensor
    epochs: int = 1

    def __post_init__(self) -> None:
        steps, rows = self.images.shape[:2]
        shape = tuple(self.labels.shape)
        fits = shape[:-1] == (steps, rows) if self.soft else shape in ((rows,), (steps, rows))
        if not fits:
            raise ShapeError(
                f"distilled set: labels of shape {shape} do not fit images of shape {tuple(self.images.shape)}: class "
                "ids are (n,), or (S, n), soft labels (S, n, C)."
            )
        if self.epochs < 1:
            raise ConfigError(f"distilled set: epochs is {self.epochs}; it must be at least 1.")
        if tuple(self.step_sizes.shape) not in ((steps * self.epochs,), (0,)):
            raise ShapeError(
                f"distilled set: {tuple(self.step_sizes.shape)} step sizes, but {steps} batches x {self.epochs} epochs "
                f"need ({steps * self.epochs},), one an application."
            )

    @property
    def applications(self) -> int:
        """T, the number of gradient steps; 0 for a set without an order."""
        return len(self.step_sizes)

    @property
    def soft(self) -> bool:
        """Whether labels are logits of soft targets."""
        return self.labels.is_floating_point()

    def targets(self, batch: int) -> Tensor:
        """Return the targets of a batch: class ids (n,), or probabilities (n, C)."""
        if self.soft:
            return self.labels[batch].softmax(-1)
        return self.labels[batch] if self.labels.ndim == 2 else self.labels

    def lessons(self, loss: Loss = cross_entropy) -> list[Lesson]:
        """Return the T lessons in their order; those of one batch are the same value in all epochs.

        Args:
            loss: (logits, targets) -> (n,).
        """
        batches = [self.lesson(s, loss) for s in range(len(self.images))]
        return batches * self.epochs

    def lesson(self, batch: int, loss: Loss = cross_entropy) -> Lesson:
        """Return the lesson of one batch."""
        x = self.images[batch]
        weight = torch.ones(len(x), dtype=x.dtype, device=x.device)
        return Lesson(x, self.targets(batch), weight, loss)

    def at(self, progress: float) -> int:
        """Return the application at a share of the training: ``min(T - 1, floor(progress T))``."""
        count = max(1, self.applications)
        return min(count - 1, int(progress * count + 1e-9))


def labels_in_turn(classes: int, each: int) -> Tensor:
    """Return class ids (classes * each,): 0 ``each`` times, then 1, and so on."""
    return torch.arange(classes).repeat_interleave(each)


def named_rates(sizes: Sequence[float]) -> str:
    """Return step sizes for a message: all of a few, else their range."""
    if len(sizes) <= 4:
        return ", ".join(f"{size:.3g}" for size in sizes)
    return f"{min(sizes):.3g} to {max(sizes):.3g}"
