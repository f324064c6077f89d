"""What a run comes to: each arm's numbers over seeds, and paired differences from random rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ... import __version__
from ...evaluation import summary
from ...statistics import PairedDifference, Runs, compare, power_warning, table
from ..dataset_distillation.pieces import Done
from .arms import TEACHERS, Arm
from .concluding import conclusion
from .course import Record
from .options import BASELINE
from .plan import Plan
from .stages import stage_name


def summed_up(plan: Plan, done: Done, stages: Sequence[tuple[str, Sequence[int]]]) -> dict[str, Any]:
    """Return what ``result.json`` holds.

    Args:
        plan: of the run.
        done: its finished stages.
        stages: their names and seeds.
    """
    levels = {f"{rate:g}": _level(plan, done, rate) for rate in plan.levels}
    first = done.facts(stage_name(plan.levels[0]), plan.seeds[0])
    last = str(plan.options.size)
    here = next(iter(levels.values()))["arms"]
    warnings = [
        f"noise {name}: {line}"
        for name, level in levels.items()
        for difference in level["differences"][last]
        if (line := power_warning(difference)) is not None
    ]
    result = {
        "recipe": "maxgrad",
        "version": __version__,
        "config": asdict(plan.options),
        "seeds": list(plan.seeds),
        "data": {
            "name": plan.material.source.name,
            "classes": list(plan.material.classes),
            "shape": list(plan.material.shape),
            "pool_rows": first["pool_rows"],
            "test_rows": first["test_rows"],
        },
        "order": [arm.name for arm in plan.arms],
        "about": {arm.name: _about(arm) for arm in plan.arms},
        "arms": {name: {"accuracy": own["accuracy"][last]} for name, own in here.items()},
        "selection": {
            "size": plan.options.size,
            "sizes": list(sizes(plan.options.size, plan.options.rows)),
            "baseline": BASELINE,
            "filters": {arm.name: arm.keep for arm in plan.arms},
            "levels": levels,
        },
        "warnings": warnings,
        "environment": dict(done.folder.read("environment.json")),
        "seconds": {name: sum(done.seconds(name, seed) for seed in seeds) for name, seeds in stages},
    }
    return result | {"conclusion": {"lines": conclusion(result)}}


def sizes(size: int, rows: int) -> tuple[int, ...]:
    """Return the numbers of shown rows that tables have: a quarter, a half and all of them."""
    steps = size // rows
    return tuple(rows * count for count in sorted({max(1, steps // 4), max(1, steps // 2), steps}))


def _about(arm: Arm) -> str:
    return TEACHERS[arm.teacher].about


def _level(plan: Plan, done: Done, rate: float) -> dict[str, Any]:
    """One rate of noise."""
    facts = {seed: done.facts(stage_name(rate), seed) for seed in plan.seeds}
    counts = sizes(plan.options.size, plan.options.rows)
    rows = plan.options.rows
    arms: dict[str, dict[str, Any]] = {}
    for arm in plan.arms:
        own = [facts[seed]["arms"][arm.name] for seed in plan.seeds]
        arms[arm.name] = {
            "accuracy": {str(n): summary([each["accuracy"][n // rows - 1] for each in own]) for n in counts},
            "curves": [each["accuracy"] for each in own],
            "wrong": summary([wrong_share(each, plan.options.size) for each in own]),
        }
    return {
        "realised": [facts[seed]["realised"] for seed in plan.seeds],
        "whole_pool": summary([facts[seed]["whole_pool"] for seed in plan.seeds]),
        "pool": _mean_counts([facts[seed]["pool_counts"] for seed in plan.seeds]),
        "kept": _kept(plan, facts),
        "arms": arms,
        "differences": {str(n): _differences(plan, arms, str(n)) for n in counts},
        "sets": {name: _first(facts[plan.seeds[0]]["arms"][name]) for name in arms},
    }


def wrong_share(own: Mapping[str, Any], size: int) -> float:
    """Return the share of the first rows of a teaching set whose given label is wrong."""
    wrong = [int(g != t) for g, t in zip(own["given"][:size], own["true"][:size])]
    return sum(wrong) / size


def _kept(plan: Plan, facts: Mapping[int, Record]) -> dict[str, list[float]]:
    """Mean count of rows of each class that a filter keeps."""
    found: dict[str, list[float]] = {}
    for arm in plan.arms:
        if arm.keep is not None and arm.keep not in found:
            found[arm.keep] = _mean_counts([facts[seed]["arms"][arm.name]["class_counts"] for seed in plan.seeds])
    return found


def _mean_counts(counts: Sequence[Sequence[int]]) -> list[float]:
    return [sum(each) / len(each) for each in zip(*counts)]


def _differences(plan: Plan, arms: Mapping[str, Mapping[str, Any]], n: str) -> list[PairedDifference]:
    """Each arm less the baseline, as one table."""

    def runs(name: str) -> Runs:
        return Runs(name, dict(zip(plan.seeds, arms[name]["accuracy"][n]["values"])))

    return table([compare(runs(name), runs(BASELINE), "accuracy") for name in arms if name != BASELINE])


def _first(own: Mapping[str, Any]) -> Record:
    """What the report shows of the first seed's teaching set."""
    names = ("index", "score", "given", "true", "answer", "margin", "counter_class", "counterfactual")
    return {name: own[name] for name in names if name in own}
