"""Figures of learners with hypotheses: what they are left with, by the number of shown rows."""

from collections.abc import Mapping

import numpy as np

from .bands import Band, band
from .canvas import INK, Look, drawing, figure, svg
from .plots import end_labels
from .reading import Floats


def by_rows(
    curves: Mapping[str, Floats], looks: Mapping[str, Look], rows: int, label: str, line: float | None = None
) -> str:
    """Draw a value over the number of shown rows, from none on; the dotted line is what it may come to.

    Args:
        curves: by teacher, (seeds, lessons + 1), the first before any row.
        looks: of each teacher.
        rows: shown in a lesson.
        label: of the axis.
        line: where the dotted line is; None: there is none.
    """
    from matplotlib.ticker import MaxNLocator

    bands: Mapping[str, Band] = {name: band(values) for name, values in curves.items()}
    with drawing():
        drawn = figure(7.2, 4.2, fit=True)
        axes = drawn.add_subplot()
        for name, values in bands.items():
            look, places = looks[name], rows * np.arange(len(values.mean))
            axes.fill_between(places, values.low, values.high, color=look.colour, alpha=0.1, linewidth=0)
            axes.plot(places, values.mean, color=look.colour, linestyle=look.dash, linewidth=1.7)
        if line is not None:
            axes.axhline(line, color=INK, linewidth=1.0, linestyle=":")
        axes.set_xlim(0, rows * (len(next(iter(bands.values())).mean) - 1))
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_xlabel("rows shown")
        axes.set_ylabel(label)
        end_labels(axes, bands, looks)
        return svg(drawn)
