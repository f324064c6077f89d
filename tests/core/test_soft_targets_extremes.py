"""Losses on soft targets at logits that are huge, equal or -inf: values and derivatives stay what they must be."""

import pytest
import torch
from torch.autograd import grad

from tutelage.divergences import across_rows, kl, log_sum, soft_cross_entropy, target_and_others
from tutelage.soft_targets import DIST, SoftTarget, degenerate_rows

from .soft_targets import LOSSES, draws, target_of

INF = float("inf")
Y = torch.tensor([2, 2, 0, -1, 2, 2])
MISSING = torch.zeros(6, 5, dtype=torch.bool)
for row, classes in enumerate(([], [4], [1, 4], [0], [3, 1], [0, 1, 3, 4])):
    MISSING[row, classes] = True
"""Row 5 has the class of its label alone."""

OF_LOGITS = {name for name in LOSSES if name.startswith(("matching", "standardised"))}
SEES_OFFSETS = {"matching", "matching scaled"}
FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def derivatives(name, z_s, z_t):
    """The losses of rows, their gradient, and a second derivative."""
    z_s = z_s.clone().requires_grad_()
    losses = LOSSES[name](z_s, target_of(name, z_t, Y))
    (slope,) = grad(losses.sum(), z_s, create_graph=True)
    along = draws(6, 5, seed=9, dtype=z_s.dtype)
    (second,) = grad((slope * along).sum(), z_s, allow_unused=True, materialize_grads=True)
    return losses.detach(), slope.detach(), second


def signs(seed):
    return torch.where(draws(6, 5, seed=seed) < 0, -1e4, 1e4)


HUGE = {
    "both": (signs(0), signs(1)),
    "alike": (signs(0), signs(0)),
    "student": (signs(0), draws(6, 5)),
    "teacher": (draws(6, 5), signs(0)),
    "nothing": (torch.zeros(6, 5), torch.zeros(6, 5)),
    "equal": (torch.full((6, 5), 1e4), torch.full((6, 5), -1e4)),
    "equal student": (torch.full((6, 5), -1e4), draws(6, 5)),
    "the same": (draws(6, 5), draws(6, 5)),
}


@FLOATS
@pytest.mark.parametrize("case", HUGE)
@pytest.mark.parametrize("name", LOSSES)
def test_huge_and_equal_logits(name, case, dtype):
    """A softmax does not see what is added to a whole row: the gradient's sum over the classes is 0."""
    losses, slope, second = derivatives(name, *(z.to(dtype) for z in HUGE[case]))
    assert losses.isfinite().all()
    assert slope.isfinite().all()
    assert second.isfinite().all()
    if name not in SEES_OFFSETS:
        bound = 1e-5 if dtype == torch.float32 else 1e-12
        assert (slope.sum(-1).abs() <= bound * slope.abs().sum(-1).clamp_min(1.0)).all()


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - OF_LOGITS - {"smoothing", "mutual"}))
@pytest.mark.parametrize("who", ["both", "teacher"])
def test_a_class_that_is_not_there_is_one_of_probability_zero(name, who):
    """exp(-1e4) is 0 in float64: the same losses and derivatives, without a NaN of 0 times infinity."""
    z_s, z_t = draws(6, 5, dtype=torch.float64), 3 * draws(6, 5, seed=1, dtype=torch.float64)

    def found(value):
        mine = z_s.masked_fill(MISSING, value) if who == "both" else z_s
        return derivatives(name, mine, z_t.masked_fill(MISSING, value))

    # the shares of classes other than the label's have a limit of their own where none of them is there
    rows = slice(5 if name == "decoupled" else 6)
    for mine, needed in zip(found(-INF), found(-1e4)):
        assert torch.allclose(mine[rows], needed[rows], atol=1e-12)
        assert mine.isfinite().all()


@FLOATS
@pytest.mark.parametrize("name", ["kd only", "top", "mutual", "decoupled"])
def test_a_class_that_the_student_alone_leaves_out_costs_without_bound(name, dtype):
    """As by the definition; the gradient is finite, and a probability that underflows costs nothing."""
    z_t = draws(6, 5, seed=1, dtype=dtype)
    missing = torch.zeros(6, 5, dtype=torch.bool)
    missing[3, z_t[3].argmax()] = True
    z_s = draws(6, 5, dtype=dtype).masked_fill(missing, -INF)
    losses, slope, _ = derivatives(name, z_s, z_t)
    assert (losses == INF).tolist() == [False, False, False, True, False, False]
    assert slope.isfinite().all()
    if name != "mutual":  # whose second peer has the rows in another order
        assert derivatives(name, z_s, z_t.masked_fill(missing, -1e4))[0].isfinite().all()


def test_cross_entropy_to_a_teacher_with_missing_classes():
    z_s, z_t = draws(6, 5), draws(6, 5, seed=1).masked_fill(MISSING, -INF)
    p = z_t.softmax(1)
    entropy = -torch.special.xlogy(p, p).sum(1)
    assert torch.allclose(soft_cross_entropy(z_s, z_t), kl(z_s, z_t) + entropy, atol=1e-5)
    masked = z_s.masked_fill(MISSING, -INF)
    assert torch.allclose(soft_cross_entropy(masked, z_t), kl(masked, z_t) + entropy, atol=1e-5)


def test_the_parts_of_a_divergence_still_add_up():
    """KL = TCKD + (1 - P) NCKD, also where nothing is left beside the label."""
    z_s, z_t = (z.masked_fill(MISSING, -INF) for z in (draws(6, 5).double(), draws(6, 5, seed=1).double()))
    y = torch.full((6,), 2)
    of_target, of_others = target_and_others(z_s, z_t, y)
    assert torch.allclose(of_target + (1 - z_t.softmax(1)[:, 2]) * of_others, kl(z_s, z_t), atol=1e-12)
    assert of_others[5] == 0


@FLOATS
def test_a_class_that_no_row_has_is_one_that_is_the_same_in_all(dtype):
    z_s, z_t = draws(6, 5, dtype=dtype), draws(6, 5, seed=1, dtype=dtype)
    z_s[:, 3] = z_t[:, 3] = -INF
    others = [0, 1, 2, 4]
    assert torch.allclose(across_rows(z_s, z_t) * 5, across_rows(z_s[:, others], z_t[:, others]) * 4)
    assert int(degenerate_rows(DIST(), z_s, SoftTarget(Y, z_t))) == 1
    assert all(part.isfinite().all() for part in derivatives("dist", z_s, z_t)[1:])


@pytest.mark.parametrize("name", sorted(OF_LOGITS))
@pytest.mark.parametrize("value", [-INF, INF, float("nan")])
def test_logits_that_have_no_values_are_not_passed_over(name, value):
    """Nothing is lost in silence: what comes of them is not finite either, and training stops."""
    z_s, z_t = draws(6, 5), draws(6, 5, seed=1)
    z_s[1, 4] = z_t[2, 3] = value
    losses = LOSSES[name].divergence(z_s, SoftTarget(Y, z_t))
    assert losses.isfinite().tolist() == [True, False, False, True, True, True]


def test_a_sum_of_nothing():
    z = torch.tensor([[-INF, -INF], [0.0, -INF], [1.0, 2.0]], requires_grad=True)
    found = log_sum(z)
    assert found.shape == (3, 1)
    assert found.flatten().tolist() == pytest.approx([-INF, 0.0, 2.3132617])
    (slope,) = grad(found[1:].sum() + torch.where(found[:1] == -INF, 0.0, found[:1]).sum(), z)
    assert torch.allclose(slope, torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.2689414, 0.7310586]]))
