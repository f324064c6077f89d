"""One teacher with all seeds: trained, watched, checkpointed and resumed."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import load_checkpoint, save_checkpoint, with_prefix, without_prefix
from ..data import Pipeline
from ..errors import CheckpointError, NotFiniteError, TutelageError
from ..evaluation import accuracy, auc, calibration_error, per_class_accuracy
from ..rules import Rule
from ..runs import RunFolder
from ..student import Student
from ..teacher import Teacher
from ..training import check_finite
from .cohort import Cohort, Together, cohort
from .dumping import Dumper
from .experiment import Labels, Setting
from .recorder import Recorder

Record: TypeAlias = dict[str, Any]
SUSPECTS = 24
"""How many of the least trusted examples are kept with their images for the report."""


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
        rows: the training rows, or the trusted rows only.
        labels: which labels the rows have.
        needs: name of a trajectory that must be run before.
        dumps: whether losses of the trusted rows are kept, for mentors to learn from; needs a teacher that notes a
            threshold.
        rule: makes the rule for a number of steps; None: as all others.
        validation: how many of the trusted rows the teacher gets at most.
    """

    name: str
    teacher: Callable[[Setting, "Outcome | None"], Teacher]
    rows: Literal["train", "trusted"] = "train"
    labels: Labels = "given"
    needs: str | None = None
    dumps: bool = False
    rule: Callable[[int], Rule] | None = None
    validation: int = 512


@dataclass(frozen=True)
class Outcome:
    """What a trajectory recorded.

    Attributes:
        records: for each seed, a record an epoch.
        tensors: ``index, given, true`` (N,), ``weight, loss`` (epochs, N) of the first seed; ``rows, mean_weight,
            last_weight, early_loss, mean_loss, seen, suggested`` (S, N) of all seeds; ``suspects`` (M,) and ``images``
            of the first seed; ``teacher.S.NAME``, the teachers as they ended; ``dump_*``, see
            :mod:`tutelage.recipes.dumping`.
        stacked: whether the seeds were trained in one pass.
        seconds: how long it took, resumed parts included.
    """

    records: list[list[Record]]
    tensors: dict[str, Tensor]
    stacked: bool
    seconds: float


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
    """

    student: str
    rule: Callable[[int], Rule]
    epochs: int
    batch_size: int
    stack: bool
    checkpoint_seconds: float
    burn_in: float = 0.18


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
    try:
        return _Run(trajectory, settings, training, folder, needed, watcher).to_the_end()
    except NotFiniteError as error:
        kept = "the last good checkpoint is kept" if folder.checkpoint.is_file() else "no checkpoint was made yet"
        raise NotFiniteError(f"{trajectory.name}: {error} In {folder.path}, {kept}.") from error


def read_outcome(folder: RunFolder, name: str) -> Outcome | None:
    """Return what a finished trajectory recorded, None if it is not finished."""
    if not folder.has(f"arms/{name}.json"):
        return None
    facts = folder.read(f"arms/{name}.json")
    try:
        tensors, _ = load_checkpoint(folder.path / f"arms/{name}.safetensors")
        return Outcome(facts["records"], tensors, facts["stacked"], facts["seconds"])
    except (CheckpointError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder.path}/arms/{name} is damaged ({error}); remove {name}.json there and resume to train it again."
        ) from error


def restore_metrics(folder: RunFolder, names: Sequence[str]) -> None:
    """Make the metric lines those of the finished trajectories and of the checkpoint, no more."""
    records: list[Record] = []
    finished = [name for name in names if folder.has(f"arms/{name}.json")]
    for name in finished:
        outcome = read_outcome(folder, name)
        assert outcome is not None
        records += _lines(outcome.records)
    saved = folder.load()
    if saved is not None:
        if saved[1].get("trajectory") in finished:  # killed between its last file and the removal of its checkpoint
            folder.drop_checkpoint()
        else:
            records += _lines(saved[1].get("records", []))
    folder.write_metrics(records)


def _lines(records: Sequence[Sequence[Record]]) -> list[Record]:
    """Records by seed and epoch in the order in which they are written: by epoch, then seed."""
    return [record for epoch in zip(*records) for record in epoch]


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
        indices = [setting.roles[trajectory.rows] for setting in settings]
        size = min(training.batch_size, *(len(index) for index in indices))
        self.rows = [s.training(trajectory.labels, index, size) for s, index in zip(settings, indices)]
        self.per_epoch = len(self.rows[0])
        self.steps = self.per_epoch * training.epochs
        rule = (trajectory.rule or training.rule)(self.steps)
        self.teachers = [trajectory.teacher(s, needed).to(s.device) for s in settings]
        self.recorders = [
            Recorder(index, len(s.source), training.epochs, s.source.num_classes, training.burn_in)
            for s, index in zip(settings, indices)
        ]
        self.dumpers = [Dumper(_given(s, s.roles["trusted"])) for s in settings]
        self.records: list[list[Record]] = [[] for _ in settings]
        self.done = 0
        self.seconds = 0.0
        self.checkpoint_seconds = training.checkpoint_seconds
        students = [s.student(training.student, rule) for s in settings]
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
            right, wrong = self._right(setting), self._wrong(setting)
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
            self.records[s].append(new[-1])
        self.folder.append_metrics(new)
        return float(np.mean([record["accuracy"] for record in new]))

    def _right(self, setting: Setting) -> Any:
        index = setting.roles[self.trajectory.rows]
        return np.ones(len(index), dtype=bool) if self.trajectory.labels == "true" else setting.right(index)

    def _wrong(self, setting: Setting) -> Any:
        index = setting.roles[self.trajectory.rows]
        return np.zeros(len(index), dtype=bool) if self.trajectory.labels == "true" else setting.wrong(index)

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
            self.records, self.done, self.seconds = facts["records"], facts["done"], facts["seconds"]
            return bool(facts["stacked"])
        except (KeyError, ValueError, RuntimeError, TutelageError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder.checkpoint} does not fit this run ({first}); remove it to train this arm from its start."
            ) from error

    def _finish(self) -> Outcome:
        outcome = Outcome(self.records, self._tensors(), isinstance(self.cohort, Together), self.seconds)
        name = self.trajectory.name
        save_checkpoint(self.folder.path / f"arms/{name}.safetensors", outcome.tensors, {"arm": name})
        facts = {"records": outcome.records, "stacked": outcome.stacked, "seconds": outcome.seconds}
        self.folder.write(f"arms/{name}.json", facts)
        self.folder.drop_checkpoint()
        return outcome

    def _tensors(self) -> dict[str, Tensor]:
        first, recorder, rows = self.settings[0], self.recorders[0], self.trajectory.rows
        index = first.roles[rows]
        order = np.lexsort((-recorder.early_loss, recorder.mean_weight))
        suspects = index[order[np.isfinite(recorder.mean_weight[order])][:SUSPECTS]]
        y = first.noise.noisy if self.trajectory.labels == "given" else first.noise.clean
        arrays = {
            "index": index,
            "given": y[index],
            "true": first.noise.clean[index],
            "weight": recorder.weight,
            "loss": recorder.loss,
            "suspects": suspects,
            "images": first.source.x[suspects],
            "rows": np.stack([s.roles[rows] for s in self.settings]),
            "seen": np.stack([r.seen for r in self.recorders]),
            "suggested": np.stack([r.suggested for r in self.recorders]),
        }
        for name in ("mean_weight", "last_weight", "mean_loss", "early_loss"):
            arrays[name] = np.stack([getattr(r, name) for r in self.recorders]).astype(np.float32)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        for s, teacher in enumerate(self.teachers):
            tensors |= with_prefix(f"teacher.{s}", teacher.state_dict())
        return tensors | (self._dump() if self.trajectory.dumps else {})

    def _dump(self) -> dict[str, Tensor]:
        """Return what was kept of the trusted rows, all seeds along the first axis."""
        states = [dumper.state_dict() for dumper in self.dumpers]
        indices = [s.roles["trusted"] for s in self.settings]
        return {
            "dump_percent": states[0]["percent"],
            "dump_threshold": torch.stack([state["threshold"] for state in states]),
            "dump_loss": torch.stack([state["loss"] for state in states]),
            "dump_index": torch.from_numpy(np.stack(indices)),
            "dump_given": torch.stack([_given(s, index) for s, index in zip(self.settings, indices)]),
            "dump_trusted": torch.from_numpy(np.stack([s.noise.clean[i] for s, i in zip(self.settings, indices)])),
        }


def _given(setting: Setting, index: Any) -> Tensor:
    return torch.from_numpy(setting.noise.noisy[index])


def _mean(values: Any) -> float | None:
    """Mean without NaN, None if nothing is left."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
