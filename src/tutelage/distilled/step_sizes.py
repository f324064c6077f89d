"""Positive step sizes as softplus of free numbers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError, ShapeError


def step_sizes(raw: Tensor) -> Tensor:
    """Return ``eta = log(1 + e^rho)`` > 0, elementwise."""
    return F.softplus(raw, threshold=30.0)


def expanded(size: float | Tensor, applications: int, dtype: torch.dtype) -> Tensor:
    """Return T step sizes (T,): those given, or one for all.

    Raises:
        ShapeError: for another number of them.
    """
    sizes = torch.as_tensor(size, dtype=dtype)
    if tuple(sizes.shape) not in ((), (1,), (applications,)):
        raise ShapeError(
            f"step_size has shape {tuple(sizes.shape)}, but {applications} applications need ({applications},), or one "
            "number for all."
        )
    return sizes.expand(applications)


def raw_of(sizes: Tensor) -> Tensor:
    """Return ``rho = eta + log(-expm1(-eta))``, whose softplus is eta; finite for every eta > 0.

    Raises:
        ConfigError: for a step size that is not above 0, or not finite: its raw value would never move.
    """
    if not bool((sizes > 0).all() and sizes.isfinite().all()):
        wrong = sizes[~((sizes > 0) & sizes.isfinite())].flatten()[0]
        raise ConfigError(f"a step size is {float(wrong):g}; it must be finite and above 0, such as 0.02.")
    return sizes + torch.log(-torch.expm1(-sizes))
