"""A run from its start or from where it was stopped, to its result."""

from pathlib import Path
from typing import Any

from ...runs import RunFolder
from ..pieces import Done, carry_out
from ..starting import Recipe, go_on, start
from ..trajectory import Watcher
from .options import Config
from .plan import Plan, prepare
from .saving import save_set
from .stages import Work
from .summing import summed_up

RECIPE = Recipe("dataset-distillation", Config, prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Distil, judge and compare into a new folder, see :func:`tutelage.recipes.starting.start`."""
    return start(RECIPE, config, out, _all, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.starting.go_on`."""
    return go_on(RECIPE, folder, _all, watcher)


def _all(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    done = Done(folder)
    work = Work(plan, done)
    seconds = carry_out(work.stages(), done, watcher, plan.options.checkpoint_seconds)
    for seed in plan.seeds:
        save_set(plan, done, work.distilled(seed), work.networks(seed), seed)
    result = summed_up(plan, done, seconds)
    folder.write("result.json", result)
    return result
