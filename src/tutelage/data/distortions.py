"""The operations of RandAugment on float images (N, C, H, W) in [0, 1], each with a value a row.

An operation turns a signed magnitude in [-1, 1] a row into its value and applies it. Motions (rotate, shear,
translate) are all one affine map with another coefficient, so rows that move in different ways move together.
Kornia's functions serve where ours would be no faster; its sharpness, posterize and warp_affine take 2 to 6 times
as long as the forms here, and most of that per call, which hurts when a group has ten rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

Policy: TypeAlias = Literal["default", "kornia"]
Kind: TypeAlias = Literal["angle", "slope_x", "slope_y", "shift_x", "shift_y"]
Value: TypeAlias = Callable[[Tensor], Tensor]
"""Signed magnitudes (n,) in [-1, 1] -> values (n,)."""


@dataclass(frozen=True)
class Recolour:
    """An operation on pixel values.

    Attributes:
        name: of the operation.
        value: of a signed magnitude.
        apply: (images, values) -> images.
    """

    name: str
    value: Value
    apply: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Motion:
    """An operation on positions, bilinear with zeros from outside, about the centre.

    Attributes:
        name: of the operation.
        value: of a signed magnitude: degrees, slope, or share of the side.
        kind: which coefficient of the affine map it is.
    """

    name: str
    value: Value
    kind: Kind


Distortion: TypeAlias = Recolour | Motion


def operations(policy: Policy) -> tuple[Distortion, ...]:
    """Return the operations of a policy, in the order of their numbers.

    ``"default"``: 14 operations by the definitions of the paper (those of Pillow);
    ``"kornia"``: the 15 of kornia's default policy, with kornia's definitions and ranges.
    """
    return _DEFAULT if policy == "default" else _KORNIA


def distort(x: Tensor, ops: tuple[Distortion, ...], operation: Tensor, magnitude: Tensor) -> Tensor:
    """Return images distorted each by its own operation; rows of one operation are done together.

    Args:
        x: images in [0, 1], shape (N, C, H, W).
        ops: the operations.
        operation: the number of each row's operation, int64, shape (N,).
        magnitude: signed, in [-1, 1], shape (N,).
    """
    groups = [len(ops) if isinstance(op, Motion) else number for number, op in enumerate(ops)]
    group = torch.tensor(groups, device=x.device)[operation]
    order = group.argsort(stable=True)
    done, start = [], 0
    for number, count in enumerate(group.bincount(minlength=len(ops) + 1).tolist()):
        if count:
            rows = order[start : start + count]
            start += count
            given, a = x.index_select(0, rows), magnitude[rows]
            op = ops[number] if number < len(ops) else None
            if isinstance(op, Recolour):
                done.append(op.apply(given, op.value(a).to(x.dtype)))
            else:
                done.append(_move(given, ops, operation[rows], a))
    return x.index_copy(0, order, torch.cat(done)) if done else x


def _move(x: Tensor, ops: tuple[Distortion, ...], operation: Tensor, magnitude: Tensor) -> Tensor:
    value = {kind: torch.zeros_like(magnitude) for kind in get_args(Kind)}
    for number, op in enumerate(ops):
        if isinstance(op, Motion):
            value[op.kind] += torch.where(operation == number, op.value(magnitude), 0.0)
    # where an output pixel comes from: one coefficient a row is not 0, so maps add up and negate to their inverse
    angle, (height, width) = torch.deg2rad(value["angle"]), x.shape[2:]
    cos, sin = angle.cos(), angle.sin()
    column = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
    row = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)[:, None]
    aspect = (height - 1) / (width - 1)

    def line(in_column: Tensor, in_row: Tensor, shift: Tensor) -> Tensor:
        # elementwise, because affine_grid multiplies matrices: its last bits depend on the size of the batch
        p, q, r = (c.to(x.dtype)[:, None, None] for c in (in_column, in_row, shift))
        return p * column + q * row + r

    from_x = line(cos, (value["slope_x"] - sin) * aspect, value["shift_x"] * (-2 * width / (width - 1)))
    from_y = line((value["slope_y"] + sin) / aspect, cos, value["shift_y"] * (-2 * height / (height - 1)))
    return grid_sample(x, torch.stack([from_x, from_y], dim=-1), align_corners=True)


def _size(magnitude: Tensor) -> Tensor:
    return magnitude.abs()


def _factor(magnitude: Tensor) -> Tensor:
    return 1 + 0.9 * magnitude


def _one_sided_factor(magnitude: Tensor) -> Tensor:
    return 0.1 + 1.8 * magnitude.abs()


def _keep(x: Tensor, value: Tensor) -> Tensor:
    return x


def _autocontrast(x: Tensor, value: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high <= low  # a channel of one value stays; kornia makes it black
    return torch.where(flat, x, (x - low) / torch.where(flat, 1.0, high - low))


def _min_max(x: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import normalize_min_max

    return normalize_min_max(x).clamp(0, 1)


def _equalise(x: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import equalize

    return equalize(x)


def _invert(x: Tensor, value: Tensor) -> Tensor:
    return 1 - x


def _solarise_above(x: Tensor, value: Tensor) -> Tensor:
    return torch.where(x > value.view(-1, 1, 1, 1), 1 - x, x)


def _solarise_from(x: Tensor, value: Tensor) -> Tensor:
    return torch.where(x < value.view(-1, 1, 1, 1), x, 1 - x)


def _add_and_solarise(x: Tensor, value: Tensor) -> Tensor:
    return _solarise_from((x + value.view(-1, 1, 1, 1)).clamp(0, 1), torch.full_like(value, 0.5))


def _posterise(x: Tensor, value: Tensor) -> Tensor:
    step = (2 ** (8 - value)).view(-1, 1, 1, 1)
    return torch.where(step == 1, x, (x * 255 / step.clamp_min(1)).floor() * (step / 255))


def _colour(x: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import adjust_saturation_with_gray_subtraction

    return adjust_saturation_with_gray_subtraction(x, value)


def _saturate(x: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import adjust_saturation

    return adjust_saturation(x, value).clamp(0, 1) if x.shape[1] == 3 else x


def _contrast(x: Tensor, value: Tensor) -> Tensor:
    from kornia.enhance import adjust_contrast_with_mean_subtraction

    return adjust_contrast_with_mean_subtraction(x, value)


def _multiply(x: Tensor, value: Tensor) -> Tensor:
    return (x * value.view(-1, 1, 1, 1)).clamp(0, 1)


def _add(x: Tensor, value: Tensor) -> Tensor:
    return (x + value.view(-1, 1, 1, 1)).clamp(0, 1)


def _sharpen(x: Tensor, value: Tensor) -> Tensor:
    inner = x[..., 1:-1, 1:-1]
    columns = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    smooth = (columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:] + 4 * inner) / 13
    out = x.clone()
    out[..., 1:-1, 1:-1] = torch.lerp(smooth, inner, value.view(-1, 1, 1, 1)).clamp(0, 1)
    return out


_DEFAULT: tuple[Distortion, ...] = (
    Recolour("identity", _size, _keep),
    Recolour("autocontrast", _size, _autocontrast),
    Recolour("equalise", _size, _equalise),
    Motion("rotate", lambda m: 30 * m, "angle"),
    Recolour("solarise", lambda m: 1 - m.abs(), _solarise_above),
    Recolour("posterise", lambda m: 8 - (4 * m.abs()).round(), _posterise),
    Recolour("colour", _factor, _colour),
    Recolour("contrast", _factor, _contrast),
    Recolour("brightness", _factor, _multiply),
    Recolour("sharpness", _factor, _sharpen),
    Motion("shear_x", lambda m: 0.3 * m, "slope_x"),
    Motion("shear_y", lambda m: 0.3 * m, "slope_y"),
    Motion("translate_x", lambda m: 0.1 * m, "shift_x"),
    Motion("translate_y", lambda m: 0.1 * m, "shift_y"),
)


def _slope(m: Tensor) -> Tensor:
    """Return the slope for 54 degrees at magnitude 1: kornia reads .3 as a share of 180 degrees."""
    return torch.tan(0.3 * math.pi * m)


_KORNIA: tuple[Distortion, ...] = (
    Recolour("autocontrast", _size, _min_max),
    Recolour("equalise", _size, _equalise),
    Recolour("invert", _size, _invert),
    Motion("rotate", lambda m: 30 * m, "angle"),
    Recolour("posterise", lambda m: (8 - 4 * m.abs()).trunc(), _posterise),
    Recolour("solarise", _size, _solarise_from),
    Recolour("solarise_add", lambda m: 0.43 * m.abs(), _add_and_solarise),
    Recolour("colour", _one_sided_factor, _saturate),
    Recolour("contrast", _one_sided_factor, _multiply),
    Recolour("brightness", lambda m: _one_sided_factor(m) - 1, _add),
    Recolour("sharpness", _one_sided_factor, _sharpen),
    Motion("shear_x", _slope, "slope_x"),
    Motion("shear_y", _slope, "slope_y"),
    Motion("translate_x", lambda m: 0.1 * m, "shift_x"),
    Motion("translate_y", lambda m: 0.1 * m, "shift_y"),
)
