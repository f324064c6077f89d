"""A teacher's optimiser does what torch.optim does, and its memory is a part of the teacher."""

import copy

import pytest
import torch
from torch import nn

from tutelage.optimiser import Optimiser
from tutelage.rules import SGD, Adam, AdamW

RULES = {
    "adam": (Adam(1e-2, weight_decay=1e-4), lambda p: torch.optim.Adam(p, 1e-2, weight_decay=1e-4)),
    "adamw": (AdamW(1e-2), lambda p: torch.optim.AdamW(p, 1e-2)),
    "sgd": (
        SGD(1e-2, momentum=0.9, nesterov=True, weight_decay=5e-4),
        lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, nesterov=True, weight_decay=5e-4),
    ),
}


class Taught(nn.Module):
    def __init__(self, rule):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        self.optimiser = Optimiser(dict(self.net.named_parameters()), rule)

    def descend(self, x):
        params = dict(self.net.named_parameters())
        gradients = torch.autograd.grad(self.net(x).square().mean(), list(params.values()))
        self.optimiser.step(params, gradients)


def inputs(step):
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("name", RULES)
def test_equals_torch(name):
    rule, make = RULES[name]
    torch.manual_seed(0)
    taught = Taught(rule)
    other = copy.deepcopy(taught.net)
    optimiser = make(other.parameters())
    for step in range(10):
        taught.descend(inputs(step))
        optimiser.zero_grad()
        other(inputs(step)).square().mean().backward()
        optimiser.step()
        for mine, needed in zip(taught.net.parameters(), other.parameters()):
            torch.testing.assert_close(mine, needed, rtol=0, atol=1e-13)
            torch.testing.assert_close(mine.grad, needed.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_goes_on_from_its_state(name):
    taught = Taught(RULES[name][0])
    for step in range(3):
        taught.descend(inputs(step))
    other = Taught(RULES[name][0])
    other.load_state_dict(taught.state_dict())
    for module in (taught, other):
        for step in range(3, 6):
            module.descend(inputs(step))
    assert all(torch.equal(a, b) for a, b in zip(taught.state_dict().values(), other.state_dict().values()))
    assert int(other.optimiser.steps) == 6


def momentum_that_begins_later(step):
    return 0.0 if step < 2 else 0.9


@pytest.mark.parametrize("dampening", [0.0, 0.3])
def test_a_momentum_that_begins_later(dampening):
    rule = SGD(0.1, momentum_that_begins_later, dampening)
    torch.manual_seed(0)
    taught, other = Taught(rule), Taught(rule)
    reference = copy.deepcopy(taught.net)
    optimiser = torch.optim.SGD(reference.parameters(), 0.1, dampening=dampening)
    for step in range(6):
        optimiser.param_groups[0]["momentum"] = momentum_that_begins_later(step)
        optimiser.zero_grad()
        reference(inputs(step)).square().mean().backward()
        optimiser.step()
        other.load_state_dict(taught.state_dict())  # at every step, before momentum begins too
        other.descend(inputs(step))
        taught.descend(inputs(step))
        for mine, twin, needed in zip(taught.net.parameters(), other.net.parameters(), reference.parameters()):
            torch.testing.assert_close(mine, needed, rtol=0, atol=1e-13)
            assert torch.equal(mine, twin)
