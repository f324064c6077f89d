"""Random chains against the oracle, in both forms."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import Pipeline

from .chains import INDEXED, STREAMED, chains, every_op, random_chain
from .oracle import assert_same, plain

SEVEN, TEN = Pipeline.range(7), Pipeline.range(10)


@settings(deadline=None, max_examples=120)
@given(chain=chains(), seed=st.integers(0, 5), epoch=st.integers(0, 2))
def test_indexed_chains(chain, seed, epoch):
    assert_same(chain.pipeline(seed=seed).records(epoch), chain.oracle().records(epoch, seed))


@settings(deadline=None, max_examples=120)
@given(chain=chains(STREAMED), seed=st.integers(0, 5), epoch=st.integers(0, 2))
def test_streamed_chains(chain, seed, epoch):
    assert_same(chain.pipeline(stream=True, seed=seed).records(epoch), chain.oracle(stream=True).records(epoch, seed))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_chains(part):
    for k in range(150):
        r = random.Random(f"chain {part} {k}")
        names, stream = r.choice([(INDEXED, False), (STREAMED, False), (STREAMED, True)])
        chain = random_chain(r, names)
        made = chain.pipeline(stream, seed=k).records(k % 3)
        assert_same(made, chain.oracle(stream).records(k % 3, k))


@settings(deadline=None, max_examples=60)
@given(chain=chains())
def test_length(chain):
    """The length is that of the elements; ``len`` raises only where it cannot be known."""
    if chain.measured:
        assert len(chain.pipeline()) == len(list(chain.oracle().records()))


@settings(deadline=None, max_examples=60)
@given(chain=chains(tuple(name for name in STREAMED if name != "filter")))
def test_indexed_form_is_stream_form(chain):
    """Where the buffer holds less than everything, what is known of the length changes nothing."""
    if any(name == "shuffle" and rest[0] >= 60 for name, *rest in every_op(chain)):
        return
    indexed, streamed = chain.oracle(), chain.oracle(stream=True)
    if [plain(v) for v in indexed.values()] == [plain(v) for v in streamed.values()]:
        assert_same(chain.pipeline().records(), chain.pipeline(stream=True).records())
