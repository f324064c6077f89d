"""How good a student is, whether a teacher's weights find wrong labels, and statistics over paired seeds."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import ShapeError


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the share in [0, 1] of rows whose largest logit is the label.

    Args:
        logits: (N, C).
        y: class ids (N,).
    """
    return float((logits.argmax(-1) == y).double().mean())


def per_class_accuracy(logits: Tensor, y: Tensor) -> list[float | None]:
    """Return the accuracy of each class, None for a class without examples.

    Args:
        logits: (N, C).
        y: class ids (N,).
    """
    classes = logits.shape[-1]
    right = torch.bincount(y[logits.argmax(-1) == y], minlength=classes).tolist()
    total = torch.bincount(y, minlength=classes).tolist()
    return [r / t if t else None for r, t in zip(right, total)]


def calibration_error(logits: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Return the expected calibration error, in [0, 1].

    ``sum_b n_b / N |accuracy_b - confidence_b|`` over equal-width bins of the largest probability.

    Args:
        logits: (N, C).
        y: class ids (N,).
        bins: number of bins over (0, 1].

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    confidence, guess = torch.softmax(logits.double(), -1).max(-1)
    position = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.double, device=logits.device)
    gap.index_add_(0, position, (guess == y).double() - confidence)
    return float(gap.abs().sum() / len(y))


def auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float | None:
    """Return P(score of a positive > score of a negative), ties counted half; None if either kind is missing.

    Args:
        scores: (N,), such as a teacher's weights; rows with NaN are left out.
        positive: (N,) booleans, such as "the given label is right".
    """
    from scipy.stats import rankdata

    values = np.asarray(scores, dtype=np.float64)
    kind = np.asarray(positive, dtype=bool)
    if values.shape != kind.shape:
        raise ShapeError(f"auc: scores have shape {values.shape}, positive has {kind.shape}; they must agree.")
    known = ~np.isnan(values)
    values, kind = values[known], kind[known]
    n_positive, n_negative = int(kind.sum()), int((~kind).sum())
    if not n_positive or not n_negative:
        return None
    ranks = rankdata(values)
    return float((ranks[kind].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


Verdict: TypeAlias = Literal["better", "worse", "tie", "one seed"]


class Summary(TypedDict):
    """A metric over seeds: mean, standard deviation (n - 1), half width of the 95 % interval, and the values."""

    mean: float
    std: float | None
    ci95: float | None
    values: list[float]


class Comparison(TypedDict):
    """A metric of arm a minus that of arm b, over paired seeds."""

    a: str
    b: str
    metric: str
    mean_difference: float
    ci95: float | None
    wins: int
    ties: int
    losses: int


def _half_width(values: npt.NDArray[np.float64]) -> float | None:
    """Half width of the two-sided 95 % confidence interval of the mean, by Student's t."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))


def summary(values: Sequence[float]) -> Summary:
    """Return mean, spread and 95 % confidence interval of one value a seed; one seed has no interval."""
    array = np.asarray(values, dtype=np.float64)
    return Summary(
        mean=float(array.mean()),
        std=float(array.std(ddof=1)) if len(array) > 1 else None,
        ci95=_half_width(array),
        values=[float(v) for v in array],
    )


def paired(a: str, b: str, metric: str, first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two arms over the same seeds.

    Args:
        a: name of the first arm.
        b: name of the second arm.
        metric: what the values are.
        first: one value a seed of arm a.
        second: of arm b, the same seeds in the same order.

    Returns:
        mean of the differences with the half width of its 95 % interval (Student's t over the differences), and on
        how many seeds a is larger, equal, smaller.
    """
    if len(first) != len(second):
        raise ShapeError(f"paired: {a} has {len(first)} seeds, {b} has {len(second)}; they must be the same seeds.")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        mean_difference=float(difference.mean()),
        ci95=_half_width(difference),
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        losses=int((difference < 0).sum()),
    )


def verdict(comparison: Comparison) -> Verdict:
    """Return what a paired difference shows, larger being better: a tie if its 95 % interval contains 0."""
    half, difference = comparison["ci95"], comparison["mean_difference"]
    if half is None:
        return "one seed"
    if abs(difference) <= half:
        return "tie"
    return "better" if difference > 0 else "worse"
