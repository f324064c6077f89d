"""What the tests of the unrolled teacher share: small networks, real rows and teachers."""

import torch
from torch import nn

from tutelage.lesson import Batch
from tutelage.nets import mlp
from tutelage.nets.initial import Scaled
from tutelage.starts import Fresh
from tutelage.teachers import DatasetDistillation

DOUBLE = torch.float64


def tanh_net(dtype=DOUBLE):
    return mlp((6,), 3, widths=(8,), activation=nn.Tanh).to(dtype)


def conv_net(dtype=DOUBLE):
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(4, 4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, 3)).to(dtype)


def real_rows(shape=(6,), rows=20, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, *shape, generator=generator, dtype=DOUBLE).to(dtype)
    return Batch(x, torch.arange(rows) % 3, torch.arange(rows))


def images_of(shape=(6,), steps=2, rows=3, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(steps, rows, *shape, generator=generator, dtype=DOUBLE).to(dtype)


def teacher_of(net, shape=(6,), *, labels=None, steps=2, **options):
    dtype = next(net.parameters()).dtype
    images = images_of(shape, steps, dtype=dtype)
    chosen = {"epochs": 2, "step_size": 0.3, "nets": 2, "real_batch": 8, "starts": Fresh(net, Scaled(), 5)}
    return DatasetDistillation(images, torch.arange(3) if labels is None else labels, **(chosen | options))


def soft_labels(steps=2):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(steps, 3, 3, generator=generator, dtype=DOUBLE).softmax(-1)
