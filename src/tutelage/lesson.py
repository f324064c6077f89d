"""Batch and Lesson: what goes into a teacher, and what comes out of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError

Loss: TypeAlias = Callable[[Tensor, Any], Tensor]
"""Per-example loss: (logits (N, ..., C), target) -> (N,), never reduced over examples."""
Layers: TypeAlias = Mapping[str, Tensor]
"""Outputs (N, ...) of layers of the student, by name."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Which other examples are in the rows of a batch that was mixed, by mixup or cutmix.

    Attributes:
        partner: int64 (N,), position in the full data set of the other example in each row; -1: not known.
        share: (N,), how much of its own each row keeps, in [0, 1].
        linear: whether a row is ``share`` times its own example plus ``1 - share`` times the other one, as in mixup.
        view: int64 (N,), the view of the other example; see :attr:`Batch.view`.
    """

    partner: Tensor
    share: Tensor
    linear: bool
    view: Tensor | None = None

    def rows(self, places: Tensor) -> "Mixed":
        """Return the same of some rows, int64 (n,)."""
        view = None if self.view is None else self.view[places]
        return Mixed(self.partner[places], self.share[places], self.linear, view)

    def to(self, device: torch.device) -> "Mixed":
        """Return the same on a device."""
        view = None if self.view is None else self.view.to(device)
        return Mixed(self.partner.to(device), self.share.to(device), self.linear, view)


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
        view: int64 (N,), which of a bank of views of its example each row is, counted from 0; None: there is no bank.
        mixed: what else is in the rows, which ``index`` alone does not name then; None: nothing.

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
    view: Tensor | None = None
    mixed: Mixed | None = None

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


def tensors_in(target: Any) -> Iterator[Tensor]:
    """Yield the tensors of a lesson's target: itself, or those in a tuple, list or mapping, however deep."""
    if isinstance(target, Tensor):
        yield target
    elif isinstance(target, (tuple, list, Mapping)):
        for part in target.values() if isinstance(target, Mapping) else target:
            yield from tensors_in(part)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher wants the student to study: inputs, targets, weights and a loss.

    Attributes:
        x: inputs, shape (N, ...).
        target: whatever ``loss`` takes as its second argument: class ids, soft labels, logits, ...
        weight: shape (N,), finite and >= 0; how much each row counts.
        loss: (logits (N, ..., C), target) -> (N,), never reduced over examples.
        notes: what the teacher saw while it made the lesson (losses, thresholds, masks); for logs and ``learn``.
        layers: names of layers of the student that the loss looks at, as ``named_modules`` gives them. If there are
            any, it is called with a third argument, their outputs by name, of the pass that made the logits.

    Raises:
        ShapeError: if weight has another shape than one number a row of x, or there is no row.
    """

    x: Tensor
    target: Any
    weight: Tensor
    loss: Callable[..., Tensor]
    notes: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        needed = (self.x.shape[0],)
        if not needed[0]:
            raise ShapeError(
                f"Lesson.x has shape {tuple(self.x.shape)}, but needs at least one row: leave out the batch."
            )
        if self.weight.shape != needed:
            given = tuple(self.weight.shape)
            squeezable = len(given) == 2 and given[0] == needed[0] and given[1] == 1
            hint = "; the network probably kept its last axis: use .squeeze(1)" if squeezable else ""
            raise ShapeError(f"Lesson.weight has shape {given}, but needs {needed}, one weight per row of x{hint}.")

    def __len__(self) -> int:
        return self.x.shape[0]

    def losses(self, logits: Tensor, layers: Layers | None = None) -> Tensor:
        """Return the unweighted per-example losses, shape (N,).

        Args:
            logits: the student's, (N, ..., C).
            layers: outputs of :attr:`layers` by name, as ``Student.layers`` gives them; not needed if there are none.

        Raises:
            ConfigError: without the layers that the loss looks at.
            ShapeError: if ``loss`` returns another shape.
        """
        if not self.layers:
            return self.checked(self.loss(logits, self.target))
        if layers is None or any(name not in layers for name in self.layers):
            raise ConfigError(
                f"the loss of this lesson looks at {', '.join(self.layers)} of the student: pass "
                "student.layers(lesson.x, lesson.layers) as well."
            )
        return self.checked(self.loss(logits, self.target, layers))

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

    def mark(self, logits: Tensor, layers: Layers | None = None) -> Tensor:
        """Return ``(1/N) sum_i weight_i * loss_i``, a scalar; arguments as of :meth:`losses`."""
        return (self.weight * self.losses(logits, layers)).mean()
