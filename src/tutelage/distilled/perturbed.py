"""Distilled sets that are changed a little: functions of one, for a report on how much of it can be changed."""

from collections.abc import Sequence
from itertools import count

import torch
from torch import Tensor

from ..errors import ConfigError
from ..randomness import counter, permutation, stream
from .lessons import DistilledSet

Scale = Sequence[float]
"""Mean or standard deviation of pixels, one number or one a channel."""

_LEVELS = 255


def scaled(distilled: DistilledSet, factor: float) -> DistilledSet:
    """Return the set with all step sizes times a factor."""
    return _with(distilled, step_sizes=distilled.step_sizes * factor)


def at_mean_step(distilled: DistilledSet) -> DistilledSet:
    """Return the set with all step sizes at their mean."""
    sizes = distilled.step_sizes
    return _with(distilled, step_sizes=sizes.mean().expand_as(sizes))


def repeated(distilled: DistilledSet, times: int = 2) -> DistilledSet:
    """Return the set with its whole schedule gone through several times."""
    sizes = distilled.step_sizes.repeat(times)
    return _with(distilled, step_sizes=sizes, epochs=distilled.epochs * times)


def shuffled(distilled: DistilledSet, seed: int = 0) -> DistilledSet:
    """Return the set with its S batches in another order, the same in each epoch; step sizes follow their batch."""
    order = _another_order(stream(seed, "order of steps"), len(distilled.images)).to(distilled.images.device)
    sizes = distilled.step_sizes.view(-1, len(order))[:, order].flatten()
    labels = distilled.labels[order] if distilled.labels.ndim > 1 else distilled.labels
    return DistilledSet(distilled.images[order], labels, sizes, distilled.epochs)


def rebatched(distilled: DistilledSet, seed: int = 0) -> DistilledSet:
    """Return the set with its images in random batches of the same size; step sizes stay where they are.

    Class ids become (S, n): batches no longer hold the same ones.
    """
    steps, rows = distilled.images.shape[:2]
    order = _another_order(stream(seed, "order of images"), steps * rows).to(distilled.images.device)
    labels = _by_batch(distilled)
    return _with(
        distilled,
        images=distilled.images.flatten(0, 1)[order].view_as(distilled.images),
        labels=labels.flatten(0, 1)[order].view_as(labels),
    )


def in_one_batch(distilled: DistilledSet) -> DistilledSet:
    """Return the set with all images in one batch, applied T times with the step sizes as they are."""
    images = distilled.images.flatten(0, 1).unsqueeze(0)
    labels = _by_batch(distilled).flatten(0, 1).unsqueeze(0)
    return DistilledSet(images, labels, distilled.step_sizes, distilled.applications or 1)


def in_8_bit(distilled: DistilledSet) -> DistilledSet:
    """Return the set with images in 256 levels, equally far apart from the least of its values to the largest."""
    low, high = distilled.images.amin(), distilled.images.amax()
    width = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    levels = ((distilled.images - low) / width * _LEVELS).round() / _LEVELS
    return _with(distilled, images=low + levels * (high - low))


def displayable(distilled: DistilledSet, mean: Scale, std: Scale) -> DistilledSet:
    """Return the set with images that a screen can show: ``mean + std x`` clipped to [0, 1], in 256 levels.

    Args:
        distilled: the set, normalised.
        mean: of the normalisation, one number or one a channel, of pixels in [0, 1].
        std: likewise, > 0.

    Raises:
        ConfigError: for other than one number, or one a channel.
    """
    shift, scale = (_by_channel(values, distilled.images) for values in (mean, std))
    shown = (distilled.images * scale + shift).clamp(0.0, 1.0)
    return _with(distilled, images=((shown * _LEVELS).round() / _LEVELS - shift) / scale)


def perturbations(
    distilled: DistilledSet, normalisation: tuple[Scale, Scale] | None = None, *, orders: int = 5, seed: int = 0
) -> dict[str, list[DistilledSet] | str]:
    """Return the set in all changed forms, by name; a reason in place of one that makes no sense for it.

    A form that is drawn at random comes in several draws: what one order teaches differs much from another.

    Args:
        distilled: the set.
        normalisation: mean and standard deviation of pixels; None: nobody knows what is displayable.
        orders: how many are drawn.
        seed: of these.
    """
    seeds = range(seed * orders, (seed + 1) * orders)
    unordered = "" if distilled.applications else "the set has no step sizes: it is trained on freely"
    one_step = unordered or ("the set is one step" if distilled.applications == 1 else "")
    one_batch = unordered or ("the set is one batch" if len(distilled.images) == 1 else "")
    unknown = "" if normalisation else "the normalisation of the images is not known"
    mean, std = normalisation or ((), ())
    return {
        "step sizes x0.5": unordered or [scaled(distilled, 0.5)],
        "step sizes x2": unordered or [scaled(distilled, 2.0)],
        "mean step size": one_step or [at_mean_step(distilled)],
        "schedule twice": unordered or [repeated(distilled)],
        "steps shuffled": one_batch or [shuffled(distilled, s) for s in seeds],
        "re-batched": one_batch or [rebatched(distilled, s) for s in seeds],
        "one batch": one_batch or [in_one_batch(distilled)],
        "8-bit": [in_8_bit(distilled)],
        "clipped 8-bit": unknown or [displayable(distilled, mean, std)],
    }


def _with(
    distilled: DistilledSet,
    *,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    step_sizes: Tensor | None = None,
    epochs: int | None = None,
) -> DistilledSet:
    return DistilledSet(
        distilled.images if images is None else images,
        distilled.labels if labels is None else labels,
        distilled.step_sizes if step_sizes is None else step_sizes,
        epochs or distilled.epochs,
    )


def _another_order(key: int, n: int) -> Tensor:
    """A random order of n things that is not the one they are in, if there is another."""
    drawn = (torch.from_numpy(permutation(counter(key, trial), n)) for trial in count())
    return next(order for order in drawn if n < 2 or not torch.equal(order, torch.arange(n)))


def _by_batch(distilled: DistilledSet) -> Tensor:
    """Labels (S, n), or (S, n, C) of soft ones."""
    labels = distilled.labels
    return labels if labels.ndim > 1 else labels.expand(len(distilled.images), -1)


def _by_channel(values: Scale, images: Tensor) -> Tensor:
    channels = images.shape[2]
    if len(values) not in (1, channels):
        raise ConfigError(
            f"normalisation: {len(values)} numbers, but the images have {channels} channels; it takes one, or one a "
            "channel."
        )
    return images.new_tensor(list(values)).view(-1, *[1] * (images.ndim - 3))
