"""Decision boundaries on a plane: arms side by side, over training, as a picture and as an animation."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..canvas import INK, drawing, figure
from ..reading import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOMENTS = 5
"""Columns of the picture."""
FRAMES = 15
"""Of the animation."""
_SIDE, _GAP = 1.6, 0.1
"""Inches of a panel, and of what is left free in it."""
_NAME, _LINE = 0.25, 0.17
"""Inches of an arm's name beside its row, and of a line above a panel."""
_DOTS = 96
_FRAME, _LAST = 300, 2500
"""Milliseconds that a frame is seen, and the last one."""
_COLOURS = 96
_POINTS = 400
"""At most so many are drawn."""


@dataclass(frozen=True, eq=False)
class Boundaries:
    """What one arm answered over training.

    Attributes:
        frames: the probability of class 1 at the probe, 0..255, uint8, (E, G * G).
        probe: where, (G * G, 2), row by row.
        x: the points (N, 2).
        y: their classes (N,).
        labelled: positions of those with a label.
        steps: when, (E,).
        accuracies: on the test points then, (E,).
    """

    frames: Array
    probe: Array
    x: Array
    y: Array
    labelled: Array
    steps: Sequence[int]
    accuracies: Sequence[float]

    def at(self, share: float) -> int:
        """Return which frame is shown when this share of the steps is done, in [0, 1]."""
        due = share * self.steps[-1]
        return int(np.argmin([abs(step - due) for step in self.steps]))


def picture_grid(arms: Mapping[str, Boundaries]) -> bytes:
    """Return a PNG: a row an arm, a column a moment."""
    shares = np.linspace(1 / MOMENTS, 1, MOMENTS)
    with drawing():
        drawn = figure(_NAME + MOMENTS * _SIDE, len(arms) * (_SIDE + _LINE))
        for row, (name, arm) in enumerate(arms.items()):
            for column, share in enumerate(shares):
                axes = _place(drawn, _NAME + column * _SIDE, row * (_SIDE + _LINE) + _LINE)
                i = arm.at(float(share))
                _panel(axes, arm).set_data(_square(arm, i))
                axes.set_title(_words(arm, i), fontsize=7.5, pad=2)
                if not column:
                    axes.set_ylabel(name, fontsize=9, color=INK)
        file = io.BytesIO()
        drawn.savefig(file, format="png", dpi=_DOTS)
    return _few_colours(file.getvalue())


def animation(arms: Mapping[str, Boundaries]) -> bytes:
    """Return an endless GIF: all arms side by side, from the start of training to its end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    columns = min(3, len(arms))
    rows = -(-len(arms) // columns)
    high = _SIDE + 2 * _LINE
    images = []
    with drawing():
        drawn = figure(columns * _SIDE, rows * high)
        drawn.set_dpi(_DOTS)
        canvas: Any = FigureCanvasAgg(drawn)
        panels = [_place(drawn, i % columns * _SIDE, i // columns * high + 2 * _LINE) for i in range(len(arms))]
        shown = [_panel(axes, arm) for axes, arm in zip(panels, arms.values())]
        for share in np.linspace(0, 1, FRAMES):
            for axes, image, (name, arm) in zip(panels, shown, arms.items()):
                i = arm.at(float(share))
                image.set_data(_square(arm, i))
                axes.set_title(f"{name}\n{_words(arm, i)}", fontsize=7.5, pad=2)
            canvas.draw()
            images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy()))
    palette = images[-1].quantize(_COLOURS, dither=Image.Dither.NONE)
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    file = io.BytesIO()
    times = [_FRAME] * len(rest) + [_LAST]
    first.save(file, format="gif", save_all=True, append_images=rest, duration=times, loop=0)
    return file.getvalue()


def _place(drawn: "Figure", x: float, below: float) -> "Axes":
    """Return axes for a panel so many inches from the left and below the top."""
    width, height = drawn.get_size_inches()
    inner = _SIDE - _GAP
    return drawn.add_axes(((x + _GAP / 2) / width, 1 - (below + inner) / height, inner / width, inner / height))


def _panel(axes: "Axes", arm: Boundaries) -> Any:
    """Draw what stays: the points; return the image that changes."""
    low, high = float(arm.probe.min()), float(arm.probe.max())
    image = axes.imshow(
        _square(arm, 0), extent=(low, high, low, high), origin="lower", cmap="PuOr", vmin=0, vmax=255,
        interpolation="nearest", aspect="equal", alpha=0.55,
    )  # fmt: skip
    every = max(1, len(arm.x) // _POINTS)
    x, y = arm.x[::every], arm.y[::every]
    for c, marker, colour in ((0, "o", "#7f3b08"), (1, "^", "#2d004b")):
        axes.plot(x[y == c, 0], x[y == c, 1], linestyle="", marker=".", markersize=2, color=colour)
        known = arm.x[arm.labelled[arm.y[arm.labelled] == c]]
        axes.scatter(
            known[:, 0], known[:, 1], s=34, marker=marker, color="white", edgecolors=INK, linewidths=1.1, zorder=3
        )
    axes.set(xticks=[], yticks=[], xlim=(low, high), ylim=(low, high))
    return image


def _square(arm: Boundaries, i: int) -> Array:
    side = round(len(arm.probe) ** 0.5)
    return np.asarray(arm.frames[i]).reshape(side, side)


def _words(arm: Boundaries, i: int) -> str:
    return f"step {arm.steps[i]:,}, {100 * arm.accuracies[i]:.1f} %"


def _few_colours(png: bytes) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    image.save(file, format="png", optimize=True)
    return file.getvalue()
