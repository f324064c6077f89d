"""Hypergradient: the derivative of a validation loss through a student's updates, by interchangeable strategies."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError, NotDifferentiable, NotFiniteError
from ..memory import peak_bytes
from ..rules import Scalar
from ..student import Student
from .problem import Problem, Taught, ValidationLoss

_UNSUPPORTED = re.compile(
    r"derivative for '?(?:aten::)?(\w+)'? is not implemented|forward AD with (\w+)|(torch\.compile) with aot_autograd"
    r"|for custom (autograd\.Function)"
)


@dataclass
class Stats:
    """What the last call of a strategy took.

    Attributes:
        states: most students kept at a time, beyond the given one; for ``Unrolled`` with the graphs of their steps.
        reruns: steps whose gradient was computed once more.
        peak_bytes: most memory held at a time, beyond that before the call; None unless ``measure`` is set.
        residual: of the linear system, ``||H q - b|| / ||b||``; None where none was solved.
        drift: relative difference between the given parameters and those that ``Reversible`` came back to.
        fell_back: whether this drift was too large, and ``Recompute`` did the work.
        unused: positions in ``wrt`` of the entries that nothing depends on; their gradients are zeros.
    """

    states: int = 0
    reruns: int = 0
    peak_bytes: int | None = None
    residual: float | None = None
    drift: float | None = None
    fell_back: bool = False
    unused: tuple[int, ...] = ()


@dataclass
class Hypergradient(ABC):
    """A way to differentiate a validation loss through K updates of a student.

    Strategies differ in memory, bias and cost only. The statistics of the last call are on the strategy, not in the
    result, so that the result is the same pair for all and callers need not know which one they were given.

    Attributes:
        features: what a lesson that is a function of the student gets. ``"attached"``: a student that depends on the
            teacher's earlier lessons, so that the result is the derivative of the whole process. ``"detached"``: a
            student of plain values, so that the teacher's inputs count as constants (published practice).
        validation_mode: ``"eval"``: the validation loss sees a student in evaluation mode (running statistics, no
            dropout). ``"train"``: as in training.
        measure: note the peak memory in ``stats``; on a CPU a few times slower.
        stats: of the last call.
    """

    features: Literal["attached", "detached"] = field(default="attached", kw_only=True)
    validation_mode: Literal["eval", "train"] = field(default="eval", kw_only=True)
    measure: bool = field(default=False, kw_only=True)
    stats: Stats = field(default_factory=Stats, init=False, repr=False, compare=False)

    @abstractmethod
    def differentiate(self, problem: Problem) -> Tensor:
        """Return the validation loss, having pulled its derivative through ``problem``; note ``stats``."""

    def __call__(
        self, student: Student, lessons: Iterable[Taught], validation_loss: ValidationLoss, wrt: Iterable[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the validation loss after the lessons, and its total derivative in each entry of ``wrt``.

        Neither the student, nor ``.grad`` of anything, nor random state changes. The gradients are of the loss: a
        teacher that wants a lower one descends them.

        Args:
            student: where the look-ahead starts; its own rule takes the steps.
            lessons: K of them, each a :class:`Lesson` or a function of the student of the moment. The graph that made
                a lesson is gone back through once, and kept.
            validation_loss: student -> scalar; ``student.logits(x)`` is in the mode of ``validation_mode``.
            wrt: tensors that require a gradient: parameters of the teacher, tensors of lessons, learning rate,
                momentum or weight decay of the rule, the student's own parameters.

        Returns:
            the loss, a scalar without graph, and gradients in order, shape, dtype and device of ``wrt``; zeros for an
            entry that nothing depends on, see ``stats.unused``.

        Raises:
            ConfigError: for options or lessons that do not fit the strategy.
            NotDifferentiable: for an entry without derivative, if nothing depends on any entry, or for an operator
                that lacks the derivative which the strategy needs.
            NotFiniteError: if the look-ahead or its derivative is not finite.
        """
        for name, known in (("features", ("attached", "detached")), ("validation_mode", ("eval", "train"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")
        detached, training = self.features == "detached", self.validation_mode == "train"
        problem = Problem(student, lessons, validation_loss, wrt, detached=detached, training=training)
        self.stats = Stats()
        if not self.measure:
            return self._solved(problem)
        result, most = peak_bytes(lambda: self._solved(problem), next(iter(student.params.values())).device)
        self.stats.peak_bytes = most
        return result

    def _solved(self, problem: Problem) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad(), _without_autocast_cache(), operators_named(type(self).__name__, problem.student):
            loss = self.differentiate(problem).detach()
            gradients = problem.gradients() if loss.isfinite() else []
            self.stats.unused = problem.unused
            sized = [tensor for tensor in (loss, *gradients) if tensor.numel()]  # no elements have no largest one
            if not torch.nn.utils.get_total_norm(sized, math.inf).isfinite():
                raise NotFiniteError(f"{type(self).__name__}: {where_not_finite(problem, loss)}")
        return loss, gradients


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Autocast keeps the casts of all parameters until its end: K students would stay alive."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)


@contextmanager
def operators_named(
    strategy: str, student: Student, instead: str = 'OneStep("fd"), which needs neither'
) -> Iterator[None]:
    """Name the operator of the student's network that lacks the derivative which a strategy needs.

    Args:
        strategy: its name.
        student: whose network it is.
        instead: what else there is.

    Raises:
        NotDifferentiable: in place of the error of PyTorch.
    """
    try:
        yield
    except RuntimeError as error:
        found = _UNSUPPORTED.search(str(error))
        if found is None:
            raise
        student.forget()  # its pass lacks the derivative in any other context as well
        operator = next(name for name in found.groups() if name)
        raise NotDifferentiable(
            f"{strategy}: {operator} has no derivative of its derivative, or no forward mode. For attention, use "
            f"torch.nn.attention.sdpa_kernel(SDPBackend.MATH); for anything, {instead}."
        ) from error


def where_not_finite(problem: Problem, loss: Tensor) -> str:
    """Which step first led to parameters that are not finite; found by looking ahead once more."""
    student, lr = problem.student, math.nan
    for t in range(problem.steps):
        lr, size = _plain(student.lr), _size(student)
        student = problem.advance(t, student)
        if not math.isfinite(_size(student)):
            return (
                f"the look-ahead is not finite after step {t + 1} of {problem.steps} (lr {lr:.3g}, ||w|| {size:.3g} "
                "before it): lower the learning rate, or check the lesson."
            )
    what = "derivative of the validation loss" if loss.isfinite() else "validation loss"
    return (
        f"the {what} is not finite after {problem.steps} steps whose parameters are (lr {lr:.3g}, "
        f"||w|| {_size(student):.3g}): look ahead fewer steps, or check the loss."
    )


def _plain(scalar: Scalar) -> float:
    return float(scalar.detach() if isinstance(scalar, Tensor) else scalar)


def _size(student: Student) -> float:
    return float(torch.nn.utils.get_total_norm([p.detach() for p in student.params.values()]))
