"""What all losses on soft targets share: labels beside a teacher, and their weights."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from ..divergences import label_cross_entropy
from ..errors import ConfigError
from ..losses import per_row
from .targets import SoftTarget, TopLogits


class TargetLoss(ABC):
    """``ce_weight CE(y, z_s) + kd_weight divergence``, a :data:`tutelage.lesson.Loss` whose target is a SoftTarget.

    Labels of -1 add no cross-entropy, and the mean over rows still counts them.

    Attributes:
        batch_coupled: whether a row's loss depends on other rows; weights that differ have no meaning then.
    """

    batch_coupled: bool = False

    @property
    @abstractmethod
    def ce_weight(self) -> float:
        """Weight of the labels' cross-entropy at temperature 1."""

    @property
    @abstractmethod
    def kd_weight(self) -> float:
        """Weight of what the teacher's answers add."""

    @abstractmethod
    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return what the teacher's answers add before ``kd_weight``, a number for each row of logits (..., C)."""

    def __call__(self, logits: Tensor, target: Any) -> Tensor:
        """Return the loss of each row, (N,), for logits (N, ..., C) and a :class:`SoftTarget`.

        Raises:
            ConfigError: for another target, if ``ce_weight`` is above 0 and there are no labels, or if the teacher's
                logits are missing.
            ShapeError: if the teacher's logits do not fit the student's.
        """
        if not isinstance(target, SoftTarget):
            raise ConfigError(
                f"{type(self).__name__} takes a SoftTarget(y, logits), but the target is a {type(target).__name__}: "
                "use the teacher Distillation, or the loss cross_entropy."
            )
        terms = []
        if self.ce_weight:
            if target.y is None:
                raise ConfigError(
                    f"{type(self).__name__}: ce_weight is {self.ce_weight:g}, but there are no labels: "
                    "give y (-1 for an unlabelled row), or ce_weight=0."
                )
            terms.append(self.ce_weight * label_cross_entropy(logits, target.y))
        if self.kd_weight or not terms:
            terms.append(self.kd_weight * self.divergence(logits, target))
        return per_row(sum(terms[1:], terms[0]))


def check_weights(loss: TargetLoss, **others: float) -> None:
    """Raise ConfigError unless both weights of a loss, and others by name, are finite and at least 0."""
    for name, value in {"ce_weight": loss.ce_weight, "kd_weight": loss.kd_weight, **others}.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{type(loss).__name__}: {name} is {value}; it must be at least 0 and finite.")


def answers_of(loss: TargetLoss, target: SoftTarget) -> Tensor | TopLogits:
    """Return the teacher's logits, all or the largest; raise ConfigError if there are none."""
    if target.logits is None:
        raise ConfigError(
            f"{type(loss).__name__}: kd_weight is {loss.kd_weight:g}, but the target has no logits of a teacher: "
            "give them, or kd_weight=0."
        )
    return target.logits


def all_logits(loss: TargetLoss, target: SoftTarget) -> Tensor:
    """Return the teacher's logits of all classes; raise ConfigError if there are none, or only the largest."""
    logits = answers_of(loss, target)
    if isinstance(logits, Tensor):
        return logits
    raise ConfigError(
        f"{type(loss).__name__} needs a teacher's logits of all classes, but only the largest "
        f"{logits.values.shape[-1]} are stored: store all, or use KnowledgeDistillation."
    )
