"""Pools and students that tests of selection share."""

import torch
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.randomness import seeded


def clusters(n=40, classes=3, width=6, *, seed=0, dtype=torch.float64, spread=0.7):
    """A pool of one cloud a class; the class is a function of the index, which is in no order."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(10 * n, generator=generator)[:n]
    y = torch.arange(n) % classes
    means = 2 * torch.randn(classes, width, generator=generator, dtype=torch.float64)
    x = means[y] + spread * torch.randn(n, width, generator=generator, dtype=torch.float64)
    return Batch(x.to(dtype), y, index)


def arranged(pool, order):
    """The same pool with its rows in another order, or some of them."""
    return Batch(pool.x[order], pool.y[order], pool.index[order])


def linear(width=6, classes=3, *, seed=0, bias=False, dtype=torch.float64, scale=0.3):
    """A student that is one linear layer on flattened inputs."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(width, classes, bias=bias))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return Student(net.to(dtype), SGD(0.05, momentum=0.9))


def deep(classes=3, *, channels=1, dtype=torch.float32, seed=0):
    """A student with batch norm, dropout and pooling, on images (N, channels, 6, 6)."""
    with seeded(seed):
        net = nn.Sequential(
            nn.Conv2d(channels, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, classes, bias=False),
        )
    return Student(net.to(dtype), SGD(0.05, momentum=0.9))


def images(n=24, classes=3, *, channels=1, seed=0, dtype=torch.float32):
    """A pool of images (N, channels, 6, 6)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, channels, 6, 6, generator=generator)
    return Batch(x.to(dtype), torch.arange(n) % classes, torch.randperm(n, generator=generator))
