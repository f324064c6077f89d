"""MaxGrad: show the example that pulls hardest at what the student has learned so far."""

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ...errors import ConfigError
from ...lesson import Loss
from ...mcboost import log_head_score, log_pair_scores, log_score, mcboost
from ...pools import Consistent, Filter, Look
from ...selecting import Selecting
from ...stale_scores import StaleScores

Space: TypeAlias = Literal["functional", "head"]


class MaxGrad(Selecting):
    """Shows the row of largest ``psi = ||sum_k A_k y_k||^2``, the squared norm of the risk's gradient in its embedding.

    Once the student has fitted what it was shown, adding a set S aligns the gradients of its risk on what was shown and
    on the whole pool by ``sum_{i in S} ||g_i||^2``: of as many rows, those of largest norm help most. That presupposes
    a student that fits, and right labels: the hardest row of a pool is often a wrong one, which is why the pool is
    filtered unless told otherwise. Ranked by ``log psi``; scores in ``notes`` are ``log psi``.

    Args:
        keep: which rows may be shown; default: those whose label a linear model of the other folds predicts.
        space: ``functional``: the gradient in the embedding; ``head``: in the codewords, ``||f||^2 (s^2 + sum w_k^2)``,
            which knows the embedding's norm and not how the codewords lie.
        pairs: rank pairs of a row and the other class that it is taken for, by ``w_k^2 ||y_c - y_k||^2``, and note
            beside each row that class (``counter_class``) and its row of nearest embedding (``counterfactual``, as
            ``index``). If the pool has the view ``explanation``, a score is the mean of those of the image and of its
            explanation.
        stale: between looks at the whole pool, look at its rows of largest known score alone: for students that are
            trained as a whole, whose pool is embedded anew after each lesson.
        rows: how many to show at a time.
        loss: what the student studies by; default: the risk itself.
        seed: of draws; there are none.

    Raises:
        ConfigError: for an unknown space, and pairs in the space of the head or with stale scores.

    Source: Wang, Nagrecha and Vasconcelos, "Gradient-based algorithms for machine teaching", CVPR 2021; pairs: Wang and
    Vasconcelos, "A machine teaching framework for scalable recognition" (MEMORABLE), ICCV 2021. The published code
    scores random crops, without logarithms, and filters nothing: that is ``keep=everything``.
    """

    def __init__(
        self,
        keep: Filter | None = None,
        *,
        space: Space = "functional",
        pairs: bool = False,
        stale: StaleScores | None = None,
        rows: int = 1,
        loss: Loss = mcboost,
        seed: int = 0,
    ) -> None:
        beside = counterfactuals if pairs else None
        keep = Consistent() if keep is None else keep
        super().__init__(keep, rows=rows, loss=loss, beside=beside, stale=stale, seed=seed)
        if space not in ("functional", "head"):
            raise ConfigError(f"unknown space {space!r}; known are functional and head.")
        if pairs and space == "head":
            raise ConfigError("pairs are ranked in the functional space alone: leave out the space.")
        if pairs and stale is not None:
            raise ConfigError("pairs look for counterfactual rows in the whole pool: leave out stale.")
        self.space, self.pairs = space, pairs

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return ``log psi`` (N,)."""
        if self.pairs:
            return pair_scores(look).amax(1)
        if self.space == "head":
            return log_head_score(look.logits, look.pool.y, look.features)
        return log_score(look.logits, look.pool.y, look.codewords)


def pair_scores(look: Look) -> Tensor:
    """Return the logarithm of what each other class adds to the pull of each row, (N, K), with that of explanations."""
    scores = log_pair_scores(look.logits, look.pool.y, look.codewords)
    explanations = look.pool.views.get("explanation")
    if explanations is None:
        return scores
    logits = look.student.predict(explanations).to(look.logits)
    both = torch.stack([scores, log_pair_scores(logits, look.pool.y, look.codewords)])
    return both.logsumexp(0) - torch.tensor(2.0).log().to(both)


def counterfactuals(look: Look, row: Tensor) -> dict[str, Any]:
    """Return ``counter_class`` (k,) of the rows, and ``counterfactual`` (k,), the index of its nearest kept row.

    The latter is -1 where the other class has no row that may be shown.
    """
    counter = pair_scores(look)[row].argmax(1)
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(look.features[row], look.features, compute_mode=exact)
    fits = (look.pool.y.long() == counter[:, None]) & look.kept
    nearest = distances.where(fits, torch.inf).argmin(1)
    index = look.pool.index[nearest].where(fits.any(1), -1)
    return {"counter_class": counter, "counterfactual": index}
