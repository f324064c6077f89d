"""Operators with one input, against the rows of the specification."""

from operator import length_hint

import numpy as np
import pytest
import torch

from tutelage.data import Pipeline
from tutelage.errors import ConfigError

from .chains import affine, always, noisy, tree
from .common import both_forms, counted, indices, values
from .oracle import Node, assert_same

SEVEN, TEN = Pipeline.range(7), Pipeline.range(10)


def test_elements_are_tensors():
    element = next(iter(Pipeline.from_tensor_slices({"x": np.zeros((2, 3), np.float32), "y": [5, 6]})))
    assert element["x"].dtype == torch.float32
    assert element["x"].shape == (3,)
    assert element["y"].dtype == torch.int64
    assert element["y"].shape == ()
    assert next(iter(TEN)).dtype == torch.int64


def test_texts_stay_texts():
    for texts in (["a", "bb", "c"], np.array(["a", "bb", "c"])):
        pipe = Pipeline.from_tensor_slices((texts, torch.arange(3)))
        assert [text for text, _ in pipe] == ["a", "bb", "c"]
        assert all(isinstance(text, str) for text, _ in pipe)


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
def test_batch_and_repeat(form):
    assert values(both_forms(lambda r: r(7).repeat(2).batch(5))[form]) == [
        [0, 1, 2, 3, 4],
        [5, 6, 0, 1, 2],
        [3, 4, 5, 6],
    ]
    assert values(both_forms(lambda r: r(7).batch(5).repeat(2))[form]) == [[0, 1, 2, 3, 4], [5, 6]] * 2
    dropped = both_forms(lambda r: r(7).repeat(2).batch(5, drop_remainder=True))[form]
    assert values(dropped) == [[0, 1, 2, 3, 4], [5, 6, 0, 1, 2]]
    assert values(both_forms(lambda r: r(10).shard(3, 1))[form]) == [1, 4, 7]


def grown(x):
    return x.repeat(int(x))


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
def test_padded_batch(form):
    pipe = both_forms(lambda r: r(4).skip(1).map(grown))[form]
    assert values(pipe.padded_batch(2)) == [[[1, 0], [2, 2]], [[3, 3, 3]]]
    assert values(pipe.padded_batch(2, drop_remainder=True)) == [[[1, 0], [2, 2]]]
    assert values(pipe.padded_batch(2, shapes=(4,), values=-1)) == [
        [[1, -1, -1, -1], [2, 2, -1, -1]],
        [[3, 3, 3, -1]],
    ]
    assert indices(pipe.padded_batch(2)) == [[1, 2], [3]]


def test_padded_batch_of_dicts():
    pipe = Pipeline.range(3).map(_sized).padded_batch(3, values={"x": 0.5, "n": 0})
    (batch,) = pipe
    assert batch["x"].tolist() == [[0.5, 0.5], [1, 0.5], [1, 1]]
    assert batch["n"].tolist() == [0, 1, 2]


def _sized(n):
    return {"x": torch.ones(int(n)), "n": n}


def test_repeat():
    assert values(Pipeline.range(2).repeat(3)) == [0, 1, 0, 1, 0, 1]
    assert values(Pipeline.range(2).repeat(0)) == []
    for endless in (None, -1):
        pipe = Pipeline.range(2).repeat(endless)
        assert values(pipe.take(5)) == [0, 1, 0, 1, 0]
        assert [r.epoch for r in pipe.take(5).records()] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
def test_repeat_of_nothing_does_not_hang(form):
    assert values(both_forms(lambda r: r(3).take(0).repeat())[form]) == []
    assert values(both_forms(lambda r: r(3).skip(3).repeat().batch(2))[form]) == []
    assert values(both_forms(lambda r: r(3).filter(_never).repeat())[form]) == []


def _never(x):
    return False


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
def test_endless_in_endless(form):
    """Passes stay int64, and are the same in both forms."""
    pipe = both_forms(lambda r: r(3).repeat().take(5).repeat().take(12).batch(12))[form]
    assert values(pipe, 1) == [[0, 1, 2, 0, 1] * 2 + [0, 1]]
    (record,) = pipe.records(1)
    (other,) = both_forms(lambda r: r(3).repeat().take(5).repeat().take(12).batch(12))[1 - form].records(1)
    assert record.epoch.dtype == np.int64
    assert record.epoch.tolist() == other.epoch.tolist()


def test_take_and_skip():
    assert values(SEVEN.take(3)) == [0, 1, 2]
    assert values(SEVEN.take(-1)) == values(SEVEN) == values(SEVEN.take(99))
    assert values(SEVEN.skip(5)) == [5, 6]
    assert values(SEVEN.skip(-1)) == values(SEVEN.skip(7)) == values(SEVEN.skip(99)) == []
    assert (len(SEVEN.take(99)), len(SEVEN.skip(99)), len(SEVEN.take(-1))) == (7, 0, 7)


def test_enumerate():
    assert values(Pipeline.range(3).shuffle().enumerate(5)) == [
        (5 + n, v) for n, v in enumerate(values(Pipeline.range(3).shuffle()))
    ]
    assert values(Pipeline.range(2).enumerate().repeat(2)) == [(0, 0), (1, 1)] * 2
    assert values(Pipeline.range(2).repeat(2).enumerate()) == [(0, 0), (1, 1), (2, 0), (3, 1)]
    assert next(iter(SEVEN.enumerate()))[0].dtype == torch.int64


def test_map_takes_a_tuple_as_one_argument():
    pipe = Pipeline.from_tensor_slices((torch.arange(3), torch.arange(3) * 2)).map(_summed)
    assert values(pipe) == [0, 3, 6]


def _summed(pair):
    return pair[0] + pair[1]


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
def test_batched_map(form):
    """It sees any number of elements at once and must give what the map of each gives."""
    pipe = both_forms(lambda r: r(37).shuffle(5).map(affine, batched=True))[form]
    assert values(pipe) == [3 * v + 1 for v in values(both_forms(lambda r: r(37).shuffle(5))[form])]
    whole = both_forms(lambda r: r(37).map(_row_and_leading, batched=True).batch(7))[form]
    assert torch.cat([b[0] for b in whole]).tolist() == list(range(37))
    assert all(b[1].shape == (len(b[0]), 2) for b in whole)


def _row_and_leading(block):
    assert block.ndim == 1, "a block has a leading axis"
    return block, torch.stack([block, -block], 1)


def test_random_map_is_drawn_from_epoch_and_index():
    pipe = TEN.shuffle().random_map(noisy).repeat(2).with_seed(3)
    assert_same(pipe.records(), Node.range(10).shuffle().random_map(noisy).repeat(2).records(seed=3))
    at = {(r.index, r.epoch): r.value.item() for r in pipe.records()}
    other = {(r.index, r.epoch): r.value.item() for r in TEN.random_map(noisy).repeat(2).with_seed(3).records()}
    assert at == other
    assert len(set(at.values())) > 15


@pytest.mark.parametrize("materialise", [False, True])
def test_filter(materialise):
    pipe = TEN.filter(_odd, materialise=materialise)
    assert values(pipe.batch(2)) == [[1, 3], [5, 7], [9]]
    assert indices(pipe) == [1, 3, 5, 7, 9]
    if materialise:
        return
    shuffled = TEN.shuffle().filter(_odd)
    for epoch in (0, 1):
        assert values(shuffled, epoch) == [v for v in values(TEN.shuffle(), epoch) if v % 2]


def _odd(x):
    return bool(x % 2)


def test_a_materialised_filter_has_a_length():
    pipe = TEN.filter(_odd, materialise=True)
    assert len(pipe) == 5
    assert_same(pipe.shuffle().records(1), Node.range(10).filter(_odd, materialise=True).shuffle().records(1))


def test_unbatch():
    assert values(TEN.batch(4).unbatch()) == list(range(10))
    back = TEN.shuffle().repeat(2).batch(4).unbatch()
    assert_same(back.records(), TEN.shuffle().repeat(2).records())
    rows = Pipeline.from_tensor_slices(torch.arange(6).view(2, 3)).shuffle().unbatch()
    assert indices(rows) == values(rows)
    assert len(rows) == 6


@pytest.mark.parametrize("form", [0, 1], ids=["indexed", "stream"])
def test_unbatch_of_whole_batches(form):
    """What ``drop_remainder`` left out does not come back."""
    pipe = both_forms(lambda r: r(10).batch(4, drop_remainder=True).unbatch())[form]
    assert values(pipe) == list(range(8))


def test_len():
    assert [len(p) for p in (SEVEN, SEVEN.repeat(3), SEVEN.batch(5), SEVEN.batch(5, drop_remainder=True))] == [
        7,
        21,
        2,
        1,
    ]
    assert len(Pipeline.range(4).interleave(counted, 2)) == 10
    for unknown in (SEVEN.repeat(), SEVEN.filter(_odd), Pipeline.from_generator(lambda: iter(range(3)))):
        with pytest.raises(ConfigError):
            len(unknown)


def test_list_of_a_pipeline():
    """``list`` asks for the length first: not to know it must not end it, to be endless must."""
    for pipe in (SEVEN, SEVEN.filter(always), Pipeline.from_generator(lambda: iter(range(7)))):
        assert [int(v) for v in list(pipe)] == list(range(7))
    with pytest.raises(ConfigError, match="endless"):  # what list asks, without the memory that it would take
        length_hint(SEVEN.repeat())


def test_operators_leave_the_pipeline_as_it_was():
    before = values(TEN)
    for pipe in (TEN.shuffle(), TEN.batch(2), TEN.map(affine), TEN.take(1), TEN.repeat(2), TEN.with_seed(3)):
        assert pipe is not TEN
    assert values(TEN) == before


def test_seed_of_the_source_and_of_with_seed():
    assert values(Pipeline.range(10, seed=5).shuffle()) == values(TEN.shuffle().with_seed(5))
    assert values(TEN.shuffle().with_seed(5)) != values(TEN.shuffle())


def test_tree_of_structures():
    pipe = Pipeline.from_tensor_slices({"a": (torch.arange(4), torch.zeros(4, 2)), "b": torch.arange(4) * 2})
    batch = next(iter(pipe.batch(3)))
    assert tree(lambda leaf: tuple(leaf.shape), batch) == {"a": ((3,), (3, 2)), "b": (3,)}
