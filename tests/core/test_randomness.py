import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.randomness import (
    _hashed_by_torch,
    _smallest_by_torch,
    counter,
    hashed,
    hashed_tensor,
    integer,
    integer_tensor,
    permutation,
    real,
    real_tensor,
    seeded,
    smallest,
    stream,
)


def test_golden_values():
    golden = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert hashed(1234567, np.arange(3)).tolist() == golden
    assert [counter(1234567, i) for i in range(3)] == golden
    s = stream(0, "shuffle")
    assert s == 206047581586407134
    assert counter(s, 0) == 3802139152796011526
    assert counter(s, 0, 0) == 15944982674122406005
    assert permutation(counter(s, 0), 10).tolist() == [4, 6, 1, 3, 8, 9, 5, 0, 2, 7]
    assert permutation(counter(s, 1), 10).tolist() == [5, 1, 9, 3, 2, 6, 7, 4, 8, 0]


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1))
def test_numpy_and_torch_give_equal_bits(key, n):
    index = np.array([0, 1, 2, 1000, 2**40], dtype=np.int64)
    ours, theirs = hashed(key, index), _hashed_by_torch(key, torch.from_numpy(index))
    assert torch.equal(hashed_tensor(key, torch.from_numpy(index)), theirs)
    assert (theirs.numpy().view(np.uint64) == ours).all()
    assert (real_tensor(theirs).numpy() == real(ours)).all()
    assert (integer_tensor(theirs, n).numpy() == integer(ours, n)).all()
    assert ((real(ours) >= 0) & (real(ours) < 1)).all()
    assert ((integer(ours, n) >= 0) & (integer(ours, n) < n)).all()


@given(st.integers(0, 2**64 - 1), st.integers(0, 9))
def test_the_smallest_draws(key, k):
    index = torch.tensor([5, 900, 2, 5, 77, 31, 4, 8, 1])
    draws = hashed(key, index.numpy()).tolist()
    needed = sorted(range(9), key=lambda i: (draws[i], i))[:k]
    mask = smallest(key, index, k)
    assert set(mask.nonzero().flatten().tolist()) == set(needed)
    assert torch.equal(_smallest_by_torch(key, index, k), mask)


def test_keys_may_be_arrays():
    keys = hashed(5, np.arange(4))
    assert hashed(keys, np.full(4, 7)).tolist() == [counter(5, i, 7) for i in range(4)]


def test_seeded_puts_the_state_back():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with seeded(9):
        first = torch.rand(3)
    with seeded(9):
        second = torch.rand(3)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
