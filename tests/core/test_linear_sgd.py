"""What an example does to a linear learner: closed forms against autograd and plain steps."""

import pytest
import torch

from tutelage import SGD, Student
from tutelage.errors import ConfigError, ShapeError
from tutelage.linear_sgd import (
    LOGISTIC,
    MCBOOST,
    SOFTMAX,
    SQUARED,
    check_learner,
    numbers,
    surrogate_terms,
    terms,
    weights_of,
)

LOSSES = [SQUARED, LOGISTIC, SOFTMAX, MCBOOST]


def case(loss, seed, outputs=None, size=1.0):
    """Weights, target, rows and labels that fit a loss, float64."""
    g = torch.Generator().manual_seed(seed)
    k = 1 if loss is LOGISTIC else outputs or 2 + seed % 5
    d, n = 2 + seed % 7, 12
    w, aim = (torch.randn(k, d, generator=g, dtype=torch.float64) for _ in range(2))
    x = size * torch.randn(n, d, generator=g, dtype=torch.float64)
    labels = {
        "squared error": torch.randn(n, k, generator=g, dtype=torch.float64),
        "logistic": torch.randint(2, (n,), generator=g) * 2 - 1,
    }
    return w, aim, x, labels.get(loss.name, torch.randint(k, (n,), generator=g))


def gradient(loss, w, x, label):
    """Of one row's loss, by autograd."""
    w = w.clone().requires_grad_()
    return torch.autograd.grad(loss.losses(x[None] @ w.T, label[None])[0], w)[0]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_terms_equal_autograd_and_the_identity_holds(loss):
    for seed in range(20):
        w, aim, x, labels = case(loss, seed)
        found = terms(loss.residuals(x @ w.T, labels), x, w - aim)
        for i in range(len(x)):
            slope = gradient(loss, w, x[i], labels[i])
            torch.testing.assert_close(found.difficulty[i], slope.square().sum(), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found.usefulness[i], ((w - aim) * slope).sum(), rtol=1e-10, atol=1e-12)
            after = w - 0.07 * slope
            fallen = (w - aim).square().sum() - (after - aim).square().sum()
            torch.testing.assert_close(found.gain(0.07)[i], fallen, rtol=1e-10, atol=1e-10)


def test_mcboost_residuals_have_the_cap_of_the_loss():
    w, _, x, labels = case(MCBOOST, 3, size=30.0)
    found = MCBOOST.residuals(x @ w.T, labels)
    assert found.isfinite().all()
    assert found.abs().max() >= 10  # half the cap: some weight is above it
    for i in range(len(x)):
        torch.testing.assert_close(found[i, :, None] * x[i], gradient(MCBOOST, w, x[i], labels[i]))


@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC, SOFTMAX, MCBOOST], ids=lambda loss: loss.name)
def test_the_surrogate_is_a_lower_bound(loss):
    for seed in range(20):
        w, aim, x, labels = case(loss, seed)
        exact = terms(loss.residuals(x @ w.T, labels), x, w - aim)
        bound = surrogate_terms(loss, x, labels, x @ w.T, x @ aim.T)
        torch.testing.assert_close(bound.difficulty, exact.difficulty)
        assert (bound.usefulness <= exact.usefulness + 1e-12).all()
        expected = loss.losses(x @ w.T, labels) - loss.losses(x @ aim.T, labels)
        torch.testing.assert_close(bound.usefulness, expected)


def test_logistic_labels_between_are_means():
    z, share = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None], 0.3
    mixed = LOGISTIC.losses(z, torch.full((7,), 2 * share - 1))
    up, down = LOGISTIC.losses(z, torch.ones(7)), LOGISTIC.losses(z, -torch.ones(7))
    torch.testing.assert_close(mixed, share * up + (1 - share) * down, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(up, torch.log1p(torch.exp(-z))[:, 0])


@pytest.mark.parametrize("loss", [SQUARED, LOGISTIC, SOFTMAX], ids=lambda loss: loss.name)
def test_the_label_of_nearest_residual(loss):
    """No label that is allowed has a nearer residual."""
    for seed in range(10):
        w, _, x, _ = case(loss, seed)
        logits = x @ w.T
        g = torch.Generator().manual_seed(seed)
        wanted = torch.randn(logits.shape, generator=g, dtype=torch.float64)
        label = loss.label_for(logits, wanted)
        best = (loss.residuals(logits, label) - wanted).norm(dim=1)
        if loss is SQUARED:
            assert best.max() < 1e-12
            continue
        for _ in range(200):
            if loss is LOGISTIC:
                other = 2 * torch.rand(len(x), generator=g, dtype=torch.float64) - 1
                assert label.abs().max() <= 1
            else:
                other = torch.rand(logits.shape, generator=g, dtype=torch.float64)
                other = other / other.sum(1, keepdim=True)
                other = label + torch.rand((), generator=g) ** 3 * (other - label)
                torch.testing.assert_close(label.sum(1), torch.ones(len(x), dtype=torch.float64))
                assert label.min() >= 0
            assert (best <= (loss.residuals(logits, other) - wanted).norm(dim=1) + 1e-12).all()


def linear(outputs, inputs, bias=False):
    return Student(torch.nn.Linear(inputs, outputs, bias=bias), SGD(0.1))


def test_targets():
    student = linear(3, 4)
    found = weights_of(student)
    assert torch.equal(found, student.head[1])
    assert not found.requires_grad
    assert found.data_ptr() != student.head[1].data_ptr()
    assert weights_of(torch.arange(4.0)).shape == (1, 4)
    assert check_learner(student, found) == "weight"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"target has shape \(2, 4\).*last linear layer \(3, 4\).*same architecture"):
        check_learner(linear(3, 4), torch.zeros(2, 4))
    with pytest.raises(ConfigError, match=r"has a bias.*bias=False"):
        check_learner(linear(3, 4, bias=True), torch.zeros(3, 4))
    with pytest.raises(ShapeError, match=r"target has shape \(2, 2, 2\)"):
        weights_of(torch.zeros(2, 2, 2))
    with pytest.raises(ShapeError, match="int64"):
        weights_of(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"numbers have shape \(5,\), but logits \(5, 2\)"):
        numbers(torch.zeros(5, 2), torch.zeros(5))
