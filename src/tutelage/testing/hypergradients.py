"""The contract of a hypergradient."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import ConfigError, TutelageError
from ..hypergradient.problem import Taught, ValidationLoss
from ..lesson import Lesson
from ..losses import cross_entropy
from ..rules import SGD, Rule
from ..student import Student
from .laws import ContractError, Watch, identical, need
from .tiny import tiny_batch, tiny_net

HypergradientCall = Callable[
    [Student, Sequence[Taught], ValidationLoss, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]
]


def check_hypergradient(
    factory: Callable[[], HypergradientCall],
    *,
    steps: int = 3,
    exact: bool = True,
    rule: Rule | None = None,
    tolerance: float = 1e-6,
) -> None:
    """Run a hypergradient strategy through the laws that every strategy keeps.

    Args:
        factory: returns a strategy; called with no arguments.
        steps: how many lessons it looks ahead.
        exact: whether it gives the derivative of training by these steps; False for truncated, implicit and
            approximate ones, whose number is then not looked at.
        rule: of the student; default: SGD(0.1, momentum=0.9).
        tolerance: largest relative error, against central differences of real training.

    Raises:
        ContractError: naming the law that is broken.
    """
    rule = SGD(0.1, momentum=0.9) if rule is None else rule
    for kind in ("plain", "shared", "dropout", "batchnorm"):
        _check_call(factory, _LookAhead(kind, rule, steps), may_refuse=kind == "batchnorm")
    _check_call(factory, _LookAhead("plain", rule, steps, torch.float32), may_refuse=False)
    problem = _LookAhead("plain", rule, steps)
    _check_refusals(factory, problem)
    if exact:
        found = factory()(problem.student, problem.lessons(), problem.loss, [problem.eta])[1][0]
        error = float((found - problem.differences()).norm() / found.norm().clamp_min(1e-8))
        need(error <= tolerance, f"the result differs from central differences by {error:.1e} relative (law 4).")


class _LookAhead:
    """A student, lessons whose weights are learned, and a validation loss."""

    def __init__(self, kind: str, rule: Rule, steps: int, dtype: torch.dtype = torch.float64) -> None:
        self.kind, self.dtype = kind, dtype
        self.student = Student(tiny_net(kind, dtype=dtype), rule)
        self.student.study(Lesson(*self._rows(70), torch.ones(12, dtype=dtype), cross_entropy))
        self._steps = steps
        self.eta = torch.linspace(-1.0, 1.0, 12, dtype=dtype).requires_grad_()
        self.unused = torch.ones(2, 3, dtype=dtype, requires_grad=True)

    def _rows(self, seed: int) -> tuple[Tensor, Tensor]:
        batch = tiny_batch(seed=seed, dtype=self.dtype)
        return batch.x, batch.y

    def lessons(self, eta: Tensor | None = None) -> list[Lesson]:
        weight = torch.sigmoid(self.eta if eta is None else eta)
        return [Lesson(*self._rows(t), weight, cross_entropy) for t in range(self._steps)]

    def loss(self, student: Student) -> Tensor:
        x, y = self._rows(99)
        return cross_entropy(student.logits(x, training=False), y).mean()

    def trained(self, eta: Tensor) -> float:
        student = Student(tiny_net(self.kind, dtype=self.dtype), self.student.rule)
        student.load_state_dict(self.student.state_dict())
        for lesson in self.lessons(eta):
            student.study(lesson)
        return float(self.loss(student).detach())

    def differences(self, h: float = 1e-5) -> Tensor:
        center, unit = self.eta.detach(), torch.eye(12, dtype=self.dtype)
        slopes = [(self.trained(center + h * d) - self.trained(center - h * d)) / (2 * h) for d in unit]
        return torch.tensor(slopes, dtype=self.dtype)


def _check_call(factory: Callable[[], HypergradientCall], problem: _LookAhead, *, may_refuse: bool) -> None:
    student, lessons = problem.student, problem.lessons()
    wrt = [problem.unused, problem.eta]
    try:
        with Watch("a hypergradient must leave no trace (law 2)", student):
            loss, found = factory()(student, lessons, problem.loss, wrt)
    except ConfigError:
        if not may_refuse:
            raise
        return
    left = [*student.params.values(), *student.architecture.parameters(), *wrt]
    need(all(t.grad is None for t in left), "a hypergradient must not write to .grad (law 2).")
    alike = [(g.shape, g.dtype, g.device) == (w.shape, w.dtype, w.device) for g, w in zip(found, wrt)]
    need(
        len(found) == 2 and all(alike),
        "the gradients must be one an entry of wrt, in its order, shape, dtype and device.",
    )
    need(not bool(found[0].any()), "an entry of wrt that nothing depends on must get zeros.")
    need(bool(found[1].isfinite().all() and found[1].any()), "a gradient must be finite, and not 0 everywhere.")
    need(
        loss.ndim == 0 and not any(t.requires_grad for t in (loss, *found)),
        "the loss must be a scalar, and neither it nor the gradients may hold a graph.",
    )
    again = factory()(student, lessons, problem.loss, wrt)
    need(identical([loss, *found], [again[0], *again[1]]), "a second call must give the same bytes: keep the graphs.")


def _check_refusals(factory: Callable[[], HypergradientCall], problem: _LookAhead) -> None:
    lessons, eta = problem.lessons(), problem.eta
    cases: dict[str, tuple[list[Lesson], Tensor]] = {
        "no lessons": ([], eta),
        "a wrt of integers": (lessons, torch.ones(3, dtype=torch.int64)),
        "a wrt that requires no gradient": (lessons, torch.ones(3)),
        "lessons that do not depend on wrt": (problem.lessons(eta.detach()), eta),
    }
    for what, (given, wrt) in cases.items():
        try:
            factory()(problem.student, given, problem.loss, [wrt])
        except TutelageError:
            continue
        raise ContractError(f"a hypergradient must refuse {what} with an error of tutelage.errors.")
