"""Losses whose teacher is a label, nobody, or the other peers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..divergences import check_classes, check_temperature, kl, label_cross_entropy, uniform_cross_entropy
from ..errors import ConfigError, ShapeError
from .base import TargetLoss, all_logits, answers_of, check_weights
from .targets import SoftTarget, largest_probability, most_probable


@dataclass(frozen=True)
class HardLabels(TargetLoss):
    """``ce_weight CE(y, z_s) + kd_weight CE(argmax z_t, z_s)``: the teacher's answers as pseudo-labels.

    Attributes:
        threshold: a row whose largest probability is below it counts 0; None: all count.
        ce_weight: of the labels, >= 0.
        kd_weight: of the pseudo-labels, >= 0.

    Source: Lee, "Pseudo-label", ICML workshop 2013.
    """

    threshold: float | None = None
    ce_weight: float = 0.0
    kd_weight: float = 1.0

    def __post_init__(self) -> None:
        check_weights(self)
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"HardLabels: threshold is {self.threshold}; it is a probability, in 0..1.")

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return the cross-entropy to the teacher's label, 0 below the threshold."""
        answers = answers_of(self, target)
        if isinstance(answers, Tensor):
            check_classes(logits, answers)
        losses = label_cross_entropy(logits, most_probable(answers))
        if self.threshold is None:
            return losses
        return torch.where(largest_probability(answers) >= self.threshold, losses, 0.0)


@dataclass(frozen=True)
class LabelSmoothing(TargetLoss):
    """``(1 - s) CE(y, z_s) + s mean_c(-log p_s,c)``: a teacher at T = 1 that is always uniform, of weight s.

    The baseline of soft targets; needs no teacher. A row without a label counts 0.

    Attributes:
        smoothing: s in [0, 1].

    Source: Szegedy et al., "Rethinking the Inception architecture for computer vision", CVPR 2016, section 7.
    """

    smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing <= 1:
            raise ConfigError(f"LabelSmoothing: smoothing is {self.smoothing}; it must be in 0..1.")

    @property
    def ce_weight(self) -> float:
        """``1 - s``."""
        return 1.0 - self.smoothing

    @property
    def kd_weight(self) -> float:
        """``s``."""
        return self.smoothing

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return the cross-entropy to the uniform distribution, 0 without a label."""
        losses = uniform_cross_entropy(logits)
        return losses if target.y is None else torch.where(target.y >= 0, losses, 0.0)


@dataclass(frozen=True)
class MutualLearning(TargetLoss):
    """``ce_weight CE(y, z_i) + kd_weight / (K - 1) sum_{j != i} T^2 KL(p_j || p_i)``: K peers teach each other.

    The target's logits are those of the other peers, (N, K - 1, C): see :func:`other_peers`.

    Attributes:
        ce_weight: of the labels, >= 0.
        kd_weight: of the peers, >= 0.
        temperature: T > 0.

    Source: Zhang et al., "Deep mutual learning", CVPR 2018, sections 2.1 and 2.2.
    """

    ce_weight: float = 1.0
    kd_weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_weights(self)

    def divergence(self, logits: Tensor, target: SoftTarget) -> Tensor:
        """Return the mean over the other peers of T^2 times their divergence."""
        peers = all_logits(self, target)
        if peers.ndim != logits.ndim + 1:
            raise ShapeError(
                f"MutualLearning: the peers' logits have shape {tuple(peers.shape)}, but need "
                f"({', '.join(map(str, logits.shape[:-1]))}, peers, {logits.shape[-1]}), a row for each other peer."
            )
        mine = logits.unsqueeze(-2).expand(*logits.shape[:-1], peers.shape[-2], logits.shape[-1])
        return self.temperature**2 * kl(mine, peers, self.temperature).mean(-1)


def other_peers(logits: Sequence[Tensor], i: int) -> Tensor:
    """Return what peer ``i`` learns from, (N, K - 1, C), without gradient, for the logits (N, C) of all K peers.

    Raises:
        ConfigError: for fewer than two peers.
    """
    if len(logits) < 2:
        raise ConfigError(f"other_peers: {len(logits)} peers given, but mutual learning needs at least 2.")
    return torch.stack([z.detach() for j, z in enumerate(logits) if j != i], -2)
