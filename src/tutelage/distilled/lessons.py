"""What a distilled set is, as values: images, labels, step sizes, and the lessons that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError
from ..lesson import Lesson, Loss
from ..losses import cross_entropy

_ROUNDED = 1e-3
"""How far probabilities may be from a sum of 1."""


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
        if self.images.ndim < 2 or not all(self.images.shape[:2]):
            raise ShapeError(
                f"distilled set: images have shape {tuple(self.images.shape)}, but need (S, n, ...), at least one "
                "batch of one row."
            )
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


def check_start(images: Tensor, labels: Tensor) -> None:
    """Make sure that a set can be learned from where it starts.

    Args:
        images: (S, n, ...).
        labels: class ids, or probabilities (S, n, C).

    Raises:
        ShapeError: for images of an integer type.
        DataError: for images that are not finite, class ids below 0, or rows of soft labels that are no probabilities.
    """
    if not images.is_floating_point():
        raise ShapeError(
            f"images are {images.dtype}, but need a floating type: use .float(), normalised as the networks expect."
        )
    if not bool(images.isfinite().all()):
        raise DataError("the images start with numbers that are not finite: give finite ones.")
    if not labels.is_floating_point():
        if bool((labels < 0).any()):
            raise DataError(f"labels: {int(labels.min())} is no class; class ids are 0 or more.")
        return
    wrong = ~((labels >= 0).all(-1) & ((labels.sum(-1) - 1).abs() <= _ROUNDED))
    if bool(wrong.any()):
        row = tuple(torch.nonzero(wrong)[0].tolist())
        raise DataError(
            f"labels: row {row} of the soft labels is {_few(labels[row].tolist())}; rows are probabilities, at least 0 "
            "and with sum 1: of logits take .softmax(-1)."
        )


def check_finite(parts: Mapping[str, Tensor]) -> None:
    """Make sure that it is none of these tensors that a loss is not finite for.

    Args:
        parts: by what they are.

    Raises:
        DataError: naming the first that is not finite, and its first row.
    """
    for what, values in parts.items():
        wrong = torch.nonzero(~values.isfinite())
        if len(wrong):
            raise DataError(f"{what} are not finite, first in row {int(wrong[0, 0])}: mend them; no step size can.")


def labels_in_turn(classes: int, each: int) -> Tensor:
    """Return class ids (classes * each,): 0 ``each`` times, then 1, and so on."""
    return torch.arange(classes).repeat_interleave(each)


def _few(values: Sequence[float]) -> str:
    told = ", ".join(f"{value:.3g}" for value in values[:4])
    return f"({told}{', ...' if len(values) > 4 else ''})"


def named_rates(sizes: Sequence[float]) -> str:
    """Return step sizes for a message: all of a few, else their range."""
    if len(sizes) <= 4:
        return ", ".join(f"{size:.3g}" for size in sizes)
    return f"{min(sizes):.3g} to {max(sizes):.3g}"
