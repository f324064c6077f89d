"""The oracle itself gives the rows and golden values of the specification."""

import pytest
import torch

from .oracle import Node, h, plain, stream


def values(node, epoch=0):
    return [plain(v) for v in node.values(epoch)]


def constant(x):
    """The pipeline of x copies, worth 10 x, 10 x + 1, ..."""
    return Node.range(5).take(int(x) + 1).map(lambda j: 10 * int(x) + j)


def test_hash():
    assert [h(1234567, i) for i in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    s = stream(0, "shuffle")
    assert s == 206047581586407134
    assert h(s, 0) == 3802139152796011526
    assert h(s, 0, 0) == 15944982674122406005


def test_golden_orders():
    assert values(Node.range(10).shuffle()) == [4, 6, 1, 3, 8, 9, 5, 0, 2, 7]
    assert values(Node.range(10).shuffle(10), epoch=1) == [5, 1, 9, 3, 2, 6, 7, 4, 8, 0]
    assert values(Node.range(10).shuffle(3)) == [2, 0, 3, 1, 4, 5, 7, 8, 6, 9]


def test_batches_straddle_passes():
    seven = Node.range(7)
    assert values(seven.repeat(2).batch(5)) == [[0, 1, 2, 3, 4], [5, 6, 0, 1, 2], [3, 4, 5, 6]]
    assert values(seven.batch(5).repeat(2)) == [[0, 1, 2, 3, 4], [5, 6]] * 2
    assert values(seven.repeat(2).batch(5, drop_remainder=True)) == [[0, 1, 2, 3, 4], [5, 6, 0, 1, 2]]


@pytest.mark.parametrize(
    ("cycle", "block", "expected"),
    [(3, 1, [0, 10, 20, 11, 21, 30, 22, 31, 32, 33]), (2, 2, [0, 10, 11, 20, 21, 22, 30, 31, 32, 33])],
)
def test_interleave(cycle, block, expected):
    assert values(Node.range(4).interleave(constant, cycle, block)) == expected


def test_the_other_rows():
    grown = Node.range(4).skip(1).map(lambda x: x.repeat(int(x)))
    assert values(grown.padded_batch(2)) == [[[1, 0], [2, 2]], [[3, 3, 3]]]
    assert values(Node.zip(Node.range(3), Node.range(2).repeat())) == [(0, 0), (1, 1), (2, 0)]
    assert values(Node.range(10).shard(3, 1)) == [1, 4, 7]


def test_index_and_epoch():
    node = Node.range(2).concatenate(Node.from_tensor_slices(torch.arange(5, 8))).repeat(2)
    items = list(node.records())
    assert [i.index for i in items] == [0, 1, 2, 3, 4] * 2
    assert [i.epoch for i in items] == [0] * 5 + [1] * 5
    rows = list(Node.range(3).batch(2).unbatch().records())
    assert [(i.index, i.epoch) for i in rows] == [(0, 0), (1, 0), (2, 0)]
