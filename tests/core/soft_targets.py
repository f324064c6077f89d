"""Losses on soft targets, logits and slopes for their tests."""

import torch
from torch.autograd import grad

from tutelage.soft_targets import (
    DIST,
    DecoupledDistillation,
    HardLabels,
    KnowledgeDistillation,
    LabelSmoothing,
    LogitMatching,
    MutualLearning,
    SoftTarget,
    StandardisedDistillation,
    top_logits,
)

LOSSES = {
    "kd": KnowledgeDistillation(2.0),
    "kd only": KnowledgeDistillation(4.0, 0.0, 1.0),
    "matching": LogitMatching(ce_weight=0.3),
    "matching centred": LogitMatching("half_sum", center=True),
    "matching scores": LogitMatching(normalize="zscore"),
    "matching scaled": LogitMatching(normalize="teacher_std", std=5.0),
    "decoupled": DecoupledDistillation(3.0),
    "dist": DIST(temperature=2.0),
    "dist within": DIST(gamma=0.0, ce_weight=0.0),
    "standardised": StandardisedDistillation(),
    "hard": HardLabels(threshold=0.2, ce_weight=0.5),
    "smoothing": LabelSmoothing(0.2),
    "mutual": MutualLearning(temperature=2.0),
    "top": KnowledgeDistillation(2.0),
}


def target_of(name, z_t, y):
    if name == "mutual":
        return SoftTarget(y, torch.stack([z_t, z_t.flip(-2)], -2))
    return SoftTarget(y, top_logits(z_t, 2) if name == "top" else z_t)


def draws(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rows(n=64, c=10, dtype=torch.float32):
    """Student's and teacher's logits, and labels."""
    y = torch.randint(c, (n,), generator=torch.Generator().manual_seed(2))
    return draws(n, c, seed=0, dtype=dtype).requires_grad_(), 5 * draws(n, c, seed=1, dtype=dtype), y


def slope(losses, z):
    return grad(losses.mean(), z)[0]


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())
