"""Logits and slopes for the tests of losses on soft targets."""

import torch
from torch.autograd import grad


def draws(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rows(n=64, c=10, dtype=torch.float32):
    """Student's and teacher's logits, and labels."""
    y = torch.randint(c, (n,), generator=torch.Generator().manual_seed(2))
    return draws(n, c, seed=0, dtype=dtype).requires_grad_(), 5 * draws(n, c, seed=1, dtype=dtype), y


def slope(losses, z):
    return grad(losses.mean(), z)[0]


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())
