"""What the tests of the matching teachers share: small networks, sets and central differences."""

import torch
from torch import nn

from tutelage import SGD, Batch, Student
from tutelage.nets.initial import Scaled
from tutelage.starts import Fresh


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv_net(norm="group", activation=nn.Tanh):
    middle = {"group": nn.GroupNorm(2, 4), "batch": nn.BatchNorm2d(4), "none": nn.Identity()}[norm]
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), middle, activation(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    return net.double()


def real_images(n=30, seed=1):
    """Images (n, 2, 4, 4) of three classes, in turn."""
    return Batch(draw(n, 2, 4, 4, seed=seed), torch.arange(n) % 3, torch.arange(n))


def student_of(net):
    return Student(net, SGD(0.1), seed=3)


def fresh(net, seed=0):
    return Fresh(net, Scaled(), seed)


def differences(loss, tensor, places, h=1e-6):
    """Central differences of a function without arguments in a tensor, changed in place, at some places."""
    flat, found = tensor.data.view(-1), []
    for i in places:
        center = float(flat[i])
        flat[i] = center + h
        above = float(loss())
        flat[i] = center - h
        found.append((above - float(loss())) / (2 * h))
        flat[i] = center
    return torch.tensor(found, dtype=torch.float64)


def check_differences(loss, tensor, gradient, places=range(0, 60, 13), tolerance=1e-6):
    places = [i for i in places if i < tensor.numel()]
    needed = differences(loss, tensor, places)
    assert (gradient.reshape(-1)[places] - needed).abs().max() <= tolerance * gradient.abs().max()
