"""Paired differences of arms that networks taught, with verdicts that were fixed before."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..statistics import PairedDifference, power_warning
from . import distilled_plots, tables
from .canvas import Look
from .markup import Markup, element, paragraph, picture, section, text
from .reading import Run

Looks = Mapping[str, Look]
_MANY = 6


def section_of(run: Run, looks: Looks) -> Markup | None:
    """Each arm against each baseline, seed by seed, with verdicts."""
    found: Sequence[PairedDifference] = run.result.get("comparisons", [])
    if not found:
        return None
    margin = 100 * found[0]["margin"]
    note = paragraph(
        "Each arm minus a baseline, seed by seed; a dot is a seed. Better or worse: the 95 % interval of the mean",
        "excludes 0, and p, corrected for the number of arms in a table by Holm's procedure, is at most .05.",
        f"Equivalent: the 90 % interval is within ±{margin:g} points, the grey band. Not shown: neither, which does",
        "not prove that there is no difference. With fewer than three seeds there are numbers only.",
    )
    blocks = []
    for base in dict.fromkeys(c["b"] for c in found):
        own = [c for c in found if c["b"] == base]
        own.sort(key=lambda c: run.arms.index(c["a"]))
        alt = f"Paired differences from {base} in points: {', '.join(map(_told, own))}."
        image = picture(distilled_plots.differences(own, looks), alt, "wide")
        blocks.append(element("div", element("h3", text(f"Minus {base}")), image, _table(own, looks), class_="block"))
    return section("Paired differences", note, *_power(found), *blocks)


def _told(c: PairedDifference) -> str:
    return f"{c['a']} {tables.signed(100 * c['mean_difference'], 2)} ({c['verdict']})"


def _table(found: Sequence[PairedDifference], looks: Looks) -> Markup:
    names = [
        ("Arm", ""), ("Difference", "points ± 95 %"), ("Verdict", ""), ("t", ""), ("p", "Holm"), ("Above 0", "seeds"),
        ("Smallest", "points"), ("Largest", "points"), ("Seeds for t = 3", "at this spread"),
    ]  # fmt: skip
    rows = []
    for c in found:
        half, word = c["ci95"], c["verdict"]
        mean = tables.signed(100 * c["mean_difference"], 2)
        cells = [
            tables.cell(mean if half is None else f"{mean} ± {tables.number(100 * half, 2)}"),
            element("td", element("b", text(word)), class_=f"verdict-{word.replace(' ', '-')}"),
            tables.cell("–" if c["t"] is None else tables.number(c["t"], 1)),
            tables.cell("–" if c["p_holm"] is None else _p(c["p_holm"])),
            tables.cell(f"{c['wins']} of {len(c['seeds'])}"),
            tables.cell(tables.signed(100 * c["least"], 2)),
            tables.cell(tables.signed(100 * c["most"], 2)),
            tables.cell("–" if c["seeds_needed"] is None else _seeds(c["seeds_needed"])),
        ]
        rows.append(element("tr", tables.arm_name(c["a"], looks), *cells))
    return tables.table([tables.heading(*name) for name in names], rows)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"


def _seeds(count: int) -> str:
    return f"{count:,}" if count < 10_000 else "> 10,000"


def _power(found: Sequence[PairedDifference]) -> list[Markup]:
    """Warnings that a difference is smaller than so few seeds can show."""
    lines = [line for c in found if (line := power_warning(c)) is not None]
    if not lines:
        return []
    listed = element("ul", *(element("li", text(line)) for line in lines))
    if len(lines) > _MANY:
        told = text(f"{len(lines)} differences are too small for so few seeds")
        listed = element("details", element("summary", told), listed)
    return [element("div", element("b", text("Few seeds")), listed, class_="warning")]


def without_power(run: Run) -> Run:
    """Return a run without the warnings that :func:`section_of` shows beside the differences they are about."""
    power = {power_warning(c) for c in run.result.get("comparisons", [])}
    rest = [line for line in run.result.get("warnings", []) if line not in power]
    return replace(run, result={**run.result, "warnings": rest})
