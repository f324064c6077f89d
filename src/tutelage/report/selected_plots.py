"""Figures of selections: accuracy by the number of shown rows, and how many of these are mislabelled."""

from collections.abc import Mapping

import numpy as np

from ..evaluation import Summary
from .bands import Band, band
from .canvas import INK, QUIET, WRONG, Look, drawing, figure, svg
from .plots import end_labels
from .reading import Floats

_WIDE = 5.8


def by_rows(curves: Mapping[str, Floats], looks: Mapping[str, Look], rows: int, whole: float) -> str:
    """Draw test accuracy over the number of shown rows, in percent; the dotted line is that after the whole pool.

    Args:
        curves: by teacher, (seeds, lessons), in [0, 1].
        looks: of each teacher.
        rows: shown in a lesson.
        whole: accuracy after all rows of the pool.
    """
    from matplotlib.ticker import MaxNLocator

    bands = {name: Band(*(100 * part for part in band(values))) for name, values in curves.items()}
    with drawing():
        drawn = figure(1.25 * _WIDE, 4.6, fit=True)
        axes = drawn.add_subplot()
        for name, values in bands.items():
            look, places = looks[name], rows * np.arange(1, len(values.mean) + 1)
            axes.fill_between(places, values.low, values.high, color=look.colour, alpha=0.1, linewidth=0)
            axes.plot(places, values.mean, color=look.colour, linestyle=look.dash, linewidth=1.7)
        axes.axhline(100 * whole, color=INK, linewidth=1.0, linestyle=":")
        low = min(float(np.nanmin(values.mean)) for values in bands.values())
        axes.set_ylim(max(0.0, low - 4), 101.0)
        axes.set_xlim(rows, rows * max(2, *(len(values.mean) for values in bands.values())))
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_xlabel("rows shown")
        axes.set_ylabel("test accuracy, %")
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
