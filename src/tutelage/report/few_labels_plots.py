"""Figures of runs with few labels: curves by step."""

from collections.abc import Mapping, Sequence

import numpy as np

from .bands import band
from .canvas import Look, drawing, figure, svg
from .reading import Floats

_WIDE = 5.8


def by_step(
    curves: Mapping[str, tuple[Sequence[int], Floats]],
    looks: Mapping[str, Look],
    what: str,
    *,
    scale: float = 1.0,
    skip: float = 0.0,
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw a metric over steps, with a band over seeds.

    Args:
        curves: by arm, steps (T,) and values (seeds, T).
        looks: of each arm.
        what: name of the axis.
        scale: shown is the value times this.
        skip: share of the points at the start that do not choose the lower limit of the axis.
        limits: of the axis; None: as the curves need.
    """
    with drawing():
        drawn = figure(_WIDE, 3.6, fit=True)
        axes = drawn.add_subplot()
        for name, (steps, values) in curves.items():
            look, shown = looks[name], band(scale * values)
            axes.fill_between(steps, shown.low, shown.high, color=look.colour, alpha=0.13, linewidth=0)
            marker = look.marker if len(steps) == 1 else None
            axes.plot(
                steps, shown.mean, color=look.colour, linestyle=look.dash, linewidth=1.7, marker=marker, label=name
            )
        if skip:
            lows = [band(scale * values).low[int(skip * values.shape[1]) :] for _, values in curves.values()]
            axes.set_ylim(bottom=min(float(np.nanmin(low)) for low in lows) - 1)
        if limits is not None:
            edge = 0.03 * (limits[1] - limits[0])
            axes.set_ylim(limits[0] - edge, limits[1] + edge)
        axes.grid()
        axes.set_xlabel("step")
        axes.set_title(what, loc="left", fontsize=9.5)
        axes.legend(fontsize=8.5, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
        return svg(drawn)
