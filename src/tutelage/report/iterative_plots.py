"""Figures of learners on their way: the distance to a target by step, on a logarithmic axis."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .bands import Band
from .canvas import Look, drawing, figure, svg
from .plots import end_labels

_WIDE = 7.25
_DECADES = 9
"""Most labels of an axis that spans many powers of ten."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def by_step(curves: Mapping[str, Mapping[str, Sequence[float]]], looks: Mapping[str, Look]) -> str:
    """Draw medians with bands over steps.

    Args:
        curves: by teacher ``median``, ``low`` and ``high``, each (T + 1,), above 0, from before the first step on.
        looks: of each teacher.
    """
    from matplotlib.ticker import MaxNLocator

    found = {n: Band(*(np.log10(np.asarray(c[key])) for key in ("median", "low", "high"))) for n, c in curves.items()}
    last = max(len(values.mean) for values in found.values()) - 1
    with drawing():
        drawn = figure(_WIDE, 4.6, fit=True)
        axes = drawn.add_subplot()
        for name, values in found.items():
            look, steps = looks[name], np.arange(len(values.mean))
            axes.fill_between(steps, values.low, values.high, color=look.colour, alpha=0.12, linewidth=0)
            axes.plot(steps, values.mean, color=look.colour, linestyle=look.dash, linewidth=1.7)
        low, high = axes.get_ylim()
        places, names = ticks(low, high)
        axes.set_ylim(low, high)
        axes.set_yticks(places, names)
        axes.set_xlim(0, last)
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.set_xlabel("steps")
        axes.set_ylabel("squared distance to the target")
        end_labels(axes, found, looks)
        return svg(drawn)


def ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Return places (log10) and names of round numbers between two powers of ten, whatever lies between them."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    if high - low < 2:
        digits = (1, 2, 5) if high - low > 0.5 else range(1, 10)
        values = [digit * 10.0**power for power in powers for digit in digits]
        inside = [value for value in values if low <= math.log10(value) <= high]
        return [math.log10(value) for value in inside], [f"{value:g}" for value in inside]
    every = math.ceil((high - low) / _DECADES)
    shown = [power for power in powers if power % every == 0 and low <= power <= high]
    return [float(power) for power in shown], [f"10{str(power).translate(_RAISED)}" for power in shown]
