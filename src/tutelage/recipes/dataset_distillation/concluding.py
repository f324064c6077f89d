"""What a run shows, in words: no more than its numbers, ties said, and whatever simpler thing does better first."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ...statistics import PairedDifference, Verdict, told

SAME = 1e-9
"""Means nearer than this are one number: sums of the same shares round in their own order."""
_TELLS = {
    "accuracy": "against real sets taught alike",
    "neighbour_accuracy": "against nearest neighbours",
    "free_accuracy": "all trained freely",
}


def conclusion(result: Mapping[str, Any]) -> list[str]:
    """Return sentences on a result, the first in short."""
    if result["metric"] == "attack":
        return [_attack(result), *(told(c) + "." for c in result["comparisons"])]
    lines = [_short(result), *_simpler(result)]
    for metric, words in _TELLS.items():
        found = [c for c in result["comparisons"] if c["metric"] == metric]
        if found:
            lines.append(f"{words}, {_grouped(found)}.")
            lines += [f"{told(c)}." for c in found]
    return lines


def _short(result: Mapping[str, Any]) -> str:
    facts, made = result["distillation"], result["arms"]["distilled"]
    seeds = len(result["seeds"])
    over = f"mean over {seeds} seed{'s' * (seeds != 1)}"
    if seeds > 1 and facts["init"].startswith("pretrained"):
        over += ", which share these networks"
    if result["metric"] == "free_accuracy":
        return f"{facts['images']} images, trained on freely: {_percent(made['free_accuracy'])} % ({over})."
    steps, shared = facts["applications"], facts["init"].startswith("pretrained")
    return (
        f"{facts['images']} images in {steps} step{'s' * (steps != 1)}: {_percent(made['before'], shared)} % before, "
        f"{_percent(made['accuracy'])} % after, over {_networks(result)} ({over})."
    )


def _networks(result: Mapping[str, Any]) -> str:
    count = len(next(iter(result["sets"].values()))["along"]["after"])
    kinds = {
        "fixed": "the stored initial weights; others are not meant",
        "random": f"{count} fresh networks",
        "pretrained": f"{count} trained networks that no step saw",
        "pretrained-fixed": "the one trained network that is known",
    }
    return kinds[result["distillation"]["init"]]


def _attack(result: Mapping[str, Any]) -> str:
    made, names = result["arms"]["distilled"], result["data"]["classes"]
    a, b = (names[c] for c in result["distillation"]["attack"])
    parts = [f"overall {_percent(made['before_overall'], True)} % before, {_percent(made['overall'])} % after"]
    if "attack" in made:
        parts.append(f"{a} taken for {b} {_percent(made['attack'])} %, for itself {_percent(made['a_accuracy'])} %")
    else:
        parts.append(f"no test row of {a}, so nothing is known of it")
    if "others" in made:
        parts.append(f"other classes {_percent(made['others'])} %")
    if len(result["seeds"]) > 1:
        parts.append(f"mean over {len(result['seeds'])} seeds, which share these networks")
    return f"poisoning {a} → {b} over {_networks_of_attack(result)}: {'; '.join(parts)}."


def _networks_of_attack(result: Mapping[str, Any]) -> str:
    overall = next(iter(result["sets"].values()))["attack"]["after"]["overall"]
    if result["distillation"]["init"] == "pretrained-fixed":
        return "the one trained network that is known"
    return f"{len(overall)} trained networks that no step saw"


def _simpler(result: Mapping[str, Any]) -> list[str]:
    """What does better, or as well, with as many real images and no distillation."""
    metric, lines = result["metric"], []
    here = result["arms"]["distilled"][metric]["mean"]
    for c in result["comparisons"]:
        if c["metric"] == metric and metric != "free_accuracy":
            continue
        if c["metric"] == "free_accuracy" and c["b"] == "full-data":
            continue
        way = "" if c["metric"] == "neighbour_accuracy" else "free training on "
        value = _value(result, c["b"], c["metric"])
        if value > here - SAME:
            than = "as much as" if value < here + SAME else "more than"
            lines.append(
                f"{way}{c['b']} reaches {100 * value:.1f} % with as many images and no distillation, {than} "
                f"{100 * here:.1f} %{_certainty(c, metric)}."
            )
    return lines


def _value(result: Mapping[str, Any], name: str, metric: str) -> float:
    return float(result["arms"][name.removeprefix("1-NN on ")][metric]["mean"])


def _certainty(c: PairedDifference, metric: str) -> str:
    if c["metric"] != "neighbour_accuracy" and metric != c["metric"]:
        return " (by the means; the paired difference is of another pair)"
    words = {"worse": "", "numbers only": " (too few seeds for a verdict)"}
    return words.get(c["verdict"], f" ({c['verdict']} over these seeds)")


def _grouped(found: Sequence[PairedDifference]) -> str:
    groups: dict[str, list[str]] = {verdict: [] for verdict in get_args(Verdict)}
    for c in found:
        groups[c["verdict"]].append(c["b"])
    return "; ".join(f"{verdict}: {', '.join(arms)}" for verdict, arms in groups.items() if arms)


def _percent(value: Mapping[str, Any], alone: bool = False) -> str:
    """Percent, with half its interval over seeds; ``alone``: without, where seeds cannot differ."""
    half = "" if alone or value["ci95"] is None else f" ± {100 * value['ci95']:.1f}"
    return f"{100 * value['mean']:.1f}{half}"
