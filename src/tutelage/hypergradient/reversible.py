"""Reversible: undo heavy-ball steps instead of keeping them.

From ``w_{t+1} = w_t - lr_t v_{t+1}`` and ``v_{t+1} = mu v_t + g_t(w_t) + lambda w_t``::

    w_t = w_{t+1} + lr_t v_{t+1},    v_t = (v_{t+1} - g_t(w_t) - lambda w_t) / mu
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from ..rules import SGD, Rule, RuleState
from ..student import Student
from .base import Hypergradient
from .problem import Problem, tensors
from .recompute import Recompute, needs_momentum, step_back, without_momentum


def predicted_drift(dtype: torch.dtype, momentum: float, steps: int) -> float:
    """``u mu^-K``, u the unit roundoff: how far rounding errors grow while K steps are undone."""
    return torch.finfo(dtype).eps / 2 * math.exp(-steps * math.log(momentum))


def undoable_steps(dtype: torch.dtype, momentum: float) -> int:
    """The most steps whose predicted drift is at most 1e-2."""
    return int(math.log(1e-2 / predicted_drift(dtype, momentum, 0)) / -math.log(momentum))


def undone_position(w: Mapping[str, Tensor], v: Mapping[str, Tensor], lr: float) -> dict[str, Tensor]:
    """``w_t = w_{t+1} + lr_t v_{t+1}``; a parameter without momentum never moved."""
    return {n: torch.add(p, v[n], alpha=lr) if n in v else p for n, p in w.items()}


def undone_momentum(v: Mapping[str, Tensor], d: Mapping[str, Tensor], momentum: float) -> dict[str, Tensor]:
    """``v_t = (v_{t+1} - d_t) / mu`` with ``d_t = g_t + lambda w_t``."""
    return {n: (value - d[n]).div_(momentum) for n, value in v.items()}


@dataclass
class Reversible(Hypergradient):
    """Go back through K heavy-ball steps by undoing them: the memory of one student, exact until rounding drifts.

    The error grows as mu^-K: with mu = 0.9, 1e-7 of the gradient after 20 steps in float32, 2e-4 after 100. A drift
    that is predicted above 1e-2 is refused; one that is measured, at the start that is come back to, above
    ``max_drift`` makes ``Recompute`` do the work, and ``stats.fell_back`` says so.

    Needs ``SGD`` with momentum > 0 that is not Nesterov's, learning rate and momentum that are not in ``wrt``, and a
    network whose buffers stay as they are: running statistics cannot be undone.

    Attributes:
        check: refuse when the predicted drift is too large.
        max_drift: largest relative difference of the parameters come back to.

    Source: Maclaurin, Duvenaud and Adams, "Gradient-based hyperparameter optimization through reversible learning",
    ICML 2015; Fan et al., "Learning to teach with deep interactions", 2020, algorithm 2, which has the index of the
    learning rate wrong in ``b <- mu b - lr_{t-1} a``: here it follows from the step itself.
    """

    check: bool = True
    max_drift: float = 1e-3

    def __post_init__(self) -> None:
        if not self.max_drift > 0:
            raise ConfigError(f"max_drift is {self.max_drift}; it must be above 0.")

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss after K steps, having undone them one by one."""
        start = problem.student
        momenta = self._momenta(problem)
        student = start
        for t in range(problem.steps):
            student = problem.advance(t, student)
        _refuse_buffers(start, student)
        loss, adjoint = problem.end(student)
        w, v = dict(student.params), dict(student.rule_state.slots["momentum"])
        self.stats.states = 1
        del student
        for t in reversed(range(problem.steps)):
            step = start.step + t
            w = undone_position(w, v, float(start.rule.rate(step)))
            slot = start.rule_state.slots["momentum"] if t == 0 else v
            here = without_momentum(start.at(w, RuleState(step, {"momentum": slot})))
            adjoint, there = step_back(problem, t, here, adjoint)
            # from a momentum of zeros, the new momentum is d_t
            d = {n: value.detach() for n, value in there.rule_state.slots["momentum"].items()}
            v = undone_momentum(v, d, momenta[t])
            self.stats.reruns += 1
        self.stats.drift = _distance(w, start.params)
        if not self.stats.drift <= self.max_drift:
            return self._fall_back(problem)
        problem.pull(tensors(start), adjoint)
        return loss

    def _momenta(self, problem: Problem) -> list[float]:
        """The momentum of each step, after making sure that the steps can be undone."""
        student, steps = problem.student, problem.steps
        rule = student.rule
        momenta = [float(rule.momentum_at(student.step + t)) for t in range(steps)] if isinstance(rule, SGD) else [0.0]
        if type(rule) is not SGD or rule.nesterov or not min(momenta) > 0:
            raise ConfigError(
                "Reversible can only undo SGD with momentum above 0 and without nesterov, not "
                f"{_named(rule, momenta)}: use Recompute."
            )
        if any(needs_momentum(rule, student.step + t) for t in range(steps)):
            raise ConfigError("Reversible cannot differentiate in the learning rate or the momentum: use Recompute.")
        momentum, dtype = statistics.geometric_mean(momenta), next(iter(student.params.values())).dtype
        drift = predicted_drift(dtype, momentum, steps)
        if self.check and drift > 1e-2:
            raise ConfigError(
                f"Reversible: undoing {steps} steps with momentum {momentum:.6g} in {dtype} would drift by about "
                f"{drift:.1g}; {undoable_steps(dtype, momentum)} steps are the most. Use Recompute, or float64."
            )
        return momenta

    def _fall_back(self, problem: Problem) -> Tensor:
        problem.forget()
        other = Recompute()
        loss = other.differentiate(problem)
        self.stats.fell_back = True
        self.stats.states, self.stats.reruns = other.stats.states, self.stats.reruns + other.stats.reruns
        return loss


def _named(rule: Rule, momenta: Sequence[float]) -> str:
    if not isinstance(rule, SGD):
        return type(rule).__name__
    return f"{type(rule).__name__}(momentum={min(momenta):g}, nesterov={rule.nesterov})"


def _refuse_buffers(before: Student, after: Student) -> None:
    ours, theirs = before.state_dict(), after.state_dict()
    for name in ours:
        if name.startswith("buffers.") and not torch.equal(ours[name], theirs[name]):
            raise ConfigError(
                f"Reversible: studying changes {name.removeprefix('buffers.')}, which cannot be undone; use Recompute."
            )


def _distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    with torch.no_grad():
        size = torch.nn.utils.get_total_norm(b.values())
        return float(torch.nn.utils.get_total_norm([a[n] - p for n, p in b.items()]) / size.clamp_min(1e-30))
