"""Each curriculum against a loop written from its formula."""

import math

import numpy as np
import pytest
import torch

from tutelage import curricula
from tutelage.lesson import percent


def naive(name, loss, threshold, progress):
    d, e = loss - threshold, percent(progress)
    match name:
        case "uniform":
            return 1.0
        case "self_paced":
            return 1.0 if d <= 0 else 0.0
        case "spcl_linear":
            return min(max(1 - d, 0.0), 1.0)
        case "spcl_2015":
            return max(0.0, 1 - loss / threshold) if threshold > 0 else 0.0
        case "hard":
            return 1.0 if d >= 0 else 0.0
        case "focal":
            return (1 - math.exp(-loss)) ** 2
        case "predefined":
            if e <= 18:
                return 1.0
            return naive("self_paced" if e < 90 else "spcl_linear", loss, threshold, progress)


NAMES = ["uniform", "self_paced", "spcl_linear", "spcl_2015", "hard", "focal", "predefined"]


def cases():
    generator = np.random.default_rng(0)
    rows = [(0.0, 0.0), (0.5, 0.5), (1e4, 0.3), (0.3, 1e4), (0.0, 0.7)]
    rows += [(float(np.float32(a)), float(np.float32(b))) for a, b in generator.exponential(1.5, (1000, 2))]
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_equals_a_loop(name):
    v = getattr(curricula, name)
    rows = cases()
    loss = torch.tensor([r[0] for r in rows], dtype=torch.float64)
    threshold = torch.tensor([r[1] for r in rows], dtype=torch.float64)
    for e in (0, 17, 18, 19, 50, 89, 90, 99):
        weights = v(loss, threshold, e / 100)
        needed = [naive(name, *row, e / 100) for row in rows]
        assert weights.tolist() == pytest.approx(needed, abs=1e-6 if name == "focal" else 1e-12)
        assert ((weights >= 0) & (weights <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_stacked_students_and_permutation(name):
    v = getattr(curricula, name)
    loss = torch.rand(3, 8) * 4
    threshold = torch.tensor([[0.5], [1.0], [2.0]])
    together = v(loss, threshold, 0.95)
    assert together.shape == (3, 8)
    for s in range(3):
        assert torch.equal(together[s], v(loss[s], threshold[s, 0], 0.95))
    order = torch.randperm(8)
    assert torch.equal(v(loss[0][order], threshold[0, 0], 0.95), together[0][order])


def test_values_of_the_publication():
    zero = torch.tensor(0.0)
    d = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    assert curricula.spcl_linear(d, zero, 0.5).tolist() == [1.0, 1.0, 0.5, 0.0]
    assert curricula.focal(torch.tensor([0.0, 1.0, 3.0]), zero, 0.5).tolist() == pytest.approx(
        [0, 0.3996, 0.9029], abs=1e-4
    )
    one = torch.tensor([0.5])
    assert [float(curricula.predefined(one, zero, e / 100)) for e in (18, 19, 89, 90)] == [1.0, 0.0, 0.0, 0.5]
    assert float(curricula.spcl_linear(one, zero, 0.5, gamma=2.0)) == 0.75
    assert float(curricula.focal(torch.tensor([1.0]), zero, 0.5, gamma=1.0)) == pytest.approx(1 - math.exp(-1))


@pytest.mark.parametrize("lam2", [0.0, 0.3, 1.0])
def test_mixture_minimises_its_objective(lam2):
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    for loss in torch.linspace(0, 3, 61, dtype=torch.float64):
        lam1 = 1.0
        if lam2 == 0.0 and float(loss) == lam1:
            continue  # every v is a minimiser
        value = grid * loss + lam2 / 2 * grid**2 - (lam1 + lam2) * grid
        best = float(grid[value.argmin()])
        assert float(curricula.mixture(loss, lam1, lam2)) == pytest.approx(best, abs=5e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 127, 128])
@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.75, 0.99])
def test_percentile_equals_numpy(n, p):
    losses = torch.rand(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    assert float(curricula.percentile(losses, p)) == pytest.approx(np.quantile(losses.numpy(), p), abs=1e-12)
    nearest = np.quantile(losses.numpy(), p, method="nearest")
    assert float(curricula.percentile(losses, p, "nearest")) == pytest.approx(nearest, abs=1e-12)
