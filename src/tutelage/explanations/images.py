"""Explanation images: an image that is bright where its class shows, and dark elsewhere."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError, ShapeError
from .inputs import check_images, check_maps


def placed(maps: Tensor, crop: tuple[int, int], canvas: tuple[int, int] | None = None, *, sigma: float = 1.5) -> Tensor:
    """Return maps at the size of the image: enlarged to the crop, in the middle of the canvas, and blurred.

    Args:
        maps: (N, h, w).
        crop: (height, width) of what the network saw; maps are brought to it bilinearly.
        canvas: (height, width) of the whole image, 0 outside the crop; None: the crop is all.
        sigma: standard deviation of the Gaussian blur in pixels, >= 0.

    Returns:
        (N, \\*canvas).

    Raises:
        ShapeError: if maps are no such tensor, or the canvas is smaller than the crop.
    """
    check_maps("placed", maps)
    canvas = canvas or crop
    above, left = canvas[0] - crop[0], canvas[1] - crop[1]
    if min(above, left) < 0:
        raise ShapeError(f"placed: the canvas {canvas} is smaller than the crop {crop}; it is the whole image.")
    large = F.interpolate(maps[:, None], crop, mode="bilinear", align_corners=False)[:, 0]
    padding = (left // 2, left - left // 2, above // 2, above - above // 2)
    return blurred(F.pad(large, padding), sigma)


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Return maps (N, H, W) under a Gaussian of this standard deviation in pixels, mirrored at the borders."""
    if sigma <= 0:
        return maps
    down, across = (_blur(size, sigma, maps) for size in maps.shape[1:])
    return down @ maps @ across.T


def _blur(size: int, sigma: float, like: Tensor) -> Tensor:
    """The blur of one side as a matrix (size, size), cut at four standard deviations."""
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=like.device)
    weights = torch.exp(-0.5 * (offsets.to(like.dtype) / sigma) ** 2)
    source = torch.arange(size, device=like.device)[:, None] + offsets
    source = source % (2 * size)  # the line and its mirror image, over and over
    source = torch.where(source < size, source, 2 * size - 1 - source)
    matrix = torch.zeros(size, size, dtype=like.dtype, device=like.device)
    return matrix.scatter_add_(1, source, (weights / weights.sum()).expand(size, -1))


def scaled(maps: Tensor) -> Tensor:
    """Return each map (h, w) of (N, h, w) brought to [0, 1] by its smallest and largest value; 0 if they are equal."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny), 0.0)


def mask(maps: Tensor) -> Tensor:
    """Return what an image is multiplied by, (N, H, W), in (0, 1]: ``0.99 e / max(e) + 0.01``, ``e = exp(3 m)``.

    m is the map brought to [0, 1]. A map that is the same everywhere gives 1: the plain image.

    Args:
        maps: (N, H, W).

    Raises:
        DataError: if a map is not finite.
        ShapeError: if maps are no such tensor.

    Source: code of Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with visual
    explanations", CVPR 2018.
    """
    check_maps("mask", maps)
    if not maps.isfinite().all():
        row = int((~maps.isfinite()).flatten(1).any(1).nonzero()[0])
        raise DataError(f"mask: map {row} is not finite; look for bad values in the network or its inputs.")
    high = torch.exp(3 * scaled(maps))
    return 0.99 * high / high.amax((1, 2), keepdim=True) + 0.01


def explained(images: Tensor, maps: Tensor) -> Tensor:
    """Return images times the masks of their maps, within [0, 1].

    Args:
        images: float, shape (N, C, H, W), working range [0, 1].
        maps: (N, H, W).

    Raises:
        DataError: if a map is not finite.
        ShapeError: if images and maps do not fit.
    """
    check_images("explained", images)
    if maps.shape != (len(images), *images.shape[2:]):
        raise ShapeError(
            f"explained: maps have shape {tuple(maps.shape)}, but images {tuple(images.shape)}; use placed to enlarge."
        )
    return (images * mask(maps)[:, None]).clamp(0, 1)


def explanation_path(image: Path) -> Path:
    """Return where the explanation of an image lies: ``images`` in its path replaced by ``explanations``, as a PNG.

    Raises:
        DataError: if the path has no folder of that name.
    """
    parts = list(image.parts)
    if "images" not in parts[:-1]:
        raise DataError(f"{image}: not below a folder images, so explanations have no place beside it.")
    last = len(parts) - 2 - parts[-2::-1].index("images")
    parts[last] = "explanations"
    return Path(*parts).with_suffix(".png")


def save_explanations(images: Tensor, maps: Tensor, paths: Sequence[Path]) -> list[Path]:
    """Write explanation images as PNG files beside their items, in a parallel tree ``explanations``.

    Args:
        images: float, shape (N, C, H, W), working range [0, 1]; C is 1 or 3.
        maps: (N, H, W).
        paths: of the images, (N,), each below a folder ``images``.

    Returns:
        the files written.

    Raises:
        DataError: if a path has no folder ``images``, or a file cannot be written.
        ShapeError: if images, maps and paths do not fit.
    """
    if len(paths) != len(images):
        raise ShapeError(f"save_explanations: {len(paths)} paths for {len(images)} images; one each is needed.")
    targets = [explanation_path(path) for path in paths]
    for image, target in zip(explained(images, maps), targets):
        save_png(image, target)
    return targets


def save_png(image: Tensor, path: Path) -> None:
    """Write an image (1 or 3, H, W) of working range [0, 1] as a PNG file, with the folders above it.

    Raises:
        DataError: if it cannot be written.
        ShapeError: for another number of channels.
    """
    from PIL import Image

    if image.ndim != 3 or len(image) not in (1, 3):
        raise ShapeError(f"{path.name}: the image has shape {tuple(image.shape)}, needs (1 or 3, H, W).")
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    rows = (pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).numpy()
    file = BytesIO()
    Image.fromarray(rows).save(file, format="png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
