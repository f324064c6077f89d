"""What a run shows, in words: no more than its intervals carry, ties said, nothing about people."""

from collections.abc import Mapping
from typing import Any

from ...statistics import PairedDifference
from ..selection.words import grouped, noise, percent

_ERRORS = {
    "better": "less error than random",
    "worse": "more error than random",
    "equivalent": "as much error as random",
    "not shown": "no difference from random shown",
    "identical": "identical to random",
    "numbers only": "too few seeds for a verdict",
}
_FROM_STRICT = {
    "better": "right more often than with strict on these splits, which says nothing of other data",
    "worse": "right less often than with strict",
    "equivalent": "as often right as with strict",
    "not shown": "no difference from strict shown",
    "identical": "identical to strict",
    "numbers only": "too few seeds for a verdict",
}
_PREFERENCES = (
    "EXPLAIN's preferences, for typical rows and compact explanations, are meant for people: simulated learners do not "
    "look at explanations, so this run speaks neither for nor against them."
)


def conclusion(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on a result, the first in short."""
    selection = result["selection"]
    last = str(selection["size"])
    lines = [_short(result, last)]
    for rate, level in selection["levels"].items():
        if level["error_differences"][last]:
            told = grouped(level["error_differences"][last], _ERRORS)
            lines.append(f"Expected error, {noise(rate)}, after {last} rows: {told}.")
    for rate, level in selection["levels"].items():
        lines += [_from_strict(c, rate, last) for c in level["from_strict"]["accuracy"]]
    if any(name.startswith("explain") for name in result["order"]):
        lines.append(_PREFERENCES)
    return lines


def _short(result: Mapping[str, Any], last: str) -> str:
    """STRICT, or else the first arm after random, at each rate of noise."""
    order = result["order"]
    arm = "strict" if "strict" in order else order[min(1, len(order) - 1)]
    parts = []
    for rate, level in result["selection"]["levels"].items():
        own = level["arms"][arm]
        told = f"{noise(rate)}, an expected error of {percent(own['error'][last])}"
        c = next((c for c in level["error_differences"][last] if c["a"] == arm), None)
        if c is not None:
            random = level["arms"][c["b"]]
            told += (
                f", {c['b']} {percent(random['error'][last])} (paired difference {_points(c, -1)}: {c['verdict']}); "
                f"learners are right on {percent(own['accuracy'][last])} of the test rows, with {c['b']} on "
                f"{percent(random['accuracy'][last])}"
            )
        parts.append(told)
    return f"{arm} after {last} rows: {'; '.join(parts)}."


def _from_strict(c: PairedDifference, rate: str, last: str) -> str:
    return (
        f"Learners of {c['a']}, {noise(rate)}, after {last} rows: {_FROM_STRICT[c['verdict']]} "
        f"(paired difference {_points(c, 1)})."
    )


def _points(c: PairedDifference, sign: int) -> str:
    half = "" if c["ci95"] is None else f" ± {100 * c['ci95']:.1f}"
    shown = f"{100 * sign * c['mean_difference']:+.1f}"
    return f"{shown.replace('-', '−') if float(shown) else '0.0'}{half} points"
