"""A distilled set on one sheet: its images with their labels, and the step sizes of each batch."""

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..data.records.atomic import AtomicWriter
from ..errors import ShapeError
from .canvas import INK, QUIET, drawing, figure
from .reading import Array

_ACROSS = 20
"""Images in a line, at most."""
MOST_IMAGES = 2000
"""Images on a sheet, at most."""
_DOTS = 144
_TILE = 72
"""Dots that the longer side of an image has at least, and at most twice as many: its pixels are repeated or left
out, so that all are squares of one size."""
_GAP, _WORD, _LEFT, _EDGE, _FOOT = 10, 19, 190, 10, 44
"""Dots: between images, of a label, of the words beside a line, at the margin, and of the caption."""
_NARROWEST = 760
_OUTLINE = 203
"""The grey line around an image, which may be white."""


@dataclass(frozen=True, eq=False)
class Line:
    """Images in a row, with words.

    Attributes:
        told: beside them.
        images: (n, H, W) or (n, H, W, 3), in [0, 1].
        words: above each.
    """

    told: str
    images: Array
    words: Sequence[str]


def sheet(
    images: Tensor, labels: Tensor, step_sizes: Tensor, classes: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Write a PNG of all images, grey or in colour, in one range of values; rows that are no images are strips.

    Args:
        images: (S, n, ...), normalised.
        labels: class ids (n,) or (S, n), or logits (S, n, C), of which the likeliest class and its probability are
            told.
        step_sizes: (T,), T = S E; those of batch s are told beside it, epoch by epoch; none for a set without order.
        classes: names of the classes.
        path: the file, which appears whole or not at all.

    Raises:
        ShapeError: for more images than a sheet takes.
        DataError: if the file cannot be written.
    """
    AtomicWriter(path, encoded(sheet_pixels(images, labels, step_sizes, classes))).close()


def sheet_pixels(
    images: Tensor,
    labels: Tensor,
    step_sizes: Tensor,
    classes: Sequence[str],
    limits: tuple[float, float] | None = None,
) -> Array:
    """Return a sheet (H, W, 3) uint8, see :func:`sheet`; ``limits``: values that are black and white; None: their own.

    Raises:
        ShapeError: for more images than a sheet takes.
    """
    steps, rows = images.shape[:2]
    if steps * rows > MOST_IMAGES:
        raise ShapeError(f"a sheet takes {MOST_IMAGES} images, but there are {steps * rows}: give some of the batches.")
    low, high = limits_of(images) if limits is None else limits
    shown, words, told = scaled(images, low, high), label_words(labels, steps, classes), step_words(step_sizes, steps)
    each = math.ceil(rows / math.ceil(rows / _ACROSS))
    lines = [
        Line(told[s] if first == 0 else "", shown[s, first : first + each], words[s][first : first + each])
        for s in range(steps)
        for first in range(0, rows, each)
    ]
    return drawn(lines, _caption(steps, step_sizes, low, high))


def drawn(lines: Sequence[Line], caption: str) -> Array:
    """Return lines of images, all of one size, with words beside and above, as pixels (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    tiles = [[_tile(image) for image in line.images] for line in lines]
    most_high, most_wide = (max(tile.shape[axis] for row in tiles for tile in row) for axis in (0, 1))
    tall = most_high + _WORD + _GAP
    width = max(_NARROWEST, _LEFT + max(map(len, tiles)) * (most_wide + _GAP) + _EDGE)
    height = _EDGE + len(lines) * tall + _FOOT
    with drawing():
        page = figure(width / _DOTS, height / _DOTS)
        page.set_dpi(_DOTS)

        def write(x: float, y: float, words: str, **how: Any) -> None:
            page.text(x / width, 1 - y / height, words, va="top", **how)

        for i, line in enumerate(lines):
            top = _EDGE + i * tall
            write(_EDGE, top + _WORD, line.told, fontsize=7.5, color=INK)
            for k, word in enumerate(line.words):
                middle = _LEFT + k * (most_wide + _GAP) + most_wide / 2
                write(middle, top, word, fontsize=6.5, color=QUIET, ha="center")
        write(_EDGE, height - _FOOT + 12, caption, fontsize=7.5, color=QUIET)
        canvas: Any = FigureCanvasAgg(page)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    for i, row in enumerate(tiles):
        for k, tile in enumerate(row):
            y, x = _EDGE + i * tall + _WORD, _LEFT + k * (most_wide + _GAP)
            high, wide = tile.shape[:2]
            pixels[y - 1 : y + high + 1, x - 1 : x + wide + 1] = _OUTLINE
            pixels[y : y + high, x : x + wide] = tile
    return pixels


def encoded(pixels: Array) -> bytes:
    """Return pixels (H, W, 3) uint8 as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png", optimize=True)
    return file.getvalue()


def limits_of(images: Tensor) -> tuple[float, float]:
    """Return the least and the largest value."""
    low, high = images.detach().aminmax()
    return float(low), float(high)


def scaled(images: Tensor, low: float, high: float) -> Array:
    """Return images (S, n, H, W) or (S, n, H, W, 3), low to high as 0 to 1: one affine map for all.

    Examples that are no images of one or three channels become strips, (S, n, 1, D).
    """
    values = images.detach().cpu().double().numpy()
    values = ((values - low) / max(high - low, float(np.finfo(np.float32).tiny))).clip(0.0, 1.0)
    if values.ndim == 5 and values.shape[2] == 3:
        return np.moveaxis(values, 2, -1)
    if values.ndim == 5 and values.shape[2] == 1:
        return values[:, :, 0]
    return values if values.ndim == 4 else values.reshape(*values.shape[:2], 1, -1)


def _tile(image: Array) -> Array:
    """An image (H, W) or (H, W, 3) in [0, 1] as dots (h, w, 3) uint8; a strip becomes a band."""
    longest = max(image.shape[:2])
    step, times = max(1, longest // _TILE), max(1, -(-_TILE // longest))
    dots = np.rint(255 * image[::step, ::step]).astype(np.uint8)
    dots = dots.repeat(_TILE // 3 if len(image) == 1 else times, axis=0).repeat(times, axis=1)
    return dots if dots.ndim == 3 else np.stack([dots] * 3, axis=-1)


def label_words(labels: Tensor, steps: int, classes: Sequence[str]) -> list[list[str]]:
    """Return what is written above each image, by batch."""
    if labels.is_floating_point():
        sure, told = labels.detach().softmax(-1).max(-1)
        return [
            [f"{_short(classes[c])} {p:.2f}" for p, c in zip(*(part[s].tolist() for part in (sure, told)))]
            for s in range(steps)
        ]
    return [[_short(classes[c]) for c in (labels if labels.ndim == 1 else labels[s]).tolist()] for s in range(steps)]


def step_words(step_sizes: Tensor, steps: int) -> list[str]:
    """Return the step sizes of each batch, epoch by epoch, in lines of a few."""
    if not len(step_sizes):
        return [""] * steps
    by_batch = step_sizes.detach().view(-1, steps).T.tolist()
    return [f"step size{'s' * (len(sizes) > 1)}\n" + _broken([f"{size:.3g}" for size in sizes]) for sizes in by_batch]


def _broken(words: Sequence[str], most: int = 3) -> str:
    each = 3 if max(map(len, words)) < 6 else 2
    lines = [", ".join(words[i : i + each]) for i in range(0, len(words), each)]
    return "\n".join(lines if len(lines) <= most else [*lines[: most - 1], f"... {words[-1]}"])


def _short(name: str) -> str:
    return name if len(name) <= 9 else name[:8] + "…"


def _caption(steps: int, step_sizes: Tensor, low: float, high: float) -> str:
    count = len(step_sizes)
    order = f"{count} step{'s' * (count != 1)}, batch by batch from the top" if count else "without an order"
    if count > steps:
        order += f", {count // steps} times over"
    return f"{order}; values from {low:.3g} (black) to {high:.3g} (white), the same for all images"
