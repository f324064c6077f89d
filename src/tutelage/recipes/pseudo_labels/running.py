"""Running the arms of a recipe over paired seeds into a folder, and going on after a kill."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from ... import __version__
from ...checkpoint import save_checkpoint, with_prefix, without_prefix
from ...errors import CheckpointError, ConfigError, TutelageError
from ...evaluation import Comparison, paired, summary
from ...importing import told
from ...runs import RunFolder
from ...training import train
from .. import starting
from ..finished import placed, read_finished, restore_lines
from ..trajectory import Watcher
from .arms import ARMS, BASELINES
from .options import Chosen
from .phases import phases
from .setting import Setting
from .trial import Record, Trial

METRICS = ("accuracy", "teacher_accuracy", "student_accuracy", "average_accuracy", "calibration_error")
Recipe: TypeAlias = starting.Recipe["Plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What follows from the options, before anything is trained or written.

    Attributes:
        recipe: whose.
        options: with nothing left to choose.
        names: of the arms.
        settings: one a seed.
        fingerprints: of the data by role.
    """

    recipe: Recipe
    options: Chosen
    names: Sequence[str]
    settings: Sequence[Setting]
    fingerprints: Mapping[str, str]

    def rehearse(self) -> None:
        """Take a step of each kind with each arm, so that what cannot work is refused before a folder is made.

        Raises:
            ConfigError: naming the arm, if a network cannot take its step.
        """
        setting, options = self.settings[0], replace(self.options, wait=0)  # so that feedback comes at once
        for name in self.names:
            net: nn.Module | None = None
            for phase in phases(ARMS[name], setting, options)[:2]:  # further rounds are as the first
                student, teacher = phase.make(net)
                try:
                    next(train(student, teacher.to(setting.device), [phase.batch(0)]))
                except (ValueError, RuntimeError) as error:
                    raise ConfigError(
                        f"{name}: a network cannot take a step with {options.batch_size} unlabelled and "
                        f"{options.labelled_batch} labelled rows: {told(error)}."
                    ) from error
                net = student.net


def run(recipe: Recipe, options: Any, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.starting.start`.

    Args:
        recipe: what to run.
        options: as the user gave them.
        out: the run folder; must not exist.
        watcher: who follows.
    """
    return starting.start(recipe, options, out, _all, watcher)


def resume(recipe: Recipe, folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped; a finished one only gets its result again.

    Raises:
        CheckpointError: if the folder cannot be read, or its data has changed.
    """
    return starting.go_on(recipe, folder, _all, watcher)


@dataclass(frozen=True)
class Outcome:
    """What an arm recorded.

    Attributes:
        records: of each seed, one an evaluation.
        ends: of each seed, what counts.
        seconds: how long it took, resumed parts included.
    """

    records: list[list[Record]]
    ends: list[Record]
    seconds: float


def _all(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    _restore_metrics(plan, folder)
    with warnings.catch_warnings():  # told in the result, for any arm, with the same histogram
        warnings.filterwarnings("ignore", message="the consistency loss was 0 for")
        outcomes = {name: _run_arm(name, plan, folder, watcher) for name in plan.names}
    result = _result(plan, outcomes, folder.read("environment.json"))
    folder.write("result.json", result)
    return result


def _run_arm(name: str, plan: Plan, folder: RunFolder, watcher: Watcher) -> Outcome:
    """Train an arm with all seeds, or go on where a killed run stopped, or read what a finished one left."""
    if (finished := read_outcome(folder, name)) is not None:
        return finished
    with placed(name, folder):
        return _Run(name, plan, folder, watcher).to_the_end()


def read_outcome(folder: RunFolder, name: str) -> Outcome | None:
    """Return what a finished arm recorded, None if it is not finished."""
    return read_finished(folder, name, Outcome)


def _restore_metrics(plan: Plan, folder: RunFolder) -> None:
    """Make the metric lines those of the finished arms and of the checkpoint, no more."""
    finished = {
        name: [record for seed in found.records for record in seed]
        for name in plan.names
        if (found := read_outcome(folder, name)) is not None
    }
    restore_lines(folder, finished, "arm", _under_way)


def _under_way(facts: Mapping[str, Any]) -> list[Record]:
    """The records of a checkpoint: of the seeds before, and of the one that was cut."""
    return [r for seed in facts.get("before", []) for r in seed] + list(facts["trial"]["records"])


class _Run:
    """An arm under way: one seed after the other."""

    def __init__(self, name: str, plan: Plan, folder: RunFolder, watcher: Watcher) -> None:
        self.name, self.plan, self.folder, self.watcher = name, plan, folder, watcher
        self.records: list[list[Record]] = []
        self.ends: list[Record] = []
        self.frames = torch.empty(0)
        self.seconds = 0.0
        self.trial = self._trial(0)
        self._restore()

    def _trial(self, seed: int) -> Trial:
        return Trial(self.name, self.plan.settings[seed], self.plan.options)

    def to_the_end(self) -> Outcome:
        started = self._saved_at = time.monotonic()
        before, seeds = self.seconds, len(self.plan.settings)
        done = len(self.records) * self.trial.total + self.trial.done
        self.watcher.start(self.name, seeds * self.trial.total, done)
        while len(self.records) < seeds:
            while not self.trial.finished:
                self._step()
                self.seconds = before + time.monotonic() - started
                if time.monotonic() - self._saved_at >= self.plan.options.checkpoint_seconds:
                    self._save()
            if self.trial.frames:
                self.frames = torch.stack(self.trial.frames)
            self.records.append(self.trial.records)
            self.ends.append(self.trial.outcome())
            if len(self.records) < seeds:
                self.trial = self._trial(len(self.records))
        return self._finish()

    def _step(self) -> None:
        record = self.trial.advance()
        if record is not None:
            self.folder.append_metrics([record])
        self.watcher.advance(None if record is None else record["accuracy"])

    def _save(self) -> None:
        tensors, facts = self.trial.state()
        whole = {"arm": self.name, "before": self.records, "ends": self.ends, "seconds": self.seconds, "trial": facts}
        self.folder.save(with_prefix("trial", tensors) | {"frames": self.frames}, whole)
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        saved = self.folder.load()
        if saved is None or saved[1].get("arm") != self.name:
            return
        tensors, facts = saved
        try:
            self.records, self.ends, self.seconds = facts["before"], facts["ends"], facts["seconds"]
            self.frames = tensors["frames"]
            self.trial = self._trial(len(self.records))
            self.trial.restore(without_prefix("trial", tensors), facts["trial"])
        except (KeyError, ValueError, RuntimeError, IndexError, TutelageError) as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder.checkpoint} does not fit this run ({first}); remove it to train this arm from its start."
            ) from error

    def _finish(self) -> Outcome:
        outcome = Outcome(self.records, self.ends, self.seconds)
        if self.frames.numel():
            first = self.plan.settings[0]
            assert first.probe is not None
            seen = {"frames": self.frames, "probe": first.probe, "x": torch.from_numpy(first.source.x)}
            seen |= {"y": torch.from_numpy(first.source.y), "labelled": torch.from_numpy(first.roles.trusted)}
            save_checkpoint(self.folder.path / f"arms/{self.name}.safetensors", seen, {"arm": self.name})
        self.folder.write(f"arms/{self.name}.json", asdict(outcome))
        self.folder.drop_checkpoint()
        return outcome


def _result(plan: Plan, outcomes: Mapping[str, Outcome], environment: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: _values(outcome) for name, outcome in outcomes.items()}
    first, options = plan.settings[0], plan.options
    return {
        "recipe": plan.recipe.name,
        "version": __version__,
        "config": asdict(options),
        "seeds": [setting.seed for setting in plan.settings],
        "data": {
            "name": first.source.name,
            "classes": list(first.source.classes),
            "labelled_rows": len(first.roles.trusted),
            "unlabelled_rows": len(first.pool),
            "test_rows": first.test_rows,
            "include_labelled": ("unlabelled", "trusted") in first.roles.overlaps,
            "transductive": ("test", "unlabelled") in first.roles.overlaps,
            "shape": list(first.source.x.shape[1:]),
        },
        "training": {
            "steps": options.steps,
            "batch_size": options.batch_size,
            "labelled_batch": options.labelled_batch,
            "steps_a_pass": first.steps_a_pass,
        },
        "order": list(plan.names),
        "about": {name: ARMS[name].about for name in plan.names},
        "arms": {arm: {metric: summary(v) for metric, v in metrics.items()} for arm, metrics in values.items()},
        "comparisons": _comparisons({arm: metrics["accuracy"] for arm, metrics in values.items()}),
        "silent_masks": [line for name, outcome in outcomes.items() for line in _warnings(name, outcome)],
        "environment": dict(environment),
        "seconds": {name: outcome.seconds for name, outcome in outcomes.items()},
    }


def _values(outcome: Outcome) -> dict[str, list[float]]:
    return {m: [end[m] for end in outcome.ends] for m in METRICS if all(m in end for end in outcome.ends)}


def _comparisons(accuracies: Mapping[str, list[float]]) -> list[Comparison]:
    """Each arm against those below it on the ladder."""
    order = list(ARMS)
    return [
        paired(arm, base, "accuracy", values, accuracies[base])
        for base in BASELINES
        if base in accuracies
        for arm, values in accuracies.items()
        if order.index(arm) > order.index(base)
    ]


def _warnings(name: str, outcome: Outcome) -> list[dict[str, Any]]:
    """Say of which seeds a threshold kept nothing for a whole pass, and how sure the labels were then."""
    return [{"arm": name, "seed": end["seed"], **silence} for end in outcome.ends for silence in end["silences"]]
