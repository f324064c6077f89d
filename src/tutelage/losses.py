"""Per-example losses: (logits (N, ..., C), target) -> (N,), never reduced over examples.

Inner dimensions, as in (N, T, C) for sequences, are averaged: every row gives one number.
"""

import torch.nn.functional as F
from torch import Tensor

from .divergences import kl
from .errors import ShapeError


def per_row(values: Tensor) -> Tensor:
    """Return the mean over all but the first dimension, (N,)."""
    return values if values.ndim == 1 else values.flatten(1).mean(1)


def cross_entropy(logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy ``-sum_c q_c log softmax(logits)_c``.

    Args:
        logits: (N, ..., C).
        target: class ids (N, ...) of an integer dtype, or probabilities q (N, ..., C).
        label_smoothing: share s in [0, 1] of the target that is spread evenly: ``q <- (1 - s) q + s / C``.

    Returns:
        (N,), >= 0.
    """
    if target.is_floating_point() and target.shape != logits.shape:
        raise ShapeError(
            f"cross_entropy: soft target has shape {tuple(target.shape)}, but needs {tuple(logits.shape)}, "
            "one probability per class; class ids must be integers: use .long()."
        )
    if not target.is_floating_point() and target.shape != logits.shape[:-1]:
        raise ShapeError(
            f"cross_entropy: target has shape {tuple(target.shape)}, but needs {tuple(logits.shape[:-1])}, "
            "one class id per row of the logits."
        )
    if not target.is_floating_point():
        target = target.long()
    classes_second = logits if logits.ndim == 2 else logits.movedim(-1, 1)
    if target.is_floating_point() and target.ndim > 2:
        target = target.movedim(-1, 1)
    return per_row(F.cross_entropy(classes_second, target, reduction="none", label_smoothing=label_smoothing))


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Half the squared distance ``1/2 sum_c (logits_c - target_c)^2``; with a teacher's logits: logit matching.

    Args:
        logits: (N, ..., C).
        target: (N, ..., C).

    Returns:
        (N,), >= 0. Source: Ba and Caruana, "Do deep nets really need to be deep?", NeurIPS 2014, equation 1.
    """
    if target.shape != logits.shape:
        raise ShapeError(f"squared_error: target has shape {tuple(target.shape)}, but needs {tuple(logits.shape)}.")
    return per_row(0.5 * (logits - target).square().sum(-1))


def large_margin(logits: Tensor, target: Tensor, *, margin: float = 1.0) -> Tensor:
    """Multi-class hinge loss ``max(0, margin + max_{c != y} logits_c - logits_y)``.

    Args:
        logits: (N, ..., C) with C >= 2.
        target: class ids (N, ...).
        margin: > 0, in units of the logits.

    Returns:
        (N,), >= 0. Source: Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based
        vector machines", JMLR 2001, section 2.
    """
    chosen = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    others = logits.scatter(-1, target.unsqueeze(-1), float("-inf")).amax(-1)
    return per_row((margin + others - chosen).clamp_min(0.0))


def distillation(logits: Tensor, target: Tensor, *, temperature: float = 1.0) -> Tensor:
    """``T^2 KL(softmax(target / T) || softmax(logits / T))``, the soft-target loss of knowledge distillation.

    Args:
        logits: the student's, (N, ..., C).
        target: the teacher's logits, (N, ..., C).
        temperature: T > 0. The factor T^2 keeps the gradient's size as T grows.

    Returns:
        (N,), >= 0 but for rounding. Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network",
        2015, section 2 (there without the constant entropy of the teacher).
    """
    if target.shape != logits.shape:
        raise ShapeError(
            f"distillation: target has shape {tuple(target.shape)}, but needs {tuple(logits.shape)}: "
            "the teacher's logits for the same classes."
        )
    return per_row(temperature**2 * kl(logits, target, temperature))
