"""Recompute: keep some students, run again what lies between, and go back a step at a time.

With ``a``, ``b`` the derivatives of the validation loss M in the parameters and the rule's state after step t, one
vector-Jacobian product of the step ``(w, o, lesson) -> (w', o')`` gives those before it, and what the lesson gets::

    a, b, G  <-  (a, b)^T d(w', o') / d(w, o, lesson)

which for SGD with momentum is ``c = b - lr a; b = mu c; a = a + H c + lambda c; G += (dg / d lesson)^T c``.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import ConfigError
from ..rules import SGD, Rule, RuleState
from ..student import Student
from .base import Hypergradient
from .problem import Problem, leafed, tensors
from .unrolled import first_step


def step_back(
    problem: Problem, t: int, student: Student, adjoint: list[Tensor | None]
) -> tuple[list[Tensor | None], Student]:
    """Return the adjoint before step t of the student that takes it, and the student after it.

    Args:
        problem: collects what reaches the lesson and ``wrt``.
        t: the step.
        student: before it.
        adjoint: of the :func:`tensors` of the student after it.
    """
    here = leafed(student)
    there = here.after(problem.lesson(t, here))
    return problem.pull(tensors(there), adjoint, onto=tensors(here), steps=[t]), there


def needs_momentum(rule: Rule, step: int) -> bool:
    """Whether the derivative of a step depends on what the rule remembers: not for SGD of fixed lr and momentum."""
    scalars = (rule.rate(step), rule.momentum_at(step)) if type(rule) is SGD else ()
    return not scalars or any(isinstance(scalar, Tensor) and scalar.requires_grad for scalar in scalars)


def without_momentum(student: Student) -> Student:
    """The same student with a momentum of zeros that takes no memory."""
    state = student.rule_state
    slots = {s: {n: v.new_zeros(()).expand_as(v) for n, v in slot.items()} for s, slot in state.slots.items()}
    return student.at({}, RuleState(state.step, slots, state.skipped))


@dataclass
class Recompute(Hypergradient):
    """Keep every s-th student; in the reverse sweep, run each segment again and go back through it.

    Exact as ``Unrolled``, on a CPU to the bit unless one lesson is taught several times, when sums over its uses may
    round differently. Memory: K / s + s students and the graph of one step. Each gradient is computed twice (s = 1) or
    three times. Of SGD's students only the parameters are kept within a segment, because the derivative of its step
    does not depend on the momentum; of Adam's the moments as well.

    Attributes:
        segment: s, ``"sqrt"`` for ``round(sqrt(K))``, or ``"auto"``: 1 up to ten steps, then ``"sqrt"``.
        truncate: T: differentiate the last T steps only, see ``Unrolled``.

    Source: Griewank and Walther, "Algorithm 799: revolve", ACM TOMS 2000; Chen et al., "Training deep nets with
    sublinear memory cost", 2016.
    """

    segment: int | Literal["auto", "sqrt"] = "auto"
    truncate: int | None = None

    def __post_init__(self) -> None:
        first_step(1, self.truncate)
        if self.segment not in ("auto", "sqrt") and not (isinstance(self.segment, int) and self.segment >= 1):
            raise ConfigError(f"segment is {self.segment!r}; it must be 1 or more, 'sqrt' or 'auto'.")

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss after K steps, having gone back through them segment by segment."""
        first, last = first_step(problem.steps, self.truncate), problem.steps
        stride = self._stride(last - first)
        student = problem.student
        kept: dict[int, Student] = {}
        for t in range(last):
            if t >= first and (t - first) % stride == 0:
                kept[t] = _light(problem, t, student) if stride == 1 else student.at({})
            student = problem.advance(t, student)
        self.stats.states = len(kept) + (stride if stride > 1 else 0)
        loss, adjoint = problem.end(student)
        del student
        for begin in reversed(list(kept)):
            adjoint = self._segment_back(problem, begin, min(begin + stride, last), kept.pop(begin), adjoint)
        if first == 0:
            problem.pull(tensors(problem.student), adjoint)
        return loss

    def _segment_back(
        self, problem: Problem, begin: int, end: int, student: Student, adjoint: list[Tensor | None]
    ) -> list[Tensor | None]:
        states = []
        for t in range(begin, end):
            states.append(_light(problem, t, student))
            if t + 1 < end:
                student = problem.advance(t, student)
                self.stats.reruns += 1
        del student
        for t in reversed(range(begin, end)):
            adjoint, _ = step_back(problem, t, states.pop(), adjoint)
            self.stats.reruns += 1
        return adjoint

    def _stride(self, steps: int) -> int:
        if isinstance(self.segment, int):
            return min(self.segment, steps)
        return 1 if self.segment == "auto" and steps <= 10 else max(1, round(math.sqrt(steps)))


def _light(problem: Problem, t: int, student: Student) -> Student:
    """A view to keep, without the pass that the student still holds, and with no more than step t needs."""
    everything = needs_momentum(student.rule, student.step) or not problem.is_fixed(t)
    return student.at({}) if everything else without_momentum(student)
