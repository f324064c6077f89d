import copy
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage.distilled import DistilledSet, accuracies, accuracies_along
from tutelage.distilled.free_training import as_examples, at_best_rate, published_rule, study_epochs, train_freely
from tutelage.distilled.judging import ByFreeTraining
from tutelage.distilled.pools import pretrained
from tutelage.distilled.teaching import crowd
from tutelage.errors import ConfigError, NotFiniteError, ShapeError
from tutelage.nets import mlp
from tutelage.nets.initial import Scaled, filled
from tutelage.randomness import counter, permutation, stream
from tutelage.rules import Adam
from tutelage.starts import Fresh

NETS, ROWS, CLASSES = 3, 11, 3


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()


def convolution():
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(4, 4), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(16, CLASSES)).double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, 1, 4, 4, generator=generator, dtype=torch.float64)
    return x, torch.arange(ROWS) % CLASSES


def drawn(net, count=NETS, seed=0):
    return Fresh(net, Scaled(), seed).held_out(count)


def by_torch(net, weights, k, x, target, epochs, size, make, seed=0):
    """Network k alone, with torch.optim and its scheduler, over the same batches."""
    alone = filled(net, {name: value[k] for name, value in weights.items()})
    optimiser = make(alone.parameters())
    half = math.ceil(epochs / 2)
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = group["lr"] * 0.1 if epoch == half else group["lr"]
        order = torch.from_numpy(permutation(counter(stream(seed, "batches of free training"), epoch), len(x)))
        for rows in torch.arange(len(x)).split(size) if len(x) <= size else order.split(size):
            optimiser.zero_grad()
            F.cross_entropy(alone(x[rows]), target[rows]).backward()
            optimiser.step()
    return alone


def assert_is(student, k, alone):
    for name, p in alone.named_parameters():
        torch.testing.assert_close(student.params[f"net.{name}"][k], p.detach(), rtol=0, atol=1e-12)


def published(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)


@pytest.mark.parametrize("make", [perceptron, convolution])
@pytest.mark.parametrize("size", [4, 256])
def test_each_network_is_trained_as_by_torch_alone(data, make, size):
    net = make()
    weights = drawn(net)
    student = train_freely(net, weights, *data, lr=0.05, epochs=5, batch_size=size)
    for k in range(NETS):
        assert_is(student, k, by_torch(net, weights, k, *data, 5, size, published))


def test_soft_labels_and_another_rule(data):
    net, x = perceptron(), data[0]
    weights, target = drawn(net), torch.softmax(x.flatten(1)[:, :CLASSES], -1)
    student = train_freely(net, weights, x, target, lr=0.01, epochs=4, batch_size=4, rule=Adam)
    alone = by_torch(net, weights, 1, x, target, 4, 4, lambda p: torch.optim.Adam(p, lr=0.01))
    assert_is(student, 1, alone)


@pytest.mark.parametrize(("epochs", "decayed"), [(1, 0), (2, 1), (5, 2), (300, 150)])
def test_there_are_exactly_so_many_epochs_and_the_rate_falls_at_half(data, epochs, decayed):
    net = perceptron()
    student = train_freely(net, drawn(net, 1), *data, lr=0.01, epochs=epochs)
    assert student.step == epochs
    rates = [student.rule.rate(step) for step in range(epochs)]
    assert rates == pytest.approx([0.01] * (epochs - decayed) + [0.001] * decayed)


def test_each_epoch_is_yielded(data):
    net = perceptron()
    student = crowd(net, drawn(net), published_rule(0.01))
    steps = [seen.step for seen in study_epochs(student, *data, epochs=3, batch_size=4)]
    assert steps == [3, 6, 9]


def test_the_same_seed_gives_the_same_bytes_and_nothing_is_drawn_elsewhere(data):
    net = perceptron()
    weights = drawn(net)
    kept = copy.deepcopy(weights)
    state = torch.get_rng_state()
    first, again, other = (
        train_freely(net, weights, *data, epochs=2, batch_size=4, seed=seed).params["net.1.weight"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(kept[name], weights[name]) for name in kept)


def test_dropout_is_drawn_from_the_seed(data):
    net = mlp((1, 4, 4), CLASSES, widths=(6,), dropout=0.5).double()
    weights = drawn(net)
    first, again, other = (
        train_freely(net, weights, *data, epochs=2, seed=seed).params["net.1.weight"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_has_a_key_of_its_own_at_each_step(data):
    net, keys, sizes = perceptron(), [], []

    def augment(x, key):
        keys.append(key)
        sizes.append(len(x))
        return x + 1.0

    weights = drawn(net)
    seen = train_freely(net, weights, *data, epochs=2, batch_size=4, augment=augment)
    assert len(set(keys)) == 6
    assert sizes == [4, 4, 3, 4, 4, 3]
    plain = train_freely(net, weights, data[0] + 1.0, data[1], epochs=2, batch_size=4)
    assert torch.equal(seen.params["net.1.weight"], plain.params["net.1.weight"])


def test_what_was_trained_can_be_kept(data):
    net = perceptron()
    weights = drawn(net)
    student = train_freely(net, weights, *data, epochs=2, batch_size=4)
    again = crowd(net, weights, published_rule(0.01))
    again.load_state_dict(student.state_dict())
    assert torch.equal(again.predict(data[0]), student.predict(data[0]))


def test_one_image_and_one_network():
    net = perceptron()
    student = train_freely(net, drawn(net, 1), torch.ones(1, 1, 4, 4).double(), torch.tensor([2]), epochs=50)
    assert accuracies(student, torch.ones(1, 1, 4, 4).double(), torch.tensor([2])).tolist() == [1.0]


def test_the_rate_is_chosen_on_training_data(data):
    net, (x, y) = perceptron(), data
    weights = drawn(net)

    def train(lr):
        return train_freely(net, weights, x, y, lr=lr, epochs=20)

    chosen = at_best_rate(train, (1e-6, 0.05), x, y)
    assert chosen.lr == 0.05
    assert list(chosen.tried) == [1e-6, 0.05]
    for lr, value in chosen.tried.items():
        assert value == float(accuracies(train(lr), x, y).mean())
    assert chosen.tried[0.05] > chosen.tried[1e-6]
    # labels that no network agrees with make the other one better
    worst = train(0.05).predict(x).mean(1).argmin(-1)
    assert at_best_rate(train, (1e-6, 0.05), x, worst).lr == 1e-6


def test_of_equal_rates_the_first_is_taken(data):
    net = perceptron()
    student = train_freely(net, drawn(net), *data, epochs=1)
    assert at_best_rate(lambda lr: student, (0.3, 0.1, 0.2), *data).lr == 0.3


def test_a_rate_that_diverges_is_not_taken(data):
    net = perceptron()
    weights = drawn(net)

    def train(lr):
        return train_freely(net, weights, *data, lr=lr, epochs=200)

    chosen = at_best_rate(train, (1e200, 0.01), *data)
    assert chosen.lr == 0.01
    assert chosen.tried[1e200] is None
    with pytest.raises(NotFiniteError, match=r"diverges at every rate of 1e\+200: add a lower one\."):
        at_best_rate(train, (1e200,), *data)
    with pytest.raises(ConfigError, match=r"needs at least one rate, such as 0\.01"):
        at_best_rate(train, (), *data)


def test_what_cannot_be_is_refused(data):
    net, (x, y) = perceptron(), data
    weights = drawn(net)
    with pytest.raises(ConfigError, match="epochs is 0; it must be at least 1"):
        train_freely(net, weights, x, y, epochs=0)
    with pytest.raises(ConfigError, match="batch_size is 0; it must be at least 1"):
        train_freely(net, weights, x, y, batch_size=0)
    with pytest.raises(ConfigError, match=r"learning rate is -0\.1"):
        train_freely(net, weights, x, y, lr=-0.1)
    with pytest.raises(ShapeError, match="11 images, but 3 labels; it needs one label an image"):
        train_freely(net, weights, x, y[:3])
    with pytest.raises(ShapeError, match="0 images, but 0 labels"):
        train_freely(net, weights, x[:0], y[:0])
    with pytest.raises(NotFiniteError, match=r"diverges in epoch \d+ at learning rate 1e\+200: the loss of .*; lower"):
        train_freely(net, weights, x, y, lr=1e200)


def test_the_last_step_may_diverge_as_well(data):
    """The loss of the last batch is still finite then."""
    net, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES)).double(), data
    with pytest.raises(NotFiniteError, match=r"diverges in epoch 0 at learning rate 1e\+307: the loss of .* is \d"):
        train_freely(net, drawn(net), 1e3 * x, y, lr=1e307, epochs=1)


def test_a_batch_of_all_rows_keeps_their_order(data):
    net = perceptron()
    weights = drawn(net)
    exact, larger = (train_freely(net, weights, *data, epochs=3, batch_size=size) for size in (ROWS, ROWS + 1))
    assert all(torch.equal(p, larger.params[name]) for name, p in exact.params.items())


def test_a_set_without_its_order():
    images = torch.arange(12.0).view(2, 3, 2)
    none = torch.zeros(0)
    x, y = as_examples(DistilledSet(images, torch.tensor([0, 1, 2]), none))
    assert x.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert y.tolist() == [0, 1, 2, 0, 1, 2]
    _, y = as_examples(DistilledSet(images, torch.tensor([[0, 1, 2], [2, 2, 1]]), none))
    assert y.tolist() == [0, 1, 2, 2, 2, 1]
    logits = torch.randn(2, 3, 4, requires_grad=True)
    _, y = as_examples(DistilledSet(images, logits, none))
    assert torch.equal(y, torch.softmax(logits.detach(), -1).view(6, 4))
    assert not y.requires_grad


def statistics_net():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, CLASSES)).double()
    net[2].running_mean.copy_(torch.linspace(-0.5, 0.5, 5))
    net[2].running_var.copy_(torch.linspace(0.5, 1.5, 5))
    return net


def test_statistics_may_be_frozen_wherever_networks_are_taught(data):
    net, (x, y) = statistics_net(), data
    weights = drawn(net)
    distilled = DistilledSet(x[None, :3], torch.arange(3), torch.tensor([0.3], dtype=torch.float64))
    judge = ByFreeTraining(x, y, x, y, rates=(0.05,), train=partial(train_freely, epochs=2))
    for refused in (
        lambda: accuracies_along(distilled, net, weights, x, y),
        lambda: judge(distilled, net, weights),
        lambda: pretrained(net, weights, x, y, 1),
    ):
        with pytest.raises(ConfigError, match=r"layer 2 \(BatchNorm1d\) keeps running statistics"):
            refused()
    along = accuracies_along(distilled, net, weights, x, y, freeze_buffers=True)
    found = replace(judge, freeze_buffers=True)(distilled, net, weights).accuracies
    trained = pretrained(net, weights, x, y, 2, lr=0.05, batch_size=256, rule=published_rule, freeze_buffers=True)
    for k in range(NETS):
        alone = filled(net, {name: value[k] for name, value in weights.items()}).eval()
        assert float(along[0, k]) == float((alone(x).argmax(-1) == y).double().mean())
        slopes = torch.autograd.grad(F.cross_entropy(alone(x[:3]), torch.arange(3)), list(alone.parameters()))
        taught = {n: p - 0.3 * slope for (n, p), slope in zip(alone.named_parameters(), slopes)}
        told = torch.func.functional_call(alone, taught, (x,)).argmax(-1)
        assert float(along[1, k]) == float((told == y).double().mean())
        freely = in_evaluation(alone, x[:3], torch.arange(3), falls=True)
        assert float(found[k]) == float((freely(x).argmax(-1) == y).double().mean())
        for name, p in in_evaluation(alone, x, y, falls=False).named_parameters():
            torch.testing.assert_close(trained[name][k], p.detach(), rtol=0, atol=1e-12)
    assert torch.equal(net[2].running_mean, statistics_net()[2].running_mean)


def in_evaluation(net, x, y, *, falls):
    """Two epochs of one batch, with running statistics as they are; the rate falls to a tenth after the first."""
    made = copy.deepcopy(net)
    optimiser = published(made.parameters())
    for epoch in range(2):
        optimiser.param_groups[0]["lr"] = 0.005 if falls and epoch else 0.05
        optimiser.zero_grad()
        F.cross_entropy(made(x), y).backward()
        optimiser.step()
    return made


@pytest.mark.slow
def test_ten_class_means_of_digits_train_a_perceptron(digits):
    """Measured over 20 networks: 88.7 ± 0.6 with either rate."""
    x, y, test_x, test_y = digits
    net = mlp((1, 8, 8), 10, widths=(128,))
    means = torch.stack([x[y == c].mean(0) for c in range(10)])
    student = train_freely(net, drawn(net, 5), means, torch.arange(10), lr=0.05)
    assert 0.87 <= float(accuracies(student, test_x, test_y).mean()) <= 0.905
