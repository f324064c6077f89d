"""Scores of a distilled set beside full data and random real examples, on accuracies in [0, 1].

Source: Li et al., "DD-Ranking: rethinking the evaluation of dataset distillation", 2025.
"""

import math


def hard_label_recovery(full: float, distilled: float) -> float:
    """Return HLR, ``full - distilled``: what is lost against training on all data; lower is better.

    Args:
        full: accuracy of training on the whole data.
        distilled: of training on the distilled set, with hard labels.
    """
    return full - distilled


def improvement_over_random(distilled: float, random: float) -> float:
    """Return IOR, ``distilled - random``: what is won against as many random real examples; higher is better.

    Args:
        distilled: accuracy of training on the distilled set.
        random: on random real examples, at their best rate.
    """
    return distilled - random


def _mapped(value: float) -> float:
    """``(e^v - e^-1) / (e - e^-1)``: -1 to 0, 1 to 1."""
    return (math.exp(value) - math.exp(-1.0)) / (math.e - math.exp(-1.0))


def label_robust_score(hlr: float, ior: float, *, weight: float = 0.5) -> float:
    """Return LRS, ``(e^a - e^-1) / (e - e^-1)`` with ``a = w IOR - (1 - w) HLR``, in [0, 1]; higher is better."""
    return _mapped(weight * ior - (1.0 - weight) * hlr)


def augmentation_robust_score(ior_with: float, ior_without: float, *, weight: float = 0.5) -> float:
    """Return ARS, the same map of ``b = w IOR(with augmentation) + (1 - w) IOR(without)``, in [0, 1]."""
    return _mapped(weight * ior_with + (1.0 - weight) * ior_without)
