"""Weights of users' own teachers: what fits comes in, everything else is named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage.errors import ConfigError, DataError
from tutelage.nets import build, load_weights, save_weights
from tutelage.nets.weights import weights_facts

SHAPE = (1, 8, 8)


def net(seed=1, name="resnet8", classes=3):
    return build(name, SHAPE, classes, seed=seed)


def same(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_there_and_back(tmp_path):
    teacher, other = net(1), net(2)
    with torch.no_grad():
        teacher(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0)))
    facts = {"net": "resnet8", "shape": [1, 8, 8], "classes": 3, "accuracy": 0.9}
    save_weights(teacher, tmp_path / "a.safetensors", facts)
    save_weights(teacher, tmp_path / "b.safetensors", facts)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert not same(teacher, other)
    assert load_weights(other, tmp_path / "a.safetensors") == facts
    assert same(teacher, other)
    assert weights_facts(tmp_path / "a.safetensors") == facts


def test_a_file_of_another_library(tmp_path):
    teacher = net()
    save_file(teacher.state_dict(), tmp_path / "t.safetensors", {"format": "pt"})
    fresh = net(5)
    assert load_weights(fresh, str(tmp_path / "t.safetensors")) == {}
    assert same(fresh, teacher)


def test_the_network_keeps_its_own_type(tmp_path):
    teacher = net().half()
    save_file(teacher.state_dict(), tmp_path / "t.safetensors")
    fresh = net(5).double()
    load_weights(fresh, tmp_path / "t.safetensors")
    assert {p.dtype for p in fresh.parameters()} == {torch.float64}
    assert torch.equal(fresh.linear.weight, teacher.linear.weight.double())


def test_tied_layers(tmp_path):
    def tied():
        a, b = nn.Linear(3, 3), nn.Linear(3, 3)
        b.weight = a.weight
        return nn.Sequential(a, b)

    teacher, fresh = tied(), tied()
    save_weights(teacher, tmp_path / "t.safetensors", {})
    load_weights(fresh, tmp_path / "t.safetensors")
    assert same(teacher, fresh)
    assert fresh[0].weight is fresh[1].weight


def test_layers_that_do_not_fit(tmp_path):
    path = tmp_path / "t.safetensors"
    save_weights(net(name="resnet14", classes=4), path, {})
    fresh, before = net(7), net(7)
    with pytest.raises(DataError) as caught:
        load_weights(fresh, path)
    message = str(caught.value)
    more = len(net(name="resnet14").state_dict()) - len(net().state_dict())
    assert message.startswith(
        f"{path} does not fit this ResNet: {more} left over, such as blocks.3.conv1.weight, blocks.3.conv2.weight, "
        "blocks.3.norm1.bias; "
    )
    shapes = (
        "blocks.1.conv1.weight (16, 16, 3, 3) instead of (32, 16, 3, 3)",
        "blocks.1.norm1.weight (16,) instead of",
    )
    assert f" of another shape, such as {', '.join(shapes)} (32,), blocks.1.norm1.bias " in message
    assert "linear.weight" not in message  # only the first three of a kind are named
    assert "\n" not in message
    assert same(fresh, before)
    save_weights(net(), path, {})
    with pytest.raises(
        DataError, match=rf"{more} missing, such as blocks\.3\.conv1\.weight, .*; \d+ of another shape, such"
    ):
        load_weights(net(name="resnet14"), path)
    with pytest.raises(
        DataError, match=r"ResNet: 2 of another shape: linear\.weight \(3, 64\) instead of \(4, 64\), "
        r"linear\.bias \(3,\) instead of \(4,\)\.$",
    ):  # fmt: skip
        load_weights(net(classes=4), path)


def test_values_that_are_not_finite(tmp_path):
    teacher, fresh, before = net(), net(3), net(3)
    teacher.linear.bias.data[1] = float("nan")
    save_weights(teacher, tmp_path / "t.safetensors", {})
    with pytest.raises(DataError, match=r"not finite in linear\.bias; did its training diverge\?"):
        load_weights(fresh, tmp_path / "t.safetensors")
    assert same(fresh, before)


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt"])
def test_pickles_are_refused_unread(suffix, tmp_path):
    path = tmp_path / f"teacher.{suffix}"
    torch.save(net().state_dict(), path)
    with pytest.raises(DataError, match=r"is a pickle file, which may run code .*save_file\(torch\.load\('teacher\."):
        load_weights(net(), path)


@pytest.mark.parametrize("protocol", [True, False], ids=["zip", "old"])
def test_pickles_by_another_name_are_refused(protocol, tmp_path):
    path = tmp_path / "teacher.safetensors"
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=protocol)
    with pytest.raises(DataError, match=r"is a pickle file, which may run code when it is read"):
        load_weights(net(), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"t\.safetensors does not exist; weights are a safetensors file"),
        (b"hello", r"t\.safetensors is no safetensors file, or cut: "),
        (b"", r"t\.safetensors is no safetensors file, or cut: "),
    ],
)
def test_other_files(content, message, tmp_path):
    path = tmp_path / "t.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_weights(net(), path)


def test_a_cut_file(tmp_path):
    path = tmp_path / "t.safetensors"
    save_weights(net(), path, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="is no safetensors file, or cut"):
        load_weights(net(), path)


def test_a_damaged_header(tmp_path):
    save_file(net().state_dict(), tmp_path / "t.safetensors", {"tutelage network": "{"})
    with pytest.raises(DataError, match="is damaged"):
        load_weights(net(), tmp_path / "t.safetensors")


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match="the origin of a network must be plain JSON"):
        save_weights(net(), tmp_path / "t.safetensors", {"net": object()})
    with pytest.raises(DataError, match=r"t\.safetensors: cannot be written"):
        save_weights(net(), tmp_path / "nowhere" / "t.safetensors", {})
