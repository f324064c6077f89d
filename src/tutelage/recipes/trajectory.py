"""One teacher with all seeds: trained, watched, checkpointed and resumed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import with_prefix, without_prefix
from ..data import Pipeline
from ..errors import CheckpointError, NotFiniteError, TutelageError
from ..evaluation import accuracy, auc, calibration_error, per_class_accuracy
from ..randomness import permutation, stream
from ..rules import Rule
from ..runs import RunFolder
from ..student import Student
from ..teacher import Teacher
from ..training import check_finite
from .cohort import Cohort, Together, cohort
from .diagnostics import Diagnostics
from .dumping import Dumper
from .experiment import Index, Labels, Rows, Setting
from .finished import placed
from .kept import given, kept, kept_dump
from .outcome import Outcome, Record, read_outcome, write_outcome
from .recorder import Recorder


class Watcher(Protocol):
    """Who follows a run: a progress bar, or nobody."""

    def start(self, name: str, steps: int, done: int) -> None:
        """A trajectory begins, or goes on after ``done`` steps."""

    def advance(self, accuracy: float | None) -> None:
        """All students took a step; with the mean test accuracy if an epoch ended."""


class Nobody:
    """Follows nothing."""

    def start(self, name: str, steps: int, done: int) -> None:
        """Ignore it."""

    def advance(self, accuracy: float | None) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Trajectory:
    """One way of training, for all seeds.

    Attributes:
        name: of its files.
        teacher: makes the teacher of a seed; second argument: what the trajectory named by ``needs`` recorded.
        rows: which; of the right ones as many in all seeds as in that with the fewest.
        labels: which labels the rows have.
        needs: name of a trajectory that must be run before.
        dumps: whether losses of the trusted rows are kept, for mentors to learn from; needs a teacher that notes a
            threshold.
        rule: makes the rule for a number of steps; None: as all others.
        validation: how many of the trusted rows the teacher gets at most.
        initialisation: of the students; 0: the one that all arms share.
        school: what to do in place of training a student a seed; None: train them.
    """

    name: str
    teacher: Callable[[Setting, Outcome | None], Teacher]
    rows: Rows = "train"
    labels: Labels = "given"
    needs: str | None = None
    dumps: bool = False
    rule: Callable[[int], Rule] | None = None
    validation: int = 512
    initialisation: int = 0
    school: "School | None" = None


@dataclass(frozen=True)
class Training:
    """How the students of a trajectory are trained.

    Attributes:
        student: name of the network.
        rule: makes the rule for a number of steps.
        epochs: passes over the rows.
        batch_size: rows a step; fewer if there are fewer.
        stack: train the seeds in one pass where the network allows.
        checkpoint_seconds: least time between two checkpoints.
        burn_in: share of training before which weights do not count towards an example's mean.
        per_epoch: steps that count as an epoch, whatever rows there are; None: as many as make a pass over them.
        diagnose: record how teachers that weigh are doing, see :mod:`tutelage.recipes.diagnostics`.
    """

    student: str
    rule: Callable[[int], Rule]
    epochs: int
    batch_size: int
    stack: bool
    checkpoint_seconds: float
    burn_in: float = 0.18
    per_epoch: int | None = None
    diagnose: bool = False


class School(Protocol):
    """A trajectory whose teachers learn, and whose students do not count."""

    def __call__(
        self,
        trajectory: Trajectory,
        settings: Sequence[Setting],
        training: Training,
        folder: RunFolder,
        watcher: Watcher,
    ) -> Outcome:
        """Let the teachers of all seeds learn, or go on where a killed run stopped; write what was recorded."""


def run_trajectory(
    trajectory: Trajectory,
    settings: Sequence[Setting],
    training: Training,
    folder: RunFolder,
    needed: Outcome | None,
    watcher: Watcher,
) -> Outcome:
    """Train all seeds, or go on where a killed run stopped, or read what a finished one left.

    Raises:
        NotFiniteError: if a loss becomes NaN or infinite; the last good checkpoint is kept.
        CheckpointError: if the folder cannot be written or read.
    """
    finished = read_outcome(folder, trajectory.name)
    if finished is not None:
        return finished
    with placed(trajectory.name, folder):
        if trajectory.school is not None:
            return trajectory.school(trajectory, settings, training, folder, watcher)
        return _Run(trajectory, settings, training, folder, needed, watcher).to_the_end()


class _Run:
    """A trajectory under way."""

    def __init__(
        self,
        trajectory: Trajectory,
        settings: Sequence[Setting],
        training: Training,
        folder: RunFolder,
        needed: Outcome | None,
        watcher: Watcher,
    ) -> None:
        self.trajectory, self.settings, self.folder, self.watcher = trajectory, settings, folder, watcher
        self.indices = indices = _equally_many([s.rows(trajectory.rows) for s in settings], settings)
        size = min(training.batch_size, *(len(index) for index in indices))
        self.rows = [s.training(trajectory.labels, index, size) for s, index in zip(settings, indices)]
        self.per_epoch = training.per_epoch or len(self.rows[0])
        self.steps = self.per_epoch * training.epochs
        rule = (trajectory.rule or training.rule)(self.steps)
        self.teachers = [trajectory.teacher(s, needed).to(s.device) for s in settings]
        self.recorders = [
            Recorder(index, len(s.source), training.epochs, s.source.num_classes, training.burn_in)
            for s, index in zip(settings, indices)
        ]
        self.dumpers = [Dumper(given(s, s.roles["trusted"])) for s in settings]
        self.diagnostics = [Diagnostics(torch.from_numpy(s.noise.noisy)) for s in settings if training.diagnose]
        self.records: list[list[Record]] = [[] for _ in settings]
        self.done = 0
        self.seconds = 0.0
        self.checkpoint_seconds = training.checkpoint_seconds
        students = [s.student(training.student, rule, initialisation=trajectory.initialisation) for s in settings]
        saved = self.folder.load()
        stack = training.stack
        if saved is not None and saved[1].get("trajectory") == trajectory.name:
            stack = self._restore(*saved, students)
        example = next(self.rows[0].batches(device=settings[0].device)).x[:4]
        self.cohort: Cohort = cohort(students, example, stack=stack)
        self.tests = [s.evaluation("test") for s in settings]
        self.trusted = [s.evaluation("trusted") for s in settings]

    def to_the_end(self) -> Outcome:
        started = saved_at = time.monotonic()
        before = self.seconds
        self.watcher.start(self.trajectory.name, self.steps, self.done)
        for steps in self._rounds():
            self._latest = steps
            for recorder, step in zip(self.recorders, steps):
                recorder.add(step)
            for diagnostics, step in zip(self.diagnostics, steps):
                diagnostics.add(step)
            self.done += 1
            ended = self.done % self.per_epoch == 0
            self.watcher.advance(self._end_epoch() if ended else None)
            now = time.monotonic()
            self.seconds = before + now - started
            if now - saved_at >= self.checkpoint_seconds and self.done < self.steps:
                self._save()
                saved_at = now
        return self._finish()

    def _rounds(self) -> Iterator[Any]:
        streams = [
            rows.repeat().batches(self.steps, start=self.done, device=setting.device)
            for rows, setting in zip(self.rows, self.settings)
        ]
        trusted = [s.trusted_batch(self.trajectory.validation) for s in self.settings]
        return self.cohort.rounds(self.teachers, streams, trusted)

    def _end_epoch(self) -> float:
        """Evaluate all students, write a metric line for each, and return their mean test accuracy."""
        for student in self.cohort.students():
            check_finite(student)
        epoch, progress = self.done // self.per_epoch - 1, (self.done - 1) / self.steps
        tested, trusted = self._answers(self.tests), self._answers(self.trusted)
        new = []
        for s, setting in enumerate(self.settings):
            logits, y = tested[s]
            if not logits.isfinite().all():
                raise NotFiniteError(
                    f"the answers to the test rows are not finite after {self.done} steps; lower the learning rate."
                )
            weights, losses = self.recorders[s].end_epoch(epoch, progress)
            right, wrong = self._right(s), self._wrong(s)
            if self.trajectory.dumps:
                self.dumpers[s].add(progress, trusted[s][0], self._latest[s].lesson.notes["threshold"])
            new.append(
                {
                    "arm": self.trajectory.name,
                    "seed": setting.seed,
                    "epoch": epoch,
                    "step": self.done,
                    "accuracy": accuracy(logits, y),
                    "trusted_accuracy": accuracy(*trusted[s]),
                    "calibration_error": calibration_error(logits, y),
                    "per_class": per_class_accuracy(logits, y),
                    "loss": _mean(losses),
                    "weight_right": _mean(weights[right]),
                    "weight_wrong": _mean(weights[wrong]),
                    "auc": auc(weights[right | wrong], right[right | wrong]),
                }
            )
            if self.diagnostics:
                new[-1] |= self.diagnostics[s].end_epoch(self._by_row(s, right), self._by_row(s, wrong))
            self.records[s].append(new[-1])
        self.folder.append_metrics(new)
        return float(np.mean([record["accuracy"] for record in new]))

    def _right(self, s: int) -> Any:
        setting, index = self.settings[s], self.indices[s]
        return np.ones(len(index), dtype=bool) if self.trajectory.labels == "true" else setting.right(index)

    def _wrong(self, s: int) -> Any:
        setting, index = self.settings[s], self.indices[s]
        return np.zeros(len(index), dtype=bool) if self.trajectory.labels == "true" else setting.wrong(index)

    def _by_row(self, s: int, chosen: Any) -> Any:
        """Return which rows of the source are meant by a mask over the training rows."""
        found = np.zeros(len(self.settings[s].source), dtype=bool)
        found[self.indices[s]] = chosen
        return found

    def _answers(self, rows: Sequence[Pipeline]) -> list[tuple[Tensor, Tensor]]:
        """Return logits and labels of each seed's rows, in evaluation mode."""
        logits: list[list[Tensor]] = [[] for _ in rows]
        labels: list[list[Tensor]] = [[] for _ in rows]
        for batches in zip(*(r.batches(device=s.device) for r, s in zip(rows, self.settings))):
            for s, answer in enumerate(self.cohort.predict([b.x for b in batches])):
                logits[s].append(answer)
                labels[s].append(batches[s].y)
        return [(torch.cat(z), torch.cat(y)) for z, y in zip(logits, labels)]

    def _save(self) -> None:
        tensors: dict[str, Tensor] = {}
        for s, student in enumerate(self.cohort.students()):
            check_finite(student)
            tensors |= with_prefix(f"student.{s}", student.state_dict())
            tensors |= with_prefix(f"teacher.{s}", self.teachers[s].state_dict())
            tensors |= with_prefix(f"recorder.{s}", self.recorders[s].state_dict())
            tensors |= with_prefix(f"dumper.{s}", self.dumpers[s].state_dict())
        for s, diagnostics in enumerate(self.diagnostics):
            tensors |= with_prefix(f"diagnostics.{s}", diagnostics.state_dict())
        facts = {
            "trajectory": self.trajectory.name,
            "done": self.done,
            "records": self.records,
            "seconds": self.seconds,
            "stacked": isinstance(self.cohort, Together),
        }
        self.folder.save(tensors, facts)

    def _restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], students: Sequence[Student]) -> bool:
        """Take over a checkpoint; return whether the students were stacked."""
        try:
            for s, student in enumerate(students):
                student.load_state_dict(without_prefix(f"student.{s}", tensors))
                self.teachers[s].load_state_dict(without_prefix(f"teacher.{s}", tensors))
                self.recorders[s].load_state_dict(without_prefix(f"recorder.{s}", tensors))
                self.dumpers[s].load_state_dict(without_prefix(f"dumper.{s}", tensors))
            for s, diagnostics in enumerate(self.diagnostics):
                diagnostics.load_state_dict(without_prefix(f"diagnostics.{s}", tensors))
            self.records, self.done, self.seconds = facts["records"], facts["done"], facts["seconds"]
            return bool(facts["stacked"])
        except (KeyError, ValueError, RuntimeError, TutelageError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder.checkpoint} does not fit this run ({first}); remove it to train this arm from its start."
            ) from error

    def _finish(self) -> Outcome:
        outcome = Outcome(self.records, self._tensors(), isinstance(self.cohort, Together), self.seconds)
        write_outcome(self.folder, self.trajectory.name, outcome)
        return outcome

    def _tensors(self) -> dict[str, Tensor]:
        found = kept(self.settings, self.indices, self.trajectory.labels, self.recorders, self.teachers)
        return found | (kept_dump(self.settings, self.dumpers) if self.trajectory.dumps else {})


def _equally_many(indices: Sequence[Index], settings: Sequence[Setting]) -> list[Index]:
    """Return rows of each seed, as many as in the seed that has the fewest, the others drawn."""
    fewest = min(len(index) for index in indices)
    return [
        index if len(index) == fewest else np.sort(index[permutation(stream(s.seed, "rows"), len(index))[:fewest]])
        for index, s in zip(indices, settings)
    ]


def _mean(values: Any) -> float | None:
    """Mean without NaN, None if nothing is left."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
