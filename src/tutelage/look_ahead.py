"""Looking ahead: what teachers share that descend a validation loss through the lessons of a window."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from .errors import ConfigError
from .hypergradient import Hypergradient, auto, sizes_of
from .hypergradient.problem import Taught
from .lesson import Batch, Lesson, Loss
from .losses import cross_entropy
from .optimiser import Optimiser
from .randomness import counter, smallest, stream
from .rules import SGD, Adam, Rule
from .student import Student

Teach: TypeAlias = Callable[[Batch, Student], Lesson]
Window: TypeAlias = Literal["ahead", "back"]
Inputs: TypeAlias = Literal["attached", "detached"]
Steps: TypeAlias = Literal["rule", "plain"]


def drawn(validation: Batch, student: Student, rows: int) -> Batch:
    """Return ``rows`` of the validation examples, drawn without replacement anew at each step; all if no more."""
    if len(validation) <= rows:
        return validation
    chosen = smallest(counter(stream(student.seed, "validation rows"), student.step), validation.index, rows)
    return Batch(validation.x[chosen], validation.y[chosen], validation.index[chosen], validation.progress)


class LookAhead(nn.Module):
    """Learns a teacher's parameters: every B steps, by the derivative of the validation loss through K lessons.

    With the student's parameters ``w`` and lessons that are taught anew to each student on the way::

        w_{t+1} = step(w_t, lesson_t(w_t, omega)),    G = d M(w_K, omega) / d omega,    omega <- rule(omega, G)

    M is the mean validation loss. A teacher has it as a part, calls :meth:`learn` in its own ``learn``, and teaches
    again in ``revise`` if :meth:`has_updated`.

    Args:
        params: what is learned, by name.
        steps: K, how many lessons are differentiated, >= 1.
        every: B, an update before every B-th step of the student, >= 1.
        window: ``"ahead"``: the present batch and the K - 1 that come next, fewer at the end of the training.
            ``"back"``: the last K batches, from the student as it was before them.
        inputs: ``"attached"``: G is the derivative of the whole process. ``"detached"``: what the teacher reads from
            the student counts as constant (published practice).
        look_ahead: ``"rule"``: the steps are those of the student's own rule. ``"plain"``: plain SGD with the learning
            rate of the rule's schedule, without momentum and decay (published practice).
        strategy: how the derivative is computed; None: chosen by K and sizes, see :func:`tutelage.hypergradient.auto`.
        rule: how G changes the parameters; default: ``Adam(1e-2, weight_decay=1e-4)``.
        loss: per-example validation loss.
        validation_rows: how many validation examples an update takes, drawn without replacement; all if there are no
            more.

    Raises:
        ConfigError: for options outside their ranges.

    Source: Fan et al., "Learning to teach with deep interactions", 2020 (``"back"``, with B = K); Shu et al.,
    "Meta-Weight-Net", NeurIPS 2019 (K = B = 1, ``"plain"``).
    """

    frozen: Tensor

    def __init__(
        self,
        params: Mapping[str, Tensor],
        *,
        steps: int = 5,
        every: int = 5,
        window: Window = "ahead",
        inputs: Inputs = "attached",
        look_ahead: Steps = "rule",
        strategy: Hypergradient | None = None,
        rule: Rule | None = None,
        loss: Loss = cross_entropy,
        validation_rows: int = 512,
    ) -> None:
        super().__init__()
        for name, count in (("steps", steps), ("every", every), ("validation_rows", validation_rows)):
            if count < 1:
                raise ConfigError(f"{name} is {count}; it must be at least 1.")
        for name, given, known in (
            ("window", window, Window),
            ("inputs", inputs, Inputs),
            ("look_ahead", look_ahead, Steps),
        ):
            if given not in get_args(known):
                raise ConfigError(f'{name} is "{given}"; it must be one of {", ".join(get_args(known))}.')
        self.steps, self.every, self.window, self.inputs = steps, every, window, inputs
        self.look_ahead = look_ahead
        self.loss = loss
        self.validation_rows = validation_rows
        if strategy is not None and inputs == "detached":
            strategy = replace(strategy, features="detached")
        self.strategy = strategy
        self.optimiser = Optimiser(params, Adam(1e-2, weight_decay=1e-4) if rule is None else rule)
        self.past = Past(steps, every)
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))
        self._updated_at = -1

    @property
    def ahead(self) -> int:
        """How many batches after the present one are looked at: the ``ahead`` of the teacher."""
        return self.steps - 1 if self.window == "ahead" else 0

    @property
    def arguments(self) -> dict[str, Any]:
        """The options that JSON can hold."""
        names = ("steps", "every", "window", "inputs", "look_ahead", "validation_rows")
        return {name: getattr(self, name) for name in names}

    def freeze(self) -> None:
        """Learn no more; warns, because what was learned on one student seldom holds for another."""
        warnings.warn(
            "a teacher that was learned during one run rarely serves a student of another initialisation: "
            "compare it with uniform weights.",
            UserWarning,
            stacklevel=3,
        )
        self.frozen.fill_(True)

    def has_updated(self, student: Student) -> bool:
        """Whether the last :meth:`learn` changed the parameters before this very step of the student."""
        return self._updated_at == student.step

    def revised(self, teach: Teach, lesson: Lesson, student: Student) -> Lesson:
        """Return the lesson as it is, or taught again without a graph if the parameters have just changed.

        Args:
            teach: as for :meth:`learn`.
            lesson: whose notes hold its ``batch``.
            student: who is about to study it.
        """
        if not self.has_updated(student):
            return lesson
        with torch.no_grad():
            return teach(lesson.notes["batch"], student)

    def learn(
        self,
        params: Mapping[str, Tensor],
        teach: Teach,
        batch: Batch,
        student: Student,
        validation: Batch | None,
        *,
        lesson: Lesson | None = None,
    ) -> dict[str, Any]:
        """Update the parameters if it is time, and leave the gradient in their ``.grad``; neither changes the student.

        Args:
            params: of the same names, in the same order, as at construction.
            teach: makes a lesson of a batch for a student, differentiable in the parameters.
            batch: the present one, with those ahead.
            student: before it studies the batch.
            validation: trusted examples.
            lesson: what ``teach`` has just made of the batch for the student, so that it need not do so again.

        Returns:
            at an update ``validation_loss``, of the student after the window, and ``hypergradient_norm``; both
            scalars. Else nothing.

        Raises:
            ConfigError: without validation examples.
        """
        if validation is None:
            if self.frozen:
                return {}
            raise ConfigError("this teacher learns from trusted examples; pass them as validation.")
        metrics = {}
        if student.step % self.every == 0 and not self.frozen:
            start, batches = self._window(batch, student)
            if batches:
                lessons: list[Taught] = [partial(teach, batch) for batch in batches]
                # a lesson from before the last update would be out of date
                if lesson is not None and start is student and not self.has_updated(student):
                    lessons[0] = lesson if lesson.weight.requires_grad else lessons[0]
                part = drawn(validation, student, self.validation_rows)
                metrics = self._update(params, lessons, start, batches[0].x, part)
                self._updated_at = student.step
        if self.window == "back":
            self.past.take(batch, student)
        return metrics

    def _window(self, batch: Batch, student: Student) -> tuple[Student, list[Batch]]:
        if self.window == "ahead":
            return student, [batch, *batch.ahead[: self.steps - 1]]
        return self.past.window(student)

    def _update(
        self, params: Mapping[str, Tensor], lessons: list[Taught], start: Student, x: Tensor, validation: Batch
    ) -> dict[str, Any]:
        if self.look_ahead == "plain":
            start = start.with_rule(SGD(start.rule.rate))
        if self.strategy is None:
            chosen = auto(self.steps, sizes_of(start, x), start.rule)
            self.strategy = replace(chosen, features=self.inputs)
        loss, gradients = self.strategy(
            start,
            lessons,
            lambda student: self.loss(student.logits(validation.x), validation.y).mean(),
            params.values(),
        )
        self.optimiser.step(params, gradients)
        return {"validation_loss": loss, "hypergradient_norm": torch.nn.utils.get_total_norm(gradients)}


class Past(nn.Module):
    """Students as they were when a window began, and the batches since; all of it in the ``state_dict``.

    The batches themselves are kept, not their indices: whatever augmentation made them, a window that is gone through
    after an interruption has the same bytes.

    Args:
        steps: K, length of a window.
        every: B, windows end before every B-th step; with K > B several are open at a time.
    """

    def __init__(self, steps: int, every: int) -> None:
        super().__init__()
        self.steps, self.every = steps, every
        self._students: dict[int, dict[str, Tensor]] = {}
        self._batches: dict[int, dict[str, Tensor]] = {}

    def window(self, student: Student) -> tuple[Student, list[Batch]]:
        """Return the student K steps ago, and the K batches since; no batches if they are not known."""
        first = student.step - self.steps
        if first not in self._students or any(t not in self._batches for t in range(first, student.step)):
            return student, []
        kept = [self._batches[t] for t in range(first, student.step)]
        batches = [Batch(b["x"], b["y"], b["index"], float(b["progress"])) for b in kept]
        return student.restored(self._students[first]), batches

    def take(self, batch: Batch, student: Student) -> None:
        """Keep what a later window needs of this step; forget what none needs, and all of another student's future."""
        step = student.step
        self._students = {t: s for t, s in self._students.items() if step - self.steps < t < step}
        if (step + self.steps) % self.every == 0:
            self._students[step] = student.state_dict()
        first = min(self._students, default=step + 1)
        self._batches = {t: b for t, b in self._batches.items() if first <= t < step}
        if first <= step:
            progress = torch.tensor(batch.progress, dtype=torch.float64)
            self._batches[step] = {"x": batch.x, "y": batch.y, "index": batch.index, "progress": progress}

    def _tables(self) -> dict[str, dict[int, dict[str, Tensor]]]:
        return {"students": self._students, "batches": self._batches}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Past":
        for table in self._tables().values():
            for step, tensors in table.items():
                table[step] = {name: fn(tensor) for name, tensor in tensors.items()}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for kind, table in self._tables().items():
            for step, tensors in table.items():
                destination.update({f"{prefix}{kind}.{step}.{name}": tensor for name, tensor in tensors.items()})

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        tables: dict[str, dict[int, dict[str, Tensor]]] = {"students": {}, "batches": {}}
        for key, tensor in state_dict.items():
            if key.startswith(prefix):
                kind, step, name = key[len(prefix) :].split(".", 2)
                tables[kind].setdefault(int(step), {})[name] = tensor
        self._students, self._batches = tables["students"], tables["batches"]
