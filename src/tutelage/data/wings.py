"""The right halves of the butterflies of ``butterflies-sim``, drawn once as layers of coverage."""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Point: TypeAlias = tuple[float, float]
"""(outwards from the body's axis, towards the head), in units of about half the wing span."""
Colour: TypeAlias = tuple[float, float, float]

_FINE = 8
"""Layers are drawn so many times larger and averaged, which smooths their edges."""


class Wings(NamedTuple):
    """How a class is drawn.

    Attributes:
        low: darkest ground colour of the wings, RGB in [0, 1].
        high: brightest.
        mark: colour of what tells the class.
        fore: outline of the forewing.
        dotted: whether the margin is dark with white dots, otherwise it is a line.
    """

    low: Colour
    high: Colour
    mark: Colour
    fore: tuple[Point, ...]
    dotted: bool = True


_LONG: tuple[Point, ...] = (
    (0.03, 0.12), (0.28, 0.40), (0.58, 0.66), (0.84, 0.82), (0.94, 0.79), (0.90, 0.60), (0.82, 0.40), (0.77, 0.22),
    (0.72, 0.08), (0.40, 0.00), (0.03, -0.04),
)  # fmt: skip
_ROUND: tuple[Point, ...] = (
    (0.03, 0.12), (0.28, 0.44), (0.56, 0.68), (0.78, 0.76), (0.88, 0.66), (0.88, 0.50), (0.84, 0.32), (0.78, 0.16),
    (0.70, 0.06), (0.40, 0.00), (0.03, -0.04),
)  # fmt: skip
_HIND: tuple[Point, ...] = (
    (0.03, 0.06), (0.35, 0.09), (0.62, 0.06), (0.75, -0.10), (0.77, -0.32), (0.67, -0.57), (0.47, -0.74),
    (0.27, -0.75), (0.12, -0.56), (0.03, -0.20),
)  # fmt: skip
_ORANGE = Wings((0.55, 0.24, 0.03), (1.00, 0.62, 0.30), (0.05, 0.04, 0.04), _LONG)

KINDS = {
    "CabbageWhite": Wings((0.86, 0.86, 0.78), (0.97, 0.97, 0.90), (0.10, 0.10, 0.10), _ROUND, dotted=False),
    "Monarch": _ORANGE,
    "Queen": _ORANGE,
    "RedAdmiral": Wings((0.10, 0.07, 0.05), (0.24, 0.16, 0.11), (0.88, 0.25, 0.10), _ROUND, dotted=False),
    "Viceroy": _ORANGE,
}
"""The classes in label order. Monarch, Queen and Viceroy share all but the cue."""

_FORE_CELL, _HIND_CELL = (0.40, 0.34), (0.24, -0.14)
_FORE_TIPS: tuple[Point, ...] = ((0.80, 0.80), (0.93, 0.70), (0.87, 0.52), (0.81, 0.36), (0.77, 0.20), (0.66, 0.06))
_HIND_TIPS: tuple[Point, ...] = (
    (0.70, -0.01), (0.77, -0.20), (0.74, -0.42), (0.62, -0.62), (0.44, -0.75), (0.27, -0.75)
)  # fmt: skip


class Layers(NamedTuple):
    """Coverage in [0, 1] of the right half of a butterfly, (rows, columns) each: 2 units by 1, head up.

    Attributes:
        wings: both wings.
        fore: the forewing, which lies on top.
        ink: what is dark in every butterfly of this shape: margins, thin veins, the edge between the wings.
        dots: white dots of the margin.
        light: light parts of what tells the class.
        mark: the rest of it, on top.
        body: with head and antennae.
    """

    wings: Tensor
    fore: Tensor
    ink: Tensor
    dots: Tensor
    light: Tensor
    mark: Tensor
    body: Tensor


@functools.lru_cache(maxsize=16)
def layers(kind: str, unit: int) -> Layers:
    """Return the layers of a class.

    Args:
        kind: one of :data:`KINDS`.
        unit: pixels of a unit; layers are (2 unit, unit).
    """
    wings = KINDS[kind]
    fore, hind, body = _filled(unit, wings.fore), _filled(unit, _HIND), _body(unit)
    both = np.maximum(fore, hind)
    ink = np.maximum(_margin(unit, wings), np.maximum(_lines(unit, _veins(1.0), 0.010), _edges(unit, wings)))
    dots = _spots(unit, _margin_dots(wings)) if wings.dotted else np.zeros_like(both)
    light, mark = _cue(kind, unit, hind - np.minimum(hind, fore))
    parts = (both, fore, ink * both, dots * both, light * both, mark * both, body)
    return Layers(*(torch.from_numpy(part) for part in parts))


def _cue(kind: str, unit: int, hind: Any) -> tuple[Any, Any]:
    """What tells a class, coverages: light parts, and coloured ones on top of them.

    Those of Monarch, Queen and Viceroy are of equal areas, so that mean colours do not tell the classes.
    """
    if kind == "Monarch":
        veins = _veins(0.97)[_HIND_VEINS:]
        return _lines(unit, veins, 0.0425) * hind, _lines(unit, veins, 0.031) * hind
    if kind == "Viceroy":
        band = ((0.66, -0.02), (0.61, -0.18), (0.57, -0.34), (0.48, -0.48), (0.34, -0.54), (0.20, -0.46), (0.10, -0.32))
        line = [_curve(band, closed=False)]
        return _lines(unit, line, 0.104) * hind, _lines(unit, line, 0.068) * hind
    if kind == "Queen":
        light = _spots(unit, [(*point, 0.035) for point in _inner_dots()])
        return light * hind, (_spots(unit, [(*point, 0.056) for point in _inner_dots()]) - light) * hind
    nothing = np.zeros_like(hind)
    if kind == "RedAdmiral":
        band = _lines(unit, [_curve(((0.30, 0.46), (0.48, 0.36), (0.62, 0.20), (0.68, 0.06)), closed=False)], 0.13)
        rim = _lines(unit, [_curve(((0.77, -0.20), (0.74, -0.42), (0.64, -0.60), (0.46, -0.73)), closed=False)], 0.14)
        return nothing, np.maximum(band, rim)
    tip = _filled(unit, ((0.66, 0.80), (0.74, 0.62), (0.86, 0.46), (1.0, 0.52), (0.96, 0.82)))
    return nothing, np.maximum(tip, _spots(unit, [(0.58, 0.40, 0.055), (0.56, 0.16, 0.055), (0.55, -0.10, 0.045)]))


_HIND_VEINS = len(_FORE_TIPS) + 1
"""Where those of the hindwing begin in :func:`_veins`."""


def _veins(reach: float) -> list[Sequence[Point]]:
    """Lines from the cells to the margin, and around the cells."""
    out: list[Sequence[Point]] = []
    for cell, tips in ((_FORE_CELL, _FORE_TIPS), (_HIND_CELL, _HIND_TIPS)):
        out += [[cell, (cell[0] + reach * (u - cell[0]), cell[1] + reach * (v - cell[1]))] for u, v in tips]
        out.append([(0.03, 0.04), cell])
    return out


def _inner_dots() -> list[Point]:
    """Places between the veins of the hindwing."""
    (u, v), out = _HIND_CELL, []
    for (a, b), (c, d) in pairwise(_HIND_TIPS):
        out += [(u + share * ((a + c) / 2 - u), v + share * ((b + d) / 2 - v)) for share in (0.46, 0.72)]
    return out


def _margin(unit: int, wings: Wings) -> Any:
    outer = [_rim(wings.fore, 3, 9), _rim(_HIND, 2, 9)]
    return _lines(unit, outer, 0.17 if wings.dotted else 0.03)


def _margin_dots(wings: Wings) -> list[tuple[float, float, float]]:
    """Two rows along each margin, inside of it."""
    out = []
    for rim, (u, v) in ((_rim(wings.fore, 3, 9), _FORE_CELL), (_rim(_HIND, 2, 9), _HIND_CELL)):
        for p, q in rim[3:-3:5]:
            length = max(((p - u) ** 2 + (q - v) ** 2) ** 0.5, 1e-6)
            out.append((p - 0.045 * (p - u) / length, q - 0.045 * (q - v) / length, 0.017))
    return out


def _edges(unit: int, wings: Wings) -> Any:
    return _lines(unit, [_closed(wings.fore), _closed(_HIND)], 0.016)


def _rim(outline: Sequence[Point], first: int, last: int) -> list[Point]:
    """The smooth outline from one of its points to another."""
    return _curve(outline, closed=True)[first * _STEPS : (last - 1) * _STEPS + 1]


def _closed(outline: Sequence[Point]) -> list[Point]:
    curve = _curve(outline, closed=True)
    return [*curve, curve[0]]


_STEPS = 8


def _curve(points: Sequence[Point], *, closed: bool) -> list[Point]:
    """A Catmull-Rom spline through points, with 8 places from each to the next."""
    p = np.array(points if closed else [points[0], *points, points[-1]])
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else p
    t = np.arange(_STEPS)[:, None] / _STEPS
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:])
    ]
    return [(float(u), float(v)) for u, v in np.concatenate(parts)] + ([] if closed else [points[-1]])


def _filled(unit: int, outline: Sequence[Point]) -> Any:
    return _drawing(unit, lambda canvas, place: canvas.polygon([place(p) for p in _curve(outline, closed=True)], 255))


def _lines(unit: int, lines: Sequence[Sequence[Point]], width: float) -> Any:
    def draw(canvas: Any, place: Any) -> None:
        wide = max(1, round(width * unit * _FINE))
        for line in lines:
            canvas.line([place(p) for p in line], 255, wide, joint="curve")

    return _drawing(unit, draw)


def _spots(unit: int, spots: Sequence[tuple[float, float, float]]) -> Any:
    def draw(canvas: Any, place: Any) -> None:
        for u, v, radius in spots:
            (x, y), r = place((u, v)), radius * unit * _FINE
            canvas.ellipse((x - r, y - r, x + r, y + r), 255)

    return _drawing(unit, draw)


def _body(unit: int) -> Any:
    trunk = ((0.0, 0.30), (0.03, 0.29), (0.035, 0.22), (0.05, 0.12), (0.045, 0.0), (0.04, -0.2), (0.02, -0.42))
    antenna = _lines(unit, [[(0.01, 0.28), (0.10, 0.48), (0.20, 0.62)]], 0.012)
    whole = _filled(unit, (*trunk, (0.0, -0.45), (-0.05, -0.2), (-0.05, 0.2)))
    return np.maximum(np.maximum(whole, antenna), _spots(unit, [(0.20, 0.62, 0.018)]))


def _drawing(unit: int, draw: Any) -> Any:
    """What is drawn on a large canvas, as coverage of small pixels, float32 (2 unit, unit)."""
    from PIL import Image, ImageDraw

    fine = unit * _FINE
    image = Image.new("L", (fine, 2 * fine))
    draw(ImageDraw.Draw(image), lambda p: (p[0] * fine, (1 - p[1]) * fine))
    return np.asarray(image.resize((unit, 2 * unit), Image.Resampling.BOX), dtype=np.float32) / 255
