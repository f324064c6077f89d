"""Implicit differentiation: of a student that stands at the minimum of its lessons, whichever way it came there.

With ``d(w, eta) = 0`` the gradient of the lesson (weight decay included) and H its Jacobian::

    H q = dM / dw,    G = dM / d eta - (d d / d eta)^T q
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, NotConverged
from ..rules import AdamW
from ..student import Student
from .base import Hypergradient
from .problem import Problem, leafed, vjp
from .solvers import Product, conjugate_gradient, neumann, residual


def _flat(parts: list[Tensor | None], like: list[Tensor]) -> Tensor:
    return torch.cat([torch.zeros_like(p).flatten() if t is None else t.flatten() for t, p in zip(parts, like)])


def _like(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    return [part.view_as(p) for part, p in zip(torch.split(vector, [p.numel() for p in like]), like)]


def _slope(problem: Problem, student: Student) -> list[Tensor]:
    """``d``: the gradient of the lesson with its weight decay, with a graph."""
    rule = student.rule
    lesson = problem.lesson(0, student, fixed=True)
    decay = rule.decay.coefficients(student.params, lesson.weight.mean())
    if decay and isinstance(rule, AdamW):
        raise ConfigError(
            "implicit hypergradient: AdamW's decay is not the gradient of a loss; use Adam or SGD, or no weight decay."
        )
    gradients = student.descent(lesson, create_graph=True).gradients
    return [
        (torch.zeros_like(p) if (gradient := gradients[name]) is None else gradient) + decay.get(name, 0.0) * p
        for name, p in student.params.items()
    ]


@dataclass
class _Implicit(Hypergradient):
    """What the strategies share that differ in how they solve ``H q = b`` only."""

    @abstractmethod
    def solve(self, product: Product, b: Tensor) -> Tensor:
        """Return q for b (n,), given v -> H v; note ``stats.residual``."""

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss of the student as it stands, having pulled the implicit derivative."""
        if problem.steps != 1:
            raise ConfigError(
                f"{type(self).__name__}: {problem.steps} lessons given, but it needs the one lesson at whose minimum "
                "the student stands: join their rows into one."
            )
        here = leafed(problem.student)
        params = list(here.params.values())
        loss = problem.validate(here)
        b = _flat(problem.pull([loss], [torch.ones_like(loss)], onto=params), params)
        slopes = _slope(problem, here)
        q = self.solve(lambda v: _flat(list(vjp(slopes, _like(v, params), params)), params).detach(), b)
        problem.pull(slopes, _like(-q, params), steps=[0])
        return loss


@dataclass
class ConjugateGradient(_Implicit):
    """Implicit differentiation by conjugate gradients: for a student trained to convergence, with weight decay.

    No step is taken: the student must be at the minimum of the one lesson given, weight decay included. Memory and
    time do not depend on how many steps led there. ``stats.residual`` says how well the system, with its damping, is
    solved.

    Attributes:
        iters: most products with the Hessian.
        tol: relative residual to stop at.
        damping: added to the diagonal of the Hessian, >= 0; above -lambda_min it makes an indefinite one definite.

    Source: Pedregosa, "Hyperparameter optimization with approximate gradient", ICML 2016; Rajeswaran et al.,
    "Meta-learning with implicit gradients", NeurIPS 2019.
    """

    iters: int = 20
    tol: float = 1e-8
    damping: float = 0.0

    def __post_init__(self) -> None:
        if self.iters < 1 or not self.tol >= 0 or not self.damping >= 0:
            raise ConfigError(
                f"ConjugateGradient: iters {self.iters} must be 1 or more, tol {self.tol} and damping {self.damping} "
                "at least 0."
            )

    def solve(self, product: Product, b: Tensor) -> Tensor:
        """Return q with ``(H + damping I) q = b``."""

        def damped(v: Tensor) -> Tensor:
            return torch.add(product(v), v, alpha=self.damping)

        try:
            q = conjugate_gradient(damped, b, self.iters, self.tol)
        except NotConverged as error:
            self.stats.residual = error.residual
            raise
        self.stats.residual = residual(damped, q, b)
        return q


@dataclass
class Neumann(_Implicit):
    """Implicit differentiation by the Neumann series: as ``ConjugateGradient``, slower, without its dot products.

    Attributes:
        alpha: step of the series, below 2 / lambda_max of the Hessian; has no default, because there is no good one.
        iters: terms after the first.

    Source: Lorraine, Vicol and Duvenaud, "Optimizing millions of hyperparameters by implicit differentiation",
    AISTATS 2020.
    """

    alpha: float
    iters: int = 20

    def __post_init__(self) -> None:
        if self.iters < 0 or not self.alpha > 0:
            raise ConfigError(f"Neumann: iters {self.iters} must be at least 0, and alpha {self.alpha} above 0.")

    def solve(self, product: Product, b: Tensor) -> Tensor:
        """Return the sum of the series.

        Raises:
            NotConverged: if it is further from a solution than 0 is.
        """
        q = neumann(product, b, self.iters, self.alpha)
        self.stats.residual = residual(product, q, b)
        if not self.stats.residual <= 1.0:
            raise NotConverged(
                f"Neumann: the residual is {self.stats.residual:.3g} after {self.iters} terms; alpha {self.alpha} must "
                "be below 2 / lambda_max of the Hessian, and the student at a minimum: lower alpha, or use "
                "ConjugateGradient with damping.",
                self.stats.residual,
            )
        return q


@dataclass
class IdentityHessian(_Implicit):
    """The identity in place of the Hessian (T1-T2): a direction, not a gradient.

    It has neither the length of the gradient nor quite its angle (ridge regression: cosine .98, relative error .35).
    Descend it with a rule that does not mind the length.

    Source: Luketina et al., "Scalable gradient-based tuning of continuous regularization hyperparameters", ICML 2016.
    """

    def solve(self, product: Product, b: Tensor) -> Tensor:
        """Return b."""
        return b
