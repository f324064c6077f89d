"""Linear students without bias, whose weights are codewords of the classes: many of them fitted at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ConfigError
from .mcboost import CAP


@dataclass(frozen=True)
class Fit:
    """How codewords are fitted: heavy-ball descent of the mean risk of :func:`tutelage.mcboost.mcboost`.

    ``M <- momentum M + g``, ``W <- W - lr M`` with ``g`` the gradient of the mean risk, plus ``decay W``.

    Attributes:
        steps: >= 1.
        lr: > 0.
        momentum: in [0, 1).
        decay: >= 0.
        cap: largest weight of a class in the gradient.
    """

    steps: int = 150
    lr: float = 0.2
    momentum: float = 0.9
    decay: float = 1e-3
    cap: float = CAP

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0 or not 0 <= self.momentum < 1 or self.decay < 0 or self.cap <= 0:
            raise ConfigError(f"{self}: needs steps >= 1, lr > 0, momentum in [0, 1), decay >= 0 and cap > 0.")

    @torch.no_grad()
    def __call__(self, features: Tensor, labels: Tensor, start: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the codewords of B students.

        Args:
            features: (B, n, d); may be one set seen by all, expanded.
            labels: class ids (B, n).
            start: (B, K, d), where each begins.
            weight: (B, n), >= 0, what a row counts; 0 for rows that are not there. Default: 1 each.

        Returns:
            (B, K, d).
        """
        weight = torch.ones_like(features[..., 0]) if weight is None else weight.to(features.dtype)
        share = (weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny))[..., None] / 2
        words, moved = start.clone(), torch.zeros_like(start)
        own = labels.long()[..., None]
        transposed = features.transpose(1, 2)
        for _ in range(self.steps):
            logits = torch.bmm(features, words.transpose(1, 2))
            weights = ((logits - logits.gather(2, own)) / 2).exp_().clamp_max_(self.cap).scatter_(2, own, 0.0)
            slopes = weights.scatter(2, own, -weights.sum(2, keepdim=True)).mul_(share)
            gradient = torch.bmm(transposed, slopes).transpose(1, 2)
            moved.mul_(self.momentum).add_(gradient).add_(words, alpha=self.decay)
            words = words.sub_(moved, alpha=self.lr)
        return words


def centred(x: Tensor, mean: Tensor | None = None, norm: float = 4.0) -> Tensor:
    """Return rows (N, d) less a mean, each scaled to a norm: what the linear student's learning rate is made for.

    Args:
        x: (N, ...), flattened.
        mean: (d,), such as that of a pool; default: that of ``x``.
        norm: of each row; a row that is the mean stays 0.
    """
    rows = x.flatten(1)
    rows = rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())
    rows = rows - (rows.mean(0) if mean is None else mean)
    scales: Tensor = norm / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return rows * scales
