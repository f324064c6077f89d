"""Targets of distillation: a teacher's logits, all or the largest, beside the labels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..divergences import check_temperature, kl, log_probabilities, log_sum, wide
from ..errors import ConfigError, ShapeError


class TopLogits(NamedTuple):
    """The largest k of a teacher's logits, and what the others sum to.

    Attributes:
        values: (N, k), largest first.
        indices: int64 (N, k), the classes that they belong to.
        tail: (N, len(temperatures)), ``log sum exp(z_c / T)`` over the others for each T; -inf if there are none.
        temperatures: T at which the tail is known.
    """

    values: Tensor
    indices: Tensor
    tail: Tensor
    temperatures: tuple[float, ...]


class SoftTarget(NamedTuple):
    """What a lesson of distillation tells.

    Attributes:
        y: class ids (N,), -1 for an unlabelled row, or None.
        logits: the teacher's, (N, C), or (N, K, C) of several where a loss says so; None for losses that need none.
    """

    y: Tensor | None
    logits: Tensor | TopLogits | None = None


def top_logits(z: Tensor, k: int, temperatures: Sequence[float] = (1.0, 2.0, 4.0)) -> TopLogits:
    """Return the largest ``k`` of the logits (..., C), with the sum of the others at each temperature.

    Raises:
        ConfigError: unless 1 <= k <= C and all temperatures are above 0.
    """
    if not 1 <= k <= z.shape[-1] or not temperatures:
        raise ConfigError(
            f"top_logits: k is {k} and temperatures are {list(temperatures)}; k must be in 1..{z.shape[-1]}, the "
            "number of classes, with at least one temperature."
        )
    for temperature in temperatures:
        check_temperature(temperature)
    values, indices = z.topk(k, -1)
    rest = _without(wide(z), indices)
    tail = torch.stack([torch.logsumexp(rest / temperature, -1) for temperature in temperatures], -1)
    return TopLogits(values, indices, tail, tuple(float(t) for t in temperatures))


def _without(z: Tensor, indices: Tensor) -> Tensor:
    return z.masked_fill(torch.zeros_like(z, dtype=torch.bool).scatter(-1, indices, True), float("-inf"))


def tail_at(target: TopLogits, temperature: float) -> Tensor:
    """Return the tail at a temperature, (N,); raise ConfigError if it was not stored for it."""
    if temperature not in target.temperatures:
        known = ", ".join(f"{t:g}" for t in target.temperatures)
        raise ConfigError(
            f"temperature is {temperature:g}, but the top logits were stored for {known} only: store them again with "
            "this temperature declared, or store all logits."
        )
    return wide(target.tail)[..., target.temperatures.index(temperature)]


def bucket_kl(z_s: Tensor, target: TopLogits, temperature: float = 1.0) -> Tensor:
    """Return ``KL(p_t || p_s)`` over k + 1 buckets, (...): the k top classes, and all others as one.

    Never above the divergence over all classes, and equal to it for k >= C - 1.

    Args:
        z_s: student's logits (..., C).
        target: of the teacher.
        temperature: T, one of those of ``target``.

    Raises:
        ConfigError: for another temperature.
    """
    check_temperature(temperature)
    tail = tail_at(target, temperature)
    indices = target.indices.long()
    if indices.shape[:-1] != z_s.shape[:-1] or indices.shape[-1] > z_s.shape[-1]:
        raise ShapeError(
            f"the teacher's top logits have shape {tuple(indices.shape)}, but the student's logits are "
            f"{tuple(z_s.shape)}: both need the same rows, and at most as many top classes as classes."
        )
    z_s = log_probabilities(z_s, temperature)  # near 0: the sum of large logits loses digits
    of_teacher, of_student = wide(target.values) / temperature, z_s.gather(-1, indices)
    if indices.shape[-1] < z_s.shape[-1]:
        rest = log_sum(_without(z_s, indices))
        of_teacher, of_student = torch.cat([of_teacher, tail.unsqueeze(-1)], -1), torch.cat([of_student, rest], -1)
    return kl(of_student, of_teacher)


def largest_probability(logits: Tensor | TopLogits) -> Tensor:
    """Return ``max_c softmax(logits)_c``, (...); of top logits it needs the tail at temperature 1."""
    if isinstance(logits, Tensor):
        return torch.softmax(wide(logits), -1).amax(-1)
    values, tail = wide(logits.values), tail_at(logits, 1.0)
    return (values.amax(-1) - torch.logaddexp(values.logsumexp(-1), tail)).exp()


def most_probable(logits: Tensor | TopLogits) -> Tensor:
    """Return the class with the largest logit, (...)."""
    if isinstance(logits, Tensor):
        return logits.argmax(-1)
    return logits.indices.gather(-1, logits.values.argmax(-1, keepdim=True)).squeeze(-1)
