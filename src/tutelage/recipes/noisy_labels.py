"""Running a recipe on badly labelled data: one rate and kind of noise, or several with a table over them."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..evaluation import paired, summary
from ..runs import RunFolder, environment
from .arms import arm_values, per_class_summary, picked_records
from .options import Options, noise_kinds, noise_rates
from .outcome import Outcome, restore_metrics
from .plan import BASELINES, Plan, Recipe, loaded, resolved
from .starting import stored_options
from .suspects import PLAIN, keep_suspects
from .trajectory import Nobody, Watcher, run_trajectory

_OF_LEVELS = ("noise", "suspects", "mentors", "published", "conclusion", "warnings", "learned")
"""Parts of a result that are about its noise, or come from it."""


def run(recipe: Recipe, options: Options, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder; with several rates or kinds of noise, each in a folder of its own within.

    Args:
        recipe: what to run.
        options: the options.
        out: the run folder; must not exist.
        watcher: who follows.

    Returns:
        what ``result.json`` holds.

    Raises:
        TutelageError: for unusable options or data, before anything is written; for a loss that is not finite, or a
            folder that cannot be written, later.
    """
    RunFolder.check_free(out)
    options, plans, fingerprints = prepare(recipe, options)
    folder = RunFolder.create(out, recipe.name, asdict(options), fingerprints, _environment(options))
    with folder.locked():
        return _all(plans, options, folder, fingerprints, watcher or Nobody())


def resume(recipe: Recipe, folder: RunFolder, watcher: Watcher | None = None) -> dict[str, Any]:
    """Go on with a run that was stopped; a finished one only gets its result again.

    Raises:
        CheckpointError: if the folder cannot be read.
    """
    options, plans, fingerprints = prepare(recipe, stored_options(folder, recipe.options))
    folder.check_data(fingerprints)
    with folder.locked():
        return _all(plans, options, folder, fingerprints, watcher or Nobody())


def prepare(recipe: Recipe, options: Options) -> tuple[Options, list[Plan], dict[str, str]]:
    """Return the options as resolved, a plan for each kind and rate of noise, and the fingerprints of the data.

    Raises:
        TutelageError: for what cannot work.
    """
    options = resolved(recipe, options)
    data, fingerprints = loaded(options)
    rates = [np.format_float_positional(rate, trim="-") for rate in noise_rates(options.noise)]
    kinds = noise_kinds(options.noise_kind)
    plans = [Plan(recipe, replace(options, noise=rate, noise_kind=kind), data) for kind in kinds for rate in rates]
    return options, plans, fingerprints


def _environment(options: Options) -> dict[str, Any]:
    return environment(torch.device(options.device))


def _all(
    plans: list[Plan], options: Options, folder: RunFolder, fingerprints: Mapping[str, str], watcher: Watcher
) -> dict[str, Any]:
    if len(plans) == 1:
        restore_metrics(folder, plans[0].order)
        return _one(plans[0], folder, watcher)
    levels = {}
    for plan, name in zip(plans, _names(plans)):
        path = folder.path / _folder(name)
        if (path / "config.json").is_file():
            level = RunFolder.open(path)
        else:
            shutil.rmtree(path, ignore_errors=True)  # left by a run that was killed while it made the folder
            level = RunFolder.create(
                path, plan.recipe.name, asdict(plan.options), fingerprints, folder.read("environment.json")
            )
        restore_metrics(level, plan.order)
        levels[name] = _one(plan, level, _Level(watcher, name))
    result = _table(levels, options)
    folder.write("result.json", result)
    return result


def _names(plans: list[Plan]) -> list[str]:
    """Return what tells each plan from the others: the rate of its noise, its kind, or both."""
    pairs = [(str(plan.options.noise_kind), plan.options.noise) for plan in plans]
    differ = [len(set(values)) > 1 for values in zip(*pairs)]
    return [" ".join(value for value, differs in zip(pair, differ) if differs) for pair in pairs]


def _folder(level: str) -> str:
    return f"noise-{level.replace(' ', '-')}"


class _Level:
    """Passes on what happens, with the name of the level before the others."""

    def __init__(self, watcher: Watcher, level: str) -> None:
        self._watcher, self._level = watcher, level

    def start(self, name: str, steps: int, done: int) -> None:
        self._watcher.start(f"{self._level} {name}", steps, done)

    def advance(self, accuracy: float | None) -> None:
        self._watcher.advance(accuracy)


def _one(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    outcomes: dict[str, Outcome] = {}
    for name in plan.order:
        trajectory = plan.trajectories[name]
        needed = outcomes[trajectory.needs] if trajectory.needs else None
        outcomes[name] = run_trajectory(trajectory, plan.settings, plan.training, folder, needed, watcher)
    result = _result(plan, outcomes, folder.read("environment.json"))
    listed = {PLAIN, *(plan.recipe.arms[name][0].trajectory for name in plan.names)}  # not what others only needed
    result["suspects"] = keep_suspects(plan, {n: o for n, o in outcomes.items() if n in listed}, folder)
    result |= plan.recipe.extras(plan, outcomes, folder, result)
    folder.write("result.json", result)
    return result


def _result(plan: Plan, outcomes: Mapping[str, Outcome], environment: Mapping[str, Any]) -> dict[str, Any]:
    arms = plan.recipe.arms
    picked = {name: picked_records(arms[name][0], outcomes) for name in plan.names}
    values = {name: arm_values(arms[name][0], records, outcomes, plan.settings) for name, records in picked.items()}
    first = plan.settings[0]
    return {
        "recipe": plan.recipe.name,
        "version": __version__,
        "config": asdict(plan.options),
        "seeds": [setting.seed for setting in plan.settings],
        "data": {
            "name": first.source.name,
            "classes": list(first.source.classes),
            "train_rows": len(first.roles["train"]),
            "trusted_rows": len(first.roles["trusted"]),
            "test_rows": first.test_rows,
            "shape": list(first.source.x.shape[1:]),
        },
        "noise": {
            "convention": first.noise.convention,
            "requested": plan.noise,
            "expected": first.noise.expected,
            "realised": [setting.noise.realised for setting in plan.settings],
        },
        "training": {
            "epochs": plan.training.epochs,
            "batch_size": plan.training.batch_size,
            "stacked": {name: outcome.stacked for name, outcome in outcomes.items()},
        },
        "order": list(plan.names),
        "about": {name: plan.recipe.about(name) for name in plan.names},
        "arms": {arm: {metric: summary(v) for metric, v in metrics.items()} for arm, metrics in values.items()},
        "per_class": {name: per_class_summary(records, first.source.classes) for name, records in picked.items()},
        "comparisons": [
            paired(arm, base, "accuracy", values[arm]["accuracy"], values[base]["accuracy"])
            for base in BASELINES
            if base in values
            for arm in values
            if arm != base
        ],
        "environment": dict(environment),
        "seconds": {name: outcome.seconds for name, outcome in outcomes.items()},
    }


def _table(levels: Mapping[str, Mapping[str, Any]], options: Options) -> dict[str, Any]:
    """Return the result of a run over several levels of noise: arms and comparisons named ``ARM @ LEVEL``."""
    first = next(iter(levels.values()))
    shared = ("recipe", "version", "seeds", "data", "training", "order", "about", "environment")
    return {
        **{part: first[part] for part in shared},
        "config": asdict(options),
        "levels": {
            name: {"folder": _folder(name), **{part: level[part] for part in _OF_LEVELS if part in level}}
            for name, level in levels.items()
        },
        "arms": {
            f"{arm} @ {name}": metrics for name, level in levels.items() for arm, metrics in level["arms"].items()
        },
        "comparisons": [
            {**c, "a": f"{c['a']} @ {name}", "b": f"{c['b']} @ {name}"}
            for name, level in levels.items()
            for c in level["comparisons"]
        ],
        "seconds": {f"{arm} @ {name}": s for name, level in levels.items() for arm, s in level["seconds"].items()},
    }
