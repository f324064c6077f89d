"""Words for the conclusions of recipes that compare teachers with random rows."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ...statistics import PairedDifference, Verdict


def grouped(found: Sequence[PairedDifference], words: Mapping[str, str]) -> str:
    """Return the compared arms by verdict, each verdict as ``words`` has it."""
    groups: dict[str, list[str]] = {verdict: [] for verdict in get_args(Verdict)}
    for c in found:
        groups[c["verdict"]].append(c["a"])
    return "; ".join(f"{words[verdict]}: {', '.join(arms)}" for verdict, arms in groups.items() if arms)


def noise(rate: str) -> str:
    """Return a rate of noise, as results name it, in words."""
    return "without noise" if not float(rate) else f"with {100 * float(rate):g} % of the labels drawn anew"


def percent(value: Mapping[str, Any]) -> str:
    """Return a summary over seeds in percent, with half its interval."""
    half = "" if value["ci95"] is None else f" ± {100 * value['ci95']:.1f}"
    return f"{100 * value['mean']:.1f}{half} %"
