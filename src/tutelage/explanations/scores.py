"""Scores of explanations: how spread out each is."""

import torch
from torch import Tensor

from ..errors import ShapeError
from .images import scaled
from .inputs import check_maps


def entropy_scores(maps: Tensor, right: Tensor, labels: Tensor) -> Tensor:
    """Return how hard each image is to explain: 0 for the most compact map, 1 for the one most spread out.

    The mean over pixels of ``-p ln p``, where p is the map brought to [0, 1] plus 1e-7; then the largest of the pool
    for images that the network gets wrong, and for maps that are the same everywhere; less the mean of the class; then
    brought to [0, 1] over the pool. All 0 if all are equal.

    Args:
        maps: activation maps of the true classes, (N, h, w).
        right: whether the network is right, bool, shape (N,).
        labels: true classes, int64, shape (N,).

    Returns:
        (N,), in [0, 1], of the dtype of the maps.

    Raises:
        ShapeError: if the three do not fit.

    Source: code of Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual
    explanations", CVPR 2018, whose text describes the difficulty of an explanation in section 3.
    """
    check_maps("entropy_scores", maps)
    for name, given in (("right", right), ("labels", labels)):
        if given.shape != (len(maps),):
            raise ShapeError(f"entropy_scores: {name} has shape {tuple(given.shape)}, but there are {len(maps)} maps.")
    share = scaled(maps) + 1e-7
    scores = -(share * share.log()).mean((1, 2))
    usable = right & (maps.amax((1, 2)) > maps.amin((1, 2)))
    scores = torch.where(usable, scores, scores.max())
    _, group, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    means = torch.zeros(len(sizes), dtype=scores.dtype, device=scores.device).index_add_(0, group, scores) / sizes
    scores = scores - means[group]
    spread = scores.max() - scores.min()
    return (scores - scores.min()) / spread if spread > 0 else torch.zeros_like(scores)
