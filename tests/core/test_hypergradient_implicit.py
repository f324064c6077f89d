"""Ridge regression, where every hypergradient has a closed form; and the solvers of linear systems."""

import pytest
import torch
from torch import nn

from tests.core.look_ahead import ProblemA, cosine, drawn, relative
from tutelage import SGD, AdamW, Lesson, Student
from tutelage.errors import ConfigError, NotConverged, NotFiniteError
from tutelage.hypergradient import ConjugateGradient, IdentityHessian, Neumann, OneStep, Recompute, Unrolled
from tutelage.hypergradient.solvers import conjugate_gradient, neumann, residual
from tutelage.losses import squared_error

RATE = 0.3


class Ridge:
    """40 x 7 rows; eta = log of the weight decay, 40 log weights."""

    def __init__(self):
        self.x, self.y = drawn(40, 7, seed=1), drawn(40, 1, seed=2)
        self.x_valid, self.y_valid = drawn(30, 7, seed=3), drawn(30, 1, seed=4)
        self.eta = [
            torch.tensor(-1.0, dtype=torch.float64, requires_grad=True),
            (0.3 * drawn(40, seed=5)).requires_grad_(),
        ]

    def system(self):
        """H and the right side, differentiable in eta."""
        weight = self.eta[1].exp() / 40
        h = self.x.T @ (weight[:, None] * self.x) + self.eta[0].exp() * torch.eye(7, dtype=torch.float64)
        return h, self.x.T @ (weight[:, None] * self.y)

    def validated(self, w):
        return 0.5 * (self.x_valid @ w - self.y_valid).square().mean()

    def after(self, steps=None):
        """``w_K = (I - (I - a H)^K) H^-1 b``, or the minimum; its loss and derivatives."""
        h, b = self.system()
        w = torch.linalg.solve(h, b)
        if steps is not None:
            unit = torch.eye(7, dtype=torch.float64)
            w = w - torch.linalg.matrix_power(unit - RATE * h, steps) @ w
        return w.detach(), torch.autograd.grad(self.validated(w), self.eta)

    def gradients(self, strategy, w=None, steps=1):
        net = nn.Linear(7, 1, bias=False).double()
        nn.init.zeros_(net.weight)
        student = Student(net, SGD(RATE, weight_decay=self.eta[0].exp()))
        if w is not None:
            student = student.at({"weight": w.T.clone().requires_grad_()})
        lessons = [Lesson(self.x, self.y, self.eta[1].exp(), squared_error)] * steps

        def loss(s):
            return squared_error(s.logits(self.x_valid), self.y_valid).mean()

        return strategy(student, lessons, loss, self.eta)[1]


def test_at_the_minimum():
    ridge = Ridge()
    w, needed = ridge.after()
    strategy = ConjugateGradient(iters=7)
    found = ridge.gradients(strategy, w)
    assert relative(found, needed) < 1e-12
    assert strategy.stats.residual < 1e-12
    h, _ = ridge.system()
    w_leaf = w.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ridge.validated(w_leaf), w_leaf)
    by_hand = -ridge.eta[0].exp() * (w.T @ torch.linalg.solve(h, slope)).squeeze()
    assert relative(found[0], by_hand.detach()) < 1e-12


def test_fewer_iterations_come_less_near():
    ridge = Ridge()
    w, needed = ridge.after()
    assert 1e-4 < relative(ridge.gradients(ConjugateGradient(iters=3), w), needed) < 0.1
    errors = [relative(ridge.gradients(Neumann(RATE, iters), w), needed) for iters in (5, 20, 200)]
    assert 1e-2 < errors[0] < 0.3
    assert 1e-5 < errors[1] < 1e-2
    assert errors[2] < 1e-12


def test_the_identity_gives_a_direction_only():
    ridge = Ridge()
    w, needed = ridge.after()
    found = ridge.gradients(IdentityHessian(), w)
    assert cosine(found, needed) >= 0.9
    assert relative(found, needed) > 0.1


@pytest.mark.parametrize("steps", [1, 5, 20, 100, 400])
def test_gradient_descent_of_k_steps(steps):
    ridge = Ridge()
    needed = ridge.after(steps)[1]
    for strategy in (Unrolled(), Recompute("sqrt")):
        assert relative(ridge.gradients(strategy, steps=steps), needed) < 1e-12
    if steps == 1:
        assert relative(ridge.gradients(OneStep("jvp")), needed) < 1e-12


def test_the_limit_is_come_near():
    ridge = Ridge()
    limit = ridge.after()[1]
    unrolled = [relative(ridge.gradients(Unrolled(), steps=k), limit) for k in (1, 5, 20, 100)]
    implicit = [relative(ridge.gradients(ConjugateGradient(), ridge.after(k)[0]), limit) for k in (5, 20, 100)]
    assert unrolled == sorted(unrolled, reverse=True)
    assert implicit == sorted(implicit, reverse=True)
    assert unrolled[-1] < 1e-10
    assert implicit[-1] < 1e-10
    assert implicit[0] > 1e-4


def test_the_length_of_one_step_has_the_rate_and_the_identity_has_not():
    """A published method of that name leaves the learning rate out, and takes the gradient at the new parameters."""
    ridge = Ridge()
    one, direction = ridge.gradients(OneStep("fd")), ridge.gradients(IdentityHessian())
    assert relative(one, ridge.after(1)[1]) < 1e-6
    assert relative(one, direction) > 0.5


def test_conjugate_gradients_are_exact_after_as_many_iterations_as_dimensions():
    """A published implementation takes the direction from the old residual, and is off by .19."""
    root = drawn(7, 7, seed=9)
    h, b = root @ root.T + 0.5 * torch.eye(7, dtype=torch.float64), drawn(7, seed=10)
    q = conjugate_gradient(lambda v: h @ v, b, iters=7, tol=0.0)
    assert relative(q, torch.linalg.solve(h, b)) < 1e-9
    assert residual(lambda v: h @ v, q, b) < 1e-9


def test_neumann_equals_its_series():
    root = drawn(7, 7, seed=9)
    h, b, unit = root @ root.T, drawn(7, seed=10), torch.eye(7, dtype=torch.float64)
    needed = 0.05 * sum(torch.linalg.matrix_power(unit - 0.05 * h, j) @ b for j in range(6))
    assert relative(neumann(lambda v: h @ v, b, iters=5, alpha=0.05), needed) < 1e-12


def test_a_right_side_of_zero():
    zero = torch.zeros(3)
    assert torch.equal(conjugate_gradient(lambda v: v, zero, 5, 1e-8), zero)
    assert residual(lambda v: v, zero, zero) == 0.0


def test_an_indefinite_hessian():
    problem = ProblemA(lambda wd: SGD(0.3, weight_decay=wd), steps=1)
    with pytest.raises(NotConverged, match=r"the curvature is -.* along the direction of iteration \d+, .* damping"):
        problem.gradients(ConjugateGradient(iters=200))
    strategy = ConjugateGradient(iters=200)
    with pytest.raises(NotConverged, match="The residual was") as caught:
        problem.gradients(strategy)
    assert strategy.stats.residual == caught.value.residual > 0
    strategy = ConjugateGradient(iters=400, tol=1e-10, damping=1.0)
    problem.gradients(strategy)
    assert strategy.stats.residual <= 1e-8
    diagonal = torch.tensor([1.0, -0.25], dtype=torch.float64)
    with pytest.raises(NotConverged, match=r"curvature is -0\.25 along the direction of iteration 1"):
        conjugate_gradient(lambda v: diagonal * v, torch.tensor([0.0, 1.0], dtype=torch.float64), 5, 0.0)


def test_a_curvature_that_is_not_finite():
    with pytest.raises(NotFiniteError, match="the curvature is nan along the direction of iteration 1"):
        conjugate_gradient(lambda v: v * float("nan"), torch.ones(2), 5, 0.0)


def test_a_series_that_grows():
    ridge = Ridge()
    with pytest.raises(NotConverged, match=r"Neumann: the residual is .* below 2 / lambda_max"):
        ridge.gradients(Neumann(5.0), ridge.after()[0])


def test_what_implicit_differentiation_needs():
    ridge = Ridge()
    with pytest.raises(ConfigError, match=r"ConjugateGradient: 3 lessons given, but it needs the one lesson"):
        ridge.gradients(ConjugateGradient(), steps=3)
    problem = ProblemA(lambda wd: AdamW(0.1, weight_decay=wd), steps=1)
    with pytest.raises(ConfigError, match="AdamW's decay is not the gradient of a loss"):
        problem.gradients(ConjugateGradient())
    with pytest.raises(ConfigError, match="ConjugateGradient: iters 0 must be 1 or more"):
        ConjugateGradient(iters=0)
    with pytest.raises(ConfigError, match=r"Neumann: iters 20 must be at least 0, and alpha -1.0 above 0"):
        Neumann(-1.0)
