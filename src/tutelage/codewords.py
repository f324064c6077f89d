"""Linear students without bias, whose weights are codewords of the classes: many of them fitted at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ConfigError, ShapeError
from .mcboost import CAP
from .student import Student


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
            features: (B, n, d), or (n, d) if all see the same ones.
            labels: class ids (B, n).
            start: (B, K, d), where each begins.
            weight: (B, n), >= 0, what a row counts; 0 for rows that are not there. Default: 1 each.

        Returns:
            (B, K, d).
        """
        weight = torch.ones_like(labels, dtype=features.dtype) if weight is None else weight.to(features.dtype)
        share = (weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny))[..., None] / 2
        words, moved = start.clone(), torch.zeros_like(start)
        own = labels.long()[..., None]
        transposed = features.transpose(-2, -1)
        for _ in range(self.steps):
            logits = answers(features, words)
            weights = ((logits - logits.gather(2, own)) / 2).exp_().clamp_max_(self.cap).scatter_(2, own, 0.0)
            slopes = weights.scatter(2, own, -weights.sum(2, keepdim=True)).mul_(share)
            gradient = answers(transposed, slopes.transpose(1, 2)).transpose(1, 2)
            moved.mul_(self.momentum).add_(gradient).add_(words, alpha=self.decay)
            words = words.sub_(moved, alpha=self.lr)
        return words


def answers(features: Tensor, words: Tensor) -> Tensor:
    """Return the logits (B, n, K) of codewords (B, K, d) for features (B, n, d), or (n, d) that all share."""
    if features.ndim == 3:
        return torch.bmm(features, words.transpose(1, 2))
    return (features @ words.flatten(0, 1).T).view(-1, *words.shape[:2]).transpose(0, 1)


def turned(rows: Tensor) -> Tensor:
    """Return rows (N, N) with the inner products of rows (N, d), d > N: linear students tell no difference."""
    gram = rows.double() @ rows.double().T
    gram.diagonal().add_(1e-9 * gram.diagonal().mean().clamp_min(1e-9))
    lower: Tensor = torch.linalg.cholesky(gram)
    return lower.to(rows.dtype)


def centred(x: Tensor, mean: Tensor | None = None, norm: float = 4.0) -> Tensor:
    """Return rows (N, d) less a mean, each scaled to a norm: what the linear student's learning rate is made for.

    Args:
        x: (N, ...), flattened, and made float32 if it is less precise.
        mean: (d,), such as that of a pool; default: that of ``x``.
        norm: of each row; a row that is the mean stays 0.
    """
    rows = wide(x.flatten(1))
    rows = rows - (rows.mean(0) if mean is None else mean)
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp_min(torch.finfo(rows.dtype).tiny) * norm


def wide(x: Tensor) -> Tensor:
    """Return numbers as float32 if they are less precise, such as pixels in bytes and half floats."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def codewords_of(student: Student, features: Tensor, logits: Tensor) -> Tensor:
    """Return the weights (K, d) of a student's last linear layer, if this is what makes its logits, up to a bias.

    Args:
        student: whose.
        features: its embeddings (N, d), as ``student.embed`` gives them.
        logits: its answers (N, K) to the same rows; of some rows it is enough.

    Raises:
        ShapeError: if the layer does not give the logits.
    """
    words = student.head[1].detach().to(features.dtype)
    fits = words.shape == (logits.shape[1], features.shape[1])
    if fits:
        bias = logits - features @ words.T
        size = features.norm(dim=1, keepdim=True) * words.norm(dim=1) + logits.abs()
        near = torch.finfo(student.head[1].dtype).eps ** 0.5 * (size + size[:1])
        fits = not bool(((bias - bias[:1]).abs() > near).any())
    if not fits:
        raise ShapeError(
            "the student's logits are not what its last linear layer answers, so that the layer's rows are no "
            "codewords of the classes: end the network with that layer."
        )
    return words
