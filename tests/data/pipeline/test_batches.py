"""Batches: exact resume, ranks, augmentation by seed, epoch and index, rows kept on the device."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import (
    AlternatingFlip,
    Augmentation,
    Crop,
    Cutmix,
    Cutout,
    Flip,
    Mixup,
    Normalise,
    Pipeline,
    from_arrays,
)

from .chains import always, chains, disturb
from .common import resumed

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
IMAGES = from_arrays(PIXELS, np.arange(60) % 5, num_classes=5)
ROWWISE = Augmentation(Crop(2), Flip(), Normalise.channels((0.5,) * 3, (0.2,) * 3), Cutout(3))
AUGMENTATIONS = {
    "crop flip cutout": ROWWISE,
    "alternating mixup": Augmentation(Crop(2, "reflect"), AlternatingFlip(), Mixup(5)),
    "cutmix": Augmentation(Cutmix(5)),
}


def images(seed=0, stream=False):
    pipe = Pipeline.from_source(IMAGES, seed=seed)
    return pipe.filter(always) if stream else pipe


def same_batch(a, b):
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("x", "y", "index")) and a.progress == b.progress


def assert_batches(made, expected):
    made, expected = list(made), list(expected)
    assert [same_batch(a, b) for a, b in zip(made, expected)] == [True] * len(expected)
    assert len(made) == len(expected)


@pytest.mark.parametrize("kind", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_resumed_batches(kind, stream, prefetch):
    pipe = images(stream=stream).shuffle(20).repeat().batch(8).augment(AUGMENTATIONS[kind])
    whole = list(pipe.batches(steps=20))
    assert len(whole) == 20
    for cuts in ((), (1,), (7, 8), (3, 19)):
        assert_batches(resumed(lambda: pipe.batches(steps=20, prefetch=prefetch), cuts), whole)
    assert_batches(pipe.batches(steps=20, start=13), whole[13:])


@settings(deadline=None, max_examples=40)
@given(chain=chains(("shuffle", "shuffle_all", "repeat", "take", "skip", "shard", "cache")), size=st.integers(1, 9))
def test_batches_are_the_records(chain, size):
    chain = type(chain)("named", chain.n, chain.ops)
    pipe = chain.pipeline().batch(size)
    records = list(pipe.records())
    batches = list(pipe.batches())
    assert len(batches) == len(records)
    for step, (batch, record) in enumerate(zip(batches, records)):
        assert torch.equal(batch.x, record.value["x"])
        assert torch.equal(batch.y, record.value["y"])
        assert batch.index.dtype == torch.int64
        assert batch.index.tolist() == record.index.tolist()
        assert batch.progress == step / len(records)


# ---- ranks


WORLDS = st.sampled_from([(8, 1), (8, 2), (8, 4), (8, 8), (6, 3)])


@settings(deadline=None, max_examples=30)
@given(world=WORLDS, stream=st.booleans(), seed=st.integers(0, 9))
def test_ranks_rebuild_the_global_batch(world, stream, seed):
    size, ranks = world
    pipe = images(seed, stream).shuffle(20).repeat(2).batch(size, drop_remainder=True).augment(ROWWISE)
    whole = list(pipe.batches(steps=12))
    parts = [list(pipe.batches(steps=12, rank=rank, world=ranks)) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        rows = [part[step] for part in parts]
        assert {len(r) for r in rows} == {size // ranks}
        for field in ("x", "y", "index"):
            assert torch.equal(torch.cat([getattr(r, field) for r in rows]), getattr(batch, field))
        assert {r.progress for r in rows} == {batch.progress}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (4, 1)])
def test_resumed_in_another_world(before, after):
    pipe = images().shuffle().repeat().batch(8).augment(ROWWISE)
    whole = list(pipe.batches(steps=15))
    with pipe.batches(steps=15, rank=before - 1, world=before) as it:
        for _ in range(6):
            next(it)
        state = json.loads(json.dumps(it.state_dict()))
    rest = []
    for rank in range(after):
        with pipe.batches(steps=15, rank=rank, world=after) as it:
            it.load_state_dict(state)
            rest.append(list(it))
    assert [len(part) for part in rest] == [9] * after
    for batch, *rows in zip(whole[6:], *rest):
        assert torch.equal(torch.cat([r.x for r in rows]), batch.x)
        assert torch.equal(torch.cat([r.index for r in rows]), batch.index)


def test_evaluation_pads():
    pipe = images().take(10).batch(4)
    parts = [list(pipe.batches(rank=rank, world=2, pad=True)) for rank in (0, 1)]
    assert [len(b) for part in parts for b in part] == [2] * 6
    assert [b.index.tolist() for b in parts[0]] == [[0, 1], [4, 5], [8, 9]]
    assert [b.index.tolist() for b in parts[1]] == [[2, 3], [6, 7], [-1, -1]]
    (*_, last) = pipe.batches(pad=True)
    assert last.index.tolist() == [8, 9, -1, -1]
    assert last.x.shape == (4, 3, 8, 8)


# ---- augmentation


def by_row(batches):
    return {int(i): (x, y) for b in batches for i, x, y in zip(b.index, b.x, b.y)}


def drawn_alone(index, epoch, seed=0, augmentation=ROWWISE):
    """One row augmented by itself."""
    x = torch.from_numpy(PIXELS[index : index + 1])
    return augmentation.apply(x, augmentation.draw(seed, epoch, torch.tensor([index])))[0]


@settings(deadline=None, max_examples=25)
@given(
    size=st.integers(1, 20),
    shuffle=st.sampled_from([None, 1, 7, "all"]),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
    early=st.booleans(),
    prefetch=st.sampled_from([0, 2]),
)
def test_augmented_row_depends_on_seed_epoch_and_index(size, shuffle, seed, epoch, early, prefetch):
    pipe = images(seed) if shuffle is None else images(seed).shuffle(shuffle)
    pipe = pipe.augment(ROWWISE).batch(size) if early else pipe.batch(size).augment(ROWWISE)
    disturb()
    records = list(pipe.prefetch(prefetch).records(epoch))
    seen = {int(i): x for r in records for i, x in zip(r.index, r.value[0])}
    assert sorted(seen) == list(range(60))
    for index in (0, 17, 59):
        assert torch.allclose(seen[index], drawn_alone(index, epoch, seed), atol=1e-6)


def test_every_pass_is_drawn_anew_and_dicts_augment_like_pairs():
    pairs = images().batch(10).augment(ROWWISE).repeat(2)
    first, second = (by_row(list(pairs.batches())[part]) for part in (slice(6), slice(6, 12)))
    assert sum(torch.equal(first[i][0], second[i][0]) for i in range(60)) < 5
    named = Pipeline.from_tensor_slices({"x": IMAGES.x, "y": IMAGES.y}).batch(10).augment(ROWWISE).repeat(2)
    assert_batches(named.batches(), pairs.batches())


def test_scale_and_labels():
    pipe = Pipeline.from_source(IMAGES, labels=np.full(60, 3), index=np.array([5, 9, 30])).batch(3)
    (plain,) = pipe.batches()
    assert plain.index.tolist() == [5, 9, 30]
    assert plain.y.tolist() == [3, 3, 3]
    assert plain.x.dtype == torch.uint8
    (augmented,) = pipe.augment(Augmentation(), scale=51.0).batches()
    assert torch.equal(augmented.x, torch.from_numpy(PIXELS[[5, 9, 30]]).float() / 51)


# ---- rows kept on the device

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("resident", [True, False, None])
@pytest.mark.parametrize("kind", [None, *sorted(AUGMENTATIONS)])
def test_resident_rows_give_the_same_batches(device, resident, kind):
    """Bytes and indices equal bit for bit; what is computed in float, as far as the device rounds alike."""
    pipe = images().shuffle().repeat(2).batch(8)
    if kind is not None:
        pipe = pipe.augment(AUGMENTATIONS[kind])
    host = list(pipe.batches(steps=12, resident=False))
    with pipe.batches(steps=12, device=device, resident=resident) as it:
        made = list(it)
    assert len(made) == len(host)
    for a, b in zip(made, host):
        assert a.x.device.type == a.index.device.type == a.y.device.type == device
        assert torch.equal(a.index.cpu(), b.index)
        assert a.progress == b.progress
        assert a.x.dtype == b.x.dtype
        if kind is None or device == "cpu":
            assert torch.equal(a.x.cpu(), b.x)
            assert torch.equal(a.y.cpu(), b.y)
        else:
            torch.testing.assert_close(a.x.cpu(), b.x)
            torch.testing.assert_close(a.y.cpu(), b.y)


@pytest.mark.parametrize("device", DEVICES)
def test_resumed_on_another_device(device):
    pipe = images().shuffle(20).repeat().batch(8).augment(Augmentation(Crop(2), Flip()))
    whole = list(pipe.batches(steps=12))
    with pipe.batches(steps=12, resident=False) as it:
        for _ in range(5):
            next(it)
        state = json.loads(json.dumps(it.state_dict()))
    with pipe.batches(steps=12, device=device, resident=True) as it:
        it.load_state_dict(state)
        rest = list(it)
    assert [b.index.tolist() for b in rest] == [b.index.tolist() for b in whole[5:]]
    for a, b in zip(rest, whole[5:], strict=True):
        torch.testing.assert_close(a.x.cpu(), b.x)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_the_consumers_to_keep(resident):
    """Nothing that a consumer writes into a batch reaches the source or another batch."""
    pipe = images().batch(60)
    (expected,) = pipe.batches(resident=resident)
    expected = expected.x.clone()
    for _ in range(2):
        for batch in pipe.repeat(2).batches(resident=resident):
            assert torch.equal(batch.x, expected)
            batch.x.zero_()
            batch.y.zero_()
            batch.index.zero_()
    assert int(PIXELS.sum()) > 0
