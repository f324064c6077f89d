"""Every strategy keeps the laws of hypergradients."""

import pytest
import torch

from tutelage import SGD, Adam, AdamW
from tutelage.hypergradient import (
    ConjugateGradient,
    Hypergradient,
    IdentityHessian,
    Neumann,
    OneStep,
    Recompute,
    Reversible,
    Truncated,
    Unrolled,
)
from tutelage.testing import ContractError, check_hypergradient

EXACT = {
    "unrolled": Unrolled,
    "recompute": lambda: Recompute(1),
    "segments": lambda: Recompute(2),
    "reversible": Reversible,
    "truncated at K": lambda: Truncated(3),
}
ONE = {how: lambda how=how: OneStep(how) for how in ("jvp", "fd", "autograd")}
BIASED = {
    "conjugate gradient": lambda: ConjugateGradient(damping=1.0),
    "neumann": lambda: Neumann(0.1),
    "identity": IdentityHessian,
}


@pytest.mark.parametrize("factory", EXACT.values(), ids=EXACT)
def test_exact(factory):
    check_hypergradient(factory)


@pytest.mark.parametrize("factory", ONE.values(), ids=ONE)
def test_one_step(factory):
    check_hypergradient(factory, steps=1)


@pytest.mark.parametrize("rule", [SGD(0.3), Adam(0.01), AdamW(0.01)], ids=["sgd", "adam", "adamw"])
def test_other_rules(rule):
    check_hypergradient(Unrolled, rule=rule)
    check_hypergradient(lambda: Recompute(2), rule=rule)
    check_hypergradient(OneStep, rule=rule, steps=1)


@pytest.mark.parametrize("factory", BIASED.values(), ids=BIASED)
def test_biased(factory):
    check_hypergradient(factory, steps=1, exact=False)


def test_truncated():
    check_hypergradient(lambda: Truncated(1), exact=False)


class Broken(Hypergradient):
    """Does right until ``spoil`` changes something."""

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def differentiate(self, problem):
        return Unrolled().differentiate(problem)

    def __call__(self, student, lessons, validation_loss, wrt):
        loss, gradients = super().__call__(student, lessons, validation_loss, wrt)
        return self.spoil(student, loss, gradients, wrt) or (loss, gradients)


def nudge(student, loss, gradients, wrt):
    with torch.no_grad():
        next(iter(student.params.values())).add_(1e-6)


def draw(student, loss, gradients, wrt):
    torch.rand(())


def write(student, loss, gradients, wrt):
    wrt[-1].grad = gradients[-1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nudge, r"must leave no trace \(law 2\): it changed student params"),
        (draw, r"must leave no trace \(law 2\): it changed global random state of torch"),
        (write, r"must not write to \.grad"),
        (lambda s, loss, g, w: (loss, g[::-1]), "one an entry of wrt, in its order"),
        (lambda s, loss, g, w: (loss, [torch.ones_like(g[0]), *g[1:]]), "nothing depends on must get zeros"),
        (lambda s, loss, g, w: (loss, [*g[:-1], 0 * g[-1]]), "finite, and not 0 everywhere"),
        (lambda s, loss, g, w: (loss, [*g[:-1], g[-1] * 1.01]), "differs from central differences by 9.9e-03"),
        (lambda s, loss, g, w: (loss.requires_grad_(), g), "may hold a graph"),
    ],
)
def test_the_suite_catches(spoil, message):
    with pytest.raises(ContractError, match=message):
        check_hypergradient(lambda: Broken(spoil))


def test_the_suite_catches_answers_to_no_lessons():
    class Willing:
        def __call__(self, student, lessons, validation_loss, wrt):
            if lessons and wrt[0].requires_grad:
                return Unrolled()(student, lessons, validation_loss, wrt)
            return validation_loss(student), [torch.zeros_like(w) for w in wrt]

    with pytest.raises(ContractError, match=r"must refuse no lessons with an error of tutelage\.errors"):
        check_hypergradient(Willing)
