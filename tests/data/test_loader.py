"""Loader: golden order, exact resume, the same stream on every path, threads, bad input."""

import pickle
import random
import subprocess
import sys
import threading

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
    Loader,
    Mixup,
    Normalise,
    from_arrays,
)
from tutelage.data.prefetch import ahead
from tutelage.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
IMAGES = from_arrays(RNG.integers(0, 256, (60, 3, 8, 8), dtype=np.uint8), np.arange(60) % 5, num_classes=5)
LINE = from_arrays(np.arange(10, dtype=np.float32)[:, None], np.arange(10) % 2, num_classes=2)
AUGMENTATIONS = {
    "none": None,
    "all": Augmentation(Crop(2), Flip(), Normalise.channels((0.5,) * 3, (0.2,) * 3), Cutout(3), Mixup(5)),
    "reflect": Augmentation(Crop(2, "reflect"), AlternatingFlip(), Cutmix(5)),
}


def same(a, b):
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("x", "y", "index")) and (a.progress == b.progress)


def all_same(a, b):
    a, b = list(a), list(b)
    return len(a) == len(b) and all(same(u, v) for u, v in zip(a, b))


def test_golden_order():
    loader = Loader(LINE, batch_size=10, seed=0)
    first, second = loader.batches(2)
    assert first.index.tolist() == [4, 6, 1, 3, 8, 9, 5, 0, 2, 7]
    assert second.index.tolist() == [5, 1, 9, 3, 2, 6, 7, 4, 8, 0]
    assert first.x[:, 0].tolist() == first.index.tolist()
    assert (first.progress, second.progress) == (0.0, 0.5)


@pytest.mark.slow
def test_every_order_is_as_likely():
    loader = Loader(LINE, index=np.arange(4), batch_size=4, seed=0)
    counts = {}
    for batch in loader.batches(24_000):
        order = tuple(batch.index.tolist())
        counts[order] = counts.get(order, 0) + 1
    chi_square = sum((n - 1000) ** 2 / 1000 for n in counts.values())
    assert len(counts) == 24
    assert chi_square == pytest.approx(12.18, abs=0.005)


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_pass_holds_every_row_at_most_once(drop_last):
    index = np.arange(1, 60, 2)
    loader = Loader(IMAGES, index=index, batch_size=8, seed=3, drop_last=drop_last)
    batches = list(loader.epoch(2))
    seen = torch.cat([b.index for b in batches])
    assert [len(b) for b in batches] == [8, 8, 8] + ([] if drop_last else [6])
    assert len(loader) == len(batches)
    assert len(seen.unique()) == len(seen)
    assert np.isin(seen, index).all()
    for batch in batches:
        np.testing.assert_array_equal(batch.y, IMAGES.y[batch.index])
        np.testing.assert_array_equal(batch.x, IMAGES.x[batch.index] / np.float32(255))


def test_the_order_belongs_to_the_index_not_to_the_place():
    one = Loader(IMAGES, index=np.array([5, 9, 30, 44]), batch_size=4, seed=1)
    other = Loader(IMAGES, index=np.array([44, 30, 9, 5]), batch_size=4, seed=1)
    assert all_same(one.epoch(1), other.epoch(1))


def test_evaluation_keeps_order_and_every_row():
    loader = Loader(IMAGES, index=np.array([7, 3, 50]), batch_size=2, seed=0, shuffle=False)
    batches = list(loader.epoch())
    assert [b.index.tolist() for b in batches] == [[7, 3], [50]]
    assert [b.progress for b in batches] == [0.0, 0.5]
    assert all_same(loader.epoch(3), batches)


def test_other_labels():
    noisy = np.full(60, 4)
    assert set(next(Loader(IMAGES, noisy, batch_size=8, seed=0).epoch()).y.tolist()) == {4}
    soft = np.eye(60, 5)
    batch = next(Loader(IMAGES, soft, batch_size=8, seed=0).epoch())
    assert batch.y.dtype == torch.float32
    np.testing.assert_array_equal(batch.y, soft[batch.index])


def test_raw_rows_are_as_stored():
    batch = next(Loader(IMAGES, batch_size=8, seed=0, raw=True).epoch())
    assert batch.x.dtype == torch.uint8
    np.testing.assert_array_equal(batch.x, IMAGES.x[batch.index])


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(sorted(AUGMENTATIONS)),
    batch_size=st.integers(1, 20),
    steps=st.integers(1, 50),
    data=st.data(),
    drop_last=st.booleans(),
    prefetch=st.sampled_from([0, 1, 4]),
)
def test_resumed_is_uninterrupted(kind, batch_size, steps, data, drop_last, prefetch):
    def make(**more):
        return Loader(
            IMAGES,
            index=np.arange(20, 50),
            batch_size=batch_size,
            seed=9,
            drop_last=drop_last,
            augmentation=AUGMENTATIONS[kind],
            **more,
        )

    whole = list(make().batches(steps))
    cut = data.draw(st.integers(0, steps))
    torch.manual_seed(cut)
    assert all_same(make(prefetch=prefetch).batches(steps, start=cut), whole[cut:])


@pytest.mark.parametrize("kind", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("variant", ["resident", "unpadded", "pickled", "drawn one by one"])
def test_every_path_gives_the_same_bits(kind, variant, monkeypatch):
    settings_ = {"batch_size": 7, "seed": 4, "augmentation": AUGMENTATIONS[kind], "index": np.arange(3, 58)}
    want = list(Loader(IMAGES, **settings_).batches(40))
    if variant == "unpadded":
        monkeypatch.setattr("tutelage.data.rows._PADDED_COPY_BYTES", 0)
    if variant == "drawn one by one":
        monkeypatch.setattr("tutelage.data.loader._STEPS_A_BLOCK", 1)
    loader = Loader(IMAGES, **settings_, resident=variant == "resident")
    if variant == "pickled":
        next(loader.batches(9))
        loader = pickle.loads(pickle.dumps(loader))  # noqa: S301 - our own bytes
    assert all_same(loader.batches(40), want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("resident", [False, True])
def test_the_device_sees_the_same_rows(resident):
    chain = Augmentation(Crop(2), Flip(), Normalise.channels((0.5,) * 3, (0.2,) * 3), Cutout(3))
    host = Loader(IMAGES, batch_size=7, seed=4, augmentation=chain)
    device = Loader(IMAGES, batch_size=7, seed=4, augmentation=chain, device="cuda", resident=resident)
    for a, b in zip(host.batches(30), device.batches(30)):
        assert b.x.is_cuda
        assert b.y.is_cuda
        assert torch.equal(a.index, b.index.cpu())
        torch.testing.assert_close(a.x, b.x.cpu())


def test_views_repeat():
    chain = Augmentation(Crop(2), Flip())
    loader = Loader(IMAGES, batch_size=60, seed=0, shuffle=False, augmentation=chain, views=3)
    passes = [next(loader.epoch(e)).x for e in range(6)]
    assert torch.equal(passes[1], passes[4])
    assert not torch.equal(passes[0], passes[1])


def test_changing_a_batch_changes_nothing_else():
    loader = Loader(IMAGES, batch_size=8, seed=0)
    want = list(loader.epoch())
    for batch in loader.epoch():
        for tensor in (batch.x, batch.y, batch.index):
            tensor.zero_()
    assert all_same(loader.epoch(), want)
    assert IMAGES.x.any()


def test_global_random_state_stays():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    list(Loader(IMAGES, batch_size=8, seed=0, augmentation=AUGMENTATIONS["all"], prefetch=2).batches(20))
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]


def prefetching():
    return [t for t in threading.enumerate() if t.name.startswith("tutelage-prefetch")]


def fail_at_three(step):
    if step == 3:
        raise ValueError("step 3")
    return step


@pytest.mark.parametrize("ending", ["exhausted", "closed", "dropped", "failed"])
def test_the_thread_ends(ending):
    iterator = ahead(fail_at_three, 4 if ending != "failed" else 0, 8, 2)
    assert not prefetching()
    assert next(iterator) == (4 if ending != "failed" else 0)
    assert prefetching()
    if ending == "exhausted":
        assert list(iterator) == [5, 6, 7]
    elif ending == "closed":
        iterator.close()
    elif ending == "dropped":
        del iterator
    else:
        assert [next(iterator), next(iterator)] == [1, 2]
        with pytest.raises(ValueError, match="step 3"):
            next(iterator)
    assert not prefetching()


def test_an_iterator_left_open_does_not_keep_python_from_ending():
    code = """
from tutelage.data.prefetch import ahead
iterator = ahead(str, 0, 1000, 3)
print(next(iterator))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (run.stdout, run.stderr) == ("0\n", "")


def test_no_more_is_made_ahead_than_asked_for():
    made = []
    iterator = ahead(made.append, 0, 100, 3)
    assert not made
    next(iterator)
    threading.Event().wait(0.05)
    assert len(made) <= 4
    iterator.close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch_size": 128},
            ConfigError,
            "^batch size 128 is larger than the 60 training rows; use --batch-size 60 or less.$",
        ),
        ({"batch_size": 0}, ConfigError, "batch size is 0; it must be at least 1."),
        ({"prefetch": -1}, ConfigError, "prefetch is -1; it must be at least 0."),
        ({"views": 0}, ConfigError, "views is 0; it must be at least 1."),
        ({"raw": True, "augmentation": Augmentation()}, ConfigError, "raw=True gives x as stored"),
        ({"index": np.array([3, 60])}, DataError, "index reaches from 3 to 60; valid are 0..59."),
        ({"index": np.array([3, 3])}, DataError, "index names row 3 twice."),
        ({"index": np.array([], dtype=int)}, DataError, "it must name at least one row"),
        ({"labels": np.zeros(5, int)}, DataError, r"labels have shape \(5,\), x has 60 rows"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Loader(IMAGES, **{"batch_size": 1, "seed": 0, **options})


def test_bad_place():
    loader = Loader(IMAGES, batch_size=8, seed=0)
    with pytest.raises(ConfigError, match="cannot go on at step 9 of 8"):
        loader.batches(8, start=9)
    assert list(loader.batches(8, start=8)) == []


def test_a_large_batch_is_fine_when_nothing_is_dropped():
    assert [len(b) for b in Loader(IMAGES, batch_size=128, seed=0, drop_last=False).epoch()] == [60]
