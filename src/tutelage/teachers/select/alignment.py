"""Alignment: rows whose gradient points where that of the whole pool does."""

import torch
from torch import Tensor

from ...lesson import Loss
from ...mcboost import gaps, mcboost, pulls
from ...pools import Consistent, Filter, Look
from ...selecting import Selecting

LARGEST = 30.0
"""Exponents are brought down to this, all by the same amount, so that products of two weights stay finite."""


class Alignment(Selecting):
    """Shows the row whose head gradient has the largest inner product with the pool's mean one.

    With ``A`` (N, K) of :func:`tutelage.mcboost.pulls` and embeddings ``F``, head gradients are ``-A_i f_i^T / 2``; the
    score is ``rowsum((F Gm^T) * A)``, ``Gm = A^T F / n`` over the rows that may be shown.

    Args:
        keep: which rows may be shown; default: those whose label a linear model of the other folds predicts.
        cosine: divide by ``||A_i|| ||f_i||``: the direction alone.
        rows: how many to show at a time.
        loss: what the student studies by; default: the risk whose gradients these are.
        seed: of draws; there are none.
    """

    def __init__(
        self,
        keep: Filter | None = None,
        *,
        cosine: bool = False,
        rows: int = 1,
        loss: Loss = mcboost,
        seed: int = 0,
    ) -> None:
        super().__init__(Consistent() if keep is None else keep, rows=rows, loss=loss, seed=seed)
        self.cosine = cosine

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return inner products (N,), by a common factor smaller where logits are so far apart that they overflow."""
        exponents, features = gaps(look.logits, look.pool.y), look.features
        pull = pulls(exponents - (exponents.amax() - LARGEST).clamp_min(0), look.pool.y)
        mean = pull[look.kept].T @ features[look.kept] / look.kept.sum()
        if self.cosine:  # of a direction alone, which does not vanish beside rows that pull much harder
            pull = _unit(pulls(exponents - exponents.amax(1, keepdim=True), look.pool.y))
            features = _unit(features)
        score: Tensor = ((features @ mean.T) * pull).sum(1)
        return score


def _unit(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp_min(torch.finfo(rows.dtype).tiny)
