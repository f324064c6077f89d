"""Teaching sets of linear learners: fitting them gives the target."""

import math

import pytest
import torch

from tutelage.errors import ConfigError, ShapeError
from tutelage.teaching_dimension import LOGISTIC_MOST, LOGISTIC_PEAK, logistic_set, ridge_set, svm_set

CASES = [(d, decay, norm) for d in (1, 3, 8) for decay in (0.01, 0.7, 5.0) for norm in (0.2, 1.0, 3.0)]


def weights(d, norm):
    w = torch.randn(d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    return norm * w / w.norm()


@pytest.mark.parametrize(("d", "decay", "norm"), CASES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_ridge(d, decay, norm, scale):
    target = weights(d, norm)
    found = ridge_set(target, decay, scale=scale)
    assert found.size == 1
    gram = found.x.T @ found.x + decay * torch.eye(d, dtype=torch.float64)
    solution = torch.linalg.solve(gram, found.x.T @ found.y)
    torch.testing.assert_close(solution, target, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("d", "decay", "norm"), CASES)
def test_logistic(d, decay, norm):
    """By Newton's method from 0, halving steps that do not lower the objective."""
    target = weights(d, norm)
    x, y = found = logistic_set(target, decay)
    assert found.size == math.ceil(decay * norm**2 / 0.278464543)

    def objective(w):
        return torch.nn.functional.softplus(-y * (x @ w)).sum() + decay / 2 * w @ w

    w = torch.zeros(d, dtype=torch.float64)
    for _ in range(100):
        p = torch.sigmoid(-y * (x @ w))
        slope = -x.T @ (y * p) + decay * w
        curvature = x.T @ ((p * (1 - p))[:, None] * x) + decay * torch.eye(d, dtype=torch.float64)
        step = torch.linalg.solve(curvature, slope)
        size = 1.0
        while objective(w - size * step) > objective(w) and size > 1e-6:
            size /= 2
        w = w - size * step
    torch.testing.assert_close(w, target, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("d", "decay", "norm"), CASES)
def test_support_vector_machine(d, decay, norm):
    """No random perturbation lowers the objective."""
    target = weights(d, norm)
    x, y = found = svm_set(target, decay)
    assert found.size == math.ceil(round(decay * norm**2, 9))

    def objective(w):
        return (1 - y * (w @ x.T)).clamp_min(0).sum(-1) + decay / 2 * w.square().sum(-1)

    g = torch.Generator().manual_seed(0)
    for size in (1e-6, 1e-3, 0.1, 1.0):
        other = target + size * torch.randn(500, d, generator=g, dtype=torch.float64)
        assert (objective(other) >= objective(target) - 1e-12).all()


def test_fewer_copies_would_not_do():
    """The stationary point needs a slope that n - 1 copies cannot have."""
    target, decay = weights(3, 2.0), 1.0
    assert svm_set(target, decay).size == 4
    assert logistic_set(target, decay).size == math.ceil(4 / LOGISTIC_MOST) == 15
    t = torch.linspace(0, 5, 100001, dtype=torch.float64)
    values = t / (1 + t.exp())
    assert float(values.max()) == pytest.approx(LOGISTIC_MOST, abs=1e-9)
    assert float(t[values.argmax()]) == pytest.approx(LOGISTIC_PEAK, abs=1e-4)
    assert abs(LOGISTIC_MOST - 0.278464543) < 1e-9


def test_whole_numbers_are_not_rounded_up():
    """3 * ||w||^2 is 1 but for rounding."""
    assert svm_set(torch.full((3,), 3**-0.5, dtype=torch.float64), 1.0).size == 1


def test_the_type_of_the_target_stays():
    for found in (ridge_set(torch.ones(2), 1.0), svm_set(torch.ones(2), 1.0), logistic_set(torch.ones(2), 1.0)):
        assert found.x.dtype == found.y.dtype == torch.float32
        assert found.x.shape == (found.size, 2)


@pytest.mark.parametrize("make", [ridge_set, svm_set, logistic_set])
def test_refusals(make):
    with pytest.raises(ConfigError, match=r"decay = 0.*above 0"):
        make(torch.ones(2), 0.0)
    with pytest.raises(ConfigError, match="decay = -1"):
        make(torch.ones(2), -1.0)
    with pytest.raises(ConfigError, match=r"squared norm 0\.0"):
        make(torch.zeros(2), 1.0)
    with pytest.raises(ShapeError, match=r"shape \(2, 2\)"):
        make(torch.ones(2, 2), 1.0)


def test_the_scale_of_a_ridge_item_is_positive():
    with pytest.raises(ConfigError, match=r"scale = 0\.0"):
        ridge_set(torch.ones(2), 1.0, scale=0.0)
