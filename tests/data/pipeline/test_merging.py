"""Operators with several inputs, shards and caches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Pipeline
from tutelage.errors import DataError

from .chains import always
from .common import both_forms, counted, indices, values
from .oracle import Node, assert_same

SEVEN, TEN = Pipeline.range(7), Pipeline.range(10)


def test_zip():
    assert values(Pipeline.zip(Pipeline.range(3), Pipeline.range(2).repeat())) == [(0, 0), (1, 1), (2, 0)]
    swapped = Pipeline.zip(Pipeline.range(2).repeat(), Pipeline.range(3))
    assert len(swapped) == 3
    assert [(r.index, r.epoch, r.indices) for r in swapped.records()] == [
        (0, 0, (0, 0)),
        (1, 0, (1, 1)),
        (0, 1, (0, 2)),
    ]
    three = Pipeline.zip(Pipeline.range(2), Pipeline.range(2).shuffle(), Pipeline.range(5).skip(2))
    assert [len(r.indices) for r in three.records()] == [3, 3]


def test_concatenate_adds_lengths_to_the_index():
    pipe = Pipeline.range(3).skip(1).concatenate(Pipeline.range(2)).concatenate(Pipeline.range(4).take(1))
    assert values(pipe) == [1, 2, 0, 1, 0]
    assert indices(pipe) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
@pytest.mark.parametrize(
    ("cycle", "block", "expected"),
    [(3, 1, [0, 10, 20, 11, 21, 30, 22, 31, 32, 33]), (2, 2, [0, 10, 11, 20, 21, 22, 30, 31, 32, 33])],
)
def test_interleave(form, cycle, block, expected):
    pipe = both_forms(lambda r: r(4).interleave(counted, cycle, block))[form]
    assert values(pipe) == expected
    assert indices(pipe) == [{0: 0, 1: 1, 2: 3, 3: 6}[v // 10] + v % 10 for v in expected]


def test_flat_map():
    assert values(Pipeline.range(4).flat_map(counted)) == [0, 10, 11, 20, 21, 22, 30, 31, 32, 33]


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(0, 5), max_size=9), cycle=st.integers(1, 4), block=st.integers(1, 4))
def test_interleave_of_any_lengths(lengths, cycle, block):
    def sub(make):
        return lambda x: make.range(6).take(int(x))

    if not lengths:
        return
    pipe = Pipeline.from_tensor_slices(torch.tensor(lengths)).interleave(sub(Pipeline), cycle, block, version="1")
    node = Node.from_tensor_slices(torch.tensor(lengths)).interleave(sub(Node), cycle, block)
    assert_same(pipe.records(), node.records())


def test_shard_before_and_after_shuffle():
    fixed = [set(values(TEN.shard(2, k).shuffle(), epoch)) for k in (0, 1) for epoch in (0, 1)]
    assert fixed == [{0, 2, 4, 6, 8}] * 2 + [{1, 3, 5, 7, 9}] * 2
    one_order = values(TEN.shuffle(), 1)
    assert [values(TEN.shuffle().shard(3, k), 1) for k in range(3)] == [one_order[k::3] for k in range(3)]


def test_cache_freezes_what_is_above_it():
    assert values(TEN.shuffle().cache().repeat(2)) == values(TEN.shuffle()) * 2
    fresh = values(TEN.shuffle().cache().shuffle().repeat(2))
    assert fresh[:10] != fresh[10:]
    assert [r.epoch for r in TEN.cache().repeat(2).records()] == [0] * 20


def test_cache_reads_once():
    calls = []
    pipe = TEN.map(_recorder(calls)).cache()
    list(pipe)
    list(pipe.epoch(1))
    assert len(calls) == 10


def test_only_a_full_pass_fills_the_cache():
    calls = []
    pipe = TEN.map(_recorder(calls)).cache()
    with iter(pipe) as it:
        for _ in range(4):
            next(it)
    assert values(pipe) == list(range(10))
    assert len(calls) >= 10
    calls.clear()
    assert values(pipe) == list(range(10))
    assert calls == []


def _recorder(calls):
    def record(x):
        calls.append(int(x))
        return x

    return record


def test_cache_on_disk(tmp_path):
    calls = []
    path = tmp_path / "cache"

    def pipe():
        return TEN.shuffle().map(_recorder(calls)).cache(path)

    expected = values(TEN.shuffle())
    assert values(pipe()) == expected
    calls.clear()
    assert values(pipe()) == expected
    assert calls == []
    for other in (SEVEN.shuffle(), TEN.shuffle().with_seed(3)):
        with pytest.raises(DataError, match="another pipeline"):
            values(other.cache(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        values(pipe())


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("weights", [[1, 1, 1], [0.2, 0.5, 0.3], [0, 1, 2], [5, 0, 0]])
def test_sample_from(form, stop, weights):
    def build(make, streamed):
        parts = [make.range(n).filter(always) if streamed else make.range(n) for n in (20, 7, 11)]
        return make.sample_from(parts, weights, stop_on_empty=stop)

    pipe, node = build(Pipeline, form == 1), build(Node, form == 1)
    for epoch in (0, 3):
        assert_same(pipe.with_seed(4).records(epoch), node.records(epoch, 4))


def test_shares_of_sample_from():
    pipe = Pipeline.sample_from([Pipeline.range(1).repeat(), Pipeline.range(3).skip(2).repeat()], [1, 3])
    drawn = torch.stack(list(pipe.take(2000)))
    assert (drawn == 2).float().mean().item() == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
@pytest.mark.parametrize("stop", [False, True])
def test_choose_from(form, stop):
    ids = [0, 1, 1, 2, 1, 1, 0, 2, 0, 0, 2]

    def build(make, streamed):
        parts = [make.range(n).filter(always) if streamed else make.range(n) for n in (3, 2, 9)]
        return make.choose_from(parts, ids, stop_on_empty=stop)

    pipe = build(Pipeline, form == 1)
    assert_same(pipe.records(), build(Node, form == 1).records())
    assert values(pipe) == ([0, 0, 1, 0] if stop else [0, 0, 1, 0, 1, 1, 2, 2])
