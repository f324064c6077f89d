"""Example dropout: leave out a share of every batch, drawn by the examples' indices.

Source: Jiang et al., "MentorNet", ICML 2018, and its published code for the three modes.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from .errors import ConfigError
from .randomness import hashed_tensor, real_tensor, smallest

DropoutMode: TypeAlias = Literal["random", "actual", "binary"]


def per_percent(schedule: Sequence[tuple[float, int]], what: str = "example dropout") -> tuple[float, ...]:
    """Spread ``(value, percents), ...`` over the 100 percents of training.

    Raises:
        ConfigError: if the percents do not add up to 100.
    """
    values = tuple(value for value, count in schedule for _ in range(count))
    if len(values) != 100:
        raise ConfigError(f"{what}: the schedule covers {len(values)} percent, but needs 100 in all.")
    return values


def rows_left(rows: int, rate: float) -> int:
    """Return ``floor(rows * (1 - rate))``, safe against the rounding of the product (10 of 100 at rate 0.9)."""
    return int(rows * (1.0 - rate) + 1e-6)


def kept(weight: Tensor, index: Tensor, rate: float, mode: DropoutMode, key: int) -> Tensor:
    """Return the mask (N,) of the examples that example dropout leaves: exactly ``floor(N (1 - rate))`` rows.

    The draw belongs to the example's index, so that permuting the batch permutes the mask.

    Args:
        weight: weights before dropout (N,).
        index: positions in the data set (N,), int64.
        rate: share to drop, in [0, 1].
        mode: ``"random"``: uniformly without replacement; ``"actual"`` and ``"binary"``: without replacement with
            probability proportional to ``weight + 1e-5`` (exponential keys: Efraimidis and Spirakis, 2006).
        key: of the counter-based draw.
    """
    k = rows_left(len(weight), rate)
    if mode == "random":
        return smallest(key, index, k)
    keys = -torch.log(real_tensor(hashed_tensor(key, index)) + 2.0**-25) / (weight.double() + 1e-5)
    mask = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    return mask.index_fill_(0, keys.argsort(stable=True)[:k], True)
