"""Linear learners that study a set all at once: the minimisers of ``sum_i loss(<w, x_i>, y_i) + decay / 2 ||w||^2``.

They lie in the span of the items, which has few dimensions where items are few.
"""

import torch
from torch import Tensor

_NEWTON, _PASSES = 50, 1000


def ridge(x: Tensor, y: Tensor, decay: float) -> Tensor:
    """Return the minimiser (d,) for the loss ``1/2 (<w, x> - y)^2``.

    Args:
        x: (n, d).
        y: (n,).
        decay: > 0.
    """
    basis = _basis(x)
    x = x @ basis
    found: Tensor = basis @ torch.linalg.solve(x.T @ x + decay * _unit(x), x.T @ y)
    return found


def logistic(x: Tensor, y: Tensor, decay: float) -> Tensor:
    """Return the minimiser (d,) for the loss ``ln(1 + exp(-y <w, x>))``, by Newton's method from 0.

    Args:
        x: (n, d).
        y: -1 or +1, (n,).
        decay: > 0.
    """
    basis = _basis(x)
    x = x @ basis
    w = x.new_zeros(x.shape[1])
    for _ in range(_NEWTON):
        wrong = torch.sigmoid(-y * (x @ w))
        slope = decay * w - x.T @ (y * wrong)
        w = w - torch.linalg.solve((wrong * (1 - wrong) * x.T) @ x + decay * _unit(x), slope)
    return basis @ w


def svm(x: Tensor, y: Tensor, decay: float) -> Tensor:
    """Return the minimiser (d,) for the loss ``max(0, 1 - y <w, x>)``, by coordinate ascent of the dual.

    ``w = sum_i a_i y_i x_i / decay`` with ``a_i`` in [0, 1], each brought to its optimum in turn until none moves.

    Args:
        x: (n, d).
        y: -1 or +1, (n,).
        decay: > 0.

    Source: Hsieh, Chang, Lin, Keerthi and Sundararajan, "A dual coordinate descent method for large-scale linear SVM",
    ICML 2008, algorithm 1.
    """
    rows, w = y[:, None] * x, x.new_zeros(x.shape[1])
    steep = rows.square().sum(1) / decay
    shares = [0.0] * len(rows)
    for _ in range(_PASSES):
        moved = 0.0
        for i, row in enumerate(rows):
            new = min(1.0, max(0.0, shares[i] + float((1 - row @ w) / steep[i])))
            w = w + (new - shares[i]) / decay * row
            moved, shares[i] = max(moved, abs(new - shares[i])), new
        if moved == 0.0:
            break
    return w


def _basis(x: Tensor) -> Tensor:
    """Orthonormal columns (d, r) that span the rows of ``x``, r at most their number."""
    basis: Tensor = torch.linalg.qr(x.T).Q
    return basis


def _unit(x: Tensor) -> Tensor:
    return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
