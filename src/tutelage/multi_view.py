"""Data distillation: labels for unlabelled examples from one network's answers to several views of them.

    p = averaged(student.predict, bank, x)               # probabilities, (N, C)
    y, keep = p.argmax(1), confident_rows(p, 0.9)        # of equal probabilities argmax takes the lowest class

then train a fresh network on the union of the labelled rows and the kept ones, a fixed share of each batch labelled.

Source: Radosavovic, Dollar, Girshick, Gkioxari and He, "Data distillation: towards omni-supervised learning", CVPR
2018, section 3.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .data import View
from .errors import ConfigError, DataError, ShapeError

Answer = Callable[[Tensor], Tensor]
"""A network in evaluation mode: images (N, ...) to logits (N, C), or maps (N, K, H, W)."""


def probabilities(scores: Tensor) -> Tensor:
    """Return the softmax over axis 1 of logits (N, C) or of maps (N, K, H, W), at least in float32."""
    return torch.softmax(scores if scores.dtype in (torch.float32, torch.float64) else scores.float(), 1)


def averaged(answer: Answer, views: Sequence[View], x: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Return ``p = 1/K sum_k softmax(answer(view_k(x)))``: (N, C), without gradient.

    Args:
        answer: logits (N, C) of images as a view leaves them.
        views: K of them, at least one.
        x: images (N, C, H, W); with the identity as only view, rows of any shape.
        batch_size: rows at a time.

    Raises:
        ConfigError: without views.
        ShapeError: if the answers are not (N, C), or a view's answers have another shape than the first one's.
        DataError: if an answer is not finite.
    """
    _check(views)
    return torch.cat([_mean(answer, views, rows) for rows in torch.split(x, batch_size)])


def averaged_maps(
    answer: Answer, views: Sequence[View], x: Tensor, *, activation: Callable[[Tensor], Tensor] = probabilities
) -> Tensor:
    """Return at every pixel the mean of ``view_k^-1(activation(answer(view_k(x))))`` over the views that show it.

    Args:
        answer: maps (N, K, H', W') as large as the view.
        views: at least one; a pixel that none shows whole gets 0.
        x: images (N, C, H, W).
        activation: what is averaged; ``torch.sigmoid`` for heat maps, the identity for regression.

    Returns:
        (N, K, H, W), without gradient.

    Raises:
        ConfigError: without views.
        ShapeError: if maps are not as large as their view.
        DataError: if an answer is not finite.
    """
    _check(views)
    size = (x.shape[2], x.shape[3])
    total, seen = torch.zeros(()), torch.zeros(())
    for view in views:
        shown = view.apply(x)
        maps = _answered(answer, shown, view, x)
        if maps.ndim != 4 or maps.shape[2:] != shown.shape[2:]:
            needed = ", ".join(map(str, shown.shape[2:]))
            raise ShapeError(f"maps of {view} have shape {tuple(maps.shape)}, but need ({len(x)}, K, {needed}).")
        mask = view.mask(size).to(maps.device)
        total = total + view.invert(activation(maps), size) * mask
        seen = seen + mask
    return total / seen.clamp_min(1)


def confident_rows(p: Tensor, threshold: float) -> Tensor:
    """Return which rows (N,) of probabilities (N, C) have a largest one of at least ``threshold``, as bool.

    Raises:
        ConfigError: for a threshold outside [0, 1].
        DataError: if it keeps nothing.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold is {threshold}; it must be in 0..1.")
    confidence = p.amax(1)
    keep = confidence >= threshold
    if not keep.any():
        raise DataError(
            f"threshold {threshold:g} keeps none of {len(p)} rows, whose largest confidence is "
            f"{float(confidence.max()):.3f}; lower it."
        )
    return keep


def union_sizes(batch_size: int, labelled_share: float) -> tuple[int, int]:
    """Return how many rows of a batch are labelled, ``round(share * batch_size)``, and how many are not.

    Raises:
        ConfigError: if either is 0.
    """
    if not 0 <= labelled_share <= 1:
        raise ConfigError(f"labelled share is {labelled_share}; it must be in 0..1, both exclusive.")
    labelled = round(labelled_share * batch_size)
    for count, kind in ((labelled, "labelled"), (batch_size - labelled, "pseudo-labelled")):
        if count == 0:
            raise ConfigError(
                f"a labelled share of {labelled_share:g} leaves no {kind} row in a batch of {batch_size}; "
                "bring it nearer to 0.5, or enlarge the batch."
            )
    return labelled, batch_size - labelled


def matching_threshold(scores: Tensor, images: int, per_image: float) -> float:
    """Return the score from which on a detector's predictions count, so that they are as many as labelled instances.

    The k-th largest score, ``k = round(images * per_image)``: as many predictions an image as the labelled set has
    instances, up to equal scores; all of them if there are fewer, and infinity (none) for k = 0.

    Args:
        scores: of all predictions on all unlabelled images, (M,).
        images: unlabelled images, at least 1.
        per_image: mean number of instances of a labelled image, at least 0.

    Raises:
        ConfigError: for numbers outside their ranges.
        DataError: for scores that are not finite.

    Source: as above, section 4, where thresholds are chosen a class: call it with each class's scores.
    """
    if images < 1 or not 0 <= per_image < math.inf:
        raise ConfigError(f"{images} images with {per_image} instances each; needs at least 1 image and 0 instances.")
    if not scores.isfinite().all():
        raise DataError("scores of predictions must be finite.")
    k = min(round(images * per_image), len(scores))
    return float(scores.flatten().topk(k).values[-1]) if k else math.inf


def _check(views: Sequence[View]) -> None:
    if not views:
        raise ConfigError("there are no views to average over; give at least one, such as Identity().")


@torch.no_grad()
def _answered(answer: Answer, shown: Tensor, view: View, x: Tensor) -> Tensor:
    try:
        out = answer(shown)
    except RuntimeError as error:
        if shown.shape == x.shape:  # not the view's fault
            raise
        first = str(error).splitlines()[0]
        raise ShapeError(
            f"the network cannot take the view {view}, of shape {tuple(shown.shape)}: {first}; use views that keep the "
            "size."
        ) from error
    if not out.isfinite().all():
        raise DataError(f"the network's answers to the view {view} are not finite.")
    return out


def _mean(answer: Answer, views: Sequence[View], x: Tensor) -> Tensor:
    total: Tensor | None = None
    for view in views:
        logits = _answered(answer, view.apply(x), view, x)
        if logits.ndim != 2 or len(logits) != len(x) or (total is not None and logits.shape != total.shape):
            raise ShapeError(f"answers to {view} have shape {tuple(logits.shape)}, but need ({len(x)}, C).")
        p = probabilities(logits)
        total = p if total is None else total + p
    assert total is not None
    return total / len(views)
