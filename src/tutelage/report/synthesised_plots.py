"""Figures of distilled sets: accuracy by lesson and by network, sets side by side, robustness, confusions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation import Summary
from .canvas import INK, QUIET, WRONG, Look, drawing, figure, named_lines, svg
from .reading import Array, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 5.8
_BLUE = "#0072B2"
_MARKERS = ("o", "D", "s")
_NUMBERED = 12
"""Classes up to which a confusion has its numbers written in it."""


def along(first: Mapping[str, Sequence[float]], others: Sequence[Sequence[float]]) -> str:
    """Draw accuracy before and after each application: mean, standard deviation, least and most; other seeds thin."""
    mean, std, least, most = (100 * np.array(first[name]) for name in ("mean", "std", "least", "most"))
    places = np.arange(len(mean))
    with drawing():
        drawn = figure(_WIDE, 3.4, fit=True)
        axes = drawn.add_subplot()
        axes.fill_between(places, least, most, color=_BLUE, alpha=0.1, linewidth=0, label="least to most")
        axes.fill_between(places, mean - std, mean + std, color=_BLUE, alpha=0.25, linewidth=0, label="± std")
        for i, values in enumerate(others):
            name = "means of other seeds" if i == 0 else None
            axes.plot(places, 100 * np.array(values), color=QUIET, linewidth=0.9, linestyle=(0, (4, 2)), label=name)
        axes.plot(places, mean, color=_BLUE, linewidth=1.8, marker="o", markersize=4, label="mean")
        _whole(axes, len(places))
        axes.set_ylim(0, 101)
        axes.set_xlabel("applications of a batch")
        axes.set_ylabel("test accuracy, %")
        axes.grid()
        drawn.legend(fontsize=8.5, frameon=False, ncols=4, loc="outside lower center")
        return svg(drawn)


def histograms(before: Floats, after: Floats) -> str:
    """Draw how many networks reach which accuracy, before the first application and after the last."""
    from matplotlib.ticker import MaxNLocator

    with drawing():
        drawn = figure(_WIDE, 2.5, fit=True)
        for place, (values, colour, name) in enumerate(((before, QUIET, "before"), (after, _BLUE, "after"))):
            axes = drawn.add_subplot(1, 2, place + 1)
            axes.hist(100 * values, bins=min(30, max(5, len(values) // 4)), color=colour, alpha=0.85)
            axes.axvline(100 * float(values.mean()), color=INK, linewidth=1.0, linestyle=":")
            axes.set_title(name, loc="left", fontsize=9.5)
            axes.set_xlabel("test accuracy, %")
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            if place == 0:
                axes.set_ylabel("networks")
        return svg(drawn)


def side_by_side(found: Mapping[str, Mapping[str, Summary]], names: Sequence[str], looks: Mapping[str, Look]) -> str:
    """Draw a set a line, in it the accuracy by each way with its 95 % interval; ``found`` by set, then way."""
    with drawing():
        drawn = figure(_WIDE, 1.0 + 0.42 * len(found), fit=True)
        axes = drawn.add_subplot()
        for row, (arm, ways) in enumerate(found.items()):
            for way, values in ways.items():
                place = names.index(way)
                _dot(axes, row + 0.2 * (place - 1), values, looks[arm].colour, _MARKERS[place])
        for way, marker in zip(names, _MARKERS):
            if any(way in ways for ways in found.values()):
                axes.scatter([], [], s=40, color=QUIET, marker=marker, label=way)
        named_lines(axes, list(found), size=9, margin=0.05)
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -2.0), min(high, 102.0))  # intervals of two seeds go far beyond what can be
        axes.set_xlabel("test accuracy, %")
        drawn.legend(fontsize=8.5, frameon=False, ncols=3, loc="outside lower center")
        return svg(drawn)


def _dot(axes: "Axes", place: float, values: Summary, colour: str, marker: str) -> None:
    if values["ci95"] is not None:
        half = 100 * values["ci95"]
        axes.errorbar(100 * values["mean"], place, xerr=half, color=colour, linewidth=1.6, capsize=2.5, alpha=0.75)
    axes.scatter(100 * values["mean"], place, s=40, color=colour, marker=marker, edgecolors="white", zorder=3)


def robustness(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw a change a line: mean and standard deviation over networks; the dotted line is the set as it is."""
    known = [row for row in rows if row["mean"] is not None]
    with drawing():
        drawn = figure(_WIDE, 0.7 + 0.24 * len(known), fit=True)
        axes = drawn.add_subplot()
        axes.axvline(100 * known[0]["mean"], color=INK, linewidth=1.0, linestyle=":")
        for place, row in enumerate(known):
            std = 100 * (row["std"] or 0.0)
            axes.errorbar(100 * row["mean"], place, xerr=std, color=_BLUE, linewidth=1.6, capsize=2.5)
            axes.scatter(100 * row["mean"], place, s=32, color=_BLUE, edgecolors="white", zorder=3)
        named_lines(axes, [row["name"] for row in known], size=9, margin=0.05)
        axes.set_xlabel("test accuracy, %, mean ± std over networks")
        return svg(drawn)


def over_steps(
    steps: Sequence[int], curves: Sequence[tuple[str, Floats]], what: str, *, reference: float | None = None
) -> str:
    """Draw curves (F,) over outer steps; the later of many is the darker; ``reference``: a dotted line."""
    from matplotlib import colormaps

    with drawing():
        drawn = figure(_WIDE / 1.6, 2.7, fit=True)
        axes = drawn.add_subplot()
        colours = [_BLUE] if len(curves) == 1 else colormaps["viridis_r"](np.linspace(0.15, 1.0, len(curves)))
        for (name, values), colour in zip(curves, colours):
            axes.plot(steps, values, color=colour, linewidth=1.5, label=name)
        if reference is not None:
            axes.axhline(reference, color=QUIET, linewidth=0.9, linestyle=":")
        axes.grid()
        axes.set_xlabel("outer step")
        axes.set_title(what, loc="left", fontsize=9.5)
        if 1 < len(curves) <= 10:
            axes.legend(fontsize=8, frameon=False)
        return svg(drawn)


def confusions(before: Array, after: Array, names: Sequence[str], attack: tuple[int, int]) -> str:
    """Draw two confusions (C, C), shares of true classes (lines) by answers (columns); a frame where a meets b."""
    with drawing():
        drawn = figure(1.5 * _WIDE, 0.8 * _WIDE, fit=True)
        for place, (shares, name) in enumerate(((before, "before"), (after, "after"))):
            axes = drawn.add_subplot(1, 2, place + 1)
            axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
            row, column = attack
            square = ([column - 0.5, column + 0.5, column + 0.5, column - 0.5, column - 0.5],)
            axes.plot(*square, [row - 0.5, row - 0.5, row + 0.5, row + 0.5, row - 0.5], color=WRONG, linewidth=2.0)
            if len(names) <= _NUMBERED:
                _write_shares(axes, shares)
                axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
                axes.set_yticks(range(len(names)), names)
            axes.set_title(f"{name} (%)", loc="left", fontsize=9.5)
            axes.set_xlabel("answer")
            if place == 0:
                axes.set_ylabel("true class")
        return svg(drawn)


def _write_shares(axes: "Axes", shares: Array) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.55 else INK
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7.5, color=colour)


def _whole(axes: "Axes", count: int) -> None:
    """Ticks at whole numbers."""
    step = max(1, -(-count // 12))
    axes.set_xticks(range(0, count, step))
