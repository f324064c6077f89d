"""Batches of labelled arrays: golden order, exact resume, the same stream on every path, threads, bad input."""

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
    Mixup,
    Normalise,
    Pipeline,
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


class Chain:
    """The usual chain for training, and its batches."""

    def __init__(
        self, source, labels=None, *, batch_size, seed, index=None, shuffle=True, drop_last=None, augmentation=None,
        views=None, raw=False, middle=lambda rows: rows, **options,
    ):  # fmt: skip
        rows = Pipeline.from_source(source, labels, index, seed=seed)
        rows = middle(rows.shuffle() if shuffle else rows).batch(
            batch_size, shuffle if drop_last is None else drop_last
        )
        self.pipeline = rows if raw else rows.augment(augmentation, views=views)
        self.options = options

    def __len__(self):
        return len(self.pipeline)

    def epoch(self, number=0):
        return self.pipeline.batches(epoch=number, **self.options)

    def batches(self, steps, start=0, **more):
        return self.pipeline.repeat().batches(steps, start, **(self.options | more))


def same(a, b):
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("x", "y", "index")) and (a.progress == b.progress)


def all_same(a, b):
    a, b = list(a), list(b)
    return len(a) == len(b) and all(same(u, v) for u, v in zip(a, b))


def test_golden_order():
    chain = Chain(LINE, batch_size=10, seed=0)
    first, second = chain.batches(2)
    assert first.index.tolist() == [4, 6, 1, 3, 8, 9, 5, 0, 2, 7]
    assert second.index.tolist() == [5, 1, 9, 3, 2, 6, 7, 4, 8, 0]
    assert first.x[:, 0].tolist() == first.index.tolist()
    assert (first.progress, second.progress) == (0.0, 0.5)


@pytest.mark.slow
def test_every_order_is_as_likely():
    chain = Chain(LINE, index=np.arange(4), batch_size=4, seed=0)
    counts = {}
    for batch in chain.batches(24_000):
        order = tuple(batch.index.tolist())
        counts[order] = counts.get(order, 0) + 1
    chi_square = sum((n - 1000) ** 2 / 1000 for n in counts.values())
    assert len(counts) == 24
    assert chi_square == pytest.approx(12.18, abs=0.005)


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_pass_holds_every_row_at_most_once(drop_last):
    index = np.arange(1, 60, 2)
    chain = Chain(IMAGES, index=index, batch_size=8, seed=3, drop_last=drop_last)
    batches = list(chain.epoch(2))
    seen = torch.cat([b.index for b in batches])
    assert [len(b) for b in batches] == [8, 8, 8] + ([] if drop_last else [6])
    assert len(chain) == len(batches)
    assert len(seen.unique()) == len(seen)
    assert np.isin(seen, index).all()
    for batch in batches:
        np.testing.assert_array_equal(batch.y, IMAGES.y[batch.index])
        np.testing.assert_array_equal(batch.x, IMAGES.x[batch.index] / np.float32(255))


def test_the_order_belongs_to_the_index_not_to_the_place():
    one = Chain(IMAGES, index=np.array([5, 9, 30, 44]), batch_size=4, seed=1)
    other = Chain(IMAGES, index=np.array([44, 30, 9, 5]), batch_size=4, seed=1)
    assert all_same(one.epoch(1), other.epoch(1))


def test_evaluation_keeps_order_and_every_row():
    chain = Chain(IMAGES, index=np.array([7, 3, 50]), batch_size=2, seed=0, shuffle=False)
    batches = list(chain.epoch())
    assert [b.index.tolist() for b in batches] == [[7, 3], [50]]
    assert [b.progress for b in batches] == [0.0, 0.5]
    assert all_same(chain.epoch(3), batches)


def test_other_labels():
    noisy = np.full(60, 4)
    assert set(next(Chain(IMAGES, noisy, batch_size=8, seed=0).epoch()).y.tolist()) == {4}
    soft = np.eye(60, 5)
    batch = next(Chain(IMAGES, soft, batch_size=8, seed=0).epoch())
    assert batch.y.dtype == torch.float32
    np.testing.assert_array_equal(batch.y, soft[batch.index])


def test_raw_rows_are_as_stored():
    batch = next(Chain(IMAGES, batch_size=8, seed=0, raw=True).epoch())
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
        return Chain(
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


def same_element(element):
    return element


@pytest.mark.parametrize("kind", sorted(AUGMENTATIONS))
@pytest.mark.parametrize(
    "variant", ["resident", "unpadded", "pickled", "drawn one by one", "by elements", "as a stream"]
)
def test_every_path_gives_the_same_bits(kind, variant, monkeypatch):
    settings_ = {"batch_size": 7, "seed": 4, "augmentation": AUGMENTATIONS[kind], "index": np.arange(3, 58)}
    want = list(Chain(IMAGES, **settings_).batches(40))
    if variant == "unpadded":
        monkeypatch.setattr("tutelage.data.rows._PADDED_COPY_BYTES", 0)
    if variant == "drawn one by one":
        monkeypatch.setattr("tutelage.data.pipeline.gathering._STEPS_A_BLOCK", 1)
    middle = {"by elements": lambda rows: rows.map(same_element), "as a stream": lambda rows: rows.prefetch(3)}
    if variant in middle:
        settings_["middle"] = middle[variant]
    chain = Chain(IMAGES, **settings_, resident=variant == "resident")
    if variant == "pickled":
        next(chain.batches(9))
        chain.pipeline = pickle.loads(pickle.dumps(chain.pipeline))  # noqa: S301 - our own bytes
    assert all_same(chain.batches(40), want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("resident", [False, True])
def test_the_device_sees_the_same_rows(resident):
    moves = Augmentation(Crop(2), Flip(), Normalise.channels((0.5,) * 3, (0.2,) * 3), Cutout(3))
    host = Chain(IMAGES, batch_size=7, seed=4, augmentation=moves)
    device = Chain(IMAGES, batch_size=7, seed=4, augmentation=moves, device="cuda", resident=resident)
    for a, b in zip(host.batches(30), device.batches(30)):
        assert b.x.is_cuda
        assert b.y.is_cuda
        assert torch.equal(a.index, b.index.cpu())
        torch.testing.assert_close(a.x, b.x.cpu())


def test_views_repeat():
    moves = Augmentation(Crop(2), Flip())
    chain = Chain(IMAGES, batch_size=60, seed=0, shuffle=False, augmentation=moves, views=3)
    passes = [next(chain.epoch(e)).x for e in range(6)]
    assert torch.equal(passes[1], passes[4])
    assert not torch.equal(passes[0], passes[1])


def test_changing_a_batch_changes_nothing_else():
    chain = Chain(IMAGES, batch_size=8, seed=0)
    want = list(chain.epoch())
    for batch in chain.epoch():
        for tensor in (batch.x, batch.y, batch.index):
            tensor.zero_()
    assert all_same(chain.epoch(), want)
    assert IMAGES.x.any()


def test_global_random_state_stays():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    list(Chain(IMAGES, batch_size=8, seed=0, augmentation=AUGMENTATIONS["all"], prefetch=2).batches(20))
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
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
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
        ({"batch_size": 0}, ConfigError, "^batch: size is 0; it must be at least 1.$"),
        ({"prefetch": -1}, ConfigError, "^batches: prefetch is -1; it must be at least 0.$"),
        ({"views": 0}, ConfigError, "^augment: views is 0; it must be at least 1.$"),
        ({"index": np.array([3, 60])}, DataError, "index reaches from 3 to 60; valid are 0..59."),
        ({"index": np.array([3, 3])}, DataError, "index names row 3 twice."),
        ({"index": np.array([], dtype=int)}, DataError, "it must name at least one row"),
        ({"labels": np.zeros(5, int)}, DataError, r"labels have shape \(5,\), x has 60 rows"),
        ({"world": 2, "drop_last": False, "batch_size": 8}, ConfigError, "the last batch may be short"),
        ({"world": 3, "batch_size": 8}, ConfigError, "a batch of 8 rows cannot be shared by 3 processes"),
        ({"world": 2, "rank": 2, "batch_size": 8}, ConfigError, "rank 2 of 2; valid are 0..1."),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Chain(IMAGES, **{"batch_size": 1, "seed": 0, **options}).epoch()


def test_bad_place():
    chain = Chain(IMAGES, batch_size=8, seed=0)
    with pytest.raises(ConfigError, match=r"^batches: cannot go on at step 9 of 8"):
        chain.batches(8, start=9)
    assert list(chain.batches(8, start=8)) == []


def test_a_large_batch_is_fine_when_nothing_is_dropped():
    assert [len(b) for b in Chain(IMAGES, batch_size=128, seed=0, drop_last=False).epoch()] == [60]


def test_ranks_share_each_batch():
    options = {"batch_size": 8, "seed": 5, "augmentation": AUGMENTATIONS["reflect"]}
    whole = list(Chain(IMAGES, **options | {"augmentation": Augmentation(Crop(2), Flip())}).batches(20))
    ranks = [
        list(Chain(IMAGES, **options | {"augmentation": Augmentation(Crop(2), Flip())}, rank=r, world=4).batches(20))
        for r in range(4)
    ]
    for batch, *parts in zip(whole, *ranks):
        for name in ("x", "y", "index"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


@pytest.mark.parametrize("middle", [lambda rows: rows, lambda rows: rows.map(same_element)])
def test_evaluation_is_padded_with_index_minus_one(middle):
    options = {"batch_size": 8, "seed": 0, "shuffle": False, "middle": middle, "pad": True}
    ranks = [list(Chain(IMAGES, **options, rank=r, world=2).epoch()) for r in range(2)]
    assert [len(batch) for rank in ranks for batch in rank] == [4] * 16
    last = torch.cat([ranks[0][-1].index, ranks[1][-1].index])
    assert last.tolist() == [56, 57, 58, 59, -1, -1, -1, -1]
    seen = torch.cat([batch.index for rank in ranks for batch in rank])
    assert sorted(seen[seen >= 0].tolist()) == list(range(60))
    assert torch.equal(ranks[1][-1].x, ranks[0][-1].x[:1].expand(4, -1, -1, -1))


@pytest.mark.parametrize("options", [{"threads": 3}, pytest.param({"workers": 2}, marks=pytest.mark.slow)])
def test_threads_and_processes_give_the_same(options):
    settings_ = {"batch_size": 7, "seed": 4, "augmentation": AUGMENTATIONS["all"]}
    whole = list(Chain(IMAGES, **settings_).batches(30))
    batches = Chain(IMAGES, **settings_).batches(30, start=11, **options)
    assert same(next(batches), whole[11])
    state = batches.state_dict()
    batches.close()
    again = Chain(IMAGES, **settings_).batches(30, **options)
    again.load_state_dict(state)
    assert all_same(again, whole[12:])


def test_a_pipeline_is_a_grain_data_set_and_back():
    rows = Pipeline.from_source(IMAGES).shuffle()
    grain_batches = rows.to_grain().batch(8)
    for (x, y), element in zip(grain_batches, rows.batch(8)):
        np.testing.assert_array_equal(x, element[0])
        np.testing.assert_array_equal(y, element[1])
    back = Pipeline.from_dataset(rows.to_grain())
    assert [int(y) for _, y in back] == [int(y) for _, y in rows]
    with pytest.raises(ConfigError, match=r"^to_grain: needs a finite stream"):
        rows.repeat().to_grain()
