"""The figures of the report, each a function from numbers to an image address."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation import Summary
from .bands import Band, band
from .canvas import EMPTY, INK, RIGHT, WRONG, Look, drawing, figure, named_lines, png, spread, svg
from .reading import Floats
from .surface import Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 5.8
"""Inches of a picture as wide as the text: large enough for print, and still legible on a phone."""
_START = 0.05
"""Share of training at the start that does not choose the limits of the accuracy axis."""


def accuracy_dots(summaries: Mapping[str, Summary], looks: Mapping[str, Look]) -> str:
    """Draw an arm a line: each seed a dot, the mean and its 95 % interval; in percent."""
    with drawing():
        drawn = figure(_WIDE, 0.7 + 0.32 * len(summaries), fit=True)
        axes = drawn.add_subplot()
        for row, (name, values) in enumerate(summaries.items()):
            _dots(axes, row, values, looks[name])
        named_lines(axes, list(summaries))
        axes.set_xlabel("test accuracy, %")
        return svg(drawn)


def _dots(axes: "Axes", row: int, values: Summary, look: Look) -> None:
    seeds, mean = np.array(values["values"]) * 100, values["mean"] * 100
    if values["ci95"] is not None:
        axes.errorbar(mean, row, xerr=values["ci95"] * 100, color=look.colour, linewidth=2.2, capsize=3.5, capthick=1.6)
    axes.scatter(seeds, np.full(len(seeds), row + 0.24), s=14, color=look.colour, alpha=0.5, linewidths=0)
    axes.scatter(mean, row, s=44, color=look.colour, marker=look.marker, edgecolors="white", zorder=3)


def learning_curves(curves: Mapping[str, Floats], looks: Mapping[str, Look]) -> str:
    """Draw test accuracy over epochs in percent, labelled at the right end.

    Args:
        curves: by arm, (seeds, epochs), in [0, 1].
        looks: of each arm.
    """
    bands = {name: Band(*(100 * part for part in band(values))) for name, values in curves.items()}
    with drawing():
        drawn = figure(_WIDE, 4.4, fit=True)
        axes = drawn.add_subplot()
        for name, values in bands.items():
            _curve(axes, values, looks[name].colour, looks[name].dash)
        low = min(float(np.nanmin(b.low[int(_START * len(b.low)) :])) for b in bands.values())
        high = max(float(np.nanmax(b.high)) for b in bands.values())
        margin = 0.04 * max(high - low, 1.0)
        axes.set_ylim(low - margin, min(high + margin, 101.0))
        axes.set_xlim(1, max(2, *(len(b.mean) for b in bands.values())))
        axes.grid()
        axes.set_xlabel("epoch")
        axes.set_ylabel("test accuracy, %")
        end_labels(axes, bands, looks)
        return svg(drawn)


def _curve(axes: "Axes", values: Band, colour: str, dash: Any = "-") -> None:
    epochs = np.arange(1, len(values.mean) + 1)
    axes.fill_between(epochs, values.low, values.high, color=colour, alpha=0.13, linewidth=0)
    marker = "o" if len(epochs) == 1 else None
    axes.plot(epochs, values.mean, color=colour, linestyle=dash, linewidth=1.7, marker=marker)


def end_labels(axes: "Axes", bands: Mapping[str, Band], looks: Mapping[str, Look]) -> None:
    """Write each arm's name beside the end of its curve, with a line to it, since names may have to move apart."""
    low, high = axes.get_ylim()
    ends = [float(b.mean[-1]) for b in bands.values()]
    for name, end, place in zip(bands, ends, spread(ends, (high - low) * 0.042, high)):
        axes.annotate(
            name,
            xy=(1.0, end),
            xytext=(1.055, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0.0, 0.5),  # from the start of the name, or a steep line crosses its neighbours
                "color": looks[name].colour,
                "linewidth": 1.6,
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )


def value_curves(curves: Mapping[str, Floats], looks: Mapping[str, Look], label: str, *, line: float) -> str:
    """Draw a value over epochs, labelled at the right end, with a dotted line to compare it with.

    Args:
        curves: by arm, (seeds, epochs).
        looks: of each arm.
        label: of the axis.
        line: where the dotted line is.
    """
    bands = {name: band(values) for name, values in curves.items()}
    with drawing():
        drawn = figure(_WIDE, 3.8, fit=True)
        axes = drawn.add_subplot()
        for name, values in bands.items():
            _curve(axes, values, looks[name].colour, looks[name].dash)
        axes.axhline(line, color=INK, linewidth=1.0, linestyle=":")
        axes.set_xlim(1, max(2, *(len(b.mean) for b in bands.values())))
        axes.grid()
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        end_labels(axes, bands, looks)
        return svg(drawn)


def accuracy_by_noise(accuracies: Mapping[str, Floats], rates: Sequence[str], looks: Mapping[str, Look]) -> str:
    """Draw test accuracy in percent over rates of label noise, labelled at the right end.

    Args:
        accuracies: by arm, (seeds, rates), in [0, 1].
        rates: as numbers that ascend.
        looks: of each arm.
    """
    bands = {name: Band(*(100 * part for part in band(values))) for name, values in accuracies.items()}
    places = np.arange(len(rates))
    with drawing():
        drawn = figure(_WIDE, 4.4, fit=True)
        axes = drawn.add_subplot()
        for name, values in bands.items():
            look = looks[name]
            axes.fill_between(places, values.low, values.high, color=look.colour, alpha=0.13, linewidth=0)
            axes.plot(places, values.mean, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4.5)
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0.0), min(high, 101.0))
        axes.set_xticks(places, rates)
        axes.grid(axis="y")
        axes.set_xlabel("label noise, as requested")
        axes.set_ylabel("test accuracy, %")
        end_labels(axes, bands, looks)
        return svg(drawn)


def weight_curves(right: Floats, wrong: Floats, label: str = "mean weight") -> str:
    """Draw the mean weight of right and of wrong labels over epochs; each (seeds, epochs)."""
    with drawing():
        drawn = figure(3.4, 2.3)
        axes = drawn.add_axes((0.16, 0.21, 0.78, 0.75))
        _curve(axes, band(right), RIGHT)
        _curve(axes, band(wrong), WRONG, (0, (5, 2)))
        axes.set_ylim(-0.03, 1.03 * max(1.0, float(np.nanmax(right)), float(np.nanmax(wrong))))
        axes.set_xlim(1, max(right.shape[1], wrong.shape[1], 2))
        axes.grid()
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        return svg(drawn)


def weight_map(values: Surface) -> str:
    """Draw the mean weight by loss (x, logarithmic) and percent of training (y)."""
    with drawing():
        drawn = figure(4.9, 3.9)
        axes = drawn.add_axes((0.13, 0.13, 0.67, 0.83))
        axes.set_facecolor(EMPTY)
        shown = np.ma.masked_invalid(values.weight)
        mesh = axes.pcolormesh(
            np.log10(values.loss_edges), values.percent_edges, shown, vmin=0, vmax=_top(values), cmap="viridis"
        )
        places, names = _loss_ticks(values.loss_edges)
        axes.set_xticks(places, names)
        axes.set_xlabel("loss")
        axes.set_ylabel("percent of training")
        drawn.colorbar(mesh, cax=drawn.add_axes((0.82, 0.13, 0.03, 0.83)), label="mean weight")
        return png(drawn)


def weight_surface(values: Surface) -> str:
    """Draw the mean weight (height) by loss and percent of training; at least two rows, blank where no example was.

    The end of training is in front, so that the nearest edge is the teacher's rule as it was in the end.
    """
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection
    from mpl_toolkits.mplot3d.axes3d import Axes3D

    x = _centres(np.log10(values.loss_edges))
    y = _centres(values.percent_edges)
    with drawing():
        drawn = figure(4.9, 3.9)
        axes: Any = drawn.add_axes((0.0, 0.02, 0.97, 1.02), axes_class=Axes3D)
        tiles = _tiles(x, y, values.weight)
        top = _top(values)
        heights = tiles[:, :, 2].mean(axis=1)
        faces = _viridis(heights / top)
        axes.add_collection3d(Poly3DCollection(tiles, facecolors=faces, edgecolors=faces * 0.82, linewidths=0.3))
        _frame(axes, values, top)
        return png(drawn)


def _frame(axes: Any, values: Surface, top: float) -> None:
    places, names = _loss_ticks(values.loss_edges)
    axes.set_xlim(*np.log10(values.loss_edges[[0, -1]]))
    axes.set_ylim(100, 0)
    axes.set_zlim(0, top)
    axes.set_xticks(places, names)
    axes.set_xlabel("loss")
    axes.set_ylabel("percent of training")
    axes.set_zlabel("mean weight")
    axes.tick_params(pad=0)
    axes.yaxis.labelpad = 7
    axes.view_init(elev=32, azim=-55)
    axes.set_box_aspect((1.25, 1.25, 0.8), zoom=0.94)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0.97, 0.975, 0.98, 1.0))


def _tiles(x: Floats, y: Floats, z: Floats) -> Floats:
    """Return the tiles (M, 4, 3) between neighbouring points of a grid; tiles with a missing corner are left out."""
    gx, gy = np.meshgrid(x, y)
    points = np.stack([gx, gy, z], axis=-1)
    corners = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=-2)
    tiles: Floats = corners.reshape(-1, 4, 3)
    return tiles[np.isfinite(tiles).all(axis=(1, 2))]


def _viridis(values: Floats) -> Floats:
    from matplotlib import colormaps

    rgba: Floats = np.asarray(colormaps["viridis"](values))
    return rgba


def _top(values: Surface) -> float:
    """Upper end of the weight axis: 1, unless a teacher gives larger weights."""
    known = values.weight[np.isfinite(values.weight)]
    return max(1.0, float(known.max(initial=0.0)))


def _centres(edges: Floats) -> Floats:
    return (edges[:-1] + edges[1:]) / 2


def _loss_ticks(edges: Floats) -> tuple[list[float], Sequence[str]]:
    """Return places (log10) and names of round numbers between the outermost edges."""
    low, high = float(edges[0]), float(edges[-1])
    steps = (1, 2, 5) if high < 30 * low else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    round_numbers = [step * 10.0**power for power in powers for step in steps]
    shown = [value for value in round_numbers if 0.999 * low <= value <= 1.001 * high]
    return [math.log10(value) for value in shown], [f"{value:g}" for value in shown]
