"""Experts: trajectories equal to training one network after another, and their file."""

import pytest
import torch
from torch import nn

from tutelage import SGD, Student
from tutelage.distilled.free_training import study_epochs
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.experts import Experts, load_experts, save_experts, train_experts
from tutelage.nets.initial import Scaled
from tutelage.nets.together import Together
from tutelage.randomness import counter, stream
from tutelage.starts import Fresh
from tutelage.testing import tiny_batch, tiny_net


def trained(count=3, epochs=4, **options):
    net, batch = tiny_net(), tiny_batch(20, seed=1)
    weights = Fresh(net, Scaled(), seed=2).held_out(count)
    return net, weights, train_experts(net, weights, batch.x, batch.y, epochs=epochs, batch_size=6, **options)


def test_each_expert_is_trained_by_itself():
    """Equal to a network alone that sees the same batches; the first snapshot is where it started."""
    net, weights, experts = trained(rule=SGD(0.1, momentum=0.9))
    assert experts.flat.shape == (3, 5, sum(p.numel() for p in net.parameters()))
    assert (len(experts), experts.epochs) == (3, 4)
    batch, key = tiny_batch(20, seed=1), counter(stream(0, "experts"), 0)
    for k in range(3):
        own = {name: value[k : k + 1] for name, value in weights.items()}
        student = Student(Together(net, own), SGD(0.1, momentum=0.9))
        steps = study_epochs(student, batch.x, batch.y, epochs=4, batch_size=6, seed=key)
        path = [own, *({n.removeprefix("net."): p for n, p in s.params.items()} for s in steps)]
        for epoch, needed in enumerate(path):
            found = experts.at(torch.tensor([k]), epoch)
            assert found.keys() == needed.keys()
            assert all(torch.allclose(found[n], needed[n], rtol=1e-9, atol=1e-12) for n in needed)


def test_weights_by_name_at_epochs_of_their_own():
    net, _, experts = trained()
    found = experts.at(torch.tensor([2, 0]), torch.tensor([1, 4]))
    flat = torch.cat([value.flatten(1) for value in found.values()], dim=1)
    assert torch.equal(flat, torch.stack([experts.flat[2, 1], experts.flat[0, 4]]))
    assert {n: tuple(v.shape[1:]) for n, v in found.items()} == {n: tuple(p.shape) for n, p in net.named_parameters()}


def test_groups_have_orders_of_their_own():
    """The first group is the same whatever follows; the second sees other batches."""
    _, _, whole = trained(4)
    _, _, halves = trained(4, together=2)
    assert torch.allclose(whole.flat[:2], halves.flat[:2], rtol=1e-9)
    assert torch.equal(whole.flat[2:, 0], halves.flat[2:, 0])
    assert not torch.allclose(whole.flat[2:], halves.flat[2:])


def test_the_order_of_names_in_the_weights_does_not_matter():
    net, weights, experts = trained(2)
    batch = tiny_batch(20, seed=1)
    turned = dict(reversed(weights.items()))
    again = train_experts(net, turned, batch.x, batch.y, epochs=4, batch_size=6)
    assert torch.equal(again.flat, experts.flat)


def test_augmentation_and_frozen_parameters():
    net, batch = tiny_net(), tiny_batch(20, seed=1)
    net[0].bias.requires_grad_(False)
    weights = Fresh(net, Scaled(), seed=2).held_out(2)
    weights["0.bias"] += 1.0
    seen = []

    def noted(x, key):
        seen.append(key)
        return x + 1.0

    experts = train_experts(net, weights, batch.x, batch.y, epochs=2, batch_size=10, augment=noted)
    assert len(set(seen)) == 4
    assert (experts.at(torch.tensor([0, 1]), 2)["0.bias"] == 1).all()
    plain = train_experts(net, weights, batch.x + 1.0, batch.y, epochs=2, batch_size=10)
    assert torch.allclose(plain.flat, experts.flat)


def test_a_file(tmp_path):
    net, _, experts = trained()
    save_experts(tmp_path / "a.safetensors", experts, origin={"data": "tiny"})
    again = load_experts(tmp_path / "a.safetensors", tiny_net(seed=9))
    assert torch.equal(again.flat, experts.flat)
    with pytest.raises(ShapeError, match=r"it has 0.weight \(8, 6\) where the network has 0.weight \(7, 6\)"):
        load_experts(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 3)))
    with pytest.raises(ShapeError, match=r"it has 3.weight \(3, 8\) where the network has no more"):
        load_experts(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(6, 8)))
    with pytest.raises(DataError, match="does not exist; a trajectory file is made by save_experts"):
        load_experts(tmp_path / "b.safetensors", net)


def test_errors():
    net, weights, experts = trained()
    with pytest.raises(ShapeError, match=r"shape \(3, 5, 82\), but need \(experts, epochs \+ 1, 83\) for this"):
        Experts(net, experts.flat[..., 1:])
    with pytest.raises(ConfigError, match="together is 0; at least one network"):
        train_experts(net, weights, tiny_batch().x, tiny_batch().y, together=0)
    normed = tiny_net("batchnorm")
    weights = Fresh(normed, Scaled()).held_out(2)
    with pytest.raises(ConfigError, match="keeps running statistics"):
        train_experts(normed, weights, tiny_batch().x, tiny_batch().y)
