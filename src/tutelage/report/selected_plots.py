"""Figures of selections: accuracy by the number of shown rows, and how many of these are mislabelled."""

from collections.abc import Mapping

import numpy as np

from ..evaluation import Summary
from .bands import Band, band
from .canvas import INK, QUIET, WRONG, Look, drawing, figure, svg
from .plots import end_labels
from .reading import Floats

_WIDE = 5.8
ACCURACY = "test accuracy, %"


def by_rows(
    curves: Mapping[str, Floats],
    looks: Mapping[str, Look],
    rows: int,
    *,
    first: int = 1,
    label: str = ACCURACY,
    line: float | None = None,
) -> str:
    """Draw a value over the number of shown rows.

    Args:
        curves: by teacher, (seeds, lessons), as the axis has them.
        looks: of each teacher.
        rows: shown in a lesson.
        first: lessons before the first value: 1, or 0 if it is from before any row.
        label: of the axis.
        line: where the dotted line is; None: there is none.
    """
    from matplotlib.ticker import MaxNLocator

    bands: Mapping[str, Band] = {name: band(values) for name, values in curves.items()}
    with drawing():
        drawn = figure(1.25 * _WIDE, 4.6, fit=True)
        axes = drawn.add_subplot()
        for name, values in bands.items():
            look, places = looks[name], rows * np.arange(first, first + len(values.mean))
            axes.fill_between(places, values.low, values.high, color=look.colour, alpha=0.1, linewidth=0)
            axes.plot(places, values.mean, color=look.colour, linestyle=look.dash, linewidth=1.7)
        if line is not None:
            axes.axhline(line, color=INK, linewidth=1.0, linestyle=":")
        if label == ACCURACY:  # bands may go where no accuracy is
            axes.set_ylim(max(0.0, min(float(np.nanmin(values.mean)) for values in bands.values()) - 4), 101.0)
        last = first + max(len(values.mean) for values in bands.values()) - 1
        axes.set_xlim(rows * first, rows * max(first + 1, last))
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_xlabel("rows shown")
        axes.set_ylabel(label)
        end_labels(axes, bands, looks)
        return svg(drawn)


def wrong_labels(shares: Mapping[str, Summary], pool: float) -> str:
    """Draw the share of mislabelled rows among those shown, an arm a line; the dotted line is that of the pool."""
    with drawing():
        drawn = figure(_WIDE, 0.9 + 0.24 * len(shares), fit=True)
        axes = drawn.add_subplot()
        axes.axvline(100 * pool, color=INK, linewidth=1.0, linestyle=":", label="the pool")
        for place, values in enumerate(shares.values()):
            if values["ci95"] is not None:
                half = 100 * values["ci95"]
                axes.errorbar(100 * values["mean"], place, xerr=half, color=QUIET, linewidth=1.4, capsize=2.5)
            axes.scatter(100 * values["mean"], place, s=32, color=WRONG, edgecolors="white", zorder=3)
        axes.set_yticks(range(len(shares)), list(shares))
        axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9)
        axes.set_ylim(len(shares) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, -1.5))
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("mislabelled, % of the shown rows")
        axes.legend(fontsize=8.5, frameon=False)
        return svg(drawn)
