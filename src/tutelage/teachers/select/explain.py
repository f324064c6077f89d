"""EXPLAIN: as STRICT, of rows whose explanation is plain and that are typical of their class."""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ...errors import ConfigError, DataError, unknown
from ...hypothesis_space import HypothesisSpace, Space
from ...lesson import Batch
from ...pools import Filter, Look, OfPool
from ...selecting import Selecting
from ...version_space import OneVsAll, VersionSpace

Scale: TypeAlias = Literal["zscore", "raw"]


class Explain(Selecting):
    """Shows the argmin of STRICT's ``sum_c sum_h q[h] err[h] Lk[h, i]`` times ``E_i D_i``.

    ``E = sigmoid(sigma_e difficulty)`` prefers rows whose explanation is compact, ``D = sigmoid(sigma_d dist)`` those
    in a dense region, ``dist`` the mean squared distance to the rows of their class that may be shown, in the features
    of the hypotheses. Both scale all hypotheses alike, so they enter the ranking and never ``q``. It shows
    the same to every student. Scores in ``notes`` are minus logarithms; beside them is what STRICT notes.

    Args:
        keep: which rows may be shown; default: those on which the best hypothesis of each task is right.
        difficulty: (M,), of the data set's rows by index, small for a compact explanation: scores of explanations or
            of people. Default: E is the same for all.
        sigma_e: >= 0.
        sigma_d: >= 0; 0: D is the same for all.
        dist_scale: ``zscore``: distances less their mean, over their standard deviation; ``raw``: as the published
            code, where D is 1 to the last digit with some dozens of features, and so without effect.
        space: finds the hypotheses of a pool; may be shared by teachers. Default: 100 of them, learned and random.
        rows: how many to show at a time.
        seed: of the default space.

    Raises:
        ConfigError: for an unknown scale, a negative sigma.
        DataError: when asked, if a row of the pool has no difficulty, or one that is not finite.

    Source: Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual explanations",
    CVPR 2018.
    """

    def __init__(
        self,
        keep: Filter | None = None,
        *,
        difficulty: Tensor | None = None,
        sigma_e: float = 1.0,
        sigma_d: float = 1.0,
        dist_scale: Scale = "zscore",
        space: Space | None = None,
        rows: int = 1,
        seed: int = 0,
    ) -> None:
        if dist_scale not in ("zscore", "raw"):
            raise ConfigError(unknown("scale of distances", dist_scale, get_args(Scale)))
        if not (0 <= sigma_e < float("inf") and 0 <= sigma_d < float("inf")):
            raise ConfigError(f"sigma_e = {sigma_e} and sigma_d = {sigma_d}, but both need to be 0 or more.")
        space = HypothesisSpace(seed=seed) if space is None else space
        known = VersionSpace(space, OneVsAll(space) if keep is None else keep)
        super().__init__(known.keep, rows=rows, beside=known.noted, seed=seed)
        self.known, self.difficulty = known, difficulty
        self.sigma_e, self.sigma_d, self.dist_scale = sigma_e, sigma_d, dist_scale
        self.log_d = OfPool(self._log_d)

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return ``-log(E D sum_c sum_h q err Lk)`` (N,)."""
        return -(self.known.log_remaining(look) + self.log_e(look) + self.log_d(look.pool, look.classes))

    def log_e(self, look: Look) -> Tensor | float:
        """Return ``log E`` (N,), 0 without difficulties."""
        if self.difficulty is None:
            return 0.0
        index = look.pool.index.long()
        outside = (index < 0) | (index >= len(self.difficulty))
        given = self.difficulty.to(index.device, torch.float64)[index.masked_fill(outside, 0)]
        bad = outside | ~given.isfinite()
        if bool(bad[look.kept].any()):
            row = int(index[bad & look.kept][0])
            raise DataError(
                f"the row with index {row} has no finite difficulty; {len(self.difficulty)} were given: give one for "
                "each row of the data set."
            )
        return logsigmoid(self.sigma_e * given)

    def _log_d(self, pool: Batch, classes: int) -> Tensor:
        kept = self.keep(pool, classes)
        dist = distances(self.known.space(pool, classes).features(pool.x), pool.y.long(), kept, classes)
        if self.dist_scale == "zscore":
            mean, spread = dist[kept].mean(), dist[kept].std(correction=0)
            dist = (dist - mean) / spread.clamp_min(1e-9)
        return logsigmoid(self.sigma_d * dist)


def distances(rows: Tensor, labels: Tensor, kept: Tensor, classes: int) -> Tensor:
    """Return the mean squared distance (N,) of rows (N, D) to those of their class that are kept, itself included.

    ``mean_j ||x_i - x_j||^2 = ||x_i - mu||^2 + mean_j ||x_j - mu||^2`` with the class mean ``mu``: no pair is formed.
    """
    own, count = labels[kept], torch.bincount(labels[kept], minlength=classes).clamp_min(1)
    means = rows.new_zeros(classes, rows.shape[1]).index_add_(0, own, rows[kept]) / count[:, None]
    squared = (rows - means[labels]).square().sum(1)
    spread = rows.new_zeros(classes).index_add_(0, own, squared[kept]) / count
    return squared + spread[labels]
