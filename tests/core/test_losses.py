import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ShapeError
from tutelage.losses import cross_entropy, distillation, large_margin, squared_error

Z = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 3, 1, 1, 2])
Q = torch.softmax(torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), 1)


def test_cross_entropy_equals_a_loop():
    for i in range(5):
        p = [math.exp(float(z)) for z in Z[i]]
        needed = -math.log(p[int(Y[i])] / sum(p))
        assert float(cross_entropy(Z, Y)[i]) == pytest.approx(needed, abs=1e-12)
        soft = -sum(float(q) * math.log(e / sum(p)) for q, e in zip(Q[i], p))
        assert float(cross_entropy(Z, Q)[i]) == pytest.approx(soft, abs=1e-12)


def test_label_smoothing():
    smoothed = 0.9 * F.one_hot(Y, 4).double() + 0.1 / 4
    assert torch.allclose(cross_entropy(Z, Y, label_smoothing=0.1), cross_entropy(Z, smoothed))


def test_inner_dimensions_are_averaged():
    z = Z[:4].view(2, 2, 4)
    y = Y[:4].view(2, 2)
    assert torch.allclose(cross_entropy(z, y), cross_entropy(Z[:4], Y[:4]).view(2, 2).mean(1))
    assert torch.allclose(cross_entropy(z, Q[:4].view(2, 2, 4)), cross_entropy(Z[:4], Q[:4]).view(2, 2).mean(1))
    assert torch.allclose(large_margin(z, y), large_margin(Z[:4], Y[:4]).view(2, 2).mean(1))


def test_squared_error_equals_a_loop():
    needed = [sum(0.5 * (float(a) - float(b)) ** 2 for a, b in zip(z, q)) for z, q in zip(Z, Q)]
    assert squared_error(Z, Q).tolist() == pytest.approx(needed)


def test_large_margin_equals_a_loop():
    for i, y in enumerate(Y.tolist()):
        other = max(float(Z[i, c]) for c in range(4) if c != y)
        needed = max(0.0, 1.0 + other - float(Z[i, y]))
        assert float(large_margin(Z, Y)[i]) == pytest.approx(needed, abs=1e-12)


def test_distillation_is_a_scaled_divergence():
    teacher = torch.log(Q)
    p, q = torch.softmax(teacher / 3, 1), torch.softmax(Z / 3, 1)
    needed = 9 * (p * (p / q).log()).sum(1)
    assert torch.allclose(distillation(Z, teacher, temperature=3.0), needed)
    assert torch.allclose(distillation(Z, Z, temperature=2.0), torch.zeros(5, dtype=torch.float64))


@pytest.mark.parametrize(
    "loss", [lambda z: cross_entropy(z, Y), lambda z: squared_error(z, Q), lambda z: large_margin(z, Y)]
)
def test_gradients(loss):
    assert torch.autograd.gradcheck(loss, Z.clone().requires_grad_())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_entropy(Z, Y.double()), r"soft target has shape \(5,\), but needs \(5, 4\).*use .long\(\)"),
        (lambda: cross_entropy(Z, Y[:3]), r"target has shape \(3,\), but needs \(5,\)"),
        (lambda: squared_error(Z, Q[:, :2]), r"target has shape \(5, 2\), but needs \(5, 4\)"),
        (lambda: distillation(Z, Y), r"target has shape \(5,\), but needs \(5, 4\)"),
    ],
)
def test_shapes(call, message):
    with pytest.raises(ShapeError, match=message):
        call()
