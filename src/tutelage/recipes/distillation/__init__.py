"""Distillation: a small network learns from the answers of a large one, in many published ways, over paired seeds.

The student learns from few rows, or all; arms differ in what it is told about them. They share split, batches, the
initial student and the teacher by seed, so that ``kd - scratch`` is what the teacher's answers are worth, and
``kd - label-smoothing`` what they are worth beyond smoother labels. With few rows most of the difference is what the
teacher knows of the other labels.

Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, and the papers of the arms; in
a size for two cores, or with ``--schedule published`` as in RepDistiller and mdistiller.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...data import DataSet
from ...errors import ConfigError
from ...runs import RunFolder
from ..distilling import Outcome, Plan, Recipe, Setting, running
from ..distilling.files import Left
from ..distilling.options import Chosen
from ..distilling.preparing import chosen, loaded, settings, steps_of, with_rows
from ..distilling.summing import more_rows
from ..distilling.using import refuse_unused
from ..options import names_of
from ..trajectory import Watcher
from .arms import ABOUT as ABOUT
from .arms import stages
from .asking import Teachers, live_arms
from .checks import check_arms, check_cache, check_networks
from .exporting import check_target, rehearse_export, write_network
from .insight import advice, dark_knowledge, left_out, told
from .options import BASELINES, PROFILES, check_given, class_map_of
from .options import Config as Config
from .used import USED

HELP = "Distillation: a student learns from a teacher's answers, in many published ways, against honest controls."

_VIEWS = 8
"""As many passes are kept view by view unless more are asked for."""


def _prepare(given: Any, *, fresh: bool) -> Plan:
    """Return what follows from the options; ``fresh``: as a user gave them, not as a run folder keeps them."""
    check_given(given)
    names = names_of(given.arms, ABOUT, "arm")
    data, fingerprints = loaded(given)
    options = _of_the_data(chosen(given, data, PROFILES), given, data)
    if fresh:
        refuse_unused(given, options, data, USED, names)
    check_arms(names, options, data.train.num_classes)
    _check_export(names, given)
    if fresh and given.export is not None:
        check_target(given.export, given.cache_path)
    seeds = settings(data, options)
    options = with_rows(options, len(seeds[0].order))
    rows: int = options.train_rows
    passes = options.epochs or steps_of(options, rows, options.batch_size) * options.batch_size / rows
    options = _with_views(options, seeds[0], passes)
    seeds = [replace(setting, views=options.cache_views or None) for setting in seeds]
    live = live_arms(names, options)
    check_cache(options, seeds[0], live)
    if fresh:  # a run that goes on has what it needs of the teacher's file
        check_networks(options, seeds[0], names)
    if fresh and options.export is not None:
        rehearse_export(seeds[0].net(options.student, "student"), seeds[0], options.export)
    source = Teachers(options, rows, passes, live)
    return Plan(
        RECIPE,
        options,
        stages(names, options, rows, len(seeds[0].order), source),
        names,
        seeds,
        fingerprints,
        baselines=BASELINES,
        opened=source.opened,
        extras=lambda *found: _extras(source, *found),
        afterwards=_exported,
    )


def _of_the_data(options: Chosen, given: Config, data: DataSet) -> Chosen:
    """Fill in what depends on the data, and check what is of it."""
    class_map_of(given.class_map, data.train.num_classes)
    names = ("teacher_weights", "cache_path", "export")
    full = {n: str(Path(path).resolve()) for n in names if (path := getattr(options, n)) is not None}
    few = 100 if options.data == "digits" and options.schedule == "digits" else None
    return replace(options, **full, train_rows=options.train_rows or few)


def _with_views(options: Chosen, setting: Setting, passes: float) -> Chosen:
    """Give each of a few passes a view of its own: the same rows as without a cache, which can be kept."""
    kept = options.cache and options.cache_mode != "off" and options.cache_views is None
    if not kept or not setting.moves or options.replacement or passes > _VIEWS:
        return options
    return replace(options, cache_views=math.ceil(passes))


def _check_export(names: tuple[str, ...], options: Config) -> None:
    """Refuse an export that cannot be."""
    single = [name for name in names if name != "born-again-ensemble"]
    if options.export is not None and not single:
        raise ConfigError("--export writes one network, but born-again-ensemble has several; add another arm.")
    if options.export_arm is not None and options.export_arm not in single:
        raise ConfigError(f"--export-arm {options.export_arm} is none of the arms {', '.join(single)}.")


def _extras(
    source: Teachers,
    plan: Plan,
    left: Left,
    outcomes: Mapping[str, Outcome],
    folder: RunFolder,
    result: Mapping[str, Any],
) -> dict[str, Any]:
    followed = [name for name in plan.arms if "agreement" in outcomes[name].ends[0]]
    found: dict[str, Any] = {"distillation": told(plan, outcomes, source)}
    first, rest = result["conclusion"]["lines"][:1], result["conclusion"]["lines"][1:]
    found["conclusion"] = {"lines": [*first, *more_rows(plan, outcomes), *rest, *source.lines()]}
    found["warnings"] = [*result["warnings"], *left_out(plan, outcomes), *advice(plan.arms, outcomes)]
    if followed:
        looked_at = "kd" if "kd" in followed else followed[-1]
        found["distillation"]["dark_knowledge"] = dark_knowledge(plan, left, looked_at, folder)
    return found


def _exported(plan: Plan, left: Left) -> list[str]:
    """Write the network that is asked for, and say so."""
    if plan.options.export is None:
        return []
    single = [name for name in plan.arms if name != "born-again-ensemble"]
    arm = plan.options.export_arm or ("kd" if "kd" in single else single[-1])
    write_network(left.of(arm)[0][0], plan.settings[0], arm, plan.options.export)
    return [f"the student of {arm} with seed {plan.settings[0].seed} is in {plan.options.export}."]


RECIPE = Recipe("distillation", Config, _prepare)


def run(config: Config, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder, see :func:`tutelage.recipes.distilling.running.run`."""
    return running.run(RECIPE, config, out, watcher)


def resume(folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped, see :func:`tutelage.recipes.distilling.running.resume`."""
    return running.resume(RECIPE, folder, watcher)
