"""The risk of multi-class boosting, and how hard an example pulls at a student: pure functions of logits.

With the label ``c`` of an example, its embedding ``f`` (d,) and codewords ``Y`` (K, d), logits ``z = Y f (+ bias)``::

    w_k = exp((z_k - z_c) / 2) for k != c,   w_c = 0,   s = sum_k w_k
    L   = s
    dL/dz = -A / 2,   A_k = -w_k for k != c,   A_c = s
    psi = ||Y^T A||^2 = 4 ||dL/df||^2

Source: Saberian and Vasconcelos, "Multiclass boosting: theory and algorithms", NeurIPS 2011, equations 4 to 7; the
score ``psi``: Wang, Nagrecha and Vasconcelos, "Gradient-based algorithms for machine teaching", CVPR 2021.
"""

import math

import torch
from torch import Tensor

from .errors import DataError, ShapeError

CAP = 20.0
"""Largest weight of a class in a gradient: beyond it the exponential risk goes on as a straight line."""


def check_labels(labels: Tensor, classes: int, what: str = "the pool") -> None:
    """Raise a ShapeError unless labels are (N,), and a DataError unless they are integers in 0 .. classes - 1."""
    if labels.ndim != 1:
        raise ShapeError(f"{what} has labels of shape {tuple(labels.shape)}, but needs (N,), one class id a row.")
    if labels.is_floating_point() or labels.is_complex():
        raise DataError(f"{what} has labels of type {labels.dtype}, but needs class ids: use .long().")
    outside = ((labels < 0) | (labels >= classes)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{what} has label {int(labels[row])} in row {row}, but the student knows classes 0 to {classes - 1}: "
            "leave out rows without a label, or give the student more classes."
        )


def gaps(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``(z_k - z_c) / 2``, and minus infinity for ``k = c``: the logarithms of the weights ``w``.

    Args:
        logits: (N, K).
        labels: class ids (N,).

    Returns:
        (N, K).
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ShapeError(
            f"mcboost: logits {tuple(logits.shape)} and labels {tuple(labels.shape)}, but needs (N, K) and (N,), one "
            "class id a row."
        )
    own = labels.long()[:, None]
    return ((logits - logits.gather(1, own)) / 2).scatter(1, own, -torch.inf)


def mcboost(logits: Tensor, target: Tensor, *, cap: float = CAP) -> Tensor:
    """The risk ``L = sum_{k != c} exp((z_k - z_c) / 2)`` of each row, a straight line where a term is above ``cap``.

    So no term pulls harder than ``cap`` and none overflows, but every one keeps its direction; a clamped exponent would
    have no gradient at all.

    Args:
        logits: (N, K).
        target: class ids (N,).
        cap: > 0; infinity for the plain risk.

    Returns:
        (N,), >= 0.
    """
    exponents = gaps(logits, target)
    if cap == math.inf:
        return exponents.exp().sum(1)
    knee = math.log(cap)
    return torch.where(exponents > knee, cap * (1 + exponents - knee), exponents.clamp_max(knee).exp()).sum(1)


def mcboost_published(logits: Tensor, target: Tensor) -> Tensor:
    """The risk as the authors' code of MaxGrad trains it: ``mean_k exp(min(z_k - z_c, 20)) - 1``, without the half.

    The score has the half, so that loss and score are of different temperatures; beyond the clamp there is no gradient.

    Args:
        logits: (N, K).
        target: class ids (N,).

    Returns:
        (N,), >= 1 / K - 1.
    """
    exponents = 2 * gaps(logits, target)
    return (1 + exponents.clamp_max(20.0).exp().sum(1)) / logits.shape[1] - 1


def pulls(exponents: Tensor, labels: Tensor) -> Tensor:
    """Return ``A = -2 dL/dz`` (N, K) of weights given by their logarithms ``exponents`` (N, K)."""
    weights = exponents.exp()
    return (-weights).scatter(1, labels.long()[:, None], weights.sum(1, keepdim=True))


def log_score(logits: Tensor, labels: Tensor, codewords: Tensor) -> Tensor:
    """Return ``log psi``, finite for logits of any size: how hard each example pulls in the space of functions.

    With ``m`` the largest exponent of a row, ``log psi = 2 m + log rowsum((A' Y Y^T) * A')`` of ``A' = A / e^m``:
    neither an (N, d) gradient nor an exponent above 0 is formed, at a cost of O(N K^2).

    Args:
        logits: (N, K).
        labels: class ids (N,).
        codewords: (K, d), the rows of the last linear layer.

    Returns:
        (N,); the smallest float's logarithm where codewords coincide.
    """
    centred = codewords - codewords.mean(0)  # what they have in common cancels in A, but not in floating point
    return _log_norm(logits, labels, centred @ centred.T)


def log_head_score(logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Return ``log(4 ||dL/dY||^2) = log(||f||^2 (s^2 + sum_k w_k^2))``: the pull at the codewords instead.

    Args:
        logits: (N, K).
        labels: class ids (N,).
        features: (N, d), the embeddings.

    Returns:
        (N,).
    """
    tiny = torch.finfo(logits.dtype).tiny
    return _log_norm(logits, labels, None) + features.square().sum(1).clamp_min(tiny).log()


def log_pair_scores(logits: Tensor, labels: Tensor, codewords: Tensor) -> Tensor:
    """Return ``log(w_k^2 ||y_c - y_k||^2)``, what a single other class adds to the pull.

    Args:
        logits: (N, K).
        labels: class ids (N,).
        codewords: (K, d).

    Returns:
        (N, K); minus infinity for the row's own class.
    """
    distances = torch.cdist(codewords, codewords, compute_mode="donot_use_mm_for_euclid_dist")
    return 2 * (gaps(logits, labels) + distances.clamp_min(torch.finfo(distances.dtype).tiny).log()[labels.long()])


def _log_norm(logits: Tensor, labels: Tensor, gram: Tensor | None) -> Tensor:
    """``log rowsum((A G) * A)``, G the identity if there is none."""
    exponents = gaps(logits, labels)
    largest = exponents.amax(1, keepdim=True)
    pull = pulls(exponents - largest, labels)
    squared = (pull * (pull if gram is None else pull @ gram)).sum(1)
    return 2 * largest.squeeze(1) + squared.clamp_min(torch.finfo(squared.dtype).tiny).log()
