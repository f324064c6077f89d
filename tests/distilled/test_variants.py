"""Networks near one: what differs, what they are called, and where they start."""

import math

import pytest
import torch
from torch import nn

from tutelage.distilled.variants import neighbours, other_initial_weights, other_initialisations, other_networks
from tutelage.nets import build
from tutelage.nets.initial import Scaled
from tutelage.starts import Fresh


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def test_other_initialisations_than_the_own():
    net = perceptron()
    wider, torch_own = other_initialisations(net, Scaled(), 3, seed=4)
    assert (wider.kind, wider.name) == ("initialisation", "xavier-normal gain 1.41421")
    assert torch.equal(wider.weights["1.weight"], Fresh(net, Scaled(gain=math.sqrt(2)), 4).held_out(3)["1.weight"])
    assert torch_own.name == "torch"
    assert [v.name for v in other_initialisations(net, Scaled("torch"), 3)] == ["torch gain 1.41421", "xavier-normal"]
    assert other_initialisations(net, Scaled(gain=2.0), 1)[0].name == "xavier-normal gain 2.82843"


def test_other_initial_weights_are_fresh():
    net = perceptron()
    (fresh,) = other_initial_weights(net, Scaled(), 4, seed=2)
    assert (fresh.kind, fresh.name, fresh.net) == ("initial weights", "4 fresh draws", net)
    assert torch.equal(fresh.weights["1.weight"], Fresh(net, Scaled(), 2).held_out(4)["1.weight"])


@pytest.mark.parametrize(
    ("name", "shape", "names"),
    [
        ("mlp-128", (1, 8, 8), ["mlp-64", "mlp-256", "mlp-128-128", "convnet2x32"]),
        ("mlp-128", (1, 3, 9), ["mlp-64", "mlp-256", "mlp-128-128"]),
        ("mlp-128", (2,), ["mlp-64", "mlp-256", "mlp-128-128"]),
        ("mlp", (1, 28, 28), ["mlp-128-128", "mlp-512-512", "mlp-256-256-256", "convnet3x32"]),
        (
            "mlp-gelu-9-1-dropout-.3",
            (4,),
            ["mlp-gelu-4-1-dropout-.3", "mlp-gelu-18-2-dropout-.3", "mlp-gelu-9-1-1-dropout-.3"],
        ),
        ("convnet3", (3, 32, 32), ["convnet3x64", "convnet3x256", "convnet4x128", "mlp-128"]),
        ("convnet3x1", (1, 8, 8), ["convnet3x2", "convnet2x1", "mlp-128"]),
        ("lenet", (1, 28, 28), ["convnet3x32", "mlp-128"]),
        ("some.module:net", (1, 5, 9), ["convnet1x32", "mlp-128"]),
    ],
)
def test_neighbours_of_an_architecture(name, shape, names):
    found = neighbours(name, shape)
    assert [other for _, other in found] == names


def test_neighbours_say_in_what_they_differ():
    kinds = [kind for kind, _ in neighbours("convnet2x16", (1, 8, 8))]
    assert kinds == ["width", "width", "depth", "architecture"]
    assert [kind for kind, _ in neighbours("mlp-1", (4,))] == ["width", "depth"]


def test_other_networks_are_built_and_drawn():
    found = other_networks("mlp-6", (5,), 3, Scaled(), 4, seed=1)
    assert [(v.kind, v.name) for v in found] == [("width", "mlp-3"), ("width", "mlp-12"), ("depth", "mlp-6-6")]
    for variant in found:
        net = build(variant.name, (5,), 3)
        drawn = Fresh(net, Scaled(), 1).held_out(4)
        assert all(torch.equal(variant.weights[name], value) for name, value in drawn.items())
