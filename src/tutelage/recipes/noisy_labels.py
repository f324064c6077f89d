"""Running a recipe on badly labelled data: one rate of noise, or several with a table over them."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from .. import __version__
from ..errors import CheckpointError
from ..evaluation import paired, summary
from ..runs import RunFolder, environment
from .arms import arm_values, per_class_summary, picked_records
from .options import Options, noise_rates
from .plan import BASELINES, Plan, Recipe, loaded, resolved
from .suspects import keep_suspects
from .trajectory import Nobody, Outcome, Watcher, restore_metrics, run_trajectory


def run(recipe: Recipe, options: Options, out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run all arms into a new folder; with several rates of noise, each in a folder of its own within.

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
    options, plans, fingerprints = prepare(recipe, _stored(recipe, folder))
    folder.check_data(fingerprints)
    with folder.locked():
        return _all(plans, options, folder, fingerprints, watcher or Nobody())


def prepare(recipe: Recipe, options: Options) -> tuple[Options, list[Plan], dict[str, str]]:
    """Return the options as resolved, a plan for each rate of noise, and the fingerprints of the data.

    Raises:
        TutelageError: for what cannot work.
    """
    options = resolved(options)
    data, fingerprints = loaded(options)
    rates = [np.format_float_positional(rate, trim="-") for rate in noise_rates(options.noise)]
    plans = [Plan(recipe, replace(options, noise=rate), data) for rate in rates]
    return options, plans, fingerprints


def _environment(options: Options) -> dict[str, Any]:
    return environment(torch.device(options.device))


def _stored(recipe: Recipe, folder: RunFolder) -> Options:
    stored = folder.read("config.json")["config"]
    try:
        missing = set(recipe.options.__dataclass_fields__) - set(stored)
        if missing:
            raise CheckpointError(f"{folder.path}/config.json is damaged: {min(missing)} is missing.")
        return TypeAdapter(recipe.options).validate_python(stored)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(f"{folder.path}/config.json is damaged: {' '.join(str(error).split()[:20])}.") from error


def _all(
    plans: list[Plan], options: Options, folder: RunFolder, fingerprints: Mapping[str, str], watcher: Watcher
) -> dict[str, Any]:
    if len(plans) == 1:
        restore_metrics(folder, plans[0].order)
        return _one(plans[0], folder, watcher)
    levels = {}
    for plan in plans:
        path = folder.path / f"noise-{plan.options.noise}"
        if (path / "config.json").is_file():
            level = RunFolder.open(path)
        else:
            shutil.rmtree(path, ignore_errors=True)  # left by a run that was killed while it made the folder
            level = RunFolder.create(
                path, plan.recipe.name, asdict(plan.options), fingerprints, folder.read("environment.json")
            )
        restore_metrics(level, plan.order)
        levels[plan.options.noise] = _one(plan, level, _Level(watcher, plan.options.noise))
    result = _table(levels, options)
    folder.write("result.json", result)
    return result


class _Level:
    """Passes on what happens, with the rate of the noise in the names."""

    def __init__(self, watcher: Watcher, noise: str) -> None:
        self._watcher, self._noise = watcher, noise

    def start(self, name: str, steps: int, done: int) -> None:
        self._watcher.start(f"{self._noise} {name}", steps, done)

    def advance(self, accuracy: float | None) -> None:
        self._watcher.advance(accuracy)


def _one(plan: Plan, folder: RunFolder, watcher: Watcher) -> dict[str, Any]:
    outcomes: dict[str, Outcome] = {}
    for name in plan.order:
        trajectory = plan.trajectories[name]
        needed = outcomes[trajectory.needs] if trajectory.needs else None
        outcomes[name] = run_trajectory(trajectory, plan.settings, plan.training, folder, needed, watcher)
    result = _result(plan, outcomes, folder.read("environment.json"))
    result["suspects"] = keep_suspects(plan, outcomes, folder)
    result |= plan.recipe.extras(plan, outcomes, folder)
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
    """Return the result of a run over several rates: arms and comparisons named ``ARM @ RATE``."""
    first = next(iter(levels.values()))
    shared = ("recipe", "version", "seeds", "data", "training", "order", "about", "environment")
    return {
        **{name: first[name] for name in shared},
        "config": asdict(options),
        "levels": {
            rate: {
                "folder": f"noise-{rate}",
                **{name: level[name] for name in ("noise", "suspects", "mentors", "published") if name in level},
            }
            for rate, level in levels.items()
        },
        "arms": {
            f"{arm} @ {rate}": metrics for rate, level in levels.items() for arm, metrics in level["arms"].items()
        },
        "comparisons": [
            {**c, "a": f"{c['a']} @ {rate}", "b": f"{c['b']} @ {rate}"}
            for rate, level in levels.items()
            for c in level["comparisons"]
        ],
        "seconds": {f"{name} @ {rate}": s for rate, level in levels.items() for name, s in level["seconds"].items()},
    }
