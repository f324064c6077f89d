"""A run from its start or from where it was stopped, to its result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...runs import RunFolder
from ..dataset_distillation.pieces import Done, carry_out
from ..starting import Recipe, go_on, start
from ..trajectory import Nobody, Watcher
from .exporting import export
from .options import Config
from .plan import Plan, prepare
from .stages import Work
from .summing import summed_up

RECIPE = Recipe("maxgrad", Config, prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Teach by every arm and compare, into a new folder.

    Args:
        config: the options.
        out: the run folder; must not exist.
        watcher: who follows.

    Returns:
        what ``result.json`` holds.

    Raises:
        TutelageError: for unusable options or data, before anything is written; for a student that did not learn what
            it was shown, or a folder that cannot be written, later.
    """
    return start(RECIPE, config, out, _carried(watcher))


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped; a finished one only gets its result again.

    Raises:
        CheckpointError: if the folder cannot be read.
    """
    return go_on(RECIPE, folder, _carried(watcher))


def _carried(watcher: Watcher | None) -> Callable[[Plan, RunFolder], dict[str, Any]]:
    return lambda plan, folder: _all(plan, folder, watcher or Nobody())


def _all(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    done = Done(folder)
    stages = Work(plan, done).stages()
    carry_out(stages, done, watcher, 0.0)
    result = summed_up(plan, done, [(stage.name, stage.seeds) for stage in stages])
    folder.write("result.json", result)
    if plan.options.export is not None:
        export(plan, done, Path(plan.options.export))
    return result
