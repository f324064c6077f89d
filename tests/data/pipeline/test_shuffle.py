"""Shuffling: golden orders, names of streams, the law of the buffer, its statistics."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Pipeline

from .chains import always
from .common import values
from .oracle import Node, plain

SEVEN, TEN = Pipeline.range(7), Pipeline.range(10)


def test_golden_orders():
    shuffled = TEN.shuffle()
    assert values(shuffled) == [4, 6, 1, 3, 8, 9, 5, 0, 2, 7]
    assert values(shuffled, 1) == values(TEN.shuffle(10), 1) == [5, 1, 9, 3, 2, 6, 7, 4, 8, 0]
    assert values(TEN.shuffle(3)) == [2, 0, 3, 1, 4, 5, 7, 8, 6, 9]
    assert values(TEN.filter(always).shuffle(3)) == [2, 0, 3, 1, 4, 5, 7, 8, 6, 9]
    assert values(shuffled.repeat(2)) == values(shuffled) + values(shuffled, 1)
    assert values(TEN.shuffle_and_repeat(3, 2)) == values(TEN.shuffle(3).repeat(2))


def test_names_of_streams():
    """The second shuffle, those in branches and named ones draw from streams of their own."""
    twice = TEN.shuffle().shuffle()
    assert values(twice) == values(TEN.shuffle().shuffle(name="shuffle.2"))
    assert values(twice) == [plain(v) for v in Node.range(10).shuffle().shuffle().values()]
    branches = Pipeline.zip(TEN.shuffle(), TEN.shuffle())
    first, second = zip(*values(branches))
    assert list(first) == values(TEN.shuffle(name="0/shuffle"))
    assert list(second) == values(TEN.shuffle(name="1/shuffle"))
    assert values(branches.shuffle()) == [values(branches)[i] for i in order_of(first, values(TEN.shuffle()))]


def order_of(items, wanted):
    return [items.index(w) for w in wanted]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 99), stream=st.booleans())
def test_law_of_the_buffer(n, size, seed, stream):
    """A permutation; nothing comes more than size - 1 places early; size 1 changes nothing."""
    source = Pipeline.range(n).filter(always) if stream else Pipeline.range(n)
    order = values(source.shuffle(size).with_seed(seed))
    assert sorted(order) == list(range(n))
    if size < n or stream:
        assert all(element - place < size for place, element in enumerate(order))
    if size == 1:
        assert order == list(range(n))


@given(n=st.integers(20, 60), size=st.sampled_from(["all", 10, 100]), seed=st.integers(0, 99), epoch=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_passes_differ_unless_told(n, size, seed, epoch):
    pipe = Pipeline.range(n).shuffle(size).with_seed(seed)
    assert values(pipe, epoch) != values(pipe, epoch + 1)
    assert values(pipe, epoch) == values(pipe.repeat(epoch + 1).skip(n * epoch))
    kept = Pipeline.range(n).shuffle(size, reshuffle=False).with_seed(seed)
    assert values(kept, epoch) == values(kept, epoch + 1) == values(pipe, 0)


def test_what_repeat_before_shuffle_mixes():
    apart = values(TEN.shuffle().repeat(2))
    assert sorted(apart[:10]) == sorted(apart[10:]) == list(range(10))
    mixed = values(TEN.repeat(2).shuffle(9))
    assert sorted(mixed) == sorted(2 * list(range(10)))
    assert sorted(mixed[:10]) != list(range(10))


@pytest.mark.slow
def test_every_order_is_as_likely():
    pipe = Pipeline.range(4).shuffle().repeat(24_000).batch(4)
    counts = Counter(tuple(order.tolist()) for order in pipe)
    chi_square = sum((n - 1000) ** 2 / 1000 for n in counts.values())
    assert len(counts) == 24
    assert chi_square == pytest.approx(12.18, abs=0.005)


@pytest.mark.slow
def test_first_outputs():
    pipe = Pipeline.range(20).shuffle(5).repeat(5000).batch(20)
    counts = Counter(order[0].item() for order in pipe)
    assert [counts[i] for i in range(5)] == [991, 952, 1059, 1006, 992]
