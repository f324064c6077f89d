"""One step: K = 1, in closed form, for any rule.

With ``w' = step(w, g)`` and ``s = (d step / d g)^T dM / dw'``, taken at the new parameters w' (for SGD ``-lr grad M``,
for Adam its diagonal, for clipping its Jacobian), and the gradient ``g(w, eta)`` at the old ones::

    G = dM / d eta + d / d eta <g(w, eta), s>
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..errors import ConfigError, NotFiniteError
from ..lesson import Lesson
from ..student import Student
from .base import Hypergradient, where_not_finite
from .problem import Problem
from .unrolled import Unrolled

_OPERATORS = ("jvp", "fd", "autograd")


def answers_along(student: Student, x: Tensor, s: Mapping[str, Tensor | None]) -> tuple[Tensor, Tensor]:
    """Return the logits z (N, ..., C) and ``u = (dz / dw) s`` of the same shape, by one forward-mode pass."""
    with forward_ad.dual_level():
        params = {n: p.detach() for n, p in student.params.items()}
        dual = {
            n: p if (d := s[n]) is None else forward_ad.make_dual(p, d)  # type: ignore[no-untyped-call]
            for n, p in params.items()
        }
        z, u = forward_ad.unpack_dual(student.at(dual).logits(x))  # type: ignore[no-untyped-call]
    return z.detach(), torch.zeros_like(z) if u is None else u.detach()


def descent_along(lesson: Lesson, z: Tensor, u: Tensor) -> Tensor:
    """``<g, s> = sum_i weight_i / N <d loss_i / dz_i, u_i>``, differentiable in weight, target and loss."""
    answers = z.requires_grad_()
    losses = lesson.losses(answers)
    cotangents = lesson.weight.to(losses.dtype) / len(lesson)
    (slope,) = torch.autograd.grad(losses, answers, cotangents, create_graph=True)
    return (slope * u).sum()


@dataclass
class OneStep(Hypergradient):
    """Differentiate one step without the graph of a gradient: for convolutional and other large-activation students.

    Attributes:
        how: ``"jvp"``: one forward-mode pass gives <g, s>; exact. Where ``wrt`` reaches the inputs or the student's
            own start, or the loss looks at layers, which this form cannot, the graph is used as with ``"autograd"``.
            ``"fd"``: the difference ``[dL(w + e s) / d eta - dL(w - e s) / d eta] / (2 e)`` with ``e = r / ||s||``;
            needs no special operators, error O(r^2). ``"autograd"``: ``Unrolled``.
        r: of ``"fd"``; default 1e-4 in float64, else 1e-2.

    Source: Liu, Simonyan and Yang, "DARTS: differentiable architecture search", ICLR 2019, equations 7 and 8 (there
    for plain SGD); Choe et al., "Making scalable meta learning practical", NeurIPS 2023 (its diagonal of Adam).
    """

    how: Literal["jvp", "fd", "autograd"] = "jvp"
    r: float | None = None

    def __post_init__(self) -> None:
        if self.how not in _OPERATORS:
            raise ConfigError(f"how is {self.how!r}; it must be one of {', '.join(_OPERATORS)}.")
        if self.r is not None and not self.r > 0:
            raise ConfigError(f"r is {self.r}; it must be above 0, such as 1e-2 in float32.")

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss after one step, having pulled both terms."""
        if problem.steps != 1:
            raise ConfigError(f"OneStep: {problem.steps} lessons given, but it looks ahead one: use Unrolled.")
        student = problem.student
        lesson = problem.lesson(0, student, fixed=True)
        beyond = lesson.x.requires_grad or problem.starts_in_wrt or lesson.layers
        if self.how == "autograd" or (self.how == "jvp" and beyond):
            return Unrolled().differentiate(problem)
        loss, s = _step_back(problem, lesson)
        if not loss.isfinite() or all(d is None for d in s.values()):  # the gradient leads nowhere
            return loss
        if self.how == "jvp":
            along = descent_along(lesson, *answers_along(student, lesson.x, s))
            problem.pull([along], [torch.ones_like(along)], steps=[0])
        else:
            self._difference(problem, lesson, s, loss)
        return loss

    def _difference(self, problem: Problem, lesson: Lesson, s: Mapping[str, Tensor | None], loss: Tensor) -> None:
        student = problem.student
        known = [d for d in s.values() if d is not None]
        norm = float(torch.nn.utils.get_total_norm([d if d.dtype == torch.float64 else d.float() for d in known]))
        if norm == 0.0:
            return
        if not math.isfinite(norm):
            raise NotFiniteError(f"OneStep: {where_not_finite(problem, loss)}")
        double = known[0].dtype == torch.float64
        e = (self.r or (1e-4 if double else 1e-2)) / norm
        for sign in (1.0, -1.0):
            there = student.at(
                {n: (p.detach() if d is None else torch.add(p.detach(), d, alpha=sign * e)).requires_grad_()
                 for (n, p), d in zip(student.params.items(), s.values())}
            )  # fmt: skip
            layers = there.layers(lesson.x, lesson.layers)
            mark = lesson.mark(there.logits(lesson.x), layers)
            moved = list(there.params.values()) if problem.starts_in_wrt else []
            found = problem.pull([mark], [torch.full_like(mark, sign / (2 * e))], onto=moved, steps=[0])
            problem.pull(list(student.params.values())[: len(moved)], found)


def _step_back(problem: Problem, lesson: Lesson) -> tuple[Tensor, dict[str, Tensor | None]]:
    """The validation loss after the step, and s; pulls what does not go through the gradient."""
    student = problem.student
    descent = student.descent(lesson, retain_graph=True)  # the pass is shared with study
    gradients = {n: None if g is None else g.detach().requires_grad_() for n, g in descent.gradients.items()}
    later = student.follow(lesson, descent._replace(gradients=gradients))
    del descent
    loss = problem.validate(later)
    leaves = {n: g for n, g in gradients.items() if g is not None}
    found = problem.pull([loss], [torch.ones_like(loss)], onto=list(leaves.values()), steps=[0])
    return loss.detach(), {**dict.fromkeys(gradients), **dict(zip(leaves, found))}
