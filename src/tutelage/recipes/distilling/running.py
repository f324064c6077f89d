"""Running the stages of a recipe over paired seeds into a folder, and going on after a kill."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from ...runs import RunFolder
from .. import starting
from ..finished import placed
from ..trajectory import Watcher
from .files import Left as Left
from .files import Outcome as Outcome
from .files import check_taken, read_outcome, restore_metrics
from .setting import Setting
from .stage import Stage, in_order
from .summing import summed_up
from .under_way import UnderWay

Recipe: TypeAlias = starting.Recipe["Plan"]
Extras: TypeAlias = Callable[["Plan", Left, Mapping[str, Outcome], RunFolder, Mapping[str, Any]], dict[str, Any]]
Afterwards: TypeAlias = Callable[["Plan", Left], list[str]]


@dataclass(frozen=True, eq=False)
class Plan:
    """What follows from the options, before anything is trained or written.

    Attributes:
        recipe: whose.
        options: with nothing left to choose.
        stages: in any order; those that no arm needs are not run.
        arms: names of the stages that the result compares.
        settings: one a seed.
        fingerprints: of the data by role.
        baselines: arms that the others are compared with.
        extras: further parts of the result, and files; called with the plan, what stages left, the outcomes by name,
            the run folder and the result so far.
        afterwards: called with the plan and what stages left when the result is written, for what may yet fail;
            returns lines for the conclusion.
        opened: told the run folder before the first stage.
        first: names of stages that are run before the arms, and not compared.
        then: makes the plan that takes over when all stages have ended, from the outcomes by name; its first stages
            are those of this one, in the same order, and are not run again.
    """

    recipe: Recipe
    options: Any
    stages: Sequence[Stage]
    arms: Sequence[str]
    settings: Sequence[Setting]
    fingerprints: Mapping[str, str]
    baselines: Sequence[str] = ()
    extras: "Extras" = lambda *_: {}
    afterwards: "Afterwards" = lambda *_: []
    opened: Callable[[RunFolder], None] = lambda _: None
    first: Sequence[str] = ()
    then: Callable[[Mapping[str, Outcome]], "Plan"] | None = None

    @property
    def order(self) -> list[Stage]:
        """The stages that are run, needed ones first."""
        return in_order(self.stages, [*self.first, *self.arms])

    def rehearse(self) -> None:
        """Take a step of each stage with networks that nobody trained, so that what cannot work is refused early."""
        setting = replace(self.settings[0], rehearsing=True)
        networks: dict[str, list[nn.Module]] = {}
        for stage in self.order:
            course = stage.begin([setting], [{name: networks[name] for name in stage.needs}])
            if stage.length:
                next(iter(course.rounds(0)))
            (networks[stage.name],) = course.networks()


def run(recipe: Recipe, options: Any, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all stages into a new folder, see :func:`tutelage.recipes.starting.start`.

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


def _all(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    stages = plan.order
    plan.opened(folder)
    check_taken(folder, stages, plan.settings[0])
    restore_metrics(folder, [stage.name for stage in stages])
    left = Left(folder, {stage.name: stage for stage in stages}, plan.settings)
    outcomes: dict[str, Outcome] = {}
    for stage in stages:
        outcomes[stage.name] = _run_stage(stage, plan, folder, left, watcher)
    if plan.then is not None:
        return _all(plan.then(outcomes), folder, watcher)
    result = summed_up(plan, outcomes, folder.read("environment.json"))
    result |= plan.extras(plan, left, outcomes, folder, result)
    folder.write("result.json", result)
    if lines := plan.afterwards(plan, left):
        result["conclusion"]["lines"] += lines
        folder.write("result.json", result)
    return result


def _run_stage(stage: Stage, plan: Plan, folder: RunFolder, left: Left, watcher: Watcher) -> Outcome:
    """Train a stage with all seeds, or go on where a killed run stopped, or read what a finished one left."""
    if (finished := read_outcome(folder, stage.name)) is not None:
        return finished
    with placed(stage.name, folder):
        return UnderWay(stage, plan.settings, plan.options, folder, left, watcher).to_the_end()
