"""``glyphs-sim``: invented characters in three classes, told apart by one radical somewhere among other strokes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .simulated import CuedImages, Draws, check_simulation, joined

NAME = "glyphs-sim"
_LEAST = 24
_CHUNK = 128
_STROKES = (4, 7)
_RADICALS: Mapping[str, tuple[tuple[float, float, float, float], ...]] = {
    "grass": ((-1.0, 0.0, 1.0, 0.0), (-0.4, -0.75, -0.4, 0.75), (0.4, -0.75, 0.4, 0.75)),
    "mound": ((-0.5, -0.85, -0.5, 0.85), (-0.5, -0.8, 0.55, -0.8), (0.55, -0.8, 0.0, -0.05), (0.0, -0.05, 0.55, 0.5)),
    "stem": ((0.0, -1.0, 0.0, 1.0), (-0.9, -0.35, 0.9, -0.35), (0.0, -0.3, -0.7, 0.7), (0.0, -0.3, 0.7, 0.7)),
}
"""Strokes from (across, down) to (across, down), in units of the radical's radius."""


def glyphs(seed: int = 0, *, per_class: int = 237, size: int = 48) -> CuedImages:
    """Draw characters of the classes grass, mound and stem.

    Each has 4 to 7 strokes at random, dimmed around the place of its radical, and the radical: 3 or 4 strokes, at a
    uniform place, of a radius from 5.5 to 7.5 pixels at 48, turned by a normal angle of standard deviation 0.12.
    Every pixel has noise of standard deviation 0.06 of the full range. Light strokes on a dark ground.

    Args:
        seed: of all draws; an image depends on it, its class, its number in the class, and the size.
        per_class: images of each class, at least 2.
        size: side in pixels, at least 24; what is drawn grows with it.

    Returns:
        grey images (3 per_class, 1, size, size) with the strokes of the radicals as masks.

    Raises:
        ConfigError: if a number is too small.

    Source: imitates the data "Chinese characters" of Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to
    human learners with visual explanations", CVPR 2018, which has as many images of each class.
    """
    check_simulation(NAME, per_class, size, _LEAST)
    pairs = [
        _drawn(seed, label, index, size)
        for label in _RADICALS
        for index in torch.split(torch.arange(per_class), _CHUNK)
    ]
    return joined(NAME, seed, tuple(_RADICALS), pairs, per_class)


def _drawn(seed: int, label: str, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The images (n, 1, size, size), and the same without the radical."""
    draw, unit = Draws(seed, f"{NAME}/{label}", index), size / 48
    radius = draw.uniform("radius", 5.5, 7.5) * unit
    margin = 9.5 * unit
    centre = draw.uniform("place", margin, size - margin, 2)
    pixels = torch.arange(size) + 0.5
    grid = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)  # (size, size, 2), across and down
    width = draw.uniform("width", 0.7, 1.1) * unit
    others = _ink(grid, _others(draw, size), width)
    others = (others * draw.uniform("tone", 0.55, 0.8, _STROKES[1])[..., None, None]).amax(1)
    distance = (grid - centre[:, None, None]).norm(dim=-1) / radius[:, None, None]
    others = others * (1 - 0.85 * torch.exp(-((distance / 1.3) ** 4)))
    radical = _ink(grid, _radical(draw, label, centre, radius), width).amax(1)
    radical = radical * draw.uniform("radical-tone", 0.7, 0.85)[:, None, None]
    ground = draw.uniform("ground", 0.12, 0.2)[:, None, None] + draw.normal("noise", 0.06, size, size)
    with_cue, without = (ground + ink for ink in (torch.maximum(others, radical), others))
    return with_cue[:, None], without[:, None]


def _others(draw: Draws, size: int) -> Tensor:
    """Ends (n, 7, 2, 2) of strokes at random; those that an image has not lie far outside of it."""
    most = _STROKES[1]
    middle = draw.uniform("strokes", 0.05 * size, 0.95 * size, most, 2)
    angle = draw.uniform("angles", 0.0, torch.pi, most)
    half = draw.uniform("lengths", 0.08, 0.24, most) * size
    reach = half[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
    absent = torch.arange(most) >= draw.whole("count", *_STROKES)[:, None]
    middle = torch.where(absent[..., None], -10.0 * size, middle)
    return torch.stack([middle - reach, middle + reach], -2)


def _radical(draw: Draws, label: str, centre: Tensor, radius: Tensor) -> Tensor:
    """Ends (n, strokes, 2, 2) of the strokes of the radical."""
    turn = draw.normal("turn", 0.12)
    cos, sin = turn.cos(), turn.sin()
    rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    strokes = torch.tensor(_RADICALS[label]).view(-1, 2)
    ends = torch.einsum("nij,sj->nsi", rotation, strokes) * radius[:, None, None] + centre[:, None]
    return ends.view(len(ends), -1, 2, 2)


def _ink(grid: Tensor, ends: Tensor, width: Tensor) -> Tensor:
    """How much of each pixel each stroke covers, (n, strokes, size, size), by the distance to its middle line.

    Args:
        grid: pixels (size, size, 2).
        ends: (n, strokes, 2, 2).
        width: half of that of a stroke, (n,).
    """
    across, down = grid.unbind(-1)
    x, y = ends[:, :, 0, :, None, None].unbind(2)
    dx, dy = (ends[:, :, 1] - ends[:, :, 0])[..., None, None].unbind(2)
    x, y = across[:1] - x, down[:, :1] - y  # a row and a column: they meet where they are added
    length = dx.square() + dy.square()
    share = (x * (dx / length) + y * (dy / length)).clamp_(0, 1)
    distance = torch.hypot(x - share * dx, y - share * dy)
    return (0.5 + width[:, None, None, None] - distance).clamp_(0, 1)
