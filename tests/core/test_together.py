"""Several networks as one: modes, shared parameters, inputs of more axes, what is refused."""

import pytest
import torch
from torch import nn

from tests.core.look_ahead import drawn
from tutelage.distilled import crowd
from tutelage.errors import ConfigError, ShapeError
from tutelage.lesson import Lesson
from tutelage.losses import cross_entropy
from tutelage.nets.initial import Scaled, filled
from tutelage.nets.together import Each, Together, check_weights, perceptron
from tutelage.rules import SGD
from tutelage.student import Student


def stacked(net, count=2):
    return {n: v.double() for n, v in Scaled("torch").draw(net, range(count)).items()}


def tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    net[2].weight = net[0].weight
    return net


@pytest.mark.parametrize("how", ["vmap", "hand"])
def test_shared_parameters_are_shared(how):
    net, x = tied(), drawn(5, 4)
    weights = stacked(net)
    together = Together(net, weights, how=how)
    assert [name for name, _ in together.named_parameters()] == [f"net.{name}" for name in weights]
    loss = together(x)[:, 1].square().sum()
    loss.backward()
    one = filled(net, {name: value[1] for name, value in weights.items()})
    assert one[2].weight is one[0].weight
    own = one(x)
    assert torch.allclose(together(x)[:, 1], own, rtol=1e-12)
    own.square().sum().backward()
    assert torch.allclose(together.net[0].weight.grad[1], one[0].weight.grad, rtol=1e-10)
    assert not together.net[0].weight.grad[0].any()


@pytest.mark.parametrize("freeze_buffers", [False, True])
def test_dropout_draws_in_networks_that_were_given_in_evaluation(freeze_buffers):
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    same = {name: value[:1].expand(2, *value.shape[1:]) for name, value in stacked(net).items()}
    for given in (net, net.eval()):
        together = Together(given, same, freeze_buffers=freeze_buffers)
        logits = Student(together, SGD(0.1)).logits(drawn(5, 4))
        assert not torch.equal(logits[:, 0], logits[:, 1])


def test_parts_keep_the_mode_that_they_are_given_in():
    """As those of a student do."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    net[1].eval()
    same = {name: value[:1].expand(2, *value.shape[1:]) for name, value in stacked(net).items()}
    for freeze_buffers in (False, True):
        logits = Student(Together(net, same, freeze_buffers=freeze_buffers), SGD(0.1)).logits(drawn(5, 4))
        assert torch.equal(logits[:, 0], logits[:, 1])


def test_statistics_stay_in_a_frozen_network_alone():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double().eval()
    together = Together(net, stacked(net), freeze_buffers=True)
    assert together.net.training
    assert not together.net[1].training
    assert not net.training


@pytest.mark.parametrize("rows", [(5,), (5, 2), (5, 2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_inputs_of_more_axes_are_answered_axis_by_axis(rows, bias):
    net = nn.Sequential(nn.Linear(4, 8, bias=bias), nn.Tanh(), nn.Linear(8, 3, bias=bias)).double()
    weights, x = stacked(net), drawn(*rows, 4)
    found = Together(net, weights, how="hand")(x)
    for k in range(2):
        alone = filled(net, {name: value[k] for name, value in weights.items()})
        assert torch.allclose(found[:, k], alone(x), rtol=1e-12)


def test_a_flattening_between_layers_keeps_networks_apart():
    net = nn.Sequential(nn.Linear(4, 8), nn.Flatten(), nn.Tanh(), nn.Linear(8, 3), nn.Flatten()).double()
    assert perceptron(net) is not None
    weights, x = stacked(net), drawn(5, 4)
    needed = Together(net, weights, how="vmap")(x)
    assert torch.allclose(Together(net, weights, how="hand")(x), needed, rtol=1e-12)


def test_flattened_images_are_multiplied_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).double()
    weights, x = stacked(net), drawn(5, 2, 4)
    together = Together(net, weights, how="hand")
    together._call = None  # what vmap would call
    assert torch.allclose(together(x), Together(net, weights)(x), rtol=1e-12)


def test_each_network_has_a_loss_of_its_own():
    logits = drawn(4, 3, 2)
    soft = drawn(4, 2, seed=1).softmax(-1)
    for target in (torch.tensor([0, 1, 1, 0]), soft):
        found = Each(nn.CrossEntropyLoss(reduction="none"))(logits, target)
        needed = sum(nn.functional.cross_entropy(logits[:, k], target, reduction="none") for k in range(3))
        assert torch.allclose(found, needed)


def test_weights_are_checked():
    net = nn.Sequential(nn.Linear(4, 3)).double()
    weights = stacked(net, 3)
    assert check_weights(net, weights) == 3
    with pytest.raises(ConfigError, match="Tanh has no parameters, so there is nothing to teach it"):
        check_weights(nn.Tanh(), {})
    with pytest.raises(ShapeError, match=r"the network has 0\.bias; they are of another architecture"):
        check_weights(net, {"0.weight": weights["0.weight"]})
    with pytest.raises(ShapeError, match=r"0\.bias has shape \(2, 3\), but 3 networks need \(3, 3\)"):
        check_weights(net, weights | {"0.bias": weights["0.bias"][:2]})
    with pytest.raises(ShapeError, match=r"0\.bias has shape \(\), but 3 networks need \(3, 3\)"):
        check_weights(net, weights | {"0.bias": torch.zeros(())})
    with pytest.raises(ShapeError, match=r"0\.weight has shape \(\)"):
        check_weights(net, {"0.weight": torch.zeros(()), "0.bias": torch.zeros(())})


def test_networks_learn_together_as_each_alone():
    net, x = tied(), drawn(6, 4)
    weights, y = stacked(net), torch.arange(6) % 3
    together = crowd(net, weights, SGD(0.1))
    weight = torch.ones(6, dtype=torch.float64)
    for _ in range(3):
        together.study(Lesson(x, y, weight, Each(cross_entropy)))
    for k in range(2):
        alone = Student(filled(net, {name: value[k] for name, value in weights.items()}), SGD(0.1))
        for _ in range(3):
            alone.study(Lesson(x, y, weight, cross_entropy))
        for name, value in alone.params.items():
            assert torch.allclose(together.params[f"net.{name}"][k], value, rtol=1e-10)
