"""Schooling: a keep-mask teacher learns over whole runs of students, before the student that counts is trained."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from ..checkpoint import with_prefix, without_prefix
from ..episodes import Episode, episodes
from ..errors import CheckpointError, ConfigError
from ..lesson import Batch
from ..runs import RunFolder
from ..student import Student
from ..teachers import KeepMask
from .experiment import Setting
from .outcome import Outcome, Record, write_outcome
from .trajectory import Training, Trajectory, Watcher


@dataclass(frozen=True)
class Schooling:
    """Lets keep-mask teachers learn over episodes; a :class:`tutelage.recipes.trajectory.School`.

    Each episode is a student of another initialisation on the training rows, in an order of its own, until it is good
    enough on the validation rows. What is recorded is a line an episode and seed, and the teachers as they ended. A
    checkpoint holds the teachers between two episodes: a run that goes on begins the episode again that was cut.

    Attributes:
        count: of the episodes.
        tau: accuracy on the validation rows, in (0, 1], that is good enough.
        budget: most batches of an episode, T; None: the steps of a student that counts.
        accumulate: kept examples that make a lesson; None: every batch is one.
        rows: most validation rows that are looked at.
    """

    count: int
    tau: float
    budget: int | None
    accumulate: int | None
    rows: int

    def __call__(
        self,
        trajectory: Trajectory,
        settings: Sequence[Setting],
        training: Training,
        folder: RunFolder,
        watcher: Watcher,
    ) -> Outcome:
        """Let the teachers of all seeds learn, or go on where a killed run stopped; write what was recorded.

        Raises:
            NotFiniteError: if a loss becomes NaN or infinite.
            CheckpointError: if the folder cannot be written or read.
        """
        name = trajectory.name
        teachers = [_taught(trajectory, setting) for setting in settings]
        records, before = _restored(folder, name, teachers)
        started = saved_at = time.monotonic()
        done, seconds = len(records[0]), before
        watcher.start(name, self.count, done)
        rounds = zip(*(self._episodes(t, s, training) for t, s in zip(teachers, settings)))
        for found in islice(rounds, self.count - done):
            new = [_record(name, setting, episode) for setting, episode in zip(settings, found)]
            for lines, line in zip(records, new):
                lines.append(line)
            folder.append_metrics(new)
            watcher.advance(None)
            now = time.monotonic()
            seconds = before + now - started
            if now - saved_at >= training.checkpoint_seconds and len(records[0]) < self.count:
                folder.save(_states(teachers), {"trajectory": name, "records": records, "seconds": seconds})
                saved_at = now
        outcome = Outcome(records, _states(teachers), False, seconds)
        write_outcome(folder, name, outcome)
        return outcome

    def _episodes(self, teacher: KeepMask, setting: Setting, training: Training) -> Iterator[Episode]:
        """Yield the episodes of a seed, from where its teacher stands."""
        index = setting.rows("train")
        rows = setting.training("given", index, min(training.batch_size, len(index)))
        budget = self.budget or (training.per_epoch or len(rows)) * training.epochs

        def student(number: int) -> Student:
            return setting.student(training.student, training.rule(budget), initialisation=number + 1)

        def batches(number: int) -> Iterator[Batch]:
            return rows.repeat().batches((number + 1) * budget, start=number * budget, device=setting.device)

        return episodes(
            teacher,
            student,
            batches,
            setting.trusted_batch(self.rows),
            t_max=budget,
            tau=self.tau,
            accumulate=self.accumulate,
            patience=None,
        )


def check(config: Any) -> None:
    """Refuse options of schooling that cannot work.

    Raises:
        ConfigError: naming the option.
    """
    for name in ("keep_episodes", "keep_budget", "keep_accumulate"):
        value = getattr(config, name)
        if value is not None and not 1 <= value <= 10**6:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be in 1..1000000.")
    if not 0 < config.tau <= 1:
        raise ConfigError(f"--tau is {config.tau}; it is an accuracy on the validation rows and must be in (0, 1].")


def learned_nothing(arm: str, outcome: Outcome, tau: float) -> list[str]:
    """Return a warning if, in some seeds, no student of any episode was good enough: all returns were 0 then."""
    best = [max(line["trusted_accuracy"] for line in lines) for lines in outcome.records]
    failed = [a for a, lines in zip(best, outcome.records) if all(line["reached"] is None for line in lines)]
    if not failed:
        return []
    return [
        f"{arm}, {len(failed)} of {len(best)} seeds: no student of {len(outcome.records[0])} episodes reached --tau "
        f"{tau:g} on the validation rows (best {max(failed):.2f}), so that the teacher learned nothing. Try a lower "
        "--tau."
    ]


def _taught(trajectory: Trajectory, setting: Setting) -> KeepMask:
    teacher = trajectory.teacher(setting, None).to(setting.device)
    assert isinstance(teacher, KeepMask)
    return teacher


def _record(name: str, setting: Setting, episode: Episode) -> Record:
    facts = episode._asdict()
    measured = {"episode": facts.pop("number"), "trusted_accuracy": facts.pop("accuracy"), **facts.pop("metrics")}
    return {"arm": name, "seed": setting.seed, **facts, **measured}


def _states(teachers: Sequence[KeepMask]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for s, teacher in enumerate(teachers):
        found |= with_prefix(f"teacher.{s}", teacher.state_dict())
    return found


def _restored(folder: RunFolder, name: str, teachers: Sequence[KeepMask]) -> tuple[list[list[Record]], float]:
    """Take over a checkpoint of this trajectory if there is one; return its records and seconds."""
    saved = folder.load()
    if saved is None or saved[1].get("trajectory") != name:
        return [[] for _ in teachers], 0.0
    tensors, facts = saved
    try:
        for s, teacher in enumerate(teachers):
            teacher.load_state_dict(without_prefix(f"teacher.{s}", tensors))
        return facts["records"], facts["seconds"]
    except (KeyError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(
            f"{folder.checkpoint} does not fit this run ({first}); remove it to let the teachers learn from the start."
        ) from error
