"""What a file keeps of inputs, and which changes of them are seen: of any size, beside features of any size."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from tutelage.data import Pipeline
from tutelage.errors import StaleTarget
from tutelage.logit_cache import cached_logits
from tutelage.logit_cache.inputs import Inputs
from tutelage.logit_cache.measures import (
    TOLERANCE,
    Hashes,
    Products,
    _hashes_by_torch,
    measure_of,
    normal_vectors,
    row_hashes,
    unpacked,
)
from tutelage.logit_cache.probes import check_fresh
from tutelage.randomness import counter, stream

from .common import Linear

DIGITS = torch.from_numpy(load_digits().images.astype(np.float32))[:, None] / 16
GENERATOR = torch.Generator().manual_seed(0)
NORMALS = torch.randn(64, 8, generator=GENERATOR)
TOKENS = torch.randint(0, 30_000, (64, 64), generator=GENERATOR)


def pipeline(x):
    return Pipeline.from_tensor_slices((x, torch.arange(len(x))), check=False)


def measured(x):
    return measure_of(Inputs(pipeline(x)))


def stored(measure, x):
    columns = measure.kept(x)
    return [columns[name].float().numpy() if name == "norm" else columns[name].numpy() for name in measure.columns]


def fresh(measure, seen, x):
    return measure.fresh(measure.measured(x).numpy(), stored(measure, seen))


def unscaled(size):
    return Products(np.zeros(size, dtype=np.int8))


# Products ------------------------------------------------------------------------------------------------------------


def test_the_vectors_are_fixed_and_normal():
    key, size = stream(0, "input probes"), 3
    for vector in range(4):
        for place in range(size):
            u, v = (((counter(key, k, vector * size + place) >> 11) + 0.5) / 2**53 for k in (0, 1))
            needed = math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)
            assert normal_vectors(size)[vector, place] == pytest.approx(needed, rel=1e-6)
    many = normal_vectors(2000)
    assert abs(many.mean()) < 0.03
    assert abs(many.std() - 1) < 0.03
    assert np.abs(np.corrcoef(many) - np.eye(4)).max() < 0.08


@pytest.mark.parametrize("offset", [None, [5.0, 0, 0, -2, 0, 0]])
def test_products_of_flattened_rows(offset):
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    exponent = np.array([0, 1, -1, 3, 0, 0], dtype=np.int8)
    measure = Products(exponent, None if offset is None else np.array(offset, dtype=np.float32))
    scaled = (x.flatten(1) - (0 if offset is None else torch.tensor(offset))) / torch.tensor([1, 2, 0.5, 8, 1, 1])
    needed = scaled @ torch.from_numpy(normal_vectors(6).T)
    for form in (x, x.double(), x.transpose(0, 1).contiguous().transpose(0, 1)):
        torch.testing.assert_close(measure.measured(form), needed)
        torch.testing.assert_close(measure._by_sums(form.flatten(1).float()), needed)
    kept = measure.kept(x)
    torch.testing.assert_close(kept["probes"], needed)
    rounding = 0.0 if offset is None else 2.0**-21 / 1e-4 * math.hypot(5, 2 / 8)
    norm = scaled.norm(dim=1, keepdim=True) + rounding
    torch.testing.assert_close(kept["norm"].float(), norm, rtol=2**-8, atol=0)
    assert {name: (kept[name].dtype, kept[name].shape[1]) for name in kept} == measure.columns
    whole = (255 * torch.rand(7, 6)).to(torch.uint8)
    products = whole.float() @ torch.from_numpy(normal_vectors(6).T)
    torch.testing.assert_close(unscaled(6).measured(whole), products, rtol=1e-5, atol=1e-4)


def test_autocast_and_the_precision_of_products_do_not_matter():
    measure = measured(DIGITS)
    needed = measure.measured(DIGITS)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(measure.measured(DIGITS), needed)
    finally:
        torch.set_float32_matmul_precision(before)


def test_which_changes_of_the_digits_are_seen():
    measure = measured(DIGITS)
    norm = measure.kept(DIGITS)["norm"].float()[:, 0]

    def moved(changed):
        return (measure.measured(changed) - measure.measured(DIGITS)).abs().amax(1) / norm

    seen = {
        "flip": moved(DIGITS.flip(-1)),
        "shift": moved(torch.nn.functional.pad(DIGITS, (1, -1, 0, 0))),
        "mixup": moved(0.99 * DIGITS + 0.01 * DIGITS.roll(1, 0)),
        "bfloat16": moved(DIGITS.mul(0.7).bfloat16().float() / 0.7),
        "one pixel": moved(DIGITS + 0.01 * (torch.arange(64) == 27).float().view(8, 8)),
    }
    for name, shares in seen.items():
        assert shares.min() > TOLERANCE, name
    assert seen["flip"].min() > 0.03
    assert seen["shift"].min() > 0.03
    alone = torch.cat([measure.measured(row[None]) for row in DIGITS])
    assert ((alone - measure.measured(DIGITS)).abs().amax(1) / norm).max() < 5e-6  # twenty times below


# Scales --------------------------------------------------------------------------------------------------------------


def test_the_scale_is_the_largest_value_of_each_feature():
    x = torch.tensor([[1.0, 100, 0, 0.01], [-3, -200, 0, 0.02], [2, 300, 0, -0.03]])
    measure = measured(x)
    assert measure.exponent.tolist() == [2, 8, 2, -5]  # log2 of 3, 300, .03; the middle one for the feature without
    assert measure.offset is None
    assert measured(torch.zeros(3, 2)).exponent.tolist() == [0, 0]
    wild = torch.tensor([[1.0, math.nan], [2.0, math.inf]])
    assert measured(wild).exponent.tolist() == [1, 1]


def test_rows_that_are_alike_are_told_by_how_they_differ_from_their_mean():
    x = 1e5 + NORMALS
    measure = measured(x)
    np.testing.assert_allclose(measure.offset, x.double().mean(0), rtol=1e-7)
    assert measure.exponent.tolist() == [7] * 8  # log2 of 1e5 / 1024
    assert measured(100 + NORMALS).offset is not None
    assert measured(4 + NORMALS).offset is None
    assert measured(x[:1]).offset.tolist() == x[0].tolist()


COLUMN = {
    "constant": torch.full((64, 1), 1.7e5),
    "constant and negative": torch.full((64, 1), -1.7e5),
    "of another scale": 1.7e5 * torch.randn(64, 1, generator=GENERATOR),
    "huge": torch.full((64, 1), 1e30),
    "tiny": torch.full((64, 1), 1e-30),
}


@pytest.mark.parametrize("name", COLUMN)
def test_a_feature_that_is_much_larger_hides_nothing(name):
    x = torch.cat([COLUMN[name], NORMALS], 1)
    measure = measured(x)
    assert fresh(measure, x, x).all()
    others = torch.cat([COLUMN[name], NORMALS.roll(1, 0)], 1)
    assert not fresh(measure, x, others).any()
    slightly = x.clone()
    slightly[:, 3] += 0.02
    assert not fresh(measure, x, slightly).any()
    alone = torch.cat([x[:1] * COLUMN[name].new_tensor([1.001] + [1] * 8), x[1:]])
    assert fresh(measure, x, alone).tolist() == [False] + [True] * 63


@pytest.mark.parametrize("offset", [1e2, 1e4, 1e5])
def test_an_offset_of_all_features_hides_nothing(offset):
    x = offset + NORMALS
    measure = measured(x)
    assert not fresh(measure, x, x.roll(1, 0)).any()
    assert fresh(measure, x, torch.nextafter(x, torch.tensor(math.inf))).all()  # other roundings are no change
    assert fresh(measure, x, x.flip(0).flip(0)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_inputs_that_are_not_finite_are_stale(value):
    measure = measured(DIGITS)
    x = DIGITS[:4].clone()
    x[3, 0, 0, 0] = value
    assert fresh(measure, DIGITS[:4], x).tolist() == [True, True, True, False]


def test_an_input_of_zeros():
    zeros = torch.zeros(1, 4)
    assert fresh(measured(zeros), zeros, zeros).all()
    assert not fresh(measured(zeros), zeros, zeros + 1e-9).any()


def test_inputs_of_another_size():
    with pytest.raises(StaleTarget, match=r"the inputs have 8 numbers each, those of the file 64"):
        measured(DIGITS).measured(NORMALS)


# Hashes --------------------------------------------------------------------------------------------------------------


def hashed_slowly(row):
    """The formula, in integers of Python."""
    content = bytes(np.ascontiguousarray(row).tobytes())
    content += bytes(-len(content) % 8)
    a, b = (counter(stream(0, "input hashes"), k) for k in (0, 1))
    total = 0
    for w in range(len(content) // 8):
        z = int.from_bytes(content[8 * w : 8 * w + 8], "little") ^ counter(b, w)
        z = (z ^ (z >> 32)) * (counter(a, w) | 1) % (1 << 64)
        total += z ^ (z >> 32)
    return total % (1 << 64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(3, 5), (4, 16), (2, 3, 3, 1), (1, 1)])
def test_hashes_of_rows(dtype, shape):
    x = torch.randint(0, 2 if dtype == torch.bool else 120, shape, generator=GENERATOR).to(dtype)
    needed = [hashed_slowly(row.numpy()) for row in x]
    assert row_hashes(x).numpy().view(np.uint64).tolist() == needed
    content = x.flatten(1).contiguous().view(torch.uint8)
    assert _hashes_by_torch(content).numpy().view(np.uint64).tolist() == needed
    assert row_hashes(torch.cat([x, x])[len(x) :]).tolist() == row_hashes(x).tolist()
    wide = torch.stack([x, x], -1)
    assert torch.equal(row_hashes(wide[..., 0]), row_hashes(x))


def test_every_bit_of_whole_numbers_counts():
    measure = measured(TOKENS)
    assert measure == Hashes(torch.int64)
    assert fresh(measure, TOKENS, TOKENS).all()
    for bit in range(64):
        changed = TOKENS.clone()
        changed[:, bit] ^= -(1 << 63) if bit == 63 else 1 << bit
        assert not fresh(measure, TOKENS, changed).any()
    assert len({int(h) for h in row_hashes(torch.arange(100_000)[:, None])}) == 100_000
    top = torch.arange(200)[:, None] << 55
    pairs = torch.cat([top.repeat_interleave(200, 0), top.repeat(200, 1)], 1)
    assert len({int(h) for h in row_hashes(pairs)}) == 40_000


@pytest.mark.parametrize("form", ["two tokens", "two exchanged", "one by one", "the last shifted in", "rows"])
def test_changed_tokens_are_refused(form, tmp_path):
    data = pipeline(TOKENS)
    answers = cached_logits(Linear(64, scale=1e-6), data, epochs=2, path=tmp_path / "a", mode="force")
    batch = next(data.batch(16).batches())
    answers.answers_for(batch)
    x = batch.x.clone()
    if form == "two tokens":
        x[5, [10, 40]] = torch.tensor([7, 8])
    elif form == "two exchanged":
        x[5, [10, 40]] = x[5, [40, 10]]
    elif form == "one by one":
        x[5, 63] += 1
    elif form == "the last shifted in":
        x[5] = x[5].roll(1)
    else:
        x = x.roll(1, 0)
    batch.x.copy_(x)
    name = 0 if form == "rows" else 5
    with pytest.raises(
        StaleTarget, match=rf"the input of example {name} is not the one .*: some of its numbers have ch"
    ):
        answers.answers_for(batch)


def test_whole_numbers_of_another_type(tmp_path):
    data = pipeline(TOKENS)
    answers = cached_logits(Linear(64, scale=1e-6), data, epochs=2, path=tmp_path / "a", mode="force")
    other = pipeline(TOKENS.int())
    with pytest.raises(StaleTarget, match=r"the inputs are torch.int32, those of the file torch.int64; give the same"):
        answers.answers_for(next(other.batch(16).batches()))


# On disk -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [DIGITS, 1e5 + NORMALS], ids=["scaled", "centred"])
def test_products_come_back(x):
    measure = measured(x)
    again = unpacked(measure.packed)
    assert isinstance(again, Products)
    assert np.array_equal(again.exponent, measure.exponent)
    assert (again.offset is None) == (measure.offset is None)
    assert torch.equal(again.measured(x), measure.measured(x))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_hashes_come_back(dtype):
    assert unpacked(Hashes(dtype).packed) == Hashes(dtype)


def test_what_is_kept_of_a_row_is_small():
    images = measured(torch.rand(32, 3, 64, 64, generator=GENERATOR))
    assert sum(kind.itemsize * numbers for kind, numbers in images.columns.values()) == 18
    assert len(images.packed) < 1000
    assert sum(kind.itemsize * numbers for kind, numbers in Hashes(torch.int64).columns.values()) == 8


def test_the_message_names_the_row():
    measure, index = measured(DIGITS), torch.tensor([10, 20, 30, 40])
    kept = stored(measure, DIGITS[:4])
    check_fresh(measure, measure.measured(DIGITS[:4]).numpy(), kept, index, None)
    x = DIGITS[:4].clone()
    x[2:] += 0.1
    given = measure.measured(x).numpy()
    with pytest.raises(StaleTarget) as caught:
        check_fresh(measure, given, kept, index, torch.tensor([0, 1, 2, 3]))
    share = np.abs(given[2] - kept[0][2]).max() / kept[1][2, 0]
    assert str(caught.value) == (
        f"the input of example 30 (view 2) is not the one whose logits are stored: it has moved by {share:.2g} of its "
        "norm, and so have 2 of 4 rows. Random augmentation needs augment(..., views=V) for the cache and for the "
        'batches, or mode="off".'
    )
