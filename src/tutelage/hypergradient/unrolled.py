"""Unrolled: one graph of all steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Hypergradient
from .problem import Problem, leafed


def first_step(steps: int, truncate: int | None) -> int:
    """The first step that is differentiated: K - T, or 0.

    Raises:
        ConfigError: for a T below 1.
    """
    if truncate is not None and truncate < 1:
        raise ConfigError(f"truncate is {truncate}; at least the last step must be differentiated.")
    return 0 if truncate is None else max(0, steps - truncate)


@dataclass
class Unrolled(Hypergradient):
    """Keep the graph of all K steps, and go back through it: exact and fastest; memory of K graphs.

    Attributes:
        truncate: T: differentiate the last T steps only. Lessons before them, and the start, get exactly 0; with
            momentum mu the bias is large for T < 1 / (1 - mu). Source: Shaban et al., "Truncated back-propagation
            for bilevel optimization", AISTATS 2019.

    Source: Maclaurin, Duvenaud and Adams, "Gradient-based hyperparameter optimization through reversible learning",
    ICML 2015; Franceschi et al., "Forward and reverse gradient-based hyperparameter optimization", ICML 2017.
    """

    truncate: int | None = None

    def __post_init__(self) -> None:
        first_step(1, self.truncate)

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss after K steps, having gone back through their graph."""
        first = first_step(problem.steps, self.truncate)
        student = problem.student
        for t in range(first):
            student = problem.advance(t, student)
        student = leafed(student) if first else student
        for t in range(first, problem.steps):
            student = student.after(problem.lesson(t, student))
        loss = problem.validate(student)
        problem.pull([loss], [torch.ones_like(loss)], steps=range(first, problem.steps))
        self.stats.states = problem.steps - first
        return loss


def Truncated(steps: int) -> Unrolled:
    """Return ``Unrolled(truncate=steps)``: the last steps only, in constant memory, biased."""
    return Unrolled(truncate=steps)
