"""Figures of runs in which networks teach networks: paired differences, chains, answers, confidences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import PairedDifference
from .canvas import EMPTY, INK, QUIET, RIGHT, WRONG, Look, drawing, figure, named_lines, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 5.8
TEACHER, STUDENT = "#0072B2", "#E69F00"
"""Of the two in every picture of answers; words and places tell them apart as well."""
_BOX = 1.0


def differences(found: Sequence[PairedDifference], looks: Mapping[str, Look]) -> str:
    """Draw paired differences from one baseline in points: each seed a dot, the mean and its 95 % interval.

    The grey band is the margin within which a difference counts as none.
    """
    with drawing():
        drawn = figure(_WIDE, 0.75 + 0.32 * len(found), fit=True)
        axes = drawn.add_subplot()
        margin = 100 * found[0]["margin"]
        axes.axvspan(-margin, margin, color=EMPTY, alpha=0.6, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1.0, linestyle=":")
        for row, difference in enumerate(found):
            _difference(axes, row, difference, looks[difference["a"]])
        named_lines(axes, [difference["a"] for difference in found])
        axes.set_xlabel(f"test accuracy minus that of {found[0]['b']}, points")
        return svg(drawn)


def _difference(axes: "Axes", row: int, found: PairedDifference, look: Look) -> None:
    seeds, mean = 100 * np.array(found["differences"]), 100 * found["mean_difference"]
    if found["ci95"] is not None:
        half = 100 * found["ci95"]
        axes.errorbar(mean, row, xerr=half, color=look.colour, linewidth=2.2, capsize=3.5, capthick=1.6)
    axes.scatter(seeds, np.full(len(seeds), row + 0.24), s=14, color=look.colour, alpha=0.5, linewidths=0)
    axes.scatter(mean, row, s=44, color=look.colour, marker=look.marker, edgecolors="white", zorder=3)


def answers(names: Sequence[str], teacher: Sequence[float], student: Sequence[float], most: float = 1.0) -> str:
    """Draw the probabilities, up to ``most``, that a teacher and a student give to classes, the first one on top."""
    places, shown = np.arange(len(names)), [_short(name) for name in names]
    width, height = 2.5, 0.55 + 0.27 * len(names)
    left = 0.16 + 0.072 * max(map(len, shown))  # inches; finding them takes longer than all the rest
    with drawing():
        drawn = figure(width, height)
        axes = drawn.add_axes((left / width, 0.45 / height, 1 - (left + 0.12) / width, 1 - 0.5 / height))
        axes.barh(places - 0.19, teacher, 0.36, color=TEACHER)
        axes.barh(places + 0.19, student, 0.36, color=STUDENT)
        axes.set_yticks(places, shown)
        axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8.5)
        axes.tick_params(axis="x", labelsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, most)
        axes.set_xlabel("probability", fontsize=8.5)
        return svg(drawn)


def confused(names: Sequence[str], percent: Sequence[float]) -> str:
    """Draw the mean probability in percent that a teacher gives to another class, by pair of classes."""
    with drawing():
        drawn = figure(_WIDE, 0.7 + 0.28 * len(names), fit=True)
        axes = drawn.add_subplot()
        axes.barh(range(len(names)), percent, 0.6, color=TEACHER)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("mean probability of the other class, %")
        return svg(drawn)


def confidences(right: Sequence[float], wrong: Sequence[float]) -> str:
    """Draw how many labels there are by confidence, in tenths: right ones, and wrong ones on top of them."""
    places = (np.arange(10) + 0.5) / 10
    with drawing():
        drawn = figure(3.4, 2.5, fit=True)
        axes = drawn.add_subplot()
        axes.bar(places, right, 0.09, color=QUIET, label="right labels")
        axes.bar(places, wrong, 0.09, bottom=right, color=WRONG, hatch="///", edgecolor="white", label="wrong labels")
        axes.set_xlim(0, 1)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.set_xlabel("confidence of the label")
        axes.set_ylabel("labels, mean over seeds")
        axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        return svg(drawn)


def ladder(candidates: Sequence[Mapping[str, Any]], chosen: Sequence[str], middle: float | None) -> str:
    """Draw networks by size and accuracy alone: the ends of the chain, the candidates, and which are proposed.

    Args:
        candidates: with ``name``, ``parameters`` and ``alone``, the teacher first and the student last.
        chosen: names of those that are proposed.
        middle: accuracy half-way between teacher and student, in [0, 1].
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with drawing():
        drawn = figure(_WIDE, 3.2, fit=True)
        axes = drawn.add_subplot()
        if middle is not None:
            axes.axhline(100 * middle, color=INK, linewidth=1.0, linestyle=":", label="half-way")
        kinds = _kinds(candidates, chosen)
        for kind, style in _STYLES.items():
            if of := [c for c in candidates if kinds[c["name"]] == kind]:
                xs, ys = [c["parameters"] for c in of], [100 * c["alone"] for c in of]
                axes.scatter(xs, ys, s=60, label=kind, zorder=3, **style)
        for c in candidates:
            place = (c["parameters"], 100 * c["alone"])
            axes.annotate(c["name"], place, (7, -11), textcoords="offset points", fontsize=9)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _compact(size)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12, y=0.14)
        axes.grid()
        axes.set_axisbelow(True)
        axes.set_xlabel("parameters")
        axes.set_ylabel("validation accuracy alone, %")
        axes.legend(frameon=False, fontsize=8.5, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        return svg(drawn)


_STYLES: Mapping[str, Mapping[str, Any]] = {
    "teacher and student": {"color": INK, "marker": "s"},
    "proposed": {"color": TEACHER, "marker": "o"},
    "not proposed": {"facecolors": "white", "edgecolors": QUIET, "marker": "o"},
}


def _kinds(candidates: Sequence[Mapping[str, Any]], chosen: Sequence[str]) -> dict[str, str]:
    kinds = {c["name"]: "proposed" if c["name"] in chosen else "not proposed" for c in candidates}
    ends = (candidates[0]["name"], candidates[-1]["name"])
    return kinds | dict.fromkeys(ends, "teacher and student")


def chain(paths: Sequence[Sequence[tuple[str, str, str]]], verdicts: Sequence[str]) -> str:
    """Draw chains, a row each: boxes from the teacher to the student, arrows for who teaches whom.

    Args:
        paths: of each network its name, its size and its accuracy, as shown.
        verdicts: at the end of each row.
    """
    longest = max(len(path) for path in paths)
    with drawing():
        drawn = figure(_WIDE + 0.9 * max(0, longest - 4), 0.95 * len(paths) + 0.1)
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-0.55, (longest - 1) * 1.35 + 2.2)
        axes.set_ylim(len(paths) - 0.5, -0.5)
        for row, (path, said) in enumerate(zip(paths, verdicts, strict=True)):
            _row(axes, row, path, longest)
            axes.text((longest - 1) * 1.35 + 0.6, row, said, va="center", fontsize=9, linespacing=1.5)
        return svg(drawn)


def _row(axes: "Axes", row: int, path: Sequence[tuple[str, str, str]], longest: int) -> None:
    """The student is always in the last column."""
    from matplotlib.patches import FancyBboxPatch

    columns = [*range(len(path) - 1), longest - 1]
    for place, (column, (name, size, accuracy)) in enumerate(zip(columns, path, strict=True)):
        x = 1.35 * column
        colour = TEACHER if place == 0 else STUDENT if place == len(path) - 1 else QUIET
        style = "round,pad=0.0,rounding_size=0.06"
        axes.add_patch(FancyBboxPatch((x - 0.5, row - 0.36), _BOX, 0.72, style, fc="white", ec=colour, lw=1.6))
        axes.text(x, row - 0.19, _short(name), ha="center", va="center", fontsize=9, weight="bold")
        axes.text(x, row + 0.02, size, ha="center", va="center", fontsize=7.5, color=QUIET)
        axes.text(x, row + 0.22, accuracy, ha="center", va="center", fontsize=8.5, color=RIGHT)
        if place:
            start = (1.35 * columns[place - 1] + 0.52, row)
            axes.annotate("", (x - 0.52, row), start, arrowprops={"arrowstyle": "-|>", "color": QUIET, "lw": 1.3})


def _compact(size: float) -> str:
    """A number of parameters, such as 3k or 10M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:g}{letter}"
    return f"{size:g}"


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
