"""What a strategy differentiates: students, lessons, a validation loss; and what was found so far."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..errors import ConfigError, NotDifferentiable, ShapeError
from ..lesson import Lesson
from ..rules import RuleState
from ..student import Student
from .cutting import CutLesson

Taught: TypeAlias = Lesson | Callable[[Student], Lesson]
"""A lesson, or a function that teaches it to the student of the moment."""
ValidationLoss: TypeAlias = Callable[[Student], Tensor]


def vjp(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], inputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Return ``sum_k <cotangents_k, d outputs_k / d inputs_i>`` for each input; None where nothing depends on it.

    Graphs are kept: they may belong to the caller, who must be able to ask twice.
    """
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if c is not None and o.requires_grad]
    if not pairs or not inputs:
        return [None] * len(inputs)
    return torch.autograd.grad(
        [o for o, _ in pairs], inputs, [c for _, c in pairs], retain_graph=True, allow_unused=True
    )


def tensors(student: Student) -> list[Tensor]:
    """The parameters of a student, then all that its rule remembers."""
    return [*student.params.values(), *(v for slot in student.rule_state.slots.values() for v in slot.values())]


def leafed(student: Student) -> Student:
    """The same student with leaves for all its :func:`tensors`, cut off from the graph that made them."""
    state = student.rule_state
    slots = {s: {n: v.detach().requires_grad_() for n, v in slot.items()} for s, slot in state.slots.items()}
    params = {n: p.detach().requires_grad_() for n, p in student.params.items()}
    return student.at(params, RuleState(state.step, slots, state.skipped))


class Problem:
    """A look-ahead to differentiate, and the gradients found so far.

    Args:
        student: where the look-ahead starts.
        lessons: K of them, each a lesson or a function of the student.
        validation_loss: of the student after them.
        wrt: the tensors to differentiate with respect to.
        detached: whether functions get a student of plain values.
        training: whether the validation loss sees the student in training mode.

    Raises:
        ConfigError: without lessons, ``wrt`` or parameters that learn, or in half precision.
        NotDifferentiable: for an entry of ``wrt`` that has no derivative.
    """

    def __init__(
        self,
        student: Student,
        lessons: Iterable[Taught],
        validation_loss: ValidationLoss,
        wrt: Iterable[Tensor],
        *,
        detached: bool = False,
        training: bool = False,
    ) -> None:
        self.student = student
        self.wrt = list(wrt)
        self._lessons: list[Any] = list(lessons)
        self._validation_loss = validation_loss
        self._detached, self._training = detached, training
        self._check()
        self.forget()

    def _check(self) -> None:
        if not self._lessons:
            raise ConfigError("hypergradient: 0 lessons given; give at least one, each a Lesson or a function of it.")
        for t, lesson in enumerate(self._lessons):
            if not (isinstance(lesson, Lesson) or callable(lesson)):
                kind = type(lesson).__name__
                raise ConfigError(f"hypergradient: lessons[{t}] is a {kind}, but needs to be a Lesson or a function.")
        if not self.wrt:
            raise ConfigError("hypergradient: wrt is empty; give the tensors to differentiate with respect to.")
        for i, tensor in enumerate(self.wrt):
            what = f"hypergradient: wrt[{i}], {tuple(tensor.shape)} {tensor.dtype},"
            if not tensor.is_floating_point():
                raise NotDifferentiable(f"{what} has no derivative: it must be of a floating dtype.")
            if not tensor.requires_grad:
                raise NotDifferentiable(f"{what} does not require a gradient: call .requires_grad_() before its use.")
        if not self.student.params:
            raise ConfigError("hypergradient: the student has no parameters that learn, so no lesson changes it.")
        device = next(iter(self.student.params.values())).device.type
        half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
        if half or any(p.dtype == torch.float16 for p in self.student.params.values()):
            raise ConfigError(
                "hypergradient: float16 gradients underflow, and losses of lessons are not scaled; "
                "use bfloat16 or float32."
            )

    @property
    def steps(self) -> int:
        """K, the number of lessons."""
        return len(self._lessons)

    @property
    def starts_in_wrt(self) -> bool:
        """Whether the student that the look-ahead starts from may depend on ``wrt``."""
        asked = {id(tensor) for tensor in self.wrt}
        return any(p.grad_fn is not None or id(p) in asked for p in tensors(self.student))

    def is_fixed(self, t: int) -> bool:
        """Whether lesson t does not depend on the student."""
        return isinstance(self._lessons[t], Lesson)

    @property
    def unused(self) -> tuple[int, ...]:
        """Positions in ``wrt`` where nothing arrived."""
        return tuple(i for i, tensor in enumerate(self.wrt) if id(tensor) not in self._found)

    def forget(self) -> None:
        """Start again with nothing found."""
        self._found: dict[int, Tensor] = {}
        self._cut: dict[int, CutLesson] = {}
        self._at: dict[int, CutLesson] = {}

    def lesson(self, t: int, student: Student, *, fixed: bool = False) -> Lesson:
        """Return lesson t for the student of the moment, static ones as leaves.

        Args:
            t: step, counted from 0.
            student: who is taught.
            fixed: cut off a lesson that is a function, too: it is taught once, and counts as static.
        """
        given = self._lessons[t]
        if isinstance(given, Lesson):
            if id(given) not in self._cut:
                self._cut[id(given)] = CutLesson(given)
            self._at[t] = self._cut[id(given)]
            return self._at[t].lesson
        if self._detached and torch.is_grad_enabled():
            student = student.at({n: p.detach().requires_grad_() for n, p in student.params.items()})
        taught = given(student)
        if not isinstance(taught, Lesson):
            raise ConfigError(f"hypergradient: lessons[{t}] returned a {type(taught).__name__}, but needs a Lesson.")
        if not fixed:
            return taught
        self._at[t] = self._cut[-t - 1] = CutLesson(taught)
        return self._at[t].lesson

    def advance(self, t: int, student: Student) -> Student:
        """Return the student after lesson t, without a graph."""
        with torch.no_grad():
            lesson = self.lesson(t, student)
        return student.after(lesson, differentiable=False)

    def validate(self, student: Student) -> Tensor:
        """Return the validation loss, a scalar with a graph.

        Raises:
            ShapeError: if it is no scalar.
        """
        loss = self._validation_loss(student if self._training else student.evaluated())
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            given = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ShapeError(f"hypergradient: the validation loss is {given}, but needs to be a scalar: use .mean().")
        return loss

    def end(self, student: Student) -> tuple[Tensor, list[Tensor | None]]:
        """Return the validation loss of the last student and its derivatives in that student's :func:`tensors`."""
        last = leafed(student)
        loss = self.validate(last)
        return loss.detach(), self.pull([loss], [torch.ones_like(loss)], onto=tensors(last))

    def pull(
        self,
        outputs: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        *,
        onto: Sequence[Tensor] = (),
        steps: Iterable[int] = (),
    ) -> list[Tensor | None]:
        """Go back from ``outputs``: collect what reaches ``wrt`` and the lessons, return what reaches ``onto``.

        Args:
            outputs: tensors with a graph.
            cotangents: one an output; None is zero.
            onto: tensors whose cotangents the caller wants.
            steps: whose static lessons the graph holds.
        """
        cuts = {id(self._at[t]): self._at[t] for t in steps if t in self._at}
        sought = [*(leaf for cut in cuts.values() for leaf in cut.leaves), *{id(w): w for w in self.wrt}.values()]
        found = vjp(outputs, cotangents, [*onto, *sought])
        for tensor, cotangent in zip(sought, found[len(onto) :]):
            if cotangent is not None:
                known = self._found.get(id(tensor))
                self._found[id(tensor)] = cotangent if known is None else known + cotangent
        return list(found[: len(onto)])

    def gradients(self) -> list[Tensor]:
        """Return the gradients, one an entry of ``wrt``; zeros where nothing arrived.

        Raises:
            NotDifferentiable: if nothing arrived anywhere.
        """
        pairs = [pair for cut in self._cut.values() for pair in zip(cut.originals, cut.leaves)]
        self.pull([original for original, _ in pairs], [self._found.get(id(leaf)) for _, leaf in pairs])
        if len(self.unused) == len(self.wrt):
            raise NotDifferentiable(
                "hypergradient: the validation loss depends on no entry of wrt through these lessons; is a lesson, the "
                "loss or the rule detached (.detach(), .item(), torch.no_grad), or wrt used in truncated steps only?"
            )
        return [self._found[id(w)].detach() if id(w) in self._found else torch.zeros_like(w) for w in self.wrt]
