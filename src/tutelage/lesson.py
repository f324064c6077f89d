"""Batch and Lesson: what goes into a teacher, and what comes out of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError

Loss: TypeAlias = Callable[[Tensor, Any], Tensor]
"""Per-example loss: (logits (N, ..., C), target) -> (N,), never reduced over examples."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A mini-batch that knows which examples it holds.

    Attributes:
        x: inputs, shape (N, ...).
        y: given labels, shape (N,), possibly wrong; -1 for none.
        index: int64 positions in the full data set, shape (N,).
        progress: share of training that lies behind, in [0, 1).
        ahead: the batches that come next, as many as the teacher asks for with :attr:`Teacher.ahead`, fewer at the end.
        views: other views of the same rows by name, such as a "strong" augmentation beside a weak one, each (N, ...).
        labelled: labelled examples that come with a batch of unlabelled ones.

    Raises:
        ConfigError: for a progress outside [0, 1).
    """

    x: Tensor
    y: Tensor
    index: Tensor
    progress: float = 0.0
    ahead: tuple["Batch", ...] = ()
    views: Mapping[str, Tensor] = field(default_factory=dict)
    labelled: "Batch | None" = None

    def __post_init__(self) -> None:
        if not 0 <= self.progress < 1:
            raise ConfigError(f"Batch.progress is {self.progress}; it is step / steps and must be in [0, 1).")

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def weight_dtype(self) -> torch.dtype:
        """The type of weights for these inputs: theirs, or the default one if they are integers."""
        return self.x.dtype if self.x.is_floating_point() else torch.get_default_dtype()


def percent(progress: float) -> int:
    """Return ``floor(100 * step / steps)`` for ``progress = step / steps``, in 0..99 for progress in [0, 1).

    The small addition undoes the rounding of the quotient (29 / 100 * 100 is below 29); it is exact for fewer
    than 10^9 steps.
    """
    return int(100.0 * progress + 1e-9)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher wants the student to study: inputs, targets, weights and a loss.

    Attributes:
        x: inputs, shape (N, ...).
        target: whatever ``loss`` takes as its second argument: class ids, soft labels, logits, ...
        weight: shape (N,), finite and >= 0; how much each row counts.
        loss: (logits (N, ..., C), target) -> (N,), never reduced over examples.
        notes: what the teacher saw while it made the lesson (losses, thresholds, masks); for logs and ``learn``.

    Raises:
        ShapeError: if weight has another shape than one number a row of x.
    """

    x: Tensor
    target: Any
    weight: Tensor
    loss: Loss
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        needed = (self.x.shape[0],)
        if self.weight.shape != needed:
            given = tuple(self.weight.shape)
            squeezable = len(given) == 2 and given[0] == needed[0] and given[1] == 1
            hint = "; the network probably kept its last axis: use .squeeze(1)" if squeezable else ""
            raise ShapeError(f"Lesson.weight has shape {given}, but needs {needed}, one weight per row of x{hint}.")

    def __len__(self) -> int:
        return self.x.shape[0]

    def losses(self, logits: Tensor) -> Tensor:
        """Return the unweighted per-example losses, shape (N,).

        Raises:
            ShapeError: if ``loss`` returns another shape.
        """
        return self.checked(self.loss(logits, self.target))

    def checked(self, losses: Tensor) -> Tensor:
        """Return the losses as they are, if there is one a row.

        Raises:
            ShapeError: otherwise.
        """
        if losses.shape != self.weight.shape:
            name = getattr(self.loss, "__name__", type(self.loss).__name__)
            raise ShapeError(
                f"{name} returned shape {tuple(losses.shape)}, but needs {tuple(self.weight.shape)}, one loss per "
                'row; a loss must not be reduced over examples: use reduction="none".'
            )
        return losses

    def mark(self, logits: Tensor) -> Tensor:
        """Return ``(1/N) sum_i weight_i * loss_i``, a scalar."""
        return (self.weight * self.losses(logits)).mean()
