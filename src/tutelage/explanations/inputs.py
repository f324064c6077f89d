"""What explanations ask of their inputs."""

import torch
from torch import Tensor

from ..errors import ConfigError, ShapeError


def check_images(who: str, x: Tensor) -> None:
    """Raise a ShapeError unless x holds float images (N, C, H, W), N at least 1."""
    if x.ndim != 4 or not x.is_floating_point() or not len(x):
        raise ShapeError(
            f"{who}: x is {x.dtype} of shape {tuple(x.shape)}, needs float images (N, C, H, W); divide bytes by 255."
        )


def check_maps(who: str, maps: Tensor) -> None:
    """Raise a ShapeError unless maps are float (N, h, w)."""
    if maps.ndim != 3 or not maps.is_floating_point():
        raise ShapeError(f"{who}: maps are {maps.dtype} of shape {tuple(maps.shape)}, need floats (N, h, w).")


def checked_target(who: str, target: Tensor | int, x: Tensor, classes: int) -> Tensor:
    """Return one class for each image, int64, shape (N,), on the device of the images.

    Raises:
        ConfigError: for a class outside 0..classes - 1.
        ShapeError: for another shape than (N,), or no whole numbers.
    """
    given = torch.as_tensor(target, device=x.device)
    labels = given.expand(len(x)) if given.ndim == 0 else given
    if labels.shape != (len(x),) or labels.is_floating_point():
        raise ShapeError(
            f"{who}: target is {given.dtype} of shape {tuple(given.shape)}, needs {len(x)} classes, one an image."
        )
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ConfigError(f"{who}: target names class {int(wrong[0])}; the network has 0..{classes - 1}.")
    return labels.long()
