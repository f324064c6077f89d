"""What follows from the options of a recipe on badly labelled data, before anything is trained or written."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..data import DataSet
from ..errors import ConfigError
from ..lesson import Batch
from ..look_ahead import LookAhead
from ..student import Student
from ..teachers import CATALOGUE
from . import naming
from .arms import Arm
from .experiment import make_setting
from .naming import full
from .options import Options, check_ranges, names_of, noise_kinds, noise_rates, on_this_machine
from .schedule import Schedule
from .trajectory import Training, Trajectory

BASELINES = ("uniform", "trusted-only", "early-stopping")
"""What every arm is compared with, if they are in the run."""
ALL_KNOWING = ("oracle", "perfect-filter")
"""Arms that need the right label of every row."""


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
        extras: further parts of the result, and files; called with the plan, the outcomes, the run folder and the
            result so far.
        held_out: keep the trusted rows out of training, where teachers learn from them; then all arms take as many
            steps, and it is recorded how teachers that weigh are doing.
        kinds: of label noise, if none is asked for.
    """

    name: str
    options: type[Options]
    arms: Mapping[str, tuple[Arm, str]]
    trajectories: Callable[[Any, float], list[Trajectory]]
    check: Callable[[Any], None] = lambda options: None
    check_plan: Callable[["Plan"], None] = lambda plan: None
    schedule: Callable[[Any], Schedule | None] = lambda options: None
    extras: Callable[..., dict[str, Any]] = field(default=lambda plan, outcomes, folder, result: {})
    held_out: bool = False
    kinds: str | None = None

    def about(self, name: str) -> str:
        """Return a line about an arm."""
        return self.arms[name][1] or (inspect.getdoc(CATALOGUE[name]) or "").split("\n", 1)[0]


def resolved(recipe: Recipe, options: Options) -> Options:
    """Return the options with what depends on recipe and machine filled in: kinds, device, threads, full paths."""
    if options.noise_kind is None and options.preset is None and options.trusted_labels is None:
        options = replace(options, noise_kind=recipe.kinds)
    check_ranges(options)
    changes: dict[str, Any] = {"data": full(options.data), "trusted_labels": full(options.trusted_labels)}
    changes["noise"] = str(options.noise)  # numbers from Python
    changes["percentile"] = None if options.percentile is None else str(options.percentile)
    return replace(options, **changes, **on_this_machine(options))


def loaded(options: Options) -> tuple[DataSet, dict[str, str]]:
    """Return the data and the fingerprints by role, of the file of trusted labels too."""
    data, fingerprints = naming.loaded(options)
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
    knowing = [name for name in names if name in ALL_KNOWING]
    if options.trusted_labels is None or not knowing:
        return names
    if options.teachers != recipe.options.teachers:
        raise ConfigError(f"the {knowing[0]} needs the right label of every row; with --trusted-labels leave it out.")
    return tuple(name for name in names if name not in knowing)


class Plan:
    """One run at one rate and kind of label noise: settings, trajectories, arms.

    Args:
        recipe: whose.
        options: resolved, with one rate and kind.
        data: what they name.

    Raises:
        TutelageError: for what cannot work, before anything is written.
    """

    def __init__(self, recipe: Recipe, options: Options, data: DataSet) -> None:
        self.recipe, self.options = recipe, options
        self.names = _names(recipe, options)
        (self.noise,) = noise_rates(options.noise)
        (kind,) = noise_kinds(options.noise_kind)
        recipe.check(options)
        self.device = torch.device(options.device)
        self.schedule = schedule = changed(recipe.schedule(options) or Schedule(), options)
        self.settings = [
            make_setting(
                data,
                seed,
                noise=self.noise,
                noise_kind=kind,
                published=options.preset,
                trusted=options.trusted,
                trusted_labels=options.trusted_labels,
                test=options.test,
                augment=options.augment,
                pad=schedule.pad,
                scaling=schedule.scaling,
                held_out=recipe.held_out,
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
            per_epoch=len(rows) if recipe.held_out else None,
            diagnose=recipe.held_out,
        )
        self.trajectories = {t.name: t for t in recipe.trajectories(options, self.noise)}
        self.order = self._order()
        recipe.check_plan(self)
        self._rehearse(next(rows.batches(device=first.device)), first.student(options.student, schedule.make(1)))

    def _rehearse(self, batch: Batch, student: Student) -> None:
        """Take one step with each teacher, so that what cannot work is refused before a folder is made."""
        for name in self.order:
            teacher = self.trajectories[name].teacher(self.settings[0], None).to(self.device)
            if isinstance(looking := getattr(teacher, "look_ahead", None), LookAhead):
                looking.window = "ahead"  # there is no past yet that it could go through
            lesson = teacher.teach(batch, student)
            if self.recipe.held_out:
                teacher.learn(lesson, student, self.settings[0].trusted_batch())
        student.study(lesson)

    def _order(self) -> list[str]:
        """Names of the trajectories to run; needed ones first."""
        order: list[str] = []
        for name in self.names:
            chain = [self.trajectories[self.recipe.arms[name][0].trajectory]]
            while needed := chain[-1].needs:
                chain.append(self.trajectories[needed])
            order += [trajectory.name for trajectory in reversed(chain)]
        return list(dict.fromkeys(order))
