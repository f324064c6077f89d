"""Alignment: rows whose gradient points where that of the whole pool does."""

import torch
from torch import Tensor

from ...lesson import Loss
from ...mcboost import gaps, mcboost, pulls
from ...pools import Consistent, Filter, Look
from ...selecting import Selecting


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
        exponents = exponents - exponents.amax().clamp_min(0)
        pull = pulls(exponents, look.pool.y)
        mean = pull[look.kept].T @ features[look.kept] / look.kept.sum()
        score: Tensor = ((features @ mean.T) * pull).sum(1)
        if not self.cosine:
            return score
        sizes = pull.norm(dim=1) * features.norm(dim=1)
        cosines: Tensor = score / sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
        return cosines
