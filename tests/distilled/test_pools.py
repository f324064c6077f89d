import json

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from tutelage.distilled.free_training import published_rule
from tutelage.distilled.pools import (
    PUBLISHED,
    NetPool,
    data_fingerprint,
    load_pool,
    part,
    pretrained,
    save_pool,
    weights_of,
)
from tutelage.distilled.teaching import accuracies, crowd
from tutelage.errors import ConfigError, DataError, NotFiniteError, ShapeError
from tutelage.nets import mlp
from tutelage.nets.initial import Scaled, filled
from tutelage.randomness import counter, permutation, stream
from tutelage.rules import SGD
from tutelage.starts import Fresh, Pool

ROWS, CLASSES = 11, 3


def perceptron(width=5):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Linear(width, CLASSES)).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, 1, 4, 4, generator=generator, dtype=torch.float64)
    return x, torch.arange(ROWS) % CLASSES


@pytest.fixture
def weights():
    return Fresh(perceptron(), Scaled()).held_out(5)


@pytest.fixture
def pool(weights):
    return NetPool(weights, "mlp-5", "ab" * 32, 25, {"initialisation": 0, "batches": 7}, {"accuracy": 0.5})


@pytest.mark.parametrize("halve_every", [None, 2])
def test_each_network_is_trained_as_by_torch_alone(data, weights, halve_every):
    x, y = data
    found = pretrained(perceptron(), weights, x, y, 5, lr=0.01, halve_every=halve_every, batch_size=4)
    for k in range(5):
        alone = filled(perceptron(), {name: value[k] for name, value in weights.items()})
        optimiser = torch.optim.Adam(alone.parameters(), lr=0.01)
        for epoch in range(5):
            optimiser.param_groups[0]["lr"] = 0.01 * 0.5 ** (epoch // halve_every if halve_every else 0)
            order = permutation(counter(stream(0, "batches of free training"), epoch), ROWS)
            for rows in torch.from_numpy(order).split(4):
                optimiser.zero_grad()
                F.cross_entropy(alone(x[rows]), y[rows]).backward()
                optimiser.step()
        for name, p in alone.named_parameters():
            torch.testing.assert_close(found[name][k], p.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 5, 40])
def test_chunks_do_not_matter(data, weights, chunk):
    whole = pretrained(perceptron(), weights, *data, 3, batch_size=4)
    found = pretrained(perceptron(), weights, *data, 3, batch_size=4, chunk=chunk)
    for name, value in weights.items():
        assert found[name].shape == value.shape
        torch.testing.assert_close(found[name], whole[name], rtol=0, atol=1e-12)


def test_frozen_parameters_stay_and_are_kept(data, weights):
    net = perceptron()
    net[1].weight.requires_grad_(False)
    found = pretrained(net, weights, *data, 2)
    assert torch.equal(found["1.weight"], weights["1.weight"])
    assert not torch.equal(found["3.weight"], weights["3.weight"])


def test_dropout_differs_from_network_to_network_and_chunk_to_chunk(data):
    net = mlp((1, 4, 4), CLASSES, widths=(6,), dropout=0.5).double()
    one = Fresh(net, Scaled()).held_out(1)
    same = {name: value.expand(2, *value.shape[1:]) for name, value in one.items()}
    for chunk in (1, 2):
        first, second = pretrained(net, same, *data, 2, chunk=chunk)["1.weight"]
        assert not torch.equal(first, second)


def test_what_cannot_be_is_refused(data, weights):
    with pytest.raises(ConfigError, match="chunk is 0; it must be at least 1"):
        pretrained(perceptron(), weights, *data, 1, chunk=0)
    with pytest.raises(ConfigError, match="halve_every is 0; it must be at least 1"):
        pretrained(perceptron(), weights, *data, 1, halve_every=0)
    with pytest.raises(ConfigError, match="epochs is 0"):
        pretrained(perceptron(), weights, *data, 0)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        pretrained(perceptron(), weights, *data, 1, halve_every=2, batch_size=0)
    with pytest.raises(ShapeError, match="they are of another architecture"):
        pretrained(perceptron(6), weights, *data, 1)
    with pytest.raises(NotFiniteError, match=r"diverges in epoch 0 at learning rate 1e\+200: .*; lower the rate"):
        pretrained(perceptron(), weights, *data, 9, lr=1e200, batch_size=2, rule=published_rule)


def test_published_settings():
    assert {name: tuple(how) for name, how in PUBLISHED.items()} == {
        "mnist": (40, 20, 2e-4),
        "usps": (130, 40, 2e-4),
        "svhn": (65, 20, 2e-4),
        "cifar10": (50, 7, 1e-3),
    }


def test_published_settings_are_arguments(data, weights):
    short = PUBLISHED["mnist"]._replace(epochs=2)
    by_name = pretrained(perceptron(), weights, *data, **short._asdict())
    by_hand = pretrained(perceptron(), weights, *data, 2, lr=2e-4, halve_every=20)
    assert all(torch.equal(by_name[name], by_hand[name]) for name in weights)


def test_the_weights_of_networks_together_have_the_names_of_one(weights):
    found = weights_of(crowd(perceptron(), weights, SGD(0.1)))
    assert list(found) == list(weights)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_a_pool_is_parted_by_position(pool):
    first, second = pool.parts([2, 3])
    for name, value in pool.weights.items():
        assert torch.equal(first[name], value[:2])
        assert torch.equal(second[name], value[2:])
        assert torch.equal(part(pool.weights, 1, 3)[name], value[1:3])
    Pool(perceptron(), first)  # what a distillation takes
    with pytest.raises(ConfigError, match=r"the pool has 5 networks, but 3 \+ 3 are needed: pre-train more"):
        pool.parts([3, 3])


def test_a_file_gives_back_what_was_kept_and_the_same_bytes(pool, tmp_path):
    save_pool(pool, tmp_path / "a.safetensors")
    read = load_pool(tmp_path / "a.safetensors", perceptron(), data="ab" * 32)
    assert (read.architecture, read.data, read.epochs) == ("mlp-5", "ab" * 32, 25)
    assert (read.seeds, read.further) == ({"initialisation": 0, "batches": 7}, {"accuracy": 0.5})
    assert len(read) == 5
    for name, value in pool.weights.items():
        assert torch.equal(read.weights[name], value)
        assert read.weights[name].dtype == value.dtype
    save_pool(read, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_header_can_be_read_by_anybody(pool, tmp_path):
    save_pool(pool, tmp_path / "pool.safetensors")
    with safe_open(tmp_path / "pool.safetensors", framework="pt") as file:
        facts = json.loads(file.metadata()["tutelage pool"])
    assert facts == {
        **{"format": 1, "architecture": "mlp-5", "data": "ab" * 32, "epochs": 25, "networks": 5},
        **{"seeds": {"initialisation": 0, "batches": 7}, "further": {"accuracy": 0.5}},
    }


def test_networks_that_do_not_fit_are_named_layer_by_layer(pool, tmp_path):
    path = tmp_path / "pool.safetensors"
    save_pool(pool, path)
    with pytest.raises(ShapeError) as caught:
        load_pool(path, perceptron(7))
    assert str(caught.value) == (
        f"{path}: the 5 pre-trained networks (mlp-5) do not fit the network: 1.weight is (5, 16) there, (7, 16) here; "
        "1.bias is (5,) there, (7,) here; 3.weight is (3, 5) there, (3, 7) here. "
        "Give the network that they were trained as, or pre-train a pool of this one."
    )
    deeper = nn.Sequential(*perceptron(), nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(ShapeError, match=r"4\.weight is absent there, \(3, 3\) here; .*; and 1 more\. Give"):
        load_pool(path, deeper)
    with pytest.raises(ShapeError, match=r"1\.bias is \(5,\) there, absent here"):
        load_pool(path, nn.Sequential(nn.Flatten(), nn.Linear(16, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)))


def test_files_that_are_no_pools_are_refused(pool, tmp_path):
    path = tmp_path / "pool.safetensors"
    with pytest.raises(DataError, match=r"does not exist; a pool file is made by save_pool"):
        load_pool(path)
    save_pool(pool, path)
    with pytest.raises(DataError, match=r"trained on other data \(fingerprint abababababab, here cdcdcdcdcdcd\): give"):
        load_pool(path, data="cd" * 32)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(DataError, match="is no pool file, or cut"):
        load_pool(path)
    for good, bad in ((b'\\"networks\\": 5', b'\\"networks\\": 6'), (b'\\"epochs\\"', b'\\"epoch_\\"')):
        assert whole.count(good) == 1
        path.write_bytes(whole.replace(good, bad))
        with pytest.raises(DataError, match="is damaged"):
            load_pool(path)
    with pytest.raises(ConfigError, match="must be plain JSON"):
        save_pool(NetPool(pool.weights, "mlp-5", "", 1, {}, {"what": object()}), path)


def test_the_fingerprint_is_of_all_that_data_are(data):
    x, y = data
    known = data_fingerprint(x, y)
    assert len(known) == 64
    assert data_fingerprint(x.clone(), y.clone()) == known
    assert data_fingerprint(x.mT.contiguous().mT, y) == known
    other = x.clone()
    other[-1, 0, 0, 0] += 1e-9
    changed = [(other, y), (x, y.flip(0)), (x.float(), y), (x.view(ROWS, 16), y), (x[:-1], y[:-1])]
    assert len({known, *(data_fingerprint(*each) for each in changed)}) == 6


@pytest.mark.slow
def test_five_epochs_train_perceptrons_on_digits(digits):
    """Measured: 98.4 ± 0.3 after 25 epochs; 80 networks take 9 s of CPU."""
    x, y, test_x, test_y = digits
    net = mlp((1, 8, 8), 10, widths=(128,))
    found = pretrained(net, Fresh(net, Scaled()).held_out(8), x, y, 5)
    values = accuracies(crowd(net, found, SGD(0.1)), test_x, test_y)
    assert float(values.mean()) >= 0.92
