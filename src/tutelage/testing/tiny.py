"""A small network, and batches for it."""

import torch
from torch import nn

from ..lesson import Batch
from ..randomness import seeded


def tiny_net(kind: str = "plain", *, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a small network: ``plain``, ``batchnorm``, ``dropout`` or ``shared``.

    It maps inputs (N, 6) to 8 features, which the last linear layer takes, and 3 classes.
    """
    with seeded(seed):
        if kind == "shared":
            shared = nn.Linear(6, 6)
            net = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        else:
            middle: dict[str, nn.Module] = {
                "plain": nn.Identity(),
                "batchnorm": nn.BatchNorm1d(8),
                "dropout": nn.Dropout(0.4),
            }
            net = nn.Sequential(nn.Linear(6, 8), middle[kind], nn.Tanh(), nn.Linear(8, 3))
    return net.to(dtype)


def tiny_batch(n: int = 12, *, seed: int = 0, progress: float = 0.5, dtype: torch.dtype = torch.float64) -> Batch:
    """Return a batch of n examples for :func:`tiny_net`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(3, (n,), generator=generator)
    return Batch(x, y, torch.randperm(1000, generator=generator)[:n], progress)
