"""Curricula: how much an example counts, given its loss.

Pure, elementwise functions ``v(loss, threshold, progress)`` with values in [0, 1]:

- ``loss`` >= 0 of any shape, such as (B,) or (S, B);
- ``threshold`` broadcasts against it (a moving percentile of the losses);
- ``progress`` in [0, 1) is the share of training that lies behind.

With ``d = loss - threshold``. Source of the formulas: Jiang et al., "MentorNet: learning data-driven curriculum for
very deep neural networks on corrupted labels", ICML 2018, section 3, and the papers named at each function.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .lesson import percent

CurriculumFunction: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
Interpolation: TypeAlias = Literal["linear", "nearest"]


def uniform(loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
    """``v = 1``: no curriculum."""
    return torch.ones_like(loss)


def self_paced(loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
    """``v = 1[d <= 0]``: easy examples only.

    Source: Kumar, Packer and Koller, "Self-paced learning for latent variable models", NeurIPS 2010.
    """
    return (loss <= threshold).to(loss.dtype)


def spcl_linear(loss: Tensor, threshold: Tensor, progress: float, *, gamma: float = 1.0) -> Tensor:
    """``v = clip(1 - d / gamma, 0, 1)``: self-paced with a linear ramp of width ``gamma`` > 0.

    Source: Jiang et al., "Self-paced curriculum learning", AAAI 2015, linear scheme, in the form of MentorNet.
    """
    return (1.0 - (loss - threshold) / gamma).clamp(0.0, 1.0)


def spcl_2015(loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
    """``v = max(0, 1 - loss / threshold)``, and 0 where the threshold is 0: the linear scheme as of 2015.

    Unlike :func:`spcl_linear` it has no plateau at 1. Source: Jiang et al., "Self-paced curriculum learning",
    AAAI 2015.
    """
    threshold = torch.as_tensor(threshold, dtype=loss.dtype, device=loss.device)
    positive = threshold > 0
    ratio = loss / torch.where(positive, threshold, torch.ones_like(threshold))
    return torch.where(positive, (1.0 - ratio).clamp(0.0, 1.0), torch.zeros_like(loss))


def hard(loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
    """``v = 1[d >= 0]``: hard example mining.

    Source: Shrivastava, Gupta and Girshick, "Training region-based object detectors with online hard example
    mining", CVPR 2016.
    """
    return (loss >= threshold).to(loss.dtype)


def focal(loss: Tensor, threshold: Tensor, progress: float, *, gamma: float = 2.0) -> Tensor:
    """``v = (1 - exp(-loss))^gamma``, ``gamma`` > 0; the threshold plays no part.

    With cross-entropy ``exp(-loss)`` is the probability of the given label. Source: Lin et al., "Focal loss for dense
    object detection", ICCV 2017, equation 4.
    """
    return (-torch.expm1(-loss)).pow(gamma)


def predefined(loss: Tensor, threshold: Tensor, progress: float) -> Tensor:
    """The mixture that MentorNet PD imitates, by percent ``e`` of training.

    ``v = 1`` for e <= 18, self-paced for 18 < e < 90, :func:`spcl_linear` with gamma 1 for e >= 90. It brings its own
    burn-in. Source: MentorNet, section 3.
    """
    e = percent(progress)
    if e <= 18:
        return torch.ones_like(loss)
    if e < 90:
        return self_paced(loss, threshold, progress)
    return spcl_linear(loss, threshold, progress)


def mixture(loss: Tensor, lam1: float | Tensor, lam2: float) -> Tensor:
    """The closed-form minimiser over v in [0, 1] of ``v loss + lam2/2 v^2 - (lam1 + lam2) v``.

    ``v = clip(1 - (loss - lam1)/lam2, 0, 1)`` for ``lam2`` > 0, else ``1[loss <= lam1]``. Source: MentorNet,
    equations 4 and 5.
    """
    if lam2 > 0:
        return (1.0 - (loss - lam1) / lam2).clamp(0.0, 1.0)
    return (loss <= lam1).to(loss.dtype)


def percentile(losses: Tensor, p: float, interpolation: Interpolation = "linear") -> Tensor:
    """Return the p-quantile of the losses (N,), p in [0, 1], as ``numpy.quantile`` does; a scalar."""
    ordered = losses.sort().values
    position = p * (len(losses) - 1)
    if interpolation == "nearest":
        return ordered[round(position)]
    low = int(position)
    share = position - low
    return ordered[low] if share == 0 else torch.lerp(ordered[low], ordered[low + 1], share)
