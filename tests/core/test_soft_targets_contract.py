"""What every loss on soft targets does: derivatives, dimensions in front, precision, errors."""

import math

import pytest
import torch
from torch.autograd import grad

from tutelage.divergences import (
    kl,
)
from tutelage.errors import ConfigError, ShapeError
from tutelage.soft_targets import (
    DIST,
    DecoupledDistillation,
    HardLabels,
    KnowledgeDistillation,
    LabelSmoothing,
    LogitMatching,
    MutualLearning,
    SoftTarget,
    other_peers,
    top_logits,
)

from .soft_targets import LOSSES, draws, rows, target_of


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives(name):
    """To the second order in the student's logits, and in the teacher's logits on top."""
    y = torch.tensor([0, 4, -1, 2])
    z_s, z_t = draws(4, 5, seed=3, dtype=torch.float64), 2 * draws(4, 5, seed=4, dtype=torch.float64)
    z_s.requires_grad_()
    z_t.requires_grad_(name not in ("hard", "smoothing"))

    def losses(z_s, z_t):
        return LOSSES[name](z_s, target_of(name, z_t, y))

    def curvature(z_s, z_t):
        (slope,) = grad(losses(z_s, z_t).sum(), z_s, create_graph=True)
        return grad((slope * draws(4, 5, dtype=torch.float64)).sum(), z_s, create_graph=True)[0]

    assert torch.autograd.gradcheck(losses, (z_s, z_t))
    assert torch.autograd.gradgradcheck(losses, (z_s, z_t))
    if z_t.requires_grad and name not in ("matching", "matching centred", "matching scaled"):  # of second degree
        assert torch.autograd.gradcheck(curvature, (z_s, z_t), fast_mode=True)


@pytest.mark.parametrize("name", LOSSES)
def test_seeds_in_front_are_independent(name):
    """Terms on (S, B, C) are those of each seed, and a loss on (N, T, C) is the mean over T."""
    z_s, z_t = draws(3, 6, 5, seed=1, dtype=torch.float64), draws(3, 6, 5, seed=2, dtype=torch.float64)
    y = torch.arange(18).view(3, 6) % 5
    loss = LOSSES[name]
    together = loss.divergence(z_s, target_of(name, z_t, y))
    alone = torch.stack([loss.divergence(z_s[s], target_of(name, z_t[s], y[s])) for s in range(3)])
    assert together.shape == (3, 6)
    assert torch.allclose(together, alone, atol=1e-12)
    whole = torch.stack([loss(z_s[s], target_of(name, z_t[s], y[s])).mean() for s in range(3)])
    assert torch.allclose(loss(z_s, target_of(name, z_t, y)), whole, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_single(name):
    z_s, z_t, y = rows(16)
    half_s, half_t = z_s.detach().bfloat16(), z_t.bfloat16()
    needed = LOSSES[name](half_s.float(), target_of(name, half_t.float(), y))
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name](half_s, target_of(name, half_t, y))
    assert found.dtype == torch.float32
    assert (found - needed).abs().max() <= 1e-6 * needed.abs().max().clamp_min(1)
    assert LOSSES[name](half_s.double(), target_of(name, half_t.double(), y)).dtype == torch.float64


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"dist"}))
def test_one_row_is_enough(name):
    z_s, z_t, y = rows(2)
    one = LOSSES[name](z_s[:1], target_of(name, z_t[:1], y[:1]))
    if name != "mutual":  # whose second peer has the rows in another order
        assert torch.allclose(one, LOSSES[name](z_s, target_of(name, z_t, y))[:1], atol=1e-6)
    assert one.shape == (1,)


Z, T = draws(4, 5), draws(4, 5, seed=1)
Y = torch.tensor([0, 1, 2, -1])
KD = KnowledgeDistillation()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: KD(Z, SoftTarget(None, T)), ConfigError, r"ce_weight is 0.1, but there are no labels: give y \(-1"),
        (
            lambda: KD(Z, Y),
            ConfigError,
            r"KnowledgeDistillation takes a SoftTarget\(y, logits\), but the target is a Tensor",
        ),
        (lambda: KD(Z, SoftTarget(Y)), ConfigError, "KnowledgeDistillation: kd_weight is 0.9, but the target has no"),
        (lambda: KD(Z, SoftTarget(Y, T[:, :3])), ShapeError, "student answers with 5 classes, but the teacher with 3"),
        (lambda: KD(Z, SoftTarget(Y, T[:2])), ShapeError, r"logits have shape \(2, 5\), but need \(4, 5\)"),
        (
            lambda: HardLabels()(Z, SoftTarget(Y, T[:, :3])),
            ShapeError,
            "answers with 5 classes, but the teacher with 3",
        ),
        (lambda: KD(Z, SoftTarget(Y[:2], T)), ShapeError, r"labels have shape \(2,\).* but need \(4,\) and integers"),
        (lambda: KD(Z, SoftTarget(Y.float(), T)), ShapeError, r"type torch.float32, but need \(4,\) and integers"),
        (lambda: KnowledgeDistillation(0.0), ConfigError, "temperature is 0.0; it must be above 0"),
        (lambda: KnowledgeDistillation(-1), ConfigError, "temperature is -1; it must be above 0"),
        (lambda: kl(Z, T, 0.0), ConfigError, "temperature is 0.0; it must be above 0"),
        (lambda: DIST(temperature=0), ConfigError, "temperature is 0; it must be above 0"),
        (lambda: KnowledgeDistillation(4, -0.1), ConfigError, "ce_weight is -0.1; it must be at least 0 and finite"),
        (
            lambda: LogitMatching(kd_weight=math.inf),
            ConfigError,
            "LogitMatching: kd_weight is inf; it must be at least",
        ),
        (lambda: DIST(gamma=-1), ConfigError, "DIST: gamma is -1; it must be at least 0"),
        (lambda: DecoupledDistillation(others_weight=-1), ConfigError, "others_weight is -1; it must be at least 0"),
        (lambda: LogitMatching("mena"), ConfigError, 'unknown scale of LogitMatching "mena". Did you mean "mean"'),
        (lambda: LogitMatching(normalize="z"), ConfigError, 'unknown normalize of LogitMatching "z"'),
        (lambda: LogitMatching(normalize="teacher_std"), ConfigError, "std is None; .*needs the standard deviation"),
        (lambda: LogitMatching(std=2.0), ConfigError, 'normalize is "none" and std is 2.0'),
        (lambda: LogitMatching(normalize="teacher_std", std=0.0), ConfigError, "std is 0.0; .*above 0"),
        (lambda: HardLabels(threshold=1.5), ConfigError, "threshold is 1.5; it is a probability, in 0..1"),
        (lambda: LabelSmoothing(-0.1), ConfigError, "smoothing is -0.1; it must be in 0..1"),
        (lambda: LabelSmoothing()(Z, SoftTarget(None)), ConfigError, "LabelSmoothing: ce_weight is 0.9, but there are"),
        (lambda: MutualLearning()(Z, SoftTarget(Y, T)), ShapeError, r"shape \(4, 5\), but need \(4, peers, 5\)"),
        (lambda: other_peers([Z], 0), ConfigError, "1 peers given, but mutual learning needs at least 2"),
        (
            lambda: DIST()(Z, SoftTarget(Y, top_logits(T, 3))),
            ConfigError,
            "DIST needs a teacher's logits of all classes, but only the largest 3 are stored",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
