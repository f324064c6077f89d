"""Losses on soft targets: values and gradients of every order against the formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad

from tutelage.divergences import (
    kl,
    label_cross_entropy,
    soft_cross_entropy,
    squared_distance,
    standardised,
    target_and_others,
    uniform_cross_entropy,
)
from tutelage.errors import ConfigError
from tutelage.soft_targets import (
    DecoupledDistillation,
    HardLabels,
    KnowledgeDistillation,
    LabelSmoothing,
    LogitMatching,
    MutualLearning,
    SoftTarget,
    other_peers,
    top_logits,
    warm_up,
)

from .soft_targets import draws, relative, rows, slope

TEMPERATURES = [1.0, 2.0, 4.0, 8.0, 16.0, 50.0]


def loop_kl(z_s, z_t, T):
    """The divergence of two rows, from the formula."""
    p, q = ([math.exp(v / T) for v in z.tolist()] for z in (z_t, z_s))
    return sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q))


# Hinton's loss


@pytest.mark.parametrize("T", TEMPERATURES)
def test_the_gradient_of_the_divergence(T):
    z_s, z_t, _ = rows()
    needed = ((z_s / T).softmax(1) - (z_t / T).softmax(1)) / (T * 64)
    assert (slope(kl(z_s, z_t, T), z_s) - needed).abs().max() < 1e-6


@pytest.mark.parametrize("T", TEMPERATURES)
def test_the_divergence_is_summed_over_classes(T):
    z_s, z_t, _ = rows(dtype=torch.float64)
    z_s = z_s.detach()
    losses = kl(z_s, z_t, T)
    assert losses.tolist() == pytest.approx([loop_kl(s, t, T) for s, t in zip(z_s, z_t)], rel=1e-9)
    every = F.kl_div((z_s / T).log_softmax(1), (z_t / T).softmax(1), reduction="none")
    assert float(losses.mean()) == pytest.approx(10 * float(every.mean()), rel=1e-6)


def test_the_gradient_keeps_its_size_and_becomes_that_of_logit_matching():
    z_s, z_t, _ = rows()
    matching = slope(squared_distance(z_s, z_t, center=True) / 20, z_s)
    norms, cosines = [], []
    for T in TEMPERATURES:
        g = slope(KnowledgeDistillation(T, 0.0, 1.0)(z_s, SoftTarget(None, z_t)), z_s)
        norms.append(float(g.norm()))
        cosines.append(float(F.cosine_similarity(g.flatten(), matching.flatten(), 0)))
    assert max(norms[1:5]) / min(norms[1:5]) < 2
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.99
    assert norms[-1] == pytest.approx(float(matching.norm()), rel=0.1)


def test_cross_entropy_and_divergence_have_the_same_student_gradients():
    z_s, z_t, _ = rows(dtype=torch.float64)
    z_t.requires_grad_()
    u = draws(64, 10, seed=5, dtype=torch.float64)
    found = []
    for form in (kl, soft_cross_entropy):
        (g,) = grad(form(z_s, z_t, 3.0).mean(), z_s, create_graph=True)
        found.append((g.detach(), grad((g * u).sum(), z_t)[0], grad(form(z_s, z_t, 3.0).mean(), z_t)[0]))
    assert (found[0][0] - found[1][0]).abs().max() < 1e-6
    assert (found[0][1] - found[1][1]).abs().max() < 1e-9
    assert found[0][1].abs().max() > 1e-4
    assert (found[0][2] - found[1][2]).abs().max() > 1e-3, "the direct gradient in z_t differs"


def test_the_second_derivatives_where_student_and_teacher_agree():
    """The divergence is at its least there, and not flat: its Hessian in z_s is (diag p - p p^T) / T^2."""
    z = draws(1, 5, dtype=torch.float64)
    p = (z[0] / 2).softmax(0)
    needed = (torch.diag(p) - torch.outer(p, p)) / 4
    hessian = torch.autograd.functional.hessian(lambda a: kl(a[None], z, 2.0).sum(), z[0])
    mixed = torch.autograd.functional.hessian(lambda a, b: kl(a[None], b[None], 2.0).sum(), (z[0], z[0]))[0][1]
    assert torch.allclose(hessian, needed, atol=1e-12)
    assert torch.allclose(mixed, -needed, atol=1e-12)


def test_the_gradient_survives_a_divergence_that_rounds_below_zero():
    z_s, _, _ = rows()
    z_t = z_s.detach() + 1e-4 * draws(64, 10, seed=3)
    losses = kl(z_s, z_t)
    assert losses.min() < 0
    needed = (z_s.double().softmax(1) - z_t.double().softmax(1)) / 64
    assert relative(slope(losses, z_s), needed) < 0.01


def test_the_square_of_the_temperature_is_always_there():
    z_s, z_t, y = rows()
    bare = slope(kl(z_s, z_t, 4.0), z_s)
    alone = slope(KnowledgeDistillation(4.0, ce_weight=0.0, kd_weight=1.0)(z_s, SoftTarget(None, z_t)), z_s)
    assert torch.allclose(alone, 16 * bare, atol=1e-7)
    ce = slope(F.cross_entropy(z_s, y, reduction="none"), z_s)
    for weight in (0.1, 0.5, 2.0):
        both = slope(KnowledgeDistillation(4.0, weight, 0.9)(z_s, SoftTarget(y, z_t)), z_s)
        assert torch.allclose(both - weight * ce, 0.9 * 16 * bare, atol=1e-7)


def test_defaults_are_those_of_the_published_comparison():
    z_s, z_t, y = rows(dtype=torch.float64)
    needed = 0.1 * F.cross_entropy(z_s, y, reduction="none") + 0.9 * 16 * kl(z_s, z_t, 4.0)
    assert torch.allclose(KnowledgeDistillation()(z_s, SoftTarget(y, z_t)), needed)


def test_rows_without_a_label_keep_the_teacher_and_the_denominator():
    z_s, z_t, y = rows()
    some = y.clone()
    some[::2] = -1
    losses = label_cross_entropy(z_s, some)
    assert losses[::2].tolist() == [0.0] * 32
    g = slope(losses, z_s)
    assert (g[::2] == 0).all()
    assert torch.allclose(g[1::2], slope(F.cross_entropy(z_s, y, reduction="none"), z_s)[1::2], atol=1e-7)
    teacher = KnowledgeDistillation(ce_weight=0.0)(z_s, SoftTarget(None, z_t))
    assert torch.equal(KnowledgeDistillation()(z_s, SoftTarget(some, z_t))[::2], teacher[::2])


def test_logit_matching():
    z_s, z_t, y = rows(dtype=torch.float64)
    z_s = z_s.detach()
    target = SoftTarget(None, z_t)
    mean = LogitMatching()(z_s, target)
    assert mean.tolist() == pytest.approx([sum(float(a - b) ** 2 for a, b in zip(s, t)) / 10 for s, t in zip(z_s, z_t)])
    assert torch.allclose(LogitMatching("half_sum")(z_s, target), 5 * mean)
    assert torch.allclose(LogitMatching(normalize="teacher_std", std=5.0)(z_s, target), mean / 25)
    assert torch.allclose(
        LogitMatching(center=True)(z_s + 3, SoftTarget(None, z_t - 8)), LogitMatching(center=True)(z_s, target)
    )
    assert not torch.allclose(LogitMatching()(z_s + 3, target), mean)
    zscore = LogitMatching(normalize="zscore")
    assert torch.allclose(zscore(3 * z_s + 7, target), zscore(z_s, target), atol=1e-6)
    assert torch.allclose(zscore(z_s, target), (standardised(z_s) - standardised(z_t)).square().mean(1))
    both = LogitMatching(ce_weight=0.5, kd_weight=2.0)(z_s, SoftTarget(y, z_t))
    assert torch.allclose(both, 0.5 * F.cross_entropy(z_s, y, reduction="none") + 2 * mean)


# Decoupled distillation


def test_the_parts_of_the_decoupled_divergence_add_up():
    z_s, z_t, y = rows()
    of_target, of_others = target_and_others(z_s, z_t, y, 4.0)
    rest = 1 - (z_t / 4).softmax(1).gather(1, y[:, None])[:, 0]
    assert (of_target + rest * of_others - kl(z_s, z_t, 4.0)).abs().max() < 1e-5
    for i in range(4):
        p, q = (z_t[i] / 4).softmax(0), (z_s[i] / 4).softmax(0)
        P, Q, k = float(p[y[i]]), float(q[y[i]]), int(y[i])
        needed = P * math.log(P / Q) + (1 - P) * math.log((1 - P) / (1 - Q))
        assert float(of_target[i]) == pytest.approx(needed, rel=1e-4)
        p, q = (torch.cat([v[:k], v[k + 1 :]]) for v in (p, q))
        needed = float((p / p.sum() * ((p / p.sum()) / (q / q.sum())).log()).sum())
        assert float(of_others[i]) == pytest.approx(needed, rel=1e-4)
    g = slope(of_target + rest * of_others, z_s)
    assert relative(g, slope(kl(z_s, z_t, 4.0), z_s)) < 1e-4


def test_decoupled_distillation_weighs_its_parts():
    z_s, z_t, y = rows(dtype=torch.float64)
    of_target, of_others = target_and_others(z_s, z_t, y, 4.0)
    needed = F.cross_entropy(z_s, y, reduction="none") + 16 * (of_target + 8 * of_others)
    assert torch.allclose(DecoupledDistillation()(z_s, SoftTarget(y, z_t)), needed)
    loss = DecoupledDistillation(2.0, 3.0, 0.5, ce_weight=0.0, kd_weight=0.5)
    of_target, of_others = target_and_others(z_s, z_t, z_t.argmax(1), 2.0)
    assert torch.allclose(loss(z_s, SoftTarget(None, z_t)), 2 * (3 * of_target + 0.5 * of_others))
    assert torch.allclose(loss(z_s, SoftTarget(torch.full_like(y, -1), z_t)), 2 * (3 * of_target + 0.5 * of_others))


@pytest.mark.parametrize("gap", [math.log(9e12), 1e4])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("T", [1.0, 4.0])
def test_decoupled_distillation_of_a_sure_teacher_is_finite(gap, sign, T):
    """p_t[y] = 1 - 1e-12, and logits of +-1e4, on either side."""
    y = torch.tensor([0])
    z_t = torch.zeros(1, 10)
    z_t[0, 0] = gap * sign
    for z_s in (z_t.clone().requires_grad_(), (-z_t).requires_grad_(), draws(1, 10).requires_grad_()):
        losses = DecoupledDistillation(T)(z_s, SoftTarget(y, z_t))
        (g,) = grad(losses.sum(), z_s, create_graph=True)
        (h,) = grad(g.square().sum(), z_s)
        assert losses.isfinite().all()
        assert g.isfinite().all()
        assert h.isfinite().all()


def test_two_classes_have_no_others():
    z_s, z_t, y = rows(8, 2)
    with pytest.warns(UserWarning, match="of two classes the one that is not the label has no distribution"):
        losses = DecoupledDistillation(ce_weight=0.0)(z_s, SoftTarget(y, z_t))
    assert torch.allclose(losses, 16 * kl(z_s, z_t, 4.0), atol=1e-5)


def test_warm_up():
    assert [warm_up(e) for e in (0, 5, 20, 300)] == [0.0, 0.25, 1.0, 1.0]
    assert warm_up(1.5, 3) == 0.5
    with pytest.raises(ConfigError, match="epochs is 0; it must be above 0"):
        warm_up(1, 0)


# Labels, and peers


def test_label_smoothing_is_a_uniform_teacher():
    z_s, _, y = rows()
    uniform = torch.zeros(64, 10)
    found = LabelSmoothing(0.1)(z_s, SoftTarget(y))
    mixed = 0.9 * label_cross_entropy(z_s, y) + 0.1 * soft_cross_entropy(z_s, uniform)
    assert (found - mixed).abs().max() < 1e-6
    assert (found - F.cross_entropy(z_s, y, label_smoothing=0.1, reduction="none")).abs().max() < 1e-6
    assert torch.allclose(uniform_cross_entropy(z_s), soft_cross_entropy(z_s, uniform), atol=1e-6)
    assert LabelSmoothing(0.1)(z_s, SoftTarget(torch.full_like(y, -1))).abs().max() == 0


def test_hard_labels():
    z_s, z_t, y = rows()
    assert torch.equal(HardLabels()(z_s, SoftTarget(None, z_t)), label_cross_entropy(z_s, z_t.argmax(1)))
    sure = z_t.softmax(1).amax(1) >= 0.9
    assert 0 < int(sure.sum()) < 64
    some = HardLabels(threshold=0.9, ce_weight=0.5)(z_s, SoftTarget(y, z_t))
    needed = 0.5 * label_cross_entropy(z_s, y) + sure * label_cross_entropy(z_s, z_t.argmax(1))
    assert torch.allclose(some, needed)
    for k in (1, 3, 10):
        top = SoftTarget(y, top_logits(z_t, k))
        assert torch.allclose(HardLabels(threshold=0.9, ce_weight=0.5)(z_s, top), needed)


def test_mutual_learning_is_the_mean_divergence_to_the_others():
    z = [draws(8, 5, seed=s, dtype=torch.float64) for s in range(3)]
    y = torch.arange(8) % 5
    found = MutualLearning()(z[1], SoftTarget(y, other_peers(z, 1)))
    assert torch.allclose(found, label_cross_entropy(z[1], y) + (kl(z[1], z[0]) + kl(z[1], z[2])) / 2)
    two = MutualLearning(ce_weight=0.0, temperature=2.0)(z[0], SoftTarget(None, other_peers(z[:2], 0)))
    assert torch.allclose(two, 4 * kl(z[0], z[1], 2.0))


def test_gradients_do_not_cross_between_peers():
    z = [draws(8, 5, seed=s).requires_grad_() for s in range(3)]
    y = torch.arange(8) % 5
    for i in range(3):
        losses = MutualLearning()(z[i], SoftTarget(y, other_peers(z, i)))
        found = grad(losses.mean(), z, allow_unused=True)
        assert [g is not None for g in found] == [j == i for j in range(3)]
