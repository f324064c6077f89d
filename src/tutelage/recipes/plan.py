"""What follows from the options of a recipe on badly labelled data, before anything is trained or written."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..data import DataSet, load
from ..errors import ConfigError
from ..lesson import Batch
from ..student import Student
from ..teachers import CATALOGUE
from .arms import Arm
from .experiment import Schedule, make_setting
from .options import Options, check_ranges, names_of, noise_rates, pick_device
from .trajectory import Training, Trajectory

BASELINES = ("uniform", "trusted-only", "early-stopping")
"""What every arm is compared with, if they are in the run."""


@dataclass(frozen=True)
class Recipe:
    """What one recipe on badly labelled data differs in from another.

    Attributes:
        name: of the recipe.
        options: its dataclass.
        arms: by name, with a line about those that are no teacher of the catalogue.
        trajectories: the ways of training, from the options and the rate of the noise.
        check: refuses further options; before data is loaded.
        check_plan: refuses what the data shows to be impossible; before anything is written.
        schedule: how students are trained, from the options; None: as the options say.
        extras: further parts of the result, and files; called with the plan, the outcomes and the run folder.
    """

    name: str
    options: type[Options]
    arms: Mapping[str, tuple[Arm, str]]
    trajectories: Callable[[Any, float], list[Trajectory]]
    check: Callable[[Any], None] = lambda options: None
    check_plan: Callable[["Plan"], None] = lambda plan: None
    schedule: Callable[[Any], Schedule | None] = lambda options: None
    extras: Callable[..., dict[str, Any]] = field(default=lambda plan, outcomes, folder: {})

    def about(self, name: str) -> str:
        """Return a line about an arm."""
        return self.arms[name][1] or (inspect.getdoc(CATALOGUE[name]) or "").split("\n", 1)[0]


def resolved(options: Options) -> Options:
    """Return the options with what depends on this machine filled in: device, threads, full path of the data."""
    check_ranges(options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    changes: dict[str, Any] = {"data": _full(options.data), "trusted_labels": _full(options.trusted_labels)}
    changes["noise"] = str(options.noise)  # numbers from Python
    changes["percentile"] = None if options.percentile is None else str(options.percentile)
    changes |= {"device": str(pick_device(options.device)), "threads": torch.get_num_threads()}
    return replace(options, **changes)


def _full(path: str | None) -> str | None:
    """Return a name as it is, or the full path of a file, which a run that goes on elsewhere finds again."""
    return str(Path(path).resolve()) if path and Path(path).exists() else path


def loaded(options: Options) -> tuple[DataSet, dict[str, str]]:
    """Return the data and its fingerprints by role."""
    resize = None if options.resize is None else (options.resize, options.resize)
    data = load(options.data, label=options.label, image=options.image, num_classes=options.classes, resize=resize)
    fingerprints = {"training": data.train.fingerprint()}
    if data.test is not None:
        fingerprints["test"] = data.test.fingerprint()
    if options.trusted_labels is not None and Path(options.trusted_labels).is_file():
        fingerprints["trusted label"] = hashlib.sha256(Path(options.trusted_labels).read_bytes()).hexdigest()
    return data, fingerprints


def changed(schedule: Schedule, options: Options) -> Schedule:
    """Return a schedule with what the options say about it."""
    given: dict[str, Any] = {"rule": options.rule, "lr": options.lr, "weight_decay": options.weight_decay}
    known = {name: value for name, value in given.items() if value is not None}
    return replace(schedule, **known, scale_decay=options.scale_decay)


def _names(recipe: Recipe, options: Options) -> tuple[str, ...]:
    """Return the arms; without the oracle where the right label of most rows is not known."""
    names = names_of(options.teachers, recipe.arms, "teacher")
    if options.trusted_labels is None or "oracle" not in names:
        return names
    if options.teachers != recipe.options.teachers:
        raise ConfigError("the oracle needs the right label of every row; with --trusted-labels leave it out.")
    return tuple(name for name in names if name != "oracle")


class Plan:
    """One run at one rate of label noise: settings, trajectories, arms.

    Args:
        recipe: whose.
        options: resolved, with one rate.
        data: what they name.

    Raises:
        TutelageError: for what cannot work, before anything is written.
    """

    def __init__(self, recipe: Recipe, options: Options, data: DataSet) -> None:
        self.recipe, self.options = recipe, options
        self.names = _names(recipe, options)
        (self.noise,) = noise_rates(options.noise)
        recipe.check(options)
        self.device = torch.device(options.device)
        self.schedule = schedule = changed(recipe.schedule(options) or Schedule(), options)
        self.settings = [
            make_setting(
                data,
                seed,
                noise=self.noise,
                noise_kind=options.noise_kind,
                published=options.preset,
                trusted=options.trusted,
                trusted_labels=options.trusted_labels,
                test=options.test,
                augment=options.augment,
                pad=schedule.pad,
                standardise=schedule.standardise,
                device=self.device,
            )
            for seed in range(options.first_seed, options.first_seed + options.seeds)
        ]
        first = self.settings[0]
        batch_size = options.batch_size or min(schedule.batch_size, len(first.roles["train"]))
        rows = first.training("given", first.roles["train"], batch_size)
        self.training = Training(
            student=options.student,
            rule=schedule.make,
            epochs=options.epochs or max(1, round(schedule.steps / len(rows))),
            batch_size=batch_size,
            stack=options.stack,
            checkpoint_seconds=options.checkpoint_seconds,
            burn_in=max(18, options.burn_in or 0) / 100,
        )
        self.trajectories = {t.name: t for t in recipe.trajectories(options, self.noise)}
        self.order = self._order()
        recipe.check_plan(self)
        self._rehearse(next(rows.batches(device=first.device)), first.student(options.student, schedule.make(1)))

    def _rehearse(self, batch: Batch, student: Student) -> None:
        """Take one step with each teacher, so that what cannot work is refused before a folder is made."""
        for name in self.order:
            teacher = self.trajectories[name].teacher(self.settings[0], None).to(self.device)
            lesson = teacher.teach(batch, student)
        student.study(lesson)

    def _order(self) -> list[str]:
        """Names of the trajectories to run; needed ones first."""
        order: list[str] = []
        for name in self.names:
            trajectory = self.trajectories[self.recipe.arms[name][0].trajectory]
            order += [trajectory.needs] if trajectory.needs else []
            order.append(trajectory.name)
        return list(dict.fromkeys(order))
