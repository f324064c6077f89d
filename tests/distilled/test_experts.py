"""Experts: trajectories equal to training one network after another, and their file."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tutelage import SGD, Student
from tutelage.distilled.free_training import study_epochs
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.experts import Experts, load_experts, save_experts, train_experts
from tutelage.nets.initial import Scaled, filled
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


def test_the_default_rule_is_the_published_one():
    """Without momentum: the steps are those that a set is to lead along."""
    assert torch.equal(trained(2)[2].flat, trained(2, rule=SGD(0.01, momentum=0.0))[2].flat)


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


def test_dropout_comes_from_the_seed_and_the_group():
    """All rows are one batch, so that nothing else differs."""
    net, batch = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double(), tiny_batch(20, seed=1)
    weights = {name: torch.stack([p.detach()] * 2) for name, p in net.named_parameters()}
    first, again, other = (
        train_experts(net, weights, batch.x, batch.y, epochs=1, together=1, seed=seed).flat[:, 1] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


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


def damaged(path, *, header=None, **tensors):
    """A file with another text in its header, and other tensors."""
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["tutelage trajectory"]
    found = load_file(path) | tensors
    known = {name: value for name, value in found.items() if value is not None}
    save_file(known, path, {"tutelage trajectory": header or text})
    return path


@pytest.mark.parametrize(
    "header",
    [
        '{"format": 1}',
        '{"format": 1, "parameters": 3}',
        '{"format": 1, "parameters": [3]}',
        '{"format": 1, "parameters": [["0.weight"]]}',
        '{"format": 1, "parameters": [["0.weight", 8]]}',
        '{"format": 1, "parameters": [["0.weight", [8, 6], 1]]}',
        '{"format": 1, "parameters": null}',
    ],
)
def test_a_file_with_a_damaged_header(tmp_path, header):
    _, _, experts = trained(1, 1)
    path = tmp_path / "a.safetensors"
    save_experts(path, experts)
    with pytest.raises(DataError, match=r"a\.safetensors is damaged: "):
        load_experts(damaged(path, header=header), tiny_net())


def test_a_file_with_damaged_weights(tmp_path):
    _, _, experts = trained(1, 1)
    path = tmp_path / "a.safetensors"
    for weights, error, match in (
        (None, DataError, r"a\.safetensors is damaged: KeyError\('weights'\)"),
        (experts.flat * torch.nan, DataError, r"a\.safetensors has weights that are not finite"),
        (experts.flat.long(), ShapeError, r"weights are torch\.int64, but need a floating type"),
        (experts.flat[0], ShapeError, r"weights have shape \(2, 83\), but need \(experts, epochs \+ 1, 83\)"),
    ):
        save_experts(path, experts)
        with pytest.raises(error, match=match):
            load_experts(damaged(path, weights=weights, extra=None), tiny_net())


def test_frozen_statistics():
    """They stay those of the network, which go with the weights into a file, and into the experts of it."""
    net, batch = tiny_net("batchnorm"), tiny_batch(20, seed=1)
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm1d))
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2.0)
    weights = Fresh(net, Scaled(), seed=2).held_out(2)
    experts = train_experts(net, weights, batch.x, batch.y, epochs=2, batch_size=20, rule=SGD(0.1), freeze_buffers=True)
    assert set(norm.running_mean.tolist()) == {norm.running_mean[0].item()}
    for k in range(2):
        alone = filled(net, {name: value[k] for name, value in weights.items()}).eval()
        by_torch = torch.optim.SGD(alone.parameters(), 0.1)
        for _ in range(2):
            by_torch.zero_grad()
            nn.functional.cross_entropy(alone(batch.x), batch.y).backward()
            by_torch.step()
        found = experts.at(torch.tensor([k]), 2)
        for name, p in alone.named_parameters():
            assert torch.allclose(found[name][0], p, rtol=1e-4, atol=1e-6)


def test_a_file_has_the_buffers(tmp_path):
    net, other, batch = tiny_net("batchnorm"), tiny_net("batchnorm"), tiny_batch()
    for buffer in net.buffers():
        buffer.fill_(3)
    weights = Fresh(net, Scaled()).held_out(2)
    experts = train_experts(net, weights, batch.x, batch.y, epochs=1, freeze_buffers=True)
    path = tmp_path / "a.safetensors"
    save_experts(path, experts)
    before = {name: value.clone() for name, value in other.named_buffers()}
    again = load_experts(path, other)
    assert all((value == 3).all() for value in again.net.buffers())
    assert all(torch.equal(value, before[name]) for name, value in other.named_buffers())
    bare = nn.Sequential(*(nn.GroupNorm(1, 8) if isinstance(m, nn.BatchNorm1d) else m for m in other))
    with pytest.raises(ShapeError, match=r"it has 1\.num_batches_tracked\s+where the network has no more"):
        load_experts(path, bare)


def test_errors():
    net, weights, experts = trained()
    with pytest.raises(ShapeError, match=r"shape \(3, 5, 82\), but need \(experts, epochs \+ 1, 83\) for this"):
        Experts(net, experts.flat[..., 1:])
    with pytest.raises(ConfigError, match="together is 0; at least one network"):
        train_experts(net, weights, tiny_batch().x, tiny_batch().y, together=0)
    normed = tiny_net("batchnorm")
    weights = Fresh(normed, Scaled()).held_out(2)
    with pytest.raises(ShapeError, match="4 labels; it needs one label an image"):
        train_experts(net, Fresh(net, Scaled()).held_out(2), tiny_batch(5).x, torch.arange(4))
    with pytest.raises(ConfigError, match="keeps running statistics"):
        train_experts(normed, weights, tiny_batch().x, tiny_batch().y)
