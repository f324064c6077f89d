"""Augmentation: formulas against loops, the same bits everywhere, order, gradients, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import randomness
from tutelage.data import (
    AlternatingFlip,
    Augmentation,
    Crop,
    Cutmix,
    Cutout,
    Flip,
    Mixup,
    Normalise,
    Standardise,
    from_arrays,
)
from tutelage.data.published import CIFAR10
from tutelage.data.transforms import draws
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.randomness import counter, hashed_tensor, stream

X = torch.randint(0, 256, (16, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(100, 116)
ROW_OPS = {
    "crop": Crop(2),
    "reflect": Crop(3, "reflect"),
    "flip": Flip(),
    "alternating": AlternatingFlip(),
    "cutout": Cutout(5),
    "inside": Cutout(5, inside=True),
    "normalise": Normalise.channels(*CIFAR10),
    "standardise": Standardise(),
}


def drawn_by_hand(name, seed, epoch, index, j):
    return counter(stream(seed, name), epoch, index, j)


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_crop_against_a_loop(mode):
    op, epoch = Crop(3, mode), 4
    out = op.apply(X, op.draw(7, epoch, INDEX))
    padded = np.pad(X.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="constant" if mode == "zero" else "reflect")
    for row, i in enumerate(INDEX.tolist()):
        dy, dx = (((drawn_by_hand("crop", 7, epoch, i, j) >> 32) * 7) >> 32 for j in (0, 1))
        np.testing.assert_array_equal(out[row], padded[row, :, dy : dy + 12, dx : dx + 10])


def test_flip_against_a_loop():
    op = Flip(0.3)
    out = op.apply(X, op.draw(7, 2, INDEX))
    for row, i in enumerate(INDEX.tolist()):
        flipped = (drawn_by_hand("flip", 7, 2, i, 0) >> 40) / 2**24 < 0.3
        assert torch.equal(out[row], X[row].flip(-1) if flipped else X[row])


def test_alternating_flip_shows_both_sides():
    op = AlternatingFlip()
    sides = [op.draw(3, e, INDEX) for e in range(4)]
    assert torch.equal(sides[0], ~sides[1])
    assert torch.equal(sides[0], sides[2])
    assert sides[0].any()
    assert not sides[0].all()


@pytest.mark.parametrize("inside", [False, True])
def test_cutout_against_a_loop(inside):
    op, x = Cutout(5, inside=inside), X.float() + 1
    out = op.apply(x, op.draw(7, 1, INDEX))
    for row, i in enumerate(INDEX.tolist()):
        v = [drawn_by_hand("cutout", 7, 1, i, j) for j in (0, 1)]
        want = x[row].clone()
        first = [((u >> 32) * (n - 4 if inside else n) >> 32) - (0 if inside else 2) for u, n in zip(v, (12, 10))]
        want[:, max(first[0], 0) : first[0] + 5, max(first[1], 0) : first[1] + 5] = 0
        assert torch.equal(out[row], want)
        if inside:
            assert (out[row, 0] == 0).sum() == 25


@settings(deadline=None, max_examples=25)
@given(
    order=st.permutations(range(16)),
    size=st.integers(1, 16),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    name=st.sampled_from(sorted(ROW_OPS)),
)
def test_a_row_depends_on_seed_epoch_and_index_only(order, size, seed, epoch, name):
    op, x = ROW_OPS[name], X.float() / 255
    whole = op.apply(x, op.draw(seed, epoch, INDEX))
    chosen = torch.tensor(order[:size])
    part = op.apply(x[chosen], op.draw(seed, epoch, INDEX[chosen]))
    assert torch.allclose(part, whole[chosen], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    epochs=st.lists(st.integers(0, 2**40), min_size=16, max_size=16),
    seed=st.integers(0, 99),
    name=st.sampled_from(sorted(ROW_OPS)),
)
def test_an_epoch_a_row_gives_the_bits_of_each_epoch(epochs, seed, name):
    op = ROW_OPS[name]
    together = op.draw(seed, torch.tensor(epochs), INDEX)
    alone = [op.draw(seed, e, INDEX[row : row + 1]) for row, e in enumerate(epochs)]
    assert torch.equal(together, torch.cat(alone, dim=-1))


def test_a_batch_that_straddles_two_passes():
    ops = Augmentation(Crop(2), Flip(), Normalise.channels(*CIFAR10), Cutout(3))
    epochs = torch.tensor([6] * 5 + [7] * 11)
    out = ops.apply(X, ops.draw(1, epochs, INDEX))
    first, second = (ops.apply(X[r], ops.draw(1, e, INDEX[r])) for e, r in ((6, slice(5)), (7, slice(5, 16))))
    assert torch.equal(out, torch.cat([first, second]))
    assert not torch.equal(out[:5], ops.apply(X[:5], ops.draw(1, 7, INDEX[:5])))


def test_host_draws_equal_device_draws():
    index = torch.tensor([0, 1, 5, 10**6, 2**40])
    host = draws(3, "crop", 7, index, 3)
    keys = hashed_tensor(counter(stream(3, "crop"), 7), index)
    assert torch.equal(host, hashed_tensor(keys, torch.arange(3)[:, None]))
    assert host[2, 4].item() % 2**64 == drawn_by_hand("crop", 3, 7, 2**40, 2)


def test_device_draws_take_an_epoch_a_row():
    index, epochs = torch.tensor([0, 1, 5, 10**6]), torch.tensor([3, 0, 2**33, 7])
    host = draws(3, "crop", epochs, index, 3)
    keys = randomness._hashed_by_torch(randomness._hashed_by_torch(stream(3, "crop"), epochs), index)
    assert torch.equal(host, randomness._hashed_by_torch(keys, torch.arange(3)[:, None]))


@pytest.mark.parametrize("name", sorted(ROW_OPS))
def test_apply_is_pure_and_differentiable(name):
    op = ROW_OPS[name]
    x = torch.rand(3, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    params = op.draw(0, 0, torch.arange(3))
    assert torch.autograd.gradcheck(lambda v: op.apply(v, params), (x,))
    assert torch.equal(x.detach(), before)


def test_augmentation_is_pure_on_floats_too():
    both = Augmentation(Normalise.channels(*CIFAR10), Cutout(5))
    x = X.float() / 255
    before = x.clone()
    params = both.draw(0, 0, INDEX)
    assert torch.equal(both.apply(x, params), both.apply(X, params))
    assert torch.equal(x, before)


def test_the_whole_chain_is_the_composition_of_its_parts():
    ops = Crop(4), Flip(), Normalise.channels(*CIFAR10), Cutout(4)
    chain = Augmentation(*ops)
    out = chain.apply(X, chain.draw(1, 2, INDEX))
    x = ops[1].apply(ops[0].apply(X, ops[0].draw(1, 2, INDEX)), ops[1].draw(1, 2, INDEX)).float() / 255
    for op in ops[2:]:
        x = op.apply(x, op.draw(1, 2, INDEX))
    assert torch.equal(out, x)


def test_mixup_by_formula():
    op = Mixup(4, alpha=0.5)
    x, y = X.float(), torch.arange(16) % 4
    params = op.draw(5, 11, 16, x.device)
    key = counter(stream(5, "mixup"), 11)
    partner = sorted(range(16), key=lambda i: counter(key, i))
    lam = np.random.Generator(np.random.PCG64(key)).beta(0.5, 0.5, 1)[0]
    assert params.partner.tolist() == partner
    mixed, targets = op.apply(x, y, params)
    torch.testing.assert_close(mixed, lam * x + (1 - lam) * x[partner], rtol=1e-5, atol=1e-3)
    onehot = torch.eye(4)[y]
    torch.testing.assert_close(targets, (lam * onehot + (1 - lam) * onehot[partner]).float())
    soft = op.apply(x, onehot, params)[1]
    assert torch.equal(soft, targets)


def test_mixup_per_example():
    op = Mixup(4, per_example=True)
    params = op.draw(5, 11, 16, torch.device("cpu"))
    assert params.share.unique().numel() == 16
    mixed, targets = op.apply(X.float(), torch.arange(16) % 4, params)
    assert mixed.shape == X.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(16))


@pytest.mark.parametrize("step", range(6))
def test_cutmix_by_formula(step):
    op = Cutmix(4)
    x, y = torch.rand(8, 3, 12, 10), torch.arange(8) % 4
    params = op.draw(2, step, 8, x.device)
    mixed, targets = op.apply(x, y, params)
    side = math.sqrt(1 - float(params.share))
    height, width = int(12 * side), int(10 * side)
    top, left = int(params.centre[0] * 12) - height // 2, int(params.centre[1] * 10) - width // 2
    want, area = x.clone(), 0
    for r in range(max(top, 0), min(top + height, 12)):
        for q in range(max(left, 0), min(left + width, 10)):
            want[:, :, r, q] = x[params.partner][:, :, r, q]
            area += 1
    assert torch.equal(mixed, want)
    lam = 1 - area / 120
    onehot = torch.eye(4)[y]
    torch.testing.assert_close(targets, lam * onehot + (1 - lam) * onehot[params.partner])


def test_standardise():
    out = Standardise().apply(X.float() / 255)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.flatten(1).std(1, unbiased=False), torch.ones(16))
    flat = torch.full((1, 3, 4, 4), 0.5)
    flat[0, 0, 0, 0] += 1e-3
    deviation = (flat - flat.mean()) * math.sqrt(48)
    torch.testing.assert_close(Standardise().apply(flat), deviation)


@pytest.mark.parametrize("kind", ["channel", "pixel", "scalar"])
def test_statistics_come_from_the_index_only(kind):
    x = X.numpy().copy()
    index = np.arange(0, 16, 2)
    rows = x[index] / 255.0
    axes = {"channel": (0, 2, 3), "pixel": 0, "scalar": None}[kind]
    mean = rows.mean(axis=axes, keepdims=kind == "channel")
    std = rows.std(axis=axes, keepdims=True)[0] if kind == "channel" else rows.std()
    x[1::2] = 0
    fit = Normalise.fit(from_arrays(x, np.zeros(16, int), num_classes=1), index, kind)
    np.testing.assert_allclose(fit.mean, mean[0] if kind == "channel" else mean, rtol=1e-5)
    np.testing.assert_allclose(fit.std, std, rtol=1e-5)
    assert fit.apply(X.float()).shape == X.shape


def test_columns_of_a_table_and_constant_ones():
    rows = np.stack([np.arange(8.0), np.full(8, 0.1), 1e6 + np.arange(8.0)], axis=1)
    source = from_arrays(rows, np.zeros(8, int), num_classes=1)
    fit = Normalise.fit(source, np.arange(8))
    assert fit.std[1] == 1
    np.testing.assert_allclose(fit.std[[0, 2]], np.arange(8.0).std(), rtol=1e-5)
    np.testing.assert_allclose(fit.apply(torch.from_numpy(source.x)).mean(0), 0, atol=0.1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Augmentation(Flip(), Crop()), ConfigError, "Crop comes after flip; the order is crop, flip"),
        (lambda: Augmentation(Cutout(), Standardise()), ConfigError, "Standardise comes after erase"),
        (lambda: Augmentation(Mixup(2), Cutmix(2)), ConfigError, "Cutmix comes after mix"),
        (lambda: Augmentation(Flip(), AlternatingFlip()), ConfigError, "at most one of each"),
        (
            lambda: Flip().draw(0, torch.zeros(2, dtype=torch.int64), INDEX),
            ShapeError,
            r"flip: epoch has shape \(2,\), index \(16,\); one a row is needed.",
        ),
        (lambda: Crop(0), ConfigError, "crop: padding is 0; it must be at least 1."),
        (lambda: Crop(1, "wrap"), ConfigError, 'crop: mode is "wrap"'),
        (lambda: Flip(1.5), ConfigError, "flip: prob is 1.5"),
        (lambda: Cutout(0), ConfigError, "cutout: size is 0"),
        (lambda: Mixup(3, alpha=0), ConfigError, "mixup: alpha is 0"),
        (lambda: Cutmix(0), ConfigError, "cutmix: num_classes is 0"),
        (lambda: Crop(8, "reflect").pad(torch.zeros(1, 1, 8, 8)), ShapeError, "needs sides above 8; got 8."),
        (lambda: Crop(1).pad(torch.zeros(1, 8)), ShapeError, "crop: x has shape .1, 8., but needs images"),
        (
            lambda: Cutout(9, inside=True).apply(torch.zeros(1, 1, 8, 8), torch.zeros(2, 1, dtype=torch.int64)),
            ShapeError,
            "cutout: size 9 does not fit inside sides of 8.",
        ),
        (lambda: Normalise.channels((0.5,), (0.0,)), ConfigError, "every std must be above 0"),
        (
            lambda: Normalise.fit(from_arrays(X, torch.zeros(16, dtype=torch.int64), num_classes=1), INDEX[:0]),
            DataError,
            "index is empty",
        ),
        (
            lambda: Normalise.fit(from_arrays(X, torch.zeros(16, dtype=torch.int64), num_classes=1), INDEX, "row"),
            ConfigError,
            'kind is "row"',
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
