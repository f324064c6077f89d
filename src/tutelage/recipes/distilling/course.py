"""Courses: the networks of all seeds of a stage on their way."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ...checkpoint import with_prefix, without_prefix
from ...lesson import Batch
from ...rules import SGD
from ...student import Student
from ...teacher import Teacher
from ...training import Step, check_finite
from ..cohort import Cohort, Together, cohort

Metrics: TypeAlias = Mapping[str, Any]
TrainPeers: TypeAlias = Callable[[Sequence[Student], Iterable[Batch]], Iterator[Sequence[Step]]]
"""Trains several students that teach each other; yields a step of each at a time."""


class Course(ABC):
    """A stage under way, for all seeds."""

    @abstractmethod
    def rounds(self, done: int) -> Iterator[Sequence[Metrics]]:
        """Go on after ``done`` steps: yield each step's metrics, one entry a seed."""

    @abstractmethod
    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits (K, N, C) of each seed's K networks for its inputs, in evaluation mode."""

    @abstractmethod
    def counting(self, answers: Tensor) -> Tensor:
        """Return the logits (N, C) that count, of those of all networks of a seed (K, N, C)."""

    @abstractmethod
    def networks(self) -> list[list[nn.Module]]:
        """Return the networks of each seed as they stand; they may be those that are trained further."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and facts from which :meth:`restore` goes on.

        Raises:
            NotFiniteError: if something is not finite.
        """

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave, before the first round.

        Raises:
            KeyError, RuntimeError, TutelageError: if it does not fit.
        """


class Alone(Course):
    """A student a seed, with a teacher of its own.

    Args:
        students: one a seed.
        teachers: one a seed.
        streams: of batches, one a seed.
        steps: in all.
        stack: train the students in one pass where they allow it.
    """

    def __init__(
        self,
        students: Sequence[Student],
        teachers: Sequence[Teacher],
        streams: Sequence[Callable[[int], Batch]],
        steps: int,
        *,
        stack: bool,
    ) -> None:
        self._students, self._teachers, self._streams = students, teachers, streams
        self._steps, self._stack = steps, stack
        self._together: Cohort | None = None

    @property
    def _cohort(self) -> Cohort:
        if self._together is None:  # not before a state was restored
            example = self._streams[0](0).x[:4] if self._stack else torch.empty(0)
            self._together = cohort(self._students, example, stack=self._stack)
        return self._together

    def rounds(self, done: int) -> Iterator[Sequence[Metrics]]:
        """Go on after ``done`` steps: yield each step's metrics, one entry a seed."""
        streams = [_from(stream, done, self._steps) for stream in self._streams]
        for steps in self._cohort.rounds(self._teachers, streams, [None] * len(streams)):
            yield [{**step.metrics, **_noted(step)} for step in steps]

    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return each student's logits (1, N, C) for its inputs, in evaluation mode."""
        return [answer.unsqueeze(0) for answer in self._cohort.predict(xs)]

    def counting(self, answers: Tensor) -> Tensor:
        """Return the student's."""
        return answers[0]

    def networks(self) -> list[list[nn.Module]]:
        """Return the students' networks."""
        return [[student.net] for student in self._cohort.students()]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the states of students and teachers, and whether the students are stacked."""
        tensors: dict[str, Tensor] = {}
        for s, (student, teacher) in enumerate(zip(self._cohort.students(), self._teachers)):
            check_finite(student)
            tensors |= with_prefix(f"student.{s}", student.state_dict())
            tensors |= with_prefix(f"teacher.{s}", teacher.state_dict())
        return tensors, {"stacked": isinstance(self._cohort, Together)}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        for s, (student, teacher) in enumerate(zip(self._students, self._teachers)):
            student.load_state_dict(without_prefix(f"student.{s}", tensors))
            teacher.load_state_dict(without_prefix(f"teacher.{s}", tensors))
        self._stack = bool(facts["stacked"])


class Mutual(Course):
    """Several students a seed that teach each other; the first one counts.

    Args:
        peers: of each seed.
        streams: of batches, one a seed.
        steps: in all.
        train: how they teach each other.
    """

    def __init__(
        self,
        peers: Sequence[Sequence[Student]],
        streams: Sequence[Callable[[int], Batch]],
        steps: int,
        train: TrainPeers,
    ) -> None:
        self._peers, self._streams, self._steps, self._train = peers, streams, steps, train

    def rounds(self, done: int) -> Iterator[Sequence[Metrics]]:
        """Go on after ``done`` steps: yield each step's metrics of the first peers, one entry a seed."""
        runs = [self._train(p, _from(stream, done, self._steps)) for p, stream in zip(self._peers, self._streams)]
        for steps in zip(*runs, strict=True):
            yield [step[0].metrics for step in steps]

    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits (K, N, C) of each seed's peers for its inputs, in evaluation mode."""
        return [torch.stack([peer.predict(x) for peer in peers]) for peers, x in zip(self._peers, xs)]

    def counting(self, answers: Tensor) -> Tensor:
        """Return the first peer's."""
        return answers[0]

    def networks(self) -> list[list[nn.Module]]:
        """Return the peers' networks."""
        return [[peer.net for peer in peers] for peers in self._peers]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the states of all peers."""
        tensors: dict[str, Tensor] = {}
        for s, peers in enumerate(self._peers):
            for k, peer in enumerate(peers):
                check_finite(peer)
                tensors |= with_prefix(f"peer.{s}.{k}", peer.state_dict())
        return tensors, {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        for s, peers in enumerate(self._peers):
            for k, peer in enumerate(peers):
                peer.load_state_dict(without_prefix(f"peer.{s}.{k}", tensors))


class Standing(Course):
    """Networks as they are, several of a seed answering together.

    Args:
        nets: of each seed.
        average: of several the mean of their probabilities, or of their logits.
        class_map: our class c is their class ``class_map[c]``; default: the same order.
    """

    def __init__(
        self,
        nets: Sequence[list[nn.Module]],
        average: Literal["probs", "logits"],
        class_map: Sequence[int] | None = None,
    ) -> None:
        self._nets, self._average = nets, average
        self._order = slice(None) if class_map is None else list(class_map)
        self._students = [[Student(net, SGD(0.0)) for net in own] for own in nets]

    def rounds(self, done: int) -> Iterator[Sequence[Metrics]]:
        """There is nothing to do."""
        return iter(())

    def predict(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Return the logits (K, N, C) of each seed's networks for its inputs, in evaluation mode."""
        answers = [torch.stack([s.predict(x) for s in students]) for students, x in zip(self._students, xs)]
        return [logits[..., self._order] for logits in answers]

    def counting(self, answers: Tensor) -> Tensor:
        """Return the mean logits, or the logarithm of the mean probabilities."""
        if self._average == "logits":
            return answers.mean(0)
        return torch.log_softmax(answers, -1).logsumexp(0) - torch.tensor(float(len(answers))).log()

    def networks(self) -> list[list[nn.Module]]:
        """Return the networks."""
        return list(self._nets)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return nothing: it never stops on its way."""
        return {}, {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over nothing."""


def _from(stream: Callable[[int], Batch], done: int, steps: int) -> Iterator[Batch]:
    return (stream(step) for step in range(done, steps))


def _noted(step: Step) -> Metrics:
    """What a teacher noted that is worth a mean over steps."""
    rows = step.lesson.notes.get("degenerate_rows", 0)
    return {"degenerate_rows": rows} if rows else {}
