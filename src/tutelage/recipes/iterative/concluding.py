"""What a run shows, in words: no more than its intervals carry, ties said, the baseline beside every teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...statistics import PairedDifference
from ..selection.words import grouped

_WORDS = {
    "better": "nearer than random",
    "worse": "farther than random",
    "equivalent": "as near as random",
    "not shown": "no difference from random shown",
    "identical": "identical to random",
    "numbers only": "too few seeds for a verdict",
}


def conclusion(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on a result, the first in short."""
    facts = result["iterative"]
    lines = [_short(result)]
    for mark in facts["marks"]:
        if found := facts["differences"][str(mark)]:
            lines.append(f"After {mark} step{'s' * (mark != 1)}: {grouped(found, _WORDS)}.")
    return [*lines, _arrivals(result), *_questions(result), *_sets(facts)]


def _short(result: Mapping[str, Any]) -> str:
    """The teacher who ends nearest, beside random."""
    facts = result["iterative"]
    last = str(facts["steps"])
    ends = {name: facts["arms"][name]["distance"][last]["median"] for name in result["order"]}
    name = min(ends, key=lambda arm: max(ends[arm], facts["floor"]))
    steps = f"{last} step{'s' * (last != '1')}"
    told = f"Nearest after {steps}: {name}, median squared distance to the target {size(ends[name], facts)}"
    against = next((c for c in facts["differences"][last] if c["a"] == name), None)
    if against is None:
        return f"{told}."
    return f"{told}; {facts['baseline']} {size(ends[facts['baseline']], facts)} ({_paired(against)})."


def _paired(c: PairedDifference) -> str:
    half = "" if c["ci95"] is None else f" ± {c['ci95']:.2f}"
    return f"paired difference {c['mean_difference']:+.2f}{half} orders of magnitude: {c['verdict']}".replace("-", "−")


def size(value: float, facts: Mapping[str, Any]) -> str:
    """Return a squared distance in words; one that is no more than rounding says so."""
    return f"below rounding ({facts['floor']:.0e})" if value < facts["floor"] else f"{value:.3g}"


def _arrivals(result: Mapping[str, Any]) -> str:
    """Steps until the squared distance is small."""
    facts, seeds = result["iterative"], len(result["seeds"])
    parts = []
    for name in result["order"]:
        own = facts["arms"][name]["reached"]
        there = [value for value in own["values"] if value is not None]
        if not there:
            parts.append(f"{name} never")
            continue
        parts.append(f"{name} {_steps(there)}" + (f" in {len(there)} of {seeds} seeds" if len(there) < seeds else ""))
    near = "half of that at the start" if facts["near"] is None else f"{facts['near']:g}"
    return f"Steps until the squared distance is {near}: {', '.join(parts)}."


def _steps(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _questions(result: Mapping[str, Any]) -> list[str]:
    """Say of imitation what its questions did, if both forms are there."""
    facts = result["iterative"]
    if not {"imitation", "imitation-blind"} <= set(result["order"]):
        return []
    last = str(facts["steps"])
    asking, blind = (facts["arms"][name]["distance"][last]["values"] for name in ("imitation", "imitation-blind"))
    count = sum(a < b for a, b in zip(asking, blind))
    return [f"Imitation ends nearer with its questions than without in {count} of {len(asking)} seeds."]


def _sets(facts: Mapping[str, Any]) -> list[str]:
    """The smallest sets, for learners that study everything at once."""
    parts = []
    for name, own in facts["dimension"].items():
        sizes = [value for output in own["sizes"] for value in output["values"]]
        items = f"{_steps(sizes)} item{'s' * (max(sizes) != 1)}"
        parts.append(f"{name} {items} (largest relative error after training {own['error']:.0e})")
    return [f"A learner that studies a set all at once needs of the smallest one: {'; '.join(parts)}."]
