"""Occlusion: where covering the image makes the class less probable, for whatever predicts."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..data.checks import whole_number
from ..errors import ConfigError, ShapeError
from .inputs import check_images, checked_target


@torch.no_grad()
def occlusion(
    predict: Callable[[Tensor], Tensor],
    x: Tensor,
    target: Tensor | int,
    *,
    patch: int = 12,
    stride: int = 4,
    batch_size: int = 512,
) -> Tensor:
    """Return how much covering each pixel with a square of zeros lowers the probability of the target class.

    A pixel's value is the mean of ``p(target | x) - p(target | covered x)`` over the patches that cover it. Patches lie
    at multiples of the stride, and one at the end of each side, so that every pixel is covered.

    Args:
        predict: images (N, C, H, W) to logits (N, K), such as ``student.predict``.
        x: float images (N, C, H, W), as ``predict`` takes them.
        target: classes, int64, shape (N,), or one for all images.
        patch: side of the square in pixels; published for images of 48.
        stride: pixels from patch to patch, at most ``patch``.
        batch_size: covered images a call of ``predict``.

    Returns:
        (N, H, W), in [-1, 1], of the dtype of the probabilities.

    Raises:
        ConfigError: for a patch or a stride below 1, a stride above the patch, or a class that ``predict`` has not.
        ShapeError: if x holds no images, the patch is larger than they are, or target has another length.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.
    """
    check_images("occlusion", x)
    whole_number("occlusion", patch, 1, "patch")
    if not 1 <= whole_number("occlusion", stride, 1, "stride") <= patch:
        raise ConfigError(f"occlusion: stride is {stride}; above the patch of {patch} it leaves pixels uncovered.")
    if patch > min(x.shape[2:]):
        raise ShapeError(f"occlusion: the patch of {patch} is larger than images of {tuple(x.shape[2:])}.")
    plain = torch.cat([predict(part).softmax(-1) for part in torch.split(x, batch_size)])
    labels = checked_target("occlusion", target, x, plain.shape[-1])
    covers = torch.stack(list(_covers(x, patch, stride)))  # (P, H, W)
    rows = torch.arange(len(x), device=x.device).repeat_interleave(len(covers))
    places = torch.arange(len(covers), device=x.device).repeat(len(x))
    covered = [
        predict(x[r].masked_fill(covers[p][:, None], 0.0)).softmax(-1).gather(1, labels[r][:, None])[:, 0]
        for r, p in zip(torch.split(rows, batch_size), torch.split(places, batch_size))
    ]
    drop = plain.gather(1, labels[:, None]) - torch.cat(covered).view(len(x), -1)
    weights = covers.to(drop.dtype) / covers.sum(0)
    return torch.einsum("np,phw->nhw", drop, weights)


def _covers(x: Tensor, patch: int, stride: int) -> Iterator[Tensor]:
    """The pixels under each patch, bool (H, W)."""
    height, width = x.shape[2:]
    for top in sorted({*range(0, height - patch, stride), height - patch}):
        for left in sorted({*range(0, width - patch, stride), width - patch}):
            cover = torch.zeros(height, width, dtype=torch.bool, device=x.device)
            cover[top : top + patch, left : left + patch] = True
            yield cover
