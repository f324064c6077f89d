"""What a run comes to: each teacher's distances over seeds, and paired differences from random rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from ... import __version__
from ...evaluation import summary
from ...statistics import PairedDifference
from ..pieces import Done, Record
from ..selection.options import BASELINE
from ..selection.summing import differences
from .arms import TEACHERS
from .concluding import conclusion
from .plan import Plan
from .spread import Median, marks, median
from .stages import TAUGHT

MARGIN = 0.1
"""Orders of magnitude within which a difference counts as none: a factor of 1.26."""


def summed_up(plan: Plan, done: Done, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``result.json`` holds.

    Args:
        plan: of the run.
        done: its finished stage.
        seconds: how long it took, by its name.
    """
    facts = {seed: done.facts(TAUGHT, seed) for seed in plan.seeds}
    first, last = facts[plan.seeds[0]], str(plan.options.steps)
    floor = rounding([own["norm"] for own in facts.values()])
    arms = {name: _arm(plan, [facts[seed]["arms"][name] for seed in plan.seeds], floor) for name in plan.arms}
    result = {
        "recipe": "iterative",
        "version": __version__,
        "config": asdict(plan.options),
        "seeds": list(plan.seeds),
        "data": _data(plan, first),
        "order": list(plan.arms),
        "about": {name: TEACHERS[name].about for name in plan.arms},
        "arms": {name: _short(own, last) for name, own in arms.items()},
        "iterative": {
            "problem": plan.options.problem,
            "steps": plan.options.steps,
            "marks": list(marks(plan.options.steps)),
            "near": plan.options.near,
            "baseline": BASELINE,
            "start": median([own["arms"][BASELINE]["distance"][0] for own in facts.values()]),
            "floor": floor,
            "margin": MARGIN,
            "rows": {key: _mean([own["rows"][key] for own in facts.values()]) for key in first["rows"]},
            **_target_accuracy(list(facts.values())),
            "arms": arms,
            "differences": {str(m): _differences(plan, arms, str(m), floor) for m in marks(plan.options.steps)},
            "shown": {name: first["arms"][name]["shown"] for name in plan.arms},
            "dimension": _dimension([own["dimension"] for own in facts.values()]),
        },
        "environment": dict(done.folder.read("environment.json")),
        "seconds": dict(seconds),
    }
    return result | {"conclusion": {"lines": conclusion(result)}}


def rounding(norms: Sequence[float]) -> float:
    """Return the squared distance that rounding makes of a target: that of float64 by its squared norm."""
    return torch.finfo(torch.float64).eps ** 2 * max(norms)


def _data(plan: Plan, first: Record) -> dict[str, Any]:
    options = plan.options
    if plan.material is None:
        return {
            "name": f"{options.problem} in {options.dim} dimensions",
            "classes": [],
            "shape": [options.dim],
            "pool_rows": options.rows,
            "test_rows": 0,
        }
    return {
        "name": plan.material.source.name,
        "classes": list(plan.classes),
        "shape": list(plan.material.shape),
        "pool_rows": int(first["rows"]["pool"]),
        "test_rows": first["test_rows"],
    }


def _arm(plan: Plan, own: Sequence[Mapping[str, Any]], floor: float) -> Record:
    """One teacher over seeds."""
    curves = [each["distance"] for each in own]
    reached = [_reached(curve, plan.options.near) for curve in curves]
    found: Record = {
        "distance": {str(m): median([curve[m] for curve in curves]) for m in marks(plan.options.steps)},
        "reached": median(reached),
        "curve": _curve([[max(value, floor) for value in curve] for curve in curves]),
    }
    if "accuracy" in own[0]:
        found["accuracy"] = {str(m): summary([each["accuracy"][m] for each in own]) for m in marks(plan.options.steps)}
        found["accuracies"] = [each["accuracy"] for each in own]
    return found


def _short(own: Record, last: str) -> Record:
    accuracy = {"accuracy": own["accuracy"][last]} if "accuracy" in own else {}
    return accuracy | {"squared_distance": own["distance"][last]}


def _reached(curve: Sequence[float], near: float | None) -> int | None:
    """The first step after which the squared distance is at most ``near``; None: half of what it is at the start."""
    least = curve[0] / 2 if near is None else near
    return next((step for step, value in enumerate(curve) if value <= least), None)


def _curve(values: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Median over seeds at each step, with its interval, or the range for seeds too few for one."""
    found: list[Median] = [median(list(column)) for column in zip(*values)]
    ranges = [(min(column), max(column)) for column in zip(*values)]
    low = [least if each["low"] is None else each["low"] for each, (least, _) in zip(found, ranges)]
    high = [most if each["high"] is None else each["high"] for each, (_, most) in zip(found, ranges)]
    middle = [each["median"] for each in found]
    return {"median": [value for value in middle if value is not None], "low": low, "high": high}


def _differences(plan: Plan, arms: Mapping[str, Record], m: str, floor: float) -> list[PairedDifference]:
    """By how many orders of magnitude each teacher's learner is nearer than the baseline's, as one table."""
    values = {
        name: [-math.log10(max(value, floor)) for value in own["distance"][m]["values"]] for name, own in arms.items()
    }
    return differences(plan.seeds, values, BASELINE, "orders_nearer", margin=MARGIN)


def _dimension(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Record]:
    """Sizes of each output over seeds, and the largest error of all."""
    return {
        name: {
            "sizes": [median([each[name]["sizes"][k] for each in found]) for k in range(len(own["sizes"]))],
            "error": max(each[name]["error"] for each in found),
        }
        for name, own in found[0].items()
    }


def _target_accuracy(facts: Sequence[Record]) -> dict[str, float]:
    return {"target_accuracy": _mean([own["target_accuracy"] for own in facts])} if facts[0]["test_rows"] else {}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
