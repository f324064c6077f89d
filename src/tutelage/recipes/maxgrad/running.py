"""A run from its start or from where it was stopped, to its result."""

from pathlib import Path
from typing import Any

from ...runs import RunFolder
from ..pieces import Done, carry_out
from ..starting import Recipe, go_on, start
from ..trajectory import Watcher
from .exporting import export
from .options import Config
from .plan import Plan, prepare
from .stages import Work
from .summing import summed_up

RECIPE = Recipe("maxgrad", Config, prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Teach by every arm and compare, into a new folder, see :func:`tutelage.recipes.starting.start`."""
    return start(RECIPE, config, out, _all, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.starting.go_on`."""
    return go_on(RECIPE, folder, _all, watcher)


def _all(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    done = Done(folder)
    seconds = carry_out(Work(plan, done).stages(), done, watcher)
    result = summed_up(plan, done, seconds)
    folder.write("result.json", result)
    if plan.options.export is not None:
        export(plan, done, Path(plan.options.export))
    return result
