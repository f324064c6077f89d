"""What a run comes to: each arm's numbers over seeds, and paired differences from random rows and from STRICT."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ... import __version__
from ...evaluation import summary
from ...statistics import PairedDifference, Runs, compare, power_warning, table
from ..dataset_distillation.pieces import Done
from ..maxgrad.summing import sizes, wrong_share
from .arms import PREFERRING, TEACHERS
from .concluding import conclusion
from .judging import METRICS, Record
from .options import BASELINE
from .plan import Plan
from .stages import network_stage, teaching_stage

STRICT = "strict"


def summed_up(plan: Plan, done: Done, stages: Sequence[tuple[str, Sequence[int]]]) -> dict[str, Any]:
    """Return what ``result.json`` holds.

    Args:
        plan: of the run.
        done: its finished stages.
        stages: their names and seeds.
    """
    levels = {f"{rate:g}": _level(plan, done, rate) for rate in plan.levels}
    first = done.facts(teaching_stage(plan.levels[0]), plan.seeds[0])
    last = str(plan.options.size)
    here = next(iter(levels.values()))["arms"]
    warnings = [
        f"noise {name}: {line}"
        for name, level in levels.items()
        for difference in level["differences"][last]
        if (line := power_warning(difference)) is not None
    ]
    result = {
        "recipe": "explain",
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
        "order": list(plan.arms),
        "about": {name: TEACHERS[name].about for name in plan.arms},
        "arms": {name: {"accuracy": own["accuracy"][last]} for name, own in here.items()},
        "selection": {
            "size": plan.options.size,
            "sizes": list(sizes(plan.options.size, plan.options.rows)),
            "baseline": BASELINE,
            "filter": plan.options.filter,
            "hypotheses": first["hypotheses"],
            "one_network": plan.options.net is not None and plan.one_network,
            "levels": levels,
        },
        "warnings": warnings,
        "environment": dict(done.folder.read("environment.json")),
        "seconds": {name: sum(done.seconds(name, seed) for seed in seeds) for name, seeds in stages},
    }
    return result | {"conclusion": {"lines": conclusion(result)}}


def _level(plan: Plan, done: Done, rate: float) -> dict[str, Any]:
    """One rate of noise."""
    facts = {seed: done.facts(teaching_stage(rate), seed) for seed in plan.seeds}
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
        "pool": _mean_counts([facts[seed]["pool_counts"] for seed in plan.seeds]),
        "kept": _mean_counts([facts[seed]["kept_counts"] for seed in plan.seeds]),
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

    def runs(name: str) -> Runs:
        values = arms[name][metric][str(n)]["values"]
        return Runs(name, dict(zip(plan.seeds, [1 - v for v in values] if metric == "error" else values)))

    if base not in arms:
        return []
    others = [name for name in arms if name != base and (base != STRICT or name in PREFERRING)]
    what = "one minus expected error" if metric == "error" else metric
    return table([compare(runs(name), runs(base), what) for name in others])


def _mean_counts(counts: Sequence[Sequence[int]]) -> list[float]:
    return [sum(each) / len(each) for each in zip(*counts)]
