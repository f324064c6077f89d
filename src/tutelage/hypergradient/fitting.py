"""The graph of all steps while memory lasts, else each step again on the way back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..lesson import Lesson
from ..memory import Kept, free_bytes
from ..student import Student
from .base import Hypergradient
from .problem import Problem, Taught, leafed, tensors
from .recompute import Recompute
from .unrolled import Unrolled, first_step

_SHARE = 0.5
"""Of the free memory, for the graph: real rows, and other processes, need some as well."""


def tape_bytes(student: Student, taught: Taught) -> int:
    """Return the bytes that the graph of one step keeps until it is gone back through, by taking the step.

    Args:
        student: stays as it is.
        taught: a lesson, or a function that teaches it.
    """
    here = leafed(student)
    kept = Kept(besides=tensors(here))
    with kept.watched():
        there = here.after(taught if isinstance(taught, Lesson) else taught(here))
    for tensor in tensors(there):
        kept.add(tensor)
    return kept.bytes


def check_tape(student: Student, lessons: Sequence[Taught], truncate: int | None = None) -> None:
    """Make sure that the graph of all differentiated steps fits the memory that is free.

    Args:
        student: where the look-ahead starts.
        lessons: K of them; the first is measured.
        truncate: how many steps are differentiated; None: all.

    Raises:
        ConfigError: naming both sizes, and what to do.
    """
    steps = len(lessons) - first_step(len(lessons), truncate)
    needed, free = steps * tape_bytes(student, lessons[0]), free_bytes(_device(student))
    if needed > free:
        raise ConfigError(
            f"the graph of {steps} steps needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB of memory are free: use "
            "Recompute() (memory recompute), which keeps the weights of each step only, or fewer images or networks."
        )


def _device(student: Student) -> torch.device:
    return next(iter(student.params.values())).device


@dataclass
class Fitting(Hypergradient):
    """``Unrolled`` where its graph takes at most half of the free memory, else ``Recompute``; the first call decides.

    Both give the same gradients; where one lesson is taught several times their sums may round differently, so a run
    that is to go on with the same bytes keeps the decision, see :class:`Decision`.

    Attributes:
        truncate: T: differentiate the last T steps only, see ``Unrolled``.
        recomputes: what was decided; None: nothing yet.
    """

    truncate: int | None = None
    recomputes: bool | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        first_step(1, self.truncate)

    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss after K steps, having gone back through them."""
        if self.recomputes is None:
            steps = problem.steps - first_step(problem.steps, self.truncate)
            needed = steps * tape_bytes(problem.student, lambda student: problem.lesson(0, student))
            self.recomputes = needed > _SHARE * free_bytes(_device(problem.student))
        chosen = Recompute(truncate=self.truncate) if self.recomputes else Unrolled(self.truncate)
        loss = chosen.differentiate(problem)
        self.stats.states, self.stats.reruns = chosen.stats.states, chosen.stats.reruns
        return loss


class Decision(nn.Module):
    """What ``Fitting`` decided, as a part of a teacher: it is in ``state_dict``, so that a run goes on alike."""

    recomputes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("recomputes", torch.tensor(-1))  # 0 or 1; -1: not decided yet

    @contextmanager
    def kept(self, strategy: Hypergradient) -> Iterator[None]:
        """Have a strategy act as was decided, and remember what it decides in this block; others are not concerned."""
        if not isinstance(strategy, Fitting):
            yield
            return
        known = int(self.recomputes)
        strategy.recomputes = None if known < 0 else bool(known)
        yield
        if strategy.recomputes is not None:
            self.recomputes.fill_(int(strategy.recomputes))
