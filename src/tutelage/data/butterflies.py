"""``butterflies-sim``: drawn butterflies of five classes, three of which are told apart by one mark each."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .simulated import CuedImages, Draws, check_simulation, joined
from .wings import KINDS, layers

NAME = "butterflies-sim"
_LEAST = 48
_CHUNK = 16
_WHITE = (0.95, 0.94, 0.90)


def butterflies(seed: int = 0, *, per_class: int = 386, size: int = 144) -> CuedImages:
    """Draw butterflies of the classes CabbageWhite, Monarch, Queen, RedAdmiral and Viceroy.

    Monarch, Queen and Viceroy share shape, colours and margins; what tells them apart is on their hindwings: thick
    black veins (Monarch), white dots in black rings (Queen), a black line across (Viceroy). They lie at any
    angle, place, size and opening of the wings, in any light, on blurred grounds, and a leaf may cover a part.

    Args:
        seed: of all draws; an image depends on it, its class, its number in the class, and the size.
        per_class: images of each class, at least 2.
        size: side in pixels, at least 48; what is drawn grows with it.

    Returns:
        colour images (5 per_class, 3, size, size) with the marks that tell the class as masks.

    Raises:
        ConfigError: if a number is too small.

    Source: imitates the butterflies of Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners
    with visual explanations", CVPR 2018, which has as many images of five such classes.
    """
    check_simulation(NAME, per_class, size, _LEAST)
    pairs = [
        _drawn(seed, kind, index, size) for kind in KINDS for index in torch.split(torch.arange(per_class), _CHUNK)
    ]
    return joined(NAME, seed, tuple(KINDS), pairs, per_class)


def _drawn(seed: int, kind: str, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The images (n, 3, size, size), and the same without the marks of the class."""
    draw = Draws(seed, f"{NAME}/{kind}", index)
    grid = _grid(draw, size)
    ground = _ground(draw, size)
    half = torch.stack(layers(kind, size // 2))
    ground = ground * (1 - 0.45 * _sampled(half[:1], grid - 0.05))
    coverage = _sampled(half, grid)
    leaf, leaf_colour = _leaf(draw, grid)
    light = draw.uniform("light", 0.65, 1.1)[:, None, None, None]
    noise = draw.normal("noise", 0.015, size, size)[:, None]
    plain, cued = (_painted(draw, kind, ground, coverage, with_cue) for with_cue in (False, True))
    with_cue, without = (light * torch.lerp(image, leaf_colour, leaf) + noise for image in (cued, plain))
    return with_cue, without


def _grid(draw: Draws, size: int) -> Tensor:
    """Where each pixel lies on its butterfly, (n, size, size, 2): rightwards, towards the head."""
    pixels = (torch.arange(size) + 0.5) / size - 0.5
    across, down = torch.meshgrid(pixels, pixels, indexing="xy")
    shift = draw.uniform("place", -0.07, 0.07, 2)
    scale = draw.uniform("scale", 0.38, 0.48)
    angle = draw.uniform("angle", -torch.pi, torch.pi)
    cos, sin = ((f(angle) / scale)[:, None, None] for f in (torch.cos, torch.sin))
    x, y = (plane - shift[:, k, None, None] for k, plane in enumerate((across, down)))
    right, up = cos * x + sin * y, sin * x - cos * y
    opening = draw.uniform("opening", 0.72, 1.0, 2)[..., None, None]  # of the left and of the right wings
    tilt = draw.uniform("tilt", -0.12, 0.12)[:, None, None]
    right = right / torch.where(right < 0, opening[:, 0], opening[:, 1])
    bend = draw.uniform("bend", -0.06, 0.06)[:, None, None]
    return torch.stack([right, up + tilt * right + bend * right.square()], -1)


def _sampled(half: Tensor, grid: Tensor) -> Tensor:
    """Layers (k, rows, columns) of a half as each image sees them, (n, k, size, size)."""
    places = torch.stack([2 * grid[..., 0].abs() - 1, -grid[..., 1]], -1)
    image = half[None].expand(len(grid), -1, -1, -1)
    return F.grid_sample(image, places, padding_mode="border", align_corners=False)


def _painted(draw: Draws, kind: str, ground: Tensor, coverage: Tensor, with_cue: bool) -> Tensor:
    """A butterfly on its ground, (n, 3, size, size)."""
    wings, fore, ink, dots, light, mark, body = coverage[:, :, None].unbind(1)
    colours = KINDS[kind]
    low, high = torch.tensor(colours.low), torch.tensor(colours.high)
    shades = low + (high - low) * draw.uniform("colour", 0.0, 1.0, 2, 3)  # of the hindwings and the forewings
    hind_shade, fore_shade = shades[..., None, None].unbind(1)
    coats = [(wings, hind_shade), (fore, fore_shade)]
    if with_cue:
        coats += [(light, _colour(_WHITE)), (mark, _colour(colours.mark))]
    coats += [(ink, _colour((0.06, 0.04, 0.04))), (dots, _colour(_WHITE)), (body, _colour((0.08, 0.07, 0.07)))]
    image = ground
    for layer, colour in coats:
        image = torch.lerp(image, colour, layer)
    return image


def _colour(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb)[:, None, None]


def _ground(draw: Draws, size: int) -> Tensor:
    """Blurred greens, browns and greys, (n, 3, size, size)."""
    palette = torch.tensor([(0.30, 0.48, 0.20), (0.50, 0.62, 0.30), (0.48, 0.38, 0.26), (0.62, 0.64, 0.60)])
    kinds = palette[draw.whole("ground", 0, len(palette) - 1, 16)].view(-1, 4, 4, 3).permute(0, 3, 1, 2)
    coarse = kinds + draw.uniform("ground-tone", -0.12, 0.12, 1, 4, 4)
    fine = draw.uniform("ground-detail", -0.08, 0.08, 1, 18, 18)
    enlarge = partial(F.interpolate, mode="bicubic", align_corners=False)
    return enlarge(enlarge(coarse, size=(18, 18)) + fine, size=(size, size))


def _leaf(draw: Draws, grid: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each pixel a leaf covers, (n, 1, size, size), and its colour, (n, 3, 1, 1)."""
    angle, turn = draw.uniform("leaf-place", -torch.pi, torch.pi), draw.uniform("leaf-angle", 0.0, torch.pi)
    centre = draw.uniform("leaf-distance", 0.75, 1.05)[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
    offset = grid - centre[:, None, None]
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    along, beside = cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]
    width = 0.13 * (1 - (along / 0.55).square()).clamp_min(0)
    present = (draw.uniform("leaf", 0.0, 1.0) < 0.6)[:, None, None]
    cover = ((width - beside.abs()) / 0.03).clamp(0, 1) * present
    colour = torch.tensor((0.22, 0.42, 0.12)) + draw.uniform("leaf-tone", -0.1, 0.15, 1)
    return cover[:, None], colour[:, :, None, None]
