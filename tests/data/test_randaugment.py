"""RandAugment: each operation against another statement of it, kornia's policy against kornia, independence of rows."""

import math
import pickle
import statistics
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from tutelage.data import Augmentation, Crop, Cutout, Flip, Normalise, RandAugment
from tutelage.data.distortions import distort, operations
from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.randomness import counter, stream

kornia = pytest.importorskip("kornia")

N = 12
BYTES = torch.randint(0, 256, (N, 3, 14, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BYTES[0] //= 3  # one with a narrow range, for autocontrast and equalise
X = BYTES.float() / 255
INDEX = torch.arange(40, 40 + N)
DEFAULT = [op.name for op in operations("default")]
KORNIA = [op.name for op in operations("kornia")]
LEVELS = (-1.0, -0.5, -1 / 30, 0.0, 1 / 3, 1.0)


def distorted(x, name, level, policy="default"):
    names = [op.name for op in operations(policy)]
    operation = torch.full((len(x),), names.index(name))
    return distort(x, operations(policy), operation, torch.full((len(x),), level, dtype=torch.float64))


def by_pillow(image, name, level):
    """The operation as Pillow has it, on bytes (H, W, 3)."""
    a, factor = abs(level), 1 + 0.9 * level
    enhancers = {
        "colour": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(factor)
    threshold = math.floor(255 * (1 - a)) + 1
    return {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalise": lambda: ImageOps.equalize(image),
        "solarise": lambda: ImageOps.solarize(image, threshold),
        "posterise": lambda: ImageOps.posterize(image, 8 - round(4 * a)),
    }[name]()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("identity", 0),
        ("autocontrast", 1),
        ("equalise", 0),
        ("solarise", 0),
        ("posterise", 0),
        ("colour", 2),
        ("contrast", 2),
        ("brightness", 1),
        ("sharpness", 2),
    ],
)
def test_recolouring_is_that_of_pillow(name, steps, level):
    """Up to the rounding of Pillow's bytes: ``steps`` grey values."""
    out = distorted(X, name, level) * 255
    for row, image in zip(out, BYTES):
        want = np.asarray(by_pillow(Image.fromarray(image.permute(1, 2, 0).numpy()), name, level)).transpose(2, 0, 1)
        assert np.abs(row.numpy() - want).max() <= steps + 1e-3


def moved_by_a_loop(image, source):
    """Bilinear with zeros from outside: pixel (r, q) of the result is at ``source(q, r) = (x, y)`` of the image."""
    height, width = image.shape[1:]
    out = np.zeros_like(image)
    for r in range(height):
        for q in range(width):
            x, y = source(q - (width - 1) / 2, r - (height - 1) / 2)
            x, y = x + (width - 1) / 2, y + (height - 1) / 2
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        weight = (1 - abs(y - row)) * (1 - abs(x - column))
                        out[:, r, q] += weight * image[:, row, column]
    return out


def origin(name, level, height, width):
    angle, slope = math.radians(30 * level), 0.3 * level
    return {
        "rotate": lambda x, y: (
            x * math.cos(angle) - y * math.sin(angle),
            x * math.sin(angle) + y * math.cos(angle),
        ),
        "shear_x": lambda x, y: (x + slope * y, y),
        "shear_y": lambda x, y: (x, y + slope * x),
        "translate_x": lambda x, y: (x - 0.1 * level * width, y),
        "translate_y": lambda x, y: (x, y - 0.1 * level * height),
    }[name]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_motions_against_a_loop(name, level):
    x = X[:2].double()
    out = distorted(x, name, level)
    for row, image in zip(out, x.numpy()):
        np.testing.assert_allclose(row, moved_by_a_loop(image, origin(name, level, 14, 10)), atol=1e-9)


@pytest.mark.parametrize("name", [n for n in DEFAULT if n not in ("autocontrast", "equalise")])
def test_magnitude_zero_is_the_identity(name):
    torch.testing.assert_close(distorted(X, name, 0.0), X, atol=1e-5, rtol=0)


def test_identity_copies_nothing_over():
    assert torch.equal(distorted(X, "identity", 1.0), X)


@pytest.mark.parametrize("policy", ["default", "kornia"])
def test_grey_images_and_flat_channels(policy):
    grey = X[:, :1]
    for name in [op.name for op in operations(policy)]:
        out = distorted(grey, name, 0.7, policy)
        assert out.shape == grey.shape
        assert out.min() >= 0
        assert out.max() <= 1 + 1e-6
    assert torch.equal(distorted(grey, "colour", 0.7, policy), grey)
    flat = torch.full((1, 1, 4, 4), 0.25)
    assert torch.equal(distorted(flat, "autocontrast", 0.7), flat)


KORNIA_OPS = {
    "autocontrast": "auto_contrast",
    "equalise": "equalize",
    "colour": "color",
    "posterise": "posterize",
    "solarise": "solarize",
    "solarise_add": "solarize_add",
}


@pytest.mark.parametrize("m", [1, 10, 17, 29])
@pytest.mark.parametrize("name", KORNIA)
def test_the_policy_of_kornia_is_that_of_kornia(name, m):
    """The module that kornia's RandAugment(n, m) runs, with the magnitude that it sets and our sign."""
    from kornia.augmentation.auto import RandAugment as Theirs
    from kornia.augmentation.auto.rand_augment.rand_augment import default_policy

    theirs = Theirs(1, m)
    place = [entry[0][0] for entry in default_policy].index(KORNIA_OPS.get(name, name))
    child = next(iter(theirs.get_children_by_indices(torch.tensor([place]))))
    theirs.get_forward_sequence = lambda params=None: iter([child])
    params = theirs.forward_parameters(X.shape)
    item = params[0].data[0].data
    if name == "solarise_add":
        item["thresholds"].fill_(0.5)  # kornia says so, but draws it from [0, 1]
    motion = name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
    for sign in (1, -1) if motion else (1,):
        key = {"rotate": "degrees"}.get(name, name)
        if motion:
            item[key] = sign * item[key].abs()
        want = child[1][0](X, params=item)
        torch.testing.assert_close(distorted(X, name, sign * m / 30, "kornia"), want, atol=2e-5, rtol=0)


def test_both_policies_have_their_operations():
    assert len(DEFAULT) == 14
    assert len(KORNIA) == 15
    assert set(KORNIA) - set(DEFAULT) == {"invert", "solarise_add"}
    assert set(DEFAULT) - set(KORNIA) == {"identity"}


def test_draws_by_hand():
    for op in (RandAugment(3, 12), RandAugment(3, 12, magnitude="uniform"), RandAugment(3, 12, policy="kornia")):
        operation, magnitude = op.draw(7, 4, INDEX)
        assert operation.shape == magnitude.shape == (3, N)
        for row, i in enumerate(INDEX.tolist()):
            v = [counter(stream(7, "randaugment"), 4, i, j) >> 32 for j in range(9)]
            for k in range(3):
                assert operation[k, row] == (v[3 * k] * (15 if op.policy == "kornia" else 14)) >> 32
                size = 1 + ((v[3 * k + 1] * 12) >> 32) if op.magnitude == "uniform" else 12
                assert magnitude[k, row] == (-size if (v[3 * k + 2] * 2) >> 32 else size)


def test_draws_cover_operations_magnitudes_and_signs_evenly():
    operation, magnitude = RandAugment(2, 10, magnitude="uniform").draw(0, 0, torch.arange(20_000))
    for values, kinds in ((operation, 14), (magnitude, 20)):
        counts = values.flatten().unique(return_counts=True)[1]
        expected = values.numel() / kinds
        assert len(counts) == kinds
        assert (counts - expected).abs().max() < 5 * math.sqrt(expected)
    assert magnitude.abs().min() == 1
    assert magnitude.abs().max() == 10


@settings(deadline=None, max_examples=30)
@given(
    order=st.permutations(range(N)),
    size=st.integers(1, N),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    policy=st.sampled_from(["default", "kornia"]),
)
def test_a_row_depends_on_seed_epoch_and_index_only(order, size, seed, epoch, policy):
    op = RandAugment(2, 14, magnitude="uniform", policy=policy)
    whole = op.apply(X, op.draw(seed, epoch, INDEX))
    chosen = torch.tensor(order[:size])
    part = op.apply(X[chosen], op.draw(seed, epoch, INDEX[chosen]))
    assert torch.equal(part, whole[chosen])


def test_rows_are_those_of_the_operations_one_by_one():
    op = RandAugment(2, 20)
    params = op.draw(3, 0, INDEX)
    out = op.apply(X, params)
    for row in range(N):
        x = X[row : row + 1]
        for k in range(2):
            x = distorted(x, DEFAULT[params[0, k, row]], float(params[1, k, row]) / 30)
        assert torch.equal(out[row], x[0])


def test_equal_images_come_out_different():
    """Kornia draws one choice of operations a batch: 16 equal images give a median of 2 different ones."""
    x, op = X[:1].expand(16, -1, -1, -1), RandAugment(2, 10)
    distinct = []
    for seed in range(20):
        out = op.apply(x, op.draw(seed, 0, torch.arange(16)))
        distinct.append(len(out.flatten(1).mul(255).round().unique(dim=0)))
    assert statistics.median(distinct) >= 8


def test_no_global_random_state_is_touched():
    states = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    op = RandAugment(3, 10)
    op.apply(X, op.draw(0, 0, INDEX))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


def test_apply_is_pure_and_differentiable():
    x = torch.rand(N, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.05
    before = x.clone()
    smooth = [n for n in DEFAULT if n not in ("equalise", "posterise")]
    operation = torch.tensor([DEFAULT.index(smooth[row % len(smooth)]) for row in range(N)])
    params = torch.stack([operation, torch.arange(N) - 6])[:, None]
    assert torch.autograd.gradcheck(lambda v: RandAugment(1).apply(v, params), (x.requires_grad_(),), fast_mode=True)
    assert torch.equal(x.detach(), before)


def test_in_an_augmentation_it_stands_after_flip_and_before_normalise():
    parts = Crop(2), Flip(), RandAugment(2, 10), Normalise.channels((0.4,) * 3, (0.2,) * 3), Cutout(3)
    chain = Augmentation(*parts)
    out = chain.apply(BYTES, chain.draw(1, 2, INDEX))
    x = parts[1].apply(parts[0].apply(BYTES, parts[0].draw(1, 2, INDEX)), parts[1].draw(1, 2, INDEX)).float() / 255
    for op in parts[2:]:
        x = op.apply(x, op.draw(1, 2, INDEX))
    assert torch.equal(out, x)
    floats = Augmentation(*parts[2:])
    before = X.clone()
    assert floats.apply(X, floats.draw(1, 2, INDEX)).shape == X.shape
    assert torch.equal(X, before)


def test_it_pickles_and_compares():
    op = RandAugment(3, 7, magnitude="uniform", policy="kornia")
    assert pickle.loads(pickle.dumps(op)) == op  # noqa: S301


def test_an_empty_batch():
    op = RandAugment()
    assert op.apply(X[:0], op.draw(0, 0, INDEX[:0])).shape == (0, 3, 14, 10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RandAugment(0), ConfigError, "randaugment: n is 0; it must be at least 1."),
        (lambda: RandAugment(2, 31), ConfigError, "randaugment: m is 31; it must lie in 0..30."),
        (lambda: RandAugment(2, 0, magnitude="uniform"), ConfigError, "m is 0; it must lie in 1..30."),
        (lambda: RandAugment(magnitude="log"), ConfigError, 'magnitude is "log"; it must be fixed or uniform.'),
        (lambda: RandAugment(policy="auto"), ConfigError, 'policy is "auto"; it must be default or kornia.'),
        (lambda: apply(torch.zeros(2, 4, 8, 8)), ShapeError, "needs 1 or 3 channels and sides of at least 3"),
        (lambda: apply(torch.zeros(2, 3, 2, 8)), ShapeError, "needs 1 or 3 channels and sides of at least 3"),
        (lambda: apply(torch.zeros(2, 64)), ShapeError, r"randaugment: x has shape \(2, 64\), but needs images"),
        (lambda: apply(BYTES[:2]), ShapeError, "randaugment: x is torch.uint8; it needs floats in .0, 1."),
        (lambda: apply(X[:2] * 255), DataError, "randaugment: x reaches from 0 to 252; it needs .0, 1."),
        (lambda: apply(X[:2] * math.nan), DataError, "randaugment: x reaches from nan"),
        (
            lambda: Augmentation(Normalise.channels((0.5,), (0.5,)), RandAugment()),
            ConfigError,
            "RandAugment comes after scale; the order is crop, flip .in uint8., randaugment, normalise",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def apply(x):
    op = RandAugment()
    return op.apply(x, op.draw(0, 0, torch.arange(2)))


def test_without_kornia(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(ConfigError, match=r'^RandAugment needs kornia: pip install "tutelage\[kornia\]"\.$'):
        RandAugment()
