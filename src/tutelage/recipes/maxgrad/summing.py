"""What a run comes to: each arm's numbers over seeds, and paired differences from random rows."""

from collections.abc import Mapping
from typing import Any

from ...evaluation import summary
from ...statistics import PairedDifference
from ..pieces import Done, Record
from ..selection.options import BASELINE
from ..selection.stages import noise_stage
from ..selection.summing import differences, mean_counts, result_of, sizes, wrong_share
from .arms import TEACHERS
from .concluding import conclusion
from .plan import Plan


def summed_up(plan: Plan, done: Done, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``result.json`` holds.

    Args:
        plan: of the run.
        done: its finished stages.
        seconds: how long each took, by name.
    """
    about = {arm.name: TEACHERS[arm.teacher].about for arm in plan.arms}
    levels = {f"{rate:g}": _level(plan, done, rate) for rate in plan.levels}
    filters = {"filters": {arm.name: arm.keep for arm in plan.arms}}
    result = result_of("maxgrad", plan, done, about, levels, filters, seconds)
    return result | {"conclusion": {"lines": conclusion(result)}}


def _level(plan: Plan, done: Done, rate: float) -> dict[str, Any]:
    """One rate of noise."""
    facts = {seed: done.facts(noise_stage(rate), seed) for seed in plan.seeds}
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
        "pool": mean_counts([facts[seed]["pool_counts"] for seed in plan.seeds]),
        "kept": _kept(plan, facts),
        "arms": arms,
        "differences": {str(n): _differences(plan, arms, str(n)) for n in counts},
        "sets": {name: _first(facts[plan.seeds[0]]["arms"][name]) for name in arms},
    }


def _kept(plan: Plan, facts: Mapping[int, Record]) -> dict[str, list[float]]:
    """Mean count of rows of each class that a filter keeps."""
    found: dict[str, list[float]] = {}
    for arm in plan.arms:
        if arm.keep is not None and arm.keep not in found:
            found[arm.keep] = mean_counts([facts[seed]["arms"][arm.name]["class_counts"] for seed in plan.seeds])
    return found


def _differences(plan: Plan, arms: Mapping[str, Mapping[str, Any]], n: str) -> list[PairedDifference]:
    """Each arm less the baseline, as one table."""
    values = {name: own["accuracy"][n]["values"] for name, own in arms.items()}
    return differences(plan.seeds, values, BASELINE, "accuracy")


def _first(own: Mapping[str, Any]) -> Record:
    """What the report shows of the first seed's teaching set."""
    names = ("index", "score", "given", "true", "answer", "margin", "counter_class", "counterfactual")
    return {name: own[name] for name in names if name in own}
