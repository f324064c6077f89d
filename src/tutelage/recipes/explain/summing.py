"""What a run comes to: each arm's numbers over seeds, and paired differences from random rows and from STRICT."""

from collections.abc import Mapping
from typing import Any

from ...evaluation import summary
from ...statistics import PairedDifference
from ..pieces import Done
from ..selection.options import BASELINE
from ..selection.stages import noise_stage
from ..selection.summing import differences, mean_counts, result_of, sizes, wrong_share
from .arms import PREFERRING, TEACHERS
from .concluding import conclusion
from .judging import METRICS, Record
from .plan import Plan
from .stages import network_stage

STRICT = "strict"


def summed_up(plan: Plan, done: Done, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``result.json`` holds.

    Args:
        plan: of the run.
        done: its finished stages.
        seconds: how long each took, by name.
    """
    about = {name: TEACHERS[name].about for name in plan.arms}
    levels = {f"{rate:g}": _level(plan, done, rate) for rate in plan.levels}
    selection = {
        "filter": plan.options.filter,
        "hypotheses": done.facts(noise_stage(plan.levels[0]), plan.seeds[0])["hypotheses"],
        "one_network": plan.options.net is not None and plan.one_network,
    }
    result = result_of("explain", plan, done, about, levels, selection, seconds)
    return result | {"conclusion": {"lines": conclusion(result)}}


def _level(plan: Plan, done: Done, rate: float) -> dict[str, Any]:
    """One rate of noise."""
    facts = {seed: done.facts(noise_stage(rate), seed) for seed in plan.seeds}
    counts, rows = sizes(plan.options.size, plan.options.rows), plan.options.rows
    arms: dict[str, dict[str, Any]] = {}
    for name in plan.arms:
        own = [facts[seed]["arms"][name] for seed in plan.seeds]
        arms[name] = {
            metric: {str(n): summary([each[metric][n // rows] for each in own]) for n in counts} for metric in METRICS
        } | {
            "curves": {metric: [each[metric] for each in own] for metric in METRICS},
            "wrong": summary([wrong_share(each, plan.options.size) for each in own]),
        }
    best = [facts[seed]["best"] for seed in plan.seeds]
    start = [facts[seed]["arms"][BASELINE] for seed in plan.seeds]
    return {
        "realised": [facts[seed]["realised"] for seed in plan.seeds],
        "pool": mean_counts([facts[seed]["pool_counts"] for seed in plan.seeds]),
        "kept": mean_counts([facts[seed]["kept_counts"] for seed in plan.seeds]),
        "network": _network(plan, done, rate),
        "start": {metric: summary([own[metric][0] for own in start]) for metric in METRICS},
        "best": {metric: summary([own[metric] for own in best]) for metric in ("error", "accuracy")},
        "arms": arms,
        "differences": {str(n): _differences(plan, arms, "accuracy", n, BASELINE) for n in counts},
        "error_differences": {str(n): _differences(plan, arms, "error", n, BASELINE) for n in counts},
        "from_strict": {
            metric: _differences(plan, arms, metric, counts[-1], STRICT) for metric in ("accuracy", "error")
        },
        "sets": facts[plan.seeds[0]]["arms"],
    }


def _network(plan: Plan, done: Done, rate: float) -> Record | None:
    """How good the networks are."""
    if plan.options.net is None:
        return None
    seeds = sorted({plan.network_seed(seed, rate) for seed in plan.seeds})
    facts = [done.facts(network_stage(rate), seed) for seed in seeds]
    return {name: summary([own[name] for own in facts]) for name in ("pool_accuracy", "test_accuracy")}


def _differences(
    plan: Plan, arms: Mapping[str, Mapping[str, Any]], metric: str, n: int, base: str
) -> list[PairedDifference]:
    """Arms less a base, as one table; of errors what is right instead, so that better is larger."""
    if base not in arms:
        return []
    names = [name for name in arms if base != STRICT or name in (base, *PREFERRING)]
    values = {name: arms[name][metric][str(n)]["values"] for name in names}
    if metric == "error":
        values = {name: [1 - value for value in own] for name, own in values.items()}
    return differences(plan.seeds, values, base, "one minus expected error" if metric == "error" else metric)
