"""What weighing teachers read from a student and a label, and the weights they make of it: pure functions."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .errors import ShapeError
from .student import Student

Normalise: TypeAlias = Literal["sum", "mean"]


def labels_of(y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return class ids that can be looked up, and which rows have one.

    Args:
        y: given labels (N,), of an integer dtype; -1, or anything else outside 0..C-1, means that there is none.
        classes: C.

    Returns:
        int64 (N,), 0 where there is none, and bool (N,).

    Raises:
        ShapeError: for labels that are not one class id a row.
    """
    if y.ndim != 1 or y.is_floating_point():
        kind = str(y.dtype).removeprefix("torch.")
        raise ShapeError(
            f"labels are {tuple(y.shape)} {kind}, but this teacher weighs by one class id a row, (N,) of integers: "
            "several labels a row are not supported; for numbers to be predicted, pass regression=True where there is."
        )
    ids = y.long()
    known = (ids >= 0) & (ids < classes)
    return torch.where(known, ids, 0), known


def answers_of(student: Student, x: Tensor, classes: int) -> Tensor:
    """Return the student's answers (N, C) of the pass that it studies from.

    Raises:
        ShapeError: if they are of other classes than a teacher was made for.
    """
    logits = student.logits(x)
    if logits.shape != (len(x), classes):
        raise ShapeError(
            f"this teacher was made for {classes} classes, but the student's answers are {tuple(logits.shape)}: make "
            f"another, with classes={logits.shape[-1]}."
        )
    return logits


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """``clip(z_y - max_{c != y} z_c, -10, 10) / 5``: how clearly the student sides with the label.

    Args:
        logits: z (N, C), C >= 2.
        labels: class ids (N,), int64.

    Returns:
        (N,), in [-2, 2].
    """
    column = labels.unsqueeze(1)
    chosen = logits.gather(1, column).squeeze(1)
    others = logits.scatter(1, column, float("-inf")).amax(1)
    return (chosen - others).clamp(-10.0, 10.0) / 5.0


def surface(losses: Tensor, progress: float, margins: Tensor | None) -> Tensor:
    """Return (loss, progress, margin) of each row, (N, 3); without margins (N, 2)."""
    rows = [losses, torch.full_like(losses, progress)]
    return torch.stack(rows if margins is None else [*rows, margins], 1)


def weights_of(scores: Tensor, known: Tensor, normalise: Normalise = "sum") -> Tensor:
    """Return the weights of scores; 0 for rows without a label.

    ``"sum"``: ``N s_i / (sum_j s_j + 1e-8)``, which adds up to N, and whose gradient flows through the sum.
    ``"mean"``: ``s_i``.

    Args:
        scores: s (N,), in [0, 1].
        known: which rows have a label, bool (N,).
        normalise: how.
    """
    scores = torch.where(known, scores, 0.0)
    return scores if normalise == "mean" else len(scores) * scores / (scores.sum() + 1e-8)


def effective_share(scores: Tensor) -> Tensor:
    """``(sum s)^2 / (N sum s^2)``: near 1 if all count alike, 1 / N if one row has everything; 0 if all are 0."""
    squares = scores.square().sum()
    return scores.sum().square() / (len(scores) * squares.clamp_min(torch.finfo(scores.dtype).tiny))


def features_of(student: Student, x: Tensor, layers: Sequence[str] = ()) -> Tensor:
    """Return what the student makes of the inputs inside, from the pass that it studies from, (N, d).

    Args:
        student: any.
        x: inputs (N, ...).
        layers: names of modules; their outputs (N, C, ...) are averaged over all axes after C, and joined. None: the
            input of the last linear layer, averaged over the axes between the first and the last.

    Raises:
        ConfigError, ShapeError: as :meth:`Student.features`.
    """
    if not layers:
        found = student.features(x)
        return found if found.ndim == 2 else found.flatten(1, -2).mean(1)
    outputs = [student.features(x, layer) for layer in layers]
    return torch.cat([o if o.ndim == 2 else o.flatten(2).mean(2) for o in outputs], 1)
