"""What holds for every chain: exact resume, shards, index and value, nothing shared."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import (
    Pipeline,
)

from .chains import BRANCHES, STREAMED, VALUES_STAY, affine, always, chains
from .common import counted, resumed
from .oracle import assert_same, leaves, same

SMALL = Pipeline.range(10)


CUTS = st.lists(st.integers(1, 90), max_size=2).map(sorted)


@settings(deadline=None, max_examples=80)
@given(chain=chains(), cuts=CUTS, prefetch=st.sampled_from([0, 1, 4]), epoch=st.integers(0, 2))
def test_resumed_is_uninterrupted(chain, cuts, prefetch, epoch):
    whole = list(chain.pipeline().records(epoch))
    made = resumed(lambda: chain.pipeline().prefetch(prefetch).records(epoch), cuts)
    assert_same(made, whole)


@settings(deadline=None, max_examples=80)
@given(chain=chains(STREAMED), cuts=CUTS, prefetch=st.sampled_from([0, 1, 4]), epoch=st.integers(0, 2))
def test_resumed_is_uninterrupted_in_the_stream_form(chain, cuts, prefetch, epoch):
    whole = list(chain.oracle(stream=True).records(epoch))
    made = resumed(lambda: chain.pipeline(stream=True).prefetch(prefetch).records(epoch), cuts)
    assert_same(made, whole)


def test_resumed_at_every_element():
    pipe = Pipeline.range(11).shuffle(4).repeat(2).batch(3).map(affine)
    for stream in (False, True):
        chosen = Pipeline.range(11).filter(always).shuffle(4).repeat(2).batch(3).map(affine) if stream else pipe
        whole = list(chosen.records())
        for cut in range(len(whole) + 1):
            with chosen.records() as it:
                for _ in range(cut):
                    next(it)
                state = json.loads(json.dumps(it.state_dict()))
            with chosen.records() as it:
                it.load_state_dict(state)
                assert_same(it, whole[cut:])
                with pytest.raises(StopIteration):
                    next(it)


def test_other_prefetch_depth_is_the_same_place():
    """A state counts what was received, not what was made."""
    source = Pipeline.range(50).shuffle(8)
    whole = list(source.prefetch(4).records())
    for before, after in ((4, 0), (0, 4), (4, 1)):
        with source.prefetch(before).records() as it:
            assert_same([next(it) for _ in range(7)], whole[:7])
            state = it.state_dict()
        with source.prefetch(after).records() as it:
            it.load_state_dict(state)
            assert_same(it, whole[7:])


# ---- shards and ranks


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 60), of=st.integers(1, 7), size=st.integers(1, 70), stream=st.booleans(), epoch=st.integers(0, 2)
)
def test_shards_are_disjoint_and_complete(n, of, size, stream, epoch):
    source = Pipeline.range(n).filter(always) if stream else Pipeline.range(n)
    for shards in (
        [source.shard(of, k).shuffle(size) for k in range(of)],
        [source.shuffle(size).shard(of, k) for k in range(of)],
    ):
        parts = [[int(v) for v in shard.epoch(epoch)] for shard in shards]
        assert sorted(v for part in parts for v in part) == list(range(n))
        assert {len(part) for part in parts} <= {n // of, -(-n // of)}


# ---- index and value


@settings(deadline=None, max_examples=100)
@given(chain=chains((*VALUES_STAY, *BRANCHES)), stream=st.booleans(), epoch=st.integers(0, 2))
def test_the_index_names_the_row(chain, stream, epoch):
    """``source[index] == value``, batches included, until an operator changes values."""
    if any(name == "shuffle" and rest[0] == "all" for name, *rest in chain.ops):
        stream = False
    if any(name == "unbatch" and rest for name, *rest in chain.ops):
        return
    rows = chain.rows()
    for record in chain.pipeline(stream).records(epoch):
        if np.ndim(record.index) == 0:
            assert same(record.value, rows[record.index])
            continue
        for place, i in enumerate(record.index):
            assert [torch.equal(leaf[place], row) for leaf, row in zip(leaves(record.value), leaves(rows[i]))]


@pytest.mark.parametrize("before", [lambda p: p.shuffle(), lambda p: p.shuffle(2), lambda p: p.repeat(2)])
def test_the_index_of_interleave_is_an_identity(before):
    """One element has one index, however the inputs come; two have two."""
    pipe = before(Pipeline.range(4)).interleave(counted, 2)
    names = {(int(r.value), r.index) for epoch in range(4) for r in pipe.records(epoch)}
    assert len(names) == len({value for value, _ in names}) == len({index for _, index in names})


def test_indices_of_streams_do_not_collide():
    """Where the sizes of earlier branches are not known, an index still names one element."""
    first = Pipeline.range(6).filter(always).flat_map(_two)
    for pipe in (
        first.concatenate(Pipeline.range(12)),
        Pipeline.sample_from([first, Pipeline.range(12)], [1, 1]),
        Pipeline.choose_from([first, Pipeline.range(12)], [0, 1] * 6),
    ):
        indices = [r.index for r in pipe.records()]
        assert len(set(indices)) == len(indices)


# ---- what prefetching and writing into elements must not change


@pytest.mark.parametrize(
    "build",
    [
        lambda p: p.shuffle(),
        lambda p: p.batch(4).unbatch().shuffle(99),
        lambda p: p.flat_map(_two).shuffle(),
        lambda p: Pipeline.choose_from([p, Pipeline.range(5)], [0, 1, 1, 0, 0]).shuffle(),
        lambda p: Pipeline.sample_from([p, Pipeline.range(5)], [1, 2]).shuffle(),
        lambda p: Pipeline.zip(p, p).shuffle(),
        lambda p: p.concatenate(p).shuffle().cache(),
    ],
    ids=["shuffle", "unbatch", "flat_map", "choose_from", "sample_from", "zip", "concatenate"],
)
def test_prefetch_changes_nothing(build):
    """Wherever it stands; so does what is known of the length, on which the form of ``shuffle`` depends."""
    expected = list(build(SMALL).records())
    assert_same(build(SMALL.prefetch(0)).records(), expected)
    assert_same(build(SMALL.prefetch(2)).records(), expected)
    assert len(build(SMALL.prefetch(2))) == len(expected)


def test_prefetch_of_batches_changes_nothing():
    batches = SMALL.shuffle().batch(4)
    assert_same(batches.prefetch(2).unbatch().shuffle(99).records(), batches.unbatch().shuffle(99).records())


def _two(x):
    return Pipeline.range(3).take(int(x) % 3)


def zeroed(value):
    for leaf in leaves(value):
        leaf.zero_()
    return value


IN_PLACE = {
    "elements": lambda p: p,
    "map": lambda p: p.map(zeroed),
    "batched map": lambda p: p.map(zeroed, batched=True).batch(2),
    "map of batches": lambda p: p.batch(2).map(zeroed),
    "batches": lambda p: p.batch(3),
    "cache": lambda p: p.cache(),
    "cached batches": lambda p: p.batch(2).cache(),
    "shuffle": lambda p: p.shuffle(2).repeat(2),
    "unbatch": lambda p: p.repeat(2).batch(3).unbatch(),
    "prefetch": lambda p: p.repeat(2).prefetch(3),
}


@pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
@pytest.mark.parametrize("name", sorted(IN_PLACE))
def test_elements_are_the_consumers_to_keep(name, stream):
    """Nothing that a consumer or a map writes into an element reaches the source, a cache or another element."""
    rows = torch.arange(1.0, 11).view(5, 2)
    pipe = Pipeline.from_tensor_slices(rows)
    pipe = IN_PLACE[name](pipe.filter(always) if stream else pipe)
    before = [value.clone() for value in iter(pipe)]
    for value in iter(pipe):
        value.zero_()
    assert rows.tolist() == torch.arange(1.0, 11).view(5, 2).tolist()
    for value, expected in zip(iter(pipe), before, strict=True):
        assert torch.equal(value, expected)
        value.zero_()
