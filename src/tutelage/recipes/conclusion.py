"""What follows from a run of teachers that look inside the student: in words, by rules that were fixed before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..evaluation import Comparison, paired, verdict
from .experiment import Setting
from .outcome import Outcome

INSIDE, OUTSIDE = ("deep", "bilinear"), "surface"
"""Teachers that read the student's features, and the one that reads the same but for them."""
LEARNED = (*INSIDE, OUTSIDE, "meta-weight-net")
RIVALS = ("l2rw", "trusted-only", "early-stopping")
"""What a learned teacher has to beat: each uses the same validation rows."""
FIT, BLIND = 0.15, 0.7
"""A student that fits the noisy labels by so much more than their clean share has memorised them; a teacher with an
AUC below the other is of no help then."""
_BEATS = {
    "better": "beats",
    "worse": "is beaten by",
    "tie": "no difference shown to",
    "one seed": "one seed, no verdict against",
}
_WORDS = {"better": "helps", "worse": "hurts", "tie": "no difference shown", "one seed": "one seed, no verdict"}


def conclude(name: str, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return whether internal states help, and whether learned teachers beat what needs no teacher.

    A difference counts only if the 95 % interval of the paired differences excludes 0; else none is shown.

    Args:
        name: of the noise.
        arms: metrics by arm, as in the result.

    Returns:
        ``lines``, sentences, the first one in short, and ``comparisons``, what they rest on; no lines if there is
        nothing to compare.
    """
    inside = [_compared(arms, a, OUTSIDE) for a in INSIDE if a in arms and OUTSIDE in arms]
    rivals = {a: [_compared(arms, a, b) for b in RIVALS if b in arms] for a in LEARNED if a in arms}
    lines = [_headline(name, inside)] if inside else []
    lines += [f"{_told(c)}: {_WORDS[verdict(c)]}." for c in inside]
    lines += [f"{a}: {_against(comparisons)}." for a, comparisons in rivals.items() if comparisons]
    return {"lines": lines, "comparisons": inside + [c for each in rivals.values() for c in each]}


def too_slow(
    names: Sequence[str], outcomes: Mapping[str, Outcome], settings: Sequence[Setting], noise: float
) -> list[str]:
    """Return a warning for each teacher whose student has memorised the noise that the teacher does not see."""
    found = []
    for name in names if noise else ():
        last = [seed[-1] for seed in outcomes[name].records]
        shares = [1.0 - setting.noise.realised for setting in settings]
        bad = [
            (record, share)
            for record, share in zip(last, shares)
            if record["auc"] is not None and record["noisy_fit"] > share + FIT and record["auc"] < BLIND
        ]
        if bad:
            fit, area = (float(np.mean([record[metric] for record, _ in bad])) for metric in ("noisy_fit", "auc"))
            share = float(np.mean([share for _, share in bad]))
            found.append(
                f"{name}, {len(bad)} of {len(last)} seeds: the student gives {100 * fit:.0f} % of the noisy labels "
                f"as its answer, where {100 * share:.0f} % are right, and the teacher cannot tell them (AUC "
                f"{area:.2f}). It was too slow: once labels are memorised, losses say nothing. Try a larger "
                "--teacher-lr or a smaller --every."
            )
    return found


def _compared(arms: Mapping[str, Mapping[str, Any]], a: str, b: str) -> Comparison:
    return paired(a, b, "accuracy", *(arms[arm]["accuracy"]["values"] for arm in (a, b)))


def _headline(name: str, inside: Sequence[Comparison]) -> str:
    groups: dict[str, list[str]] = {}
    for c in inside:
        groups.setdefault(_WORDS[verdict(c)], []).append(c["a"])
    told = "; ".join(f"{word} ({', '.join(arms)})" for word, arms in groups.items())
    return f"{name}: looking inside the student: {told}."


def _told(c: Comparison) -> str:
    """``deep − surface +11.6 ± 5.9 points, above 0 on 10 of 10 seeds``."""
    return f"{c['a']} − {c['b']} {_difference(c)}"


def _difference(c: Comparison) -> str:
    half = "" if c["ci95"] is None else f" ± {100 * c['ci95']:.1f}"
    seeds = c["wins"] + c["ties"] + c["losses"]
    difference = f"{100 * c['mean_difference']:+.1f}".replace("-", "−")
    return f"{difference}{half} points, above 0 on {c['wins']} of {seeds} seeds"


def _against(comparisons: Sequence[Comparison]) -> str:
    groups: dict[str, list[str]] = {}
    for c in comparisons:
        groups.setdefault(_BEATS[verdict(c)], []).append(f"{c['b']} ({_difference(c)})")
    return "; ".join(f"{word} {', '.join(rivals)}" for word, rivals in groups.items())
