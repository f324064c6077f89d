"""Prototypes and herding: rows that stand for their class."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...pools import Consistent, Filter, Look
from ...selecting import Selecting


class Prototypes(Selecting):
    """Shows, class by class in turn, the row nearest to the mean embedding ``mu`` of its class.

    Score: ``-||f_i - mu||``, ``mu`` over the rows that may be shown, in the student's embedding.

    Args:
        keep: which rows may be shown; default: those whose label a linear model of the other folds predicts.
        herding: choose so that the mean of the shown rows of a class is near ``mu``: ``-||(sum_shown f_j + f_i) /
            (n + 1) - mu||`` of the n shown ones of the class.
        rows: how many to show at a time.
        seed: of draws; there are none.

    Source: Welling, "Herding dynamical weights to learn", ICML 2009; of embeddings: Rebuffi et al., "iCaRL: incremental
    classifier and representation learning", CVPR 2017, algorithm 4.
    """

    def __init__(self, keep: Filter | None = None, *, herding: bool = False, rows: int = 1, seed: int = 0) -> None:
        super().__init__(Consistent() if keep is None else keep, rows=rows, seed=seed)
        self.herding = herding

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return minus a distance (N,)."""
        labels, features = look.pool.y.long(), look.features
        sums, counts = class_sums(features[look.kept], labels[look.kept], look.classes)
        means = sums / counts.clamp_min(1)
        if self.herding:
            sums, counts = class_sums(features[look.shown], labels[look.shown], look.classes)
            features = (sums[labels] + features) / (counts[labels] + 1)
        distances: Tensor = (features - means[labels]).norm(dim=1)
        return -distances.masked_fill(~look.in_turn(free), torch.inf)


def class_sums(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the sum (K, d) of the rows (n, d) of each class, and how many they are (K, 1); equal on every run."""
    members = one_hot(labels, classes).to(features)
    return members.T @ features, members.sum(0)[:, None]
