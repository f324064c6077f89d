"""Several students of one architecture trained at once: their parameters stacked, one pass for all."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import vmap

from .errors import ConfigError
from .functional import FunctionalNet
from .lesson import Batch, Lesson
from .ranks import mean_over_ranks
from .rules import Params, RuleState
from .student import Forward, Student

_UNSUPPORTED = (
    nn.modules.conv._ConvNd,  # supported by vmap, but slower than one after another on a CPU
    nn.modules.dropout._DropoutNd,
    nn.modules.batchnorm._NormBase,
    nn.RNNBase,
)


def stackable(students: Sequence[Student], x: Tensor) -> bool:
    """Return whether these students can share one vectorised pass, with the same answers as one by one.

    Small fully connected networks can. Networks with buffers, frozen parameters, dropout, convolutions, recurrence
    or control flow that depends on the data cannot.

    Args:
        students: of one architecture and rule.
        x: a few inputs (N, ...) to compare the answers on.
    """
    first = students[0]
    if len(students) < 2 or first.has_constants:
        return False
    if any(isinstance(module, _UNSUPPORTED) for module in first.architecture.modules()):
        return False
    try:
        stacked = StackedStudent(students).predict([x] * len(students))
    except RuntimeError:  # what vmap raises for operators and control flow that it does not support
        return False
    alone = torch.stack([student.predict(x) for student in students])
    return torch.allclose(torch.stack(stacked), alone, rtol=1e-4, atol=1e-5)


class _Slices(Mapping[str, Tensor]):
    """The tensors of one student of a stack, cut out when they are asked for."""

    def __init__(self, stacked: Mapping[str, Tensor], position: int, *, leaves: bool = False) -> None:
        self._stacked = stacked
        self._position = position
        self._leaves = leaves
        self._cut: Params = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._cut:
            piece = self._stacked[name].detach()[self._position]
            self._cut[name] = piece.requires_grad_() if self._leaves else piece
        return self._cut[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stacked)

    def __len__(self) -> int:
        return len(self._stacked)


class StackedStudent:
    """S students that study S lessons in one pass; equal to S students one by one up to rounding.

    Args:
        students: at least one, of one architecture, rule and step; see :func:`stackable`.
    """

    def __init__(self, students: Sequence[Student]) -> None:
        states = [student.rule_state for student in students]
        if len({state.step for state in states}) != 1:
            raise ConfigError("StackedStudent: the students must have studied the same number of lessons.")
        self._students = list(students)
        self._rule = students[0].rule
        self._call = FunctionalNet(students[0].architecture)
        self._params = {
            n: torch.stack([s.params[n].detach() for s in students]).requires_grad_() for n in students[0].params
        }
        slots = {
            slot: {n: torch.stack([state.slots[slot][n] for state in states]) for n in names}
            for slot, names in states[0].slots.items()
        }
        self._state = RuleState(states[0].step, slots, states[0].skipped)
        self._seen: tuple[list[Tensor], Tensor, list[int], int] | None = None

    def __len__(self) -> int:
        return len(self._students)

    @property
    def step(self) -> int:
        """How many lessons each student studied."""
        return self._state.step

    def members(self, batches: Sequence[Batch]) -> list[Student]:
        """Return the students as views that have already answered their batch.

        A teacher reads them as any student; for its own look-ahead a view makes its own pass.

        Args:
            batches: one a student, of equal sizes.
        """
        xs = [batch.x for batch in batches]
        with torch.enable_grad():
            logits, features = self._forward(torch.stack(xs))
        answers = logits.unbind()
        self._seen = (xs, logits, [x._version for x in xs], logits._version)
        return [
            student.view_of_stack(
                _Slices(self._params, s, leaves=True),
                RuleState(
                    self._state.step,
                    {slot: _Slices(v, s) for slot, v in self._state.slots.items()},
                    self._state.skipped,
                ),
                Forward(
                    xs[s],
                    answer,
                    (xs[s]._version, answer._version),
                    None if features is None else features[s],
                    {},
                    False,
                ),
            )
            for s, (student, answer) in enumerate(zip(self._students, answers))
        ]

    def study(self, lessons: Sequence[Lesson]) -> list[dict[str, Tensor]]:
        """Let every student study its lesson.

        Returns:
            for each student ``loss``, ``losses`` and ``logits``, as :meth:`Student.study`.

        Raises:
            ConfigError: for a lesson whose loss looks at layers.
        """
        if layers := {name for lesson in lessons for name in lesson.layers}:
            raise ConfigError(
                f"a lesson looks at {', '.join(sorted(layers))} of its student, which a stack does not show: "
                "train these students one by one."
            )
        with torch.enable_grad():
            logits = self._logits_of(lessons)
            losses = torch.stack([lesson.losses(logits[s]) for s, lesson in enumerate(lessons)])
        weight = torch.stack([lesson.weight.detach().to(losses.dtype) for lesson in lessons])
        cotangents = weight / weight.shape[1]
        found = torch.autograd.grad(losses, list(self._params.values()), grad_outputs=cotangents, allow_unused=True)
        mean_over_ranks([gradient for gradient in found if gradient is not None])
        with torch.no_grad():
            (mean,) = mean_over_ranks([weight.mean(1)])
            decay = self._rule.decay.coefficients(self._params, mean, stacked=True)
            params, self._state = self._rule.step(self._params, dict(zip(self._params, found)), self._state, decay)
            self._params = {n: p.detach().requires_grad_() for n, p in params.items()}
            losses = losses.detach()
            marks = (cotangents * losses).sum(1)
        answers = logits.detach().unbind()
        return [
            {"loss": mark, "losses": row, "logits": answer}
            for mark, row, answer in zip(marks.unbind(), losses.unbind(), answers)
        ]

    @torch.no_grad()
    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits (N, C) of each student for its inputs (N, ...), in evaluation mode."""
        return list(self._forward(torch.stack(list(xs)))[0].unbind())

    def students(self) -> list[Student]:
        """Write the current state into the students that were stacked, and return them."""
        for s, student in enumerate(self._students):
            state = student.state_dict()
            state |= {f"params.{n}": p[s].detach() for n, p in self._params.items()}
            for slot, values in self._state.slots.items():
                state |= {f"rule.{slot}.{n}": v[s] for n, v in values.items()}
            state |= {f"rule.skipped.{n}": torch.tensor(count) for n, count in self._state.skipped.items()}
            student.load_state_dict(state | {"step": torch.tensor(self._state.step)})
        return self._students

    def _logits_of(self, lessons: Sequence[Lesson]) -> Tensor:
        """The logits that the teachers saw, if the lessons are about the same inputs; else a new pass."""
        seen, self._seen = self._seen, None
        if seen is not None:
            xs, logits, versions, version = seen
            same = all(lesson.x is x and x._version == v for lesson, x, v in zip(lessons, xs, versions))
            if same and logits._version == version:
                return logits
        return self._forward(torch.stack([lesson.x for lesson in lessons]))[0]

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        features: list[Tensor] = []
        last = self._students[0].last_linear

        def one(params: Params, x: Tensor) -> tuple[Tensor, ...]:
            features.clear()
            out, _ = self._call(params, x)
            assert isinstance(out, Tensor)
            return (out, *features[-1:])

        hook = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0])) if last else None
        try:
            out = vmap(one, randomness="error")(self._params, x)
        finally:
            if hook is not None:
                hook.remove()
        return out[0], out[1] if len(out) > 1 else None
