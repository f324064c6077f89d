"""Losses that compare a student's logits with a teacher's."""

import warnings
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..divergences import (
    across_rows,
    check_classes,
    check_temperature,
    constant,
    kl,
    shares,
    squared_distance,
    standardised,
    standardised_kl,
    target_and_others,
    within_rows,
)
from ..errors import ConfigError, unknown
from .base import TargetLoss, all_logits, answers_of, check_weights
from .targets import SoftTarget, bucket_kl

Scale: TypeAlias = Literal["mean", "half_sum"]
Normalisation: TypeAlias = Literal["none", "teacher_std", "zscore"]


@dataclass(frozen=True)
class KnowledgeDistillation(TargetLoss):
    """``ce_weight CE(y, z_s) + kd_weight T^2 KL(p_t || p_s)``, ``p = softmax(z / T)``.

    T^2 is always there, whatever the weights: it keeps the size of the gradient as T grows. For large T this is logit
    matching, ``1 / (2 C) ||z_s - z_t||^2`` of centred logits. Takes top logits too: see :func:`bucket_kl`.

    Attributes:
        temperature: T > 0.
        ce_weight: of the labels, >= 0.
        kd_weight: of the teacher, >= 0.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, section 2.
    """

    temperature: float = 4.0
    ce_weight: float = 0.1
    kd_weight: float = 0.9

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(self)

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return ``T^2 KL(p_t || p_s)``."""
        answers, T = answers_of(self, target), self.temperature
        return T**2 * (kl(logits, answers, T) if isinstance(answers, Tensor) else bucket_kl(logits, answers, T))


@dataclass(frozen=True)
class LogitMatching(TargetLoss):
    """``kd_weight mean_c (z_s - z_t)^2``, needs no labels; with ``ce_weight`` also their cross-entropy.

    Attributes:
        scale: ``"mean"`` over the classes, or the paper's ``"half_sum"``, ``1/2 sum_c``: C / 2 times as much.
        center: take the mean of each row off, on both sides: a softmax does not see it, a squared error does.
        normalize: ``"none"``; ``"teacher_std"``: divide both sides by ``std``; ``"zscore"``: :func:`standardised` rows.
        ce_weight: of the labels, >= 0.
        kd_weight: of the teacher, >= 0.
        std: of ``"teacher_std"``: standard deviation of the teacher's logits over the transfer set, > 0.

    Source: Ba and Caruana, "Do deep nets really need to be deep?", NeurIPS 2014, equation 1.
    """

    scale: Scale = "mean"
    center: bool = False
    normalize: Normalisation = "none"
    ce_weight: float = 0.0
    kd_weight: float = 1.0
    std: float | None = None

    def __post_init__(self) -> None:
        check_weights(self)
        for name, given, known in (("scale", self.scale, Scale), ("normalize", self.normalize, Normalisation)):
            if given not in get_args(known):
                raise ConfigError(unknown(f"{name} of LogitMatching", str(given), get_args(known)))
        if (self.normalize == "teacher_std") != (self.std is not None) or not (self.std is None or self.std > 0):
            raise ConfigError(
                f'LogitMatching: normalize is "{self.normalize}" and std is {self.std}; "teacher_std" needs the '
                "standard deviation of the teacher's logits, above 0, and the others need none."
            )

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return the mean, or half the sum, of the squared differences."""
        z_s, z_t = logits, all_logits(self, target)
        check_classes(z_s, z_t)
        if self.normalize == "zscore":
            flat = (constant(z_s) | constant(z_t)).unsqueeze(-1)
            z_s, z_t = (torch.where(flat, 0.0, standardised(z)) for z in (z_s, z_t))
        total = squared_distance(z_s, z_t, center=self.center) / (self.std or 1.0) ** 2
        return total / z_s.shape[-1] if self.scale == "mean" else total / 2


@dataclass(frozen=True)
class DecoupledDistillation(TargetLoss):
    """``ce_weight CE + kd_weight T^2 (target_weight TCKD + others_weight NCKD)``; see :func:`target_and_others`.

    A row without a label is split at the teacher's most probable class.

    Attributes:
        temperature: T > 0.
        target_weight: of what the teacher says of the label's class (alpha of the paper).
        others_weight: of what it says of the other classes (beta); 2 for ResNet-56 to 20, 6 for VGG-13 to 8.
        ce_weight: of the labels, >= 0.
        kd_weight: of both parts, >= 0; :func:`warm_up` lets it grow.

    Source: Zhao et al., "Decoupled knowledge distillation", CVPR 2022, section 3.3.
    """

    temperature: float = 4.0
    target_weight: float = 1.0
    others_weight: float = 8.0
    ce_weight: float = 1.0
    kd_weight: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(self, target_weight=self.target_weight, others_weight=self.others_weight)

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return ``T^2 (target_weight TCKD + others_weight NCKD)``; warns for two classes, where NCKD is 0."""
        if logits.shape[-1] == 2:
            warnings.warn(
                "DecoupledDistillation: of two classes the one that is not the label has no distribution, NCKD is 0: "
                "use KnowledgeDistillation.",
                stacklevel=3,
            )
        z_t = all_logits(self, target)
        label = z_t.argmax(-1)
        label = label if target.y is None else torch.where(target.y >= 0, target.y, label)
        of_target, of_others = target_and_others(logits, z_t, label, self.temperature)
        return self.temperature**2 * (self.target_weight * of_target + self.others_weight * of_others)


def warm_up(epoch: float, epochs: float = 20.0) -> float:
    """Return ``min(epoch / epochs, 1)``, what decoupled distillation's ``kd_weight`` is multiplied by in an epoch.

    Args:
        epoch: counted from 1 as in the published code, or how many have passed, as a fraction.
        epochs: > 0.
    """
    if not epochs > 0:
        raise ConfigError(f"warm_up: epochs is {epochs}; it must be above 0.")
    return min(epoch / epochs, 1.0)


@dataclass(frozen=True)
class DIST(TargetLoss):
    """``ce_weight CE + kd_weight T^2 (beta (1 - rho of the row) + gamma mean_c(1 - rho of class c over the rows))``.

    rho is Pearson's correlation of ``softmax(z / T)`` of student and teacher: it compares orders, not sizes. The last
    term couples the rows of a batch, (N, C), and is the same for each of them. Constant rows and classes count 0: see
    :func:`degenerate_rows`.

    Attributes:
        beta: weight of the relation of classes within a row, >= 0.
        gamma: weight of the relation of rows within a class, >= 0; above 0 needs at least 2 rows.
        temperature: T > 0.
        ce_weight: of the labels, >= 0.
        kd_weight: of both terms, >= 0.
        batch_coupled: whether gamma is above 0.

    Source: Huang et al., "Knowledge distillation from a stronger teacher", NeurIPS 2022.
    """

    beta: float = 2.0
    gamma: float = 2.0
    temperature: float = 1.0
    ce_weight: float = 1.0
    kd_weight: float = 1.0
    batch_coupled: bool = field(init=False, repr=False, default=True)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(self, beta=self.beta, gamma=self.gamma)
        object.__setattr__(self, "batch_coupled", self.gamma > 0 and self.kd_weight > 0)

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return ``T^2 (beta within_rows + gamma across_rows)``."""
        z_t, T = all_logits(self, target), self.temperature
        total = self.beta * within_rows(logits, z_t, T)
        return T**2 * (total + self.gamma * across_rows(logits, z_t, T) if self.gamma else total)


@dataclass(frozen=True)
class StandardisedDistillation(TargetLoss):
    """``ce_weight CE + kd_weight T^2 KL(softmax(std(z_t) / T) || softmax(std(z_s) / T))``; see :func:`standardised`.

    The student need not match the size of the teacher's logits. Constant rows count 0: see :func:`degenerate_rows`.

    Attributes:
        temperature: T > 0, in units of each row's standard deviation.
        ce_weight: of the labels, >= 0.
        kd_weight: of the teacher, >= 0.

    Source: Sun et al., "Logit standardization in knowledge distillation", CVPR 2024, algorithm 1.
    """

    temperature: float = 2.0
    ce_weight: float = 0.1
    kd_weight: float = 9.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(self)

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return T^2 times the divergence of the standardised logits."""
        return self.temperature**2 * standardised_kl(logits, all_logits(self, target), self.temperature)


def degenerate_rows(loss: TargetLoss, logits: Tensor, target: SoftTarget) -> Tensor:
    """Return how many rows a loss has to leave out since they are constant, a number without gradient on its device.

    Args:
        loss: only those that divide by a spread leave rows out: StandardisedDistillation, LogitMatching with
            ``"zscore"``, DIST (whose constant classes count as well).
        logits: the student's, (N, ..., C).
        target: what the loss takes.

    Raises:
        ConfigError: if that is everything, and ``ce_weight`` is 0: there is nothing left to learn from.
    """
    standardises = isinstance(loss, StandardisedDistillation) or (
        isinstance(loss, LogitMatching) and loss.normalize == "zscore"
    )
    if not loss.kd_weight or not (standardises or isinstance(loss, DIST)):
        return torch.zeros((), dtype=torch.long, device=logits.device)
    with torch.no_grad():
        answers = (logits, all_logits(loss, target))
        if isinstance(loss, DIST):
            dims = ([-1] if loss.beta else []) + ([-2] if loss.gamma else [])
            found = [constant(shares(z, loss.temperature, d), d, relative=True) for d in dims for z in answers]
        else:
            found = [constant(z) for z in answers]
        flat = torch.cat([(a | b).flatten() for a, b in zip(found[::2], found[1::2])])
        if not loss.ce_weight and flat.numel() and bool(flat.all()):
            raise ConfigError(
                f"{type(loss).__name__}: all rows of the student's or of the teacher's logits are constant, which have "
                "no gradient: use ce_weight above 0, or do not start the student's last layer at 0."
            )
        return flat.sum()
