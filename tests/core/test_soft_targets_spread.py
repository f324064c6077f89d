"""Losses that divide by a spread: what they do not see, and rows without one."""

import math

import pytest
import torch
from torch.autograd import grad

from tutelage.divergences import (
    across_rows,
    constant,
    kl,
    label_cross_entropy,
    pearson_distance,
    standardised,
    standardised_kl,
    within_rows,
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
    StandardisedDistillation,
    degenerate_rows,
)

from .soft_targets import draws, rows, slope


def test_standardised_logits():
    z, _, _ = rows()
    needed = (z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7)
    assert torch.allclose(standardised(z), needed, atol=1e-6)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-7)], ids=str)
def test_standardised_distillation_does_not_see_scale_and_offset(dtype, bound):
    """The 1e-7 beside the spread is all that it sees of a scale."""
    z_s, z_t, y = rows(dtype=dtype)

    def losses(z_s, z_t):
        return StandardisedDistillation(ce_weight=0.0, kd_weight=1 / 4)(z_s, SoftTarget(None, z_t))

    needed = standardised_kl(z_s, z_t, 2.0)
    for a, b in ((3, 7), (0.2, -40), (1, 7)):
        for moved in (losses(a * z_s + b, z_t), losses(z_s, a * z_t + b)):
            assert (moved - needed).abs().max() < (bound if a > 0.5 else 5 * bound)
    if dtype == torch.float64:
        assert (losses(z_s + 7, z_t) - needed).abs().max() < 1e-13
    needed = 0.1 * label_cross_entropy(z_s, y) + 9 * 4 * kl(standardised(z_s), standardised(z_t), 2.0)
    assert torch.allclose(StandardisedDistillation()(z_s, SoftTarget(y, z_t)), needed)


def test_dist_equals_correlations():
    z_s, z_t, y = rows(dtype=torch.float64)
    p_s, p_t = (z_s / 2).softmax(1).detach(), (z_t / 2).softmax(1)
    within = torch.tensor([1 - float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(p_s, p_t)])
    across = torch.tensor([1 - float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(p_s.T, p_t.T)]).mean()
    loss = DIST(beta=3.0, gamma=0.5, temperature=2.0, kd_weight=0.1)
    needed = label_cross_entropy(z_s, y) + 0.1 * 4 * (3 * within + 0.5 * across)
    assert torch.allclose(loss(z_s, SoftTarget(y, z_t)).float(), needed.float(), atol=1e-6)
    assert torch.allclose(across_rows(z_s, z_t, 2.0).float(), across.float().expand(64), atol=1e-6)
    default = label_cross_entropy(z_s, y) + 2 * within_rows(z_s, z_t) + 2 * across_rows(z_s, z_t)
    assert torch.allclose(DIST()(z_s, SoftTarget(y, z_t)), default)


def test_correlation_does_not_see_an_affine_map():
    z_s, z_t, _ = rows()
    p, q = z_s.softmax(1), z_t.softmax(1)
    assert (pearson_distance(3 * p + 0.2, q) - pearson_distance(p, q)).abs().max() < 1e-6
    assert (pearson_distance(p, 0.5 * q + 0.1, 0) - pearson_distance(p, q, 0)).abs().max() < 1e-6


def test_rare_classes_correlate_as_frequent_ones():
    """Offsets of 60 make the class's probabilities 1e-26, whose squares float32 does not hold."""
    z_s, z_t = draws(16, 3, seed=1), draws(16, 3, seed=2)
    down = torch.tensor([0.0, 0.0, -60.0])
    exact = across_rows((z_s + down).double(), (z_t + down).double())
    z = (z_s + down).requires_grad_()
    losses = across_rows(z, z_t + down)
    (g,) = grad(losses.mean(), z, create_graph=True)
    assert torch.allclose(losses.double(), exact, atol=1e-5)
    assert grad(g.square().sum(), z)[0].isfinite().all()


SPREAD = [StandardisedDistillation(), DIST(), LogitMatching(normalize="zscore", ce_weight=1.0)]


@pytest.mark.parametrize("loss", SPREAD, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_rows_count_nothing(loss, value):
    """As of a student whose last layer starts at 0; naive forms give 2e5 and more, and no second derivative."""
    _, z_t, _ = rows()
    z_s = torch.full((64, 10), value, requires_grad=True)
    nothing = torch.full((64,), -1)
    losses = loss(z_s, SoftTarget(nothing, z_t))
    (g,) = grad(losses.mean(), z_s, create_graph=True)
    assert losses.abs().max() == 0
    assert g.abs().max() == 0
    (h,) = grad((g * draws(64, 10)).sum(), z_s)
    assert h.isfinite().all()
    classes = 10 if isinstance(loss, DIST) else 0
    assert int(degenerate_rows(loss, z_s, SoftTarget(nothing, z_t))) == 64 + classes


@pytest.mark.parametrize("loss", [SPREAD[0], SPREAD[2]], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("value", [12345.678, -1e6 / 3])
def test_constant_rows_far_from_zero_count_nothing(loss, value):
    """The float32 mean of ten equal numbers is another one."""
    z_t, nothing = rows()[1], torch.full((64,), -1)
    z_s = torch.full((64, 10), value, requires_grad=True)
    assert (z_s.mean(-1) != z_s[:, 0]).all()
    for target in (SoftTarget(nothing, z_t), SoftTarget(nothing, z_s.detach())):
        losses = loss(z_s, target)
        assert losses.abs().max() == 0
        assert slope(losses, z_s).abs().max() == 0
        assert int(degenerate_rows(loss, z_s, target)) == 64


def test_an_offset_is_taken_off_before_the_mean():
    z = torch.arange(10.0)
    assert torch.equal(standardised(z + 2.0**23), standardised(z))


@pytest.mark.parametrize("loss", SPREAD, ids=lambda loss: type(loss).__name__)
def test_rows_are_left_out_one_by_one(loss):
    z_s, z_t, y = rows()
    z_s, z_t = z_s.detach().clone(), z_t.clone()
    z_s[3], z_t[5] = 2.0, -1.0
    z_s.requires_grad_()
    target = SoftTarget(torch.where(torch.arange(64) < 8, -1, y), z_t)
    assert int(degenerate_rows(loss, z_s, target)) == 2
    (g,) = grad(loss(z_s, target).mean(), z_s)
    assert g.isfinite().all()
    if loss.batch_coupled:
        assert within_rows(z_s, z_t)[[3, 5]].tolist() == [0.0, 0.0]
    else:
        assert (g[[3, 5]] == 0).all()
    assert (g[4] != 0).any()


@pytest.mark.parametrize("loss", SPREAD[:2], ids=lambda loss: type(loss).__name__)
def test_gradients_of_almost_constant_rows_are_bounded(loss):
    _, z_t, y = rows()
    z_s = (1e-3 * draws(64, 10)).requires_grad_()
    norm = slope(loss(z_s, SoftTarget(y, z_t)), z_s).norm()
    assert 1 < norm < 1e4
    assert int(degenerate_rows(loss, z_s, SoftTarget(y, z_t))) == 0


def test_nothing_left_to_learn_from():
    z_t = draws(6, 4)
    flat = torch.zeros(6, 4)
    message = "all rows of the student's or of the teacher's logits are constant, which have no gradient: use ce_weight"
    for loss in (StandardisedDistillation(ce_weight=0.0), DIST(ce_weight=0.0)):
        with pytest.raises(ConfigError, match=message):
            degenerate_rows(loss, flat, SoftTarget(None, z_t))
        with pytest.raises(ConfigError, match=message):
            degenerate_rows(loss, z_t, SoftTarget(None, flat))
    assert int(degenerate_rows(KnowledgeDistillation(ce_weight=0.0), flat, SoftTarget(None, z_t))) == 0
    assert int(degenerate_rows(DIST(gamma=0.0), flat, SoftTarget(None, z_t))) == 6


def test_spread_is_measured_against_its_bound():
    z = torch.tensor([[1.0, -1.0]]) / math.sqrt(2)  # of standard deviation 1
    assert constant(z * 0.99e-4).tolist() == [True]
    assert constant(z * 1.01e-4).tolist() == [False]
    assert constant(5 + z * 4.9e-4, relative=True).tolist() == [True]
    assert constant(5 + z * 5.2e-4, relative=True).tolist() == [False]


def test_dist_needs_two_rows_where_it_compares_them():
    z_s, z_t = draws(1, 5), draws(1, 5, seed=1)
    with pytest.raises(ShapeError, match=r"shape \(1, 5\), but a correlation over the rows .* needs at least 2 rows"):
        DIST(ce_weight=0.0)(z_s, SoftTarget(None, z_t))
    assert DIST(gamma=0.0, ce_weight=0.0)(z_s, SoftTarget(None, z_t)).shape == (1,)


def test_which_losses_couple_the_batch():
    assert DIST().batch_coupled
    assert not DIST(gamma=0.0).batch_coupled
    assert not DIST(kd_weight=0.0).batch_coupled
    others = (KnowledgeDistillation(), LogitMatching(), DecoupledDistillation(), StandardisedDistillation())
    others += (HardLabels(), LabelSmoothing(), MutualLearning())
    assert not any(loss.batch_coupled for loss in others)
