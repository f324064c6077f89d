"""A tiny teacher, student and batches for meta pseudo labels, in float64."""

import torch
from torch import nn

from tutelage import SGD, AdamW, Batch, Student
from tutelage.randomness import seeded
from tutelage.teachers import MetaPseudoLabels
from tutelage.testing import tiny_batch, tiny_net

DOUBLE = torch.float64
SOFT, HARD = ("soft-jvp", "soft-unroll", "soft-fd"), ("hard-per-sample", "hard-scalar")
MODES = (*SOFT, *HARD, "distil")
NESTEROV = SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


def normal(*shape, seed):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def semi_batch(seed=0, n=12, progress=0.5):
    """Unlabelled rows in two views, and six labelled ones."""
    x = tiny_batch(n, seed=seed).x
    index = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:n]
    views = {"weak": x + 0.05 * normal(n, 6, seed=seed + 100), "strong": x + 0.3 * normal(n, 6, seed=seed + 200)}
    labelled = Batch(normal(6, 6, seed=seed + 300), torch.arange(6) % 3, torch.arange(100, 106))
    return Batch(x, torch.full((n,), -1), index, progress, views=views, labelled=labelled)


def deep_net(seed=1):
    """Batch norm and dropout together."""
    with seeded(seed):
        layers = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)
        return nn.Sequential(*layers).double()


def pair(mode="soft-jvp", *, net=deep_net, rule=NESTEROV, own=None, **options):
    teacher = MetaPseudoLabels(net(1), AdamW(0.01) if own is None else own, mode, **options)
    return teacher.double(), Student(net(2), rule, seed=4)


def plain(seed):
    return tiny_net("plain", seed=seed)


def state_of(student):
    return {n: t.detach().clone() for n, t in student.state_dict().items()}


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[n], b[n]) for n in a)


class Bent(torch.autograd.Function):
    """A function without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)
