"""What a run shows, in words: no more than its intervals carry, ties said, the baseline first."""

from collections.abc import Mapping
from typing import Any

from ...statistics import PairedDifference
from ..selection.words import grouped, noise, percent
from .arms import RECOMMENDED

_WORDS = {
    "better": "better than random",
    "worse": "worse than random",
    "equivalent": "equivalent to random",
    "not shown": "no difference from random shown",
    "identical": "identical to random",
    "numbers only": "too few seeds for a verdict",
}
_EQUAL = 1e-9
"""Means that differ by less are the same."""


def conclusion(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on a result, the first in short."""
    selection = result["selection"]
    last = str(selection["size"])
    told = {name: level["differences"][last] for name, level in selection["levels"].items()}
    lines = [_short(result, last)]
    for name, differences in told.items():
        if differences:
            lines.append(f"{noise(name).capitalize()}, after {last} rows: {grouped(differences, _WORDS)}.")
    return [*lines, _highest(selection, last), *_wrong_labels(selection, last)]


def _short(result: Mapping[str, Any], last: str) -> str:
    """The arm that is recommended, or else the first one after random, at each rate of noise."""
    selection, order = result["selection"], result["order"]
    arm = RECOMMENDED if RECOMMENDED in order else order[min(1, len(order) - 1)]
    parts = []
    for name, level in selection["levels"].items():
        told = f"{noise(name)}, {percent(level['arms'][arm]['accuracy'][last])}"
        against = next((c for c in level["differences"][last] if c["a"] == arm), None)
        parts.append(told if against is None else f"{told}, {_against(level, against, last)}")
    return f"{arm} after {last} rows: {'; '.join(parts)}."


def _against(level: Mapping[str, Any], c: PairedDifference, last: str) -> str:
    half = "" if c["ci95"] is None else f" ± {100 * c['ci95']:.1f}"
    difference = f"{100 * c['mean_difference']:+.1f}".replace("-", "−")
    random = percent(level["arms"][c["b"]]["accuracy"][last])
    return f"{c['b']} {random} (paired difference {difference}{half} points: {c['verdict']})"


def _highest(selection: Mapping[str, Any], last: str) -> str:
    """The arms of largest mean, which is no verdict between arms."""
    parts = []
    for rate, level in selection["levels"].items():
        found = {name: own["accuracy"][last] for name, own in level["arms"].items()}
        most = max(value["mean"] for value in found.values())
        names = [name for name, value in found.items() if most - value["mean"] < _EQUAL]
        told = percent(found[names[0]]) if len(names) == 1 else f"{100 * most:.1f} %"
        parts.append(f"{noise(rate)}, {' and '.join(names)}, {told}")
    return f"Highest mean after {last} rows: {'; '.join(parts)}; between arms other than random there is no verdict."


def _wrong_labels(selection: Mapping[str, Any], last: str) -> list[str]:
    """Say of MaxGrad without a filter how many wrong labels it shows."""
    name = "maxgrad (no filter)"
    lines = []
    for rate, level in selection["levels"].items():
        if name in level["arms"] and float(rate):
            there = sum(level["realised"]) / len(level["realised"])
            shown = level["arms"][name]["wrong"]["mean"]
            lines.append(
                f"{noise(rate).capitalize()}, {100 * shown:.0f} % of what {name} shows is mislabelled, of the pool "
                f"{100 * there:.0f} %: its score is largest where labels are wrong."
            )
    return lines
