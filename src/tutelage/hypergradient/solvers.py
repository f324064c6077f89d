"""``H q = b`` by products with H alone, on flat vectors."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import NotConverged, NotFiniteError

Product = Callable[[Tensor], Tensor]


def _dot(a: Tensor, b: Tensor) -> float:
    wide = torch.promote_types(a.dtype, torch.float32)
    return float(torch.dot(a.to(wide), b.to(wide)))


def residual(product: Product, q: Tensor, b: Tensor) -> float:
    """``||H q - b|| / ||b||``; 0 for b = 0."""
    size, left = _dot(b, b), product(q) - b
    return (_dot(left, left) / size) ** 0.5 if size else 0.0


def conjugate_gradient(product: Product, b: Tensor, iters: int, tol: float) -> Tensor:
    """Return q with ``H q = b`` for a positive definite H, exact after as many iterations as H has eigenvalues.

    ``alpha = r'r / p'Hp; q += alpha p; r' = r - alpha H p; p = r' + (r''r' / r'r) p``, until ``||r|| <= tol ||b||``.

    Args:
        product: v -> H v, (n,) -> (n,).
        b: (n,).
        iters: most iterations, >= 0.
        tol: relative to b.

    Raises:
        NotConverged: for a direction along which the curvature is not above 0; holds the residual so far.
        NotFiniteError: if a product is not finite.

    Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    q, r, p = torch.zeros_like(b), b.clone(), b.clone()
    size = start = _dot(r, r)
    for iteration in range(iters):
        if size <= tol**2 * start:
            break
        hp = product(p)
        curvature = _dot(p, hp)
        if not math.isfinite(curvature):
            raise NotFiniteError(
                f"ConjugateGradient: the curvature is {curvature} along the direction of iteration {iteration + 1}: "
                "check the lesson and the student's parameters."
            )
        if not curvature > 0:
            left = (size / start) ** 0.5
            slope = curvature / _dot(p, p)
            raise NotConverged(
                f"ConjugateGradient: the curvature is {slope:.3g} along the direction of iteration {iteration + 1}, "
                "but must be above 0: the student must be at a minimum (train it longer, with weight decay), or pass "
                f"damping above {abs(slope):.3g}. The residual was {left:.3g}.",
                left,
            )
        alpha = size / curvature
        q, r = torch.add(q, p, alpha=alpha), torch.sub(r, hp, alpha=alpha)
        old, size = size, _dot(r, r)
        p = torch.add(r, p, alpha=size / old)
    return q


def neumann(product: Product, b: Tensor, iters: int, alpha: float) -> Tensor:
    """Return ``alpha sum_{j=0..iters} (I - alpha H)^j b``, which tends to ``H^-1 b`` iff 0 < alpha < 2 / lambda_max.

    Args:
        product: v -> H v, (n,) -> (n,).
        b: (n,).
        iters: terms after the first, >= 0.
        alpha: > 0.
    """
    term = total = b
    for _ in range(iters):
        term = torch.sub(term, product(term), alpha=alpha)
        total = total + term
    return alpha * total
