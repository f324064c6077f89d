"""k-center: rows that leave no other row far from all that was shown."""

import torch
from torch import Tensor

from ...pools import Consistent, Filter, Look
from ...selecting import Selecting


class KCenter(Selecting):
    """Shows the row whose embedding is farthest from the nearest shown one; the first is the one nearest to the mean.

    Args:
        keep: which rows may be shown; default: those whose label a linear model of the other folds predicts.
        rows: how many to show at a time.
        seed: of draws; there are none.

    Source: Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985; as a selection: Sener and
    Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018, algorithm 1.
    """

    def __init__(self, keep: Filter | None = None, *, rows: int = 1, seed: int = 0) -> None:
        super().__init__(Consistent() if keep is None else keep, rows=rows, seed=seed)

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return the distance (N,) to the nearest shown row."""
        features = look.features
        if not len(look.shown):
            distances: Tensor = (features - features[look.kept].mean(0)).norm(dim=1)
            return -distances
        return torch.cdist(features, features[look.shown], compute_mode="donot_use_mm_for_euclid_dist").amin(1)
