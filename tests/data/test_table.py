"""ExampleTable: rows by index, duplicates as a loop would have them, padding, devices, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import ExampleTable
from tutelage.errors import ConfigError, DataError, ShapeError

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
NAN = float("nan")
REDUCTIONS = {
    "last": lambda rows: rows[-1],
    "mean": lambda rows: sum(rows) / len(rows),
    "sum": sum,
    "max": lambda rows: NAN if any(math.isnan(r) for r in rows) else max(rows),
}


def table(device="cpu"):
    return ExampleTable(1797, device, weight=1.0, loss=NAN, seen=0, done=False, logits=torch.zeros(1797, 10).double())


def by_loop(stored, index, value, reduce):
    """What ``put`` means, row by row."""
    rows = {}
    for i, v in zip(index, value):
        if i != -1:
            rows.setdefault(i, []).append(v)
    out = list(stored)
    for i, values in rows.items():
        out[i] = REDUCTIONS[reduce](values)
    return out


def same(a, b):
    return a.dtype == b.dtype and torch.equal(a.cpu().nan_to_num(-123456), b.cpu().nan_to_num(-123456))


def test_columns_begin_with_their_first_values():
    t = table()
    assert len(t) == t.n == 1797
    assert repr(t) == "ExampleTable(1797, weight, loss, seen, done, logits)"
    assert [t[c].dtype for c in ("weight", "loss", "seen", "done", "logits")] == [
        torch.float32,
        torch.float32,
        torch.int64,
        torch.bool,
        torch.float64,
    ]
    assert t["weight"].eq(1).all()
    assert t["loss"].isnan().all()
    assert t["logits"].shape == (1797, 10)


def test_a_column_is_the_storage_and_a_first_value_is_not():
    first = torch.zeros(3)
    t = ExampleTable(3, w=first)
    t["w"][1] = 5.0
    assert t.get(torch.tensor([1]), "w").item() == 5
    assert first[1] == 0


def test_a_column_may_have_any_other_name():
    t = ExampleTable(4, n=1.0, index=2, self=3, name=4)
    t.put(torch.tensor([1]), n=7.0, index=8, self=9, name=10)
    assert [t[c][1].item() for c in ("n", "index", "self", "name")] == [7, 8, 9, 10]


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_put_is_got(device):
    t = table(device)
    index = torch.tensor([3, 1796, 0], device=device)
    logits = torch.arange(30.0, device=device).view(3, 10)
    t.put(index, loss=torch.tensor([0.5, 1.5, 2.5], device=device), logits=logits, seen=1, done=True)
    assert t.get(index, "loss").tolist() == [0.5, 1.5, 2.5]
    assert t.get(index.flip(0), "logits").tolist() == logits.flip(0).tolist()
    assert t["seen"].sum() == t["done"].sum() == 3
    assert t["loss"].isnan().sum() == 1794
    assert t.get(index.cpu(), "loss").device.type == device  # an index on the CPU serves a table anywhere
    t.put(index.cpu(), weight=2.0)
    assert t["weight"].sum() == 1797 + 3


@pytest.mark.parametrize("device", DEVICES)
def test_padding_reads_as_zero_and_is_not_written(device):
    t = table(device)
    index = torch.tensor([-1, 2, -1, 2, 1796], device=device)
    value = torch.tensor([9.0, 1.0, 9.0, 4.0, 5.0], device=device)
    t.put(index, loss=value)
    assert t.get(index, "loss").tolist() == [0, 4, 0, 4, 5]
    assert t.get(index, "weight").tolist() == [0, 1, 0, 1, 1]
    assert t.get(index, "logits").shape == (5, 10)
    assert t.get(index, "done").tolist() == [False] * 5
    assert t["loss"].isnan().sum() == 1795
    t.put(index[:1], loss=value[:1], weight=3.0)  # nothing but padding
    assert t["loss"].isnan().sum() == 1795
    assert t["weight"].eq(1).all()


def test_no_rows_are_fine():
    t = table()
    none = torch.zeros(0, dtype=torch.int64)
    assert t.get(none, "logits").shape == (0, 10)
    t.put(none, loss=torch.zeros(0), reduce="max")
    assert t["loss"].isnan().all()


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(-1, 6), st.integers(-64, 64) | st.just(NAN)), max_size=40),
    st.sampled_from(sorted(REDUCTIONS)),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_duplicates_are_as_in_a_loop(rows, reduce, dtype):
    index, value = [i for i, _ in rows], [float(v) for _, v in rows]
    stored = [0.5 * i for i in range(7)]
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        t = ExampleTable(7, device, v=torch.tensor(stored, dtype=dtype), w=torch.tensor(stored)[:, None].expand(7, 3))
        given_ = torch.tensor(value, device=device)
        t.put(torch.tensor(index, dtype=torch.int64, device=device), reduce, v=given_, w=given_[:, None].expand(-1, 3))
        expected = torch.tensor(by_loop(stored, index, value, reduce), dtype=torch.float64)
        assert same(t["v"], expected.to(dtype))  # sums of small integers are exact in any order
        assert same(t["w"], expected.float()[:, None].expand(7, 3))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_sums_of_any_numbers_depend_only_on_the_rows_of_the_example(device, reduce):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(-1, 50, (3000,), generator=generator)
    value = torch.randn(3000, generator=generator) * 10 ** torch.randint(-3, 4, (3000,), generator=generator)
    t = ExampleTable(50, device, v=0.0)
    t.put(index.to(device), reduce, v=value.to(device))
    whole = t["v"].cpu()
    expected = torch.tensor(by_loop([0.0] * 50, index.tolist(), value.double().tolist(), reduce)).double()
    torch.testing.assert_close(whole.double(), expected, rtol=1e-4, atol=1e-4)
    for i in (0, 7, 49):  # alone, on the CPU: the same bits
        alone = ExampleTable(50, v=0.0)
        alone.put(index[index == i], reduce, v=value[index == i])
        assert alone["v"][i] == whole[i]
    assert (index == 7).sum() > 32


def test_long_sums_are_added_in_pairs():
    t = ExampleTable(2, v=0.0)
    t.put(torch.tensor([1] * 4096), "sum", v=0.1)
    assert t["v"].tolist() == [0, torch.tensor(409.6).item()]  # one after the other they end at 409.5769


def test_integers_and_flags_reduce_too():
    t = ExampleTable(4, count=0, ever=False, low=torch.zeros(4, dtype=torch.float16))
    index = torch.tensor([2, 1, 2, 2])
    hit = torch.tensor([True, False, False, True])
    t.put(index, "sum", count=hit)
    assert t["count"].tolist() == [0, 0, 2, 0]
    t.put(index, "max", ever=hit)
    assert t["ever"].tolist() == [False, False, True, False]
    t.put(index, "sum", low=torch.tensor([2048.0, 3.0, 0.5, 0.5]))  # added in float32, then rounded
    assert t["low"].tolist() == [0, 3, 2048, 0]
    t.put(index, "mean", low=torch.tensor([60000.0, 3.0, 60000.0, 60000.0]))
    assert t["low"].tolist() == [0, 3, 60000, 0]


def test_no_gradient_is_kept_and_lower_precision_is_taken():
    t = table()
    loss = torch.ones(2, requires_grad=True) * 2
    t.put(torch.tensor([0, 1]), loss=loss)
    t.put(torch.tensor([2, 2]), "mean", loss=loss.bfloat16())
    assert not t["loss"].requires_grad
    assert t["loss"][:3].tolist() == [2, 2, 2]


def test_an_index_may_be_a_numpy_array():
    t = table()
    t.put(np.array([4, -1]), seen=5)
    assert t.get(np.array([4, 3]), "seen").tolist() == [5, 0]


def test_nothing_changes_the_global_random_state():
    before = torch.get_rng_state()
    test_padding_reads_as_zero_and_is_not_written("cpu")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("device", DEVICES)
def test_state_round_trip(device):
    t, other = table(device), table()
    t.put(torch.tensor([5, 6]), loss=0.25, seen=4)
    state = t.state_dict()
    t.put(torch.tensor([5]), loss=1.0)
    assert state["loss"][5] == 0.25  # a copy
    column = other["loss"]
    other.load_state_dict(state)
    assert column[5] == 0.25  # in place
    assert all(same(other[c], state[c]) for c in state)


@pytest.mark.parametrize("device", DEVICES)
def test_to_moves_and_returns_the_table(device):
    t = table()
    t.put(torch.tensor([5]), loss=1.0)
    assert t.to(device) is t
    assert t["loss"].device.type == device
    assert t["loss"][5] == 1
    assert t.to("meta")["weight"].is_meta


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("index", "bad"), [([3, 1800], 1800), ([1797, -1, 3], 1797), ([-2, 5], -2), ([-1, -(2**40)], -(2**40))]
)
def test_an_index_outside_is_refused(device, index, bad):
    t, index = table(device), torch.tensor(index, device=device)
    with pytest.raises(DataError, match=rf"^ExampleTable\(1797\) got index {bad}\.$"):
        t.get(index, "loss")
    with pytest.raises(DataError, match=rf"^ExampleTable\(1797\) got index {bad}\.$"):
        t.put(index, loss=1.0)
    assert t["loss"].isnan().all()


ROWS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda t: ExampleTable(0, a=1.0), ConfigError, r"ExampleTable: n is 0; it must be at least 1\."),
        (
            lambda t: ExampleTable(5),
            ConfigError,
            r"ExampleTable\(5\): no column; name columns with first values, such as weight=1\.0\.",
        ),
        (lambda t: ExampleTable(5, reduce=1.0), ConfigError, r'ExampleTable\(5\): a column cannot be called "reduce"'),
        (
            lambda t: ExampleTable(5, a=torch.zeros(4, 2)),
            ShapeError,
            r'ExampleTable\(5\): "a" has shape \(4, 2\); it needs \(5, \.\.\.\), one row an example\.',
        ),
        (lambda t: ExampleTable(5, a=torch.tensor(1.0)), ShapeError, r'"a" has shape \(\); it needs \(5, \.\.\.\)'),
        (
            lambda t: t["los"],
            ConfigError,
            r'ExampleTable\(1797\): unknown column "los"\. Did you mean "loss"\? Known: weight, loss, ',
        ),
        (lambda t: t.get(ROWS, "los"), ConfigError, r'unknown column "los"'),
        (lambda t: t.put(ROWS, los=1.0), ConfigError, r'unknown column "los"'),
        (
            lambda t: t.put(ROWS, "first", loss=1.0),
            ConfigError,
            r'ExampleTable\(1797\): unknown reduction "first"\. .*Known: last, mean, sum, max\.',
        ),
        (
            lambda t: t.put(ROWS.float(), loss=1.0),
            ShapeError,
            r"ExampleTable\(1797\): index is float32 \(3,\); it must be int64 \(B,\)\.",
        ),
        (lambda t: t.get(ROWS[None], "loss"), ShapeError, r"index is int64 \(1, 3\); it must be int64 \(B,\)\."),
        (lambda t: t.get(3, "loss"), ShapeError, r"index is int64 \(\); it must be int64 \(B,\)\."),
        (
            lambda t: t.put(ROWS, loss=torch.zeros(3, 1)),
            ShapeError,
            r'ExampleTable\(1797\): "loss" got shape \(3, 1\), but needs \(3,\), one row an index\.',
        ),
        (lambda t: t.put(ROWS, logits=torch.zeros(3)), ShapeError, r'"logits" got shape \(3,\), but needs \(3, 10\)'),
        (
            lambda t: t.put(ROWS, loss=torch.zeros(3, device="meta")),
            ShapeError,
            r'ExampleTable\(1797\): "loss" got a tensor on meta, but lives on cpu; move one with \.to\(\.\.\.\)\.',
        ),
        (
            lambda t: t.put(ROWS, seen=torch.zeros(3)),
            ShapeError,
            r'ExampleTable\(1797\): "seen" is int64 and cannot hold float32\.',
        ),
        (lambda t: t.put(ROWS, seen=1.0), ShapeError, r'"seen" is int64 and cannot hold float64\.'),
        (lambda t: t.put(ROWS, done=2), ShapeError, r'"done" is bool and cannot hold int64\.'),
        (lambda t: t.put(ROWS, "mean", seen=1), ConfigError, r'"seen" is int64, which has no mean\.'),
        (lambda t: t.put(ROWS, "sum", done=True), ConfigError, r'"done" is bool, which has no sum\.'),
        (
            lambda t: t.load_state_dict({"loss": torch.zeros(1797)}),
            ConfigError,
            r"the state has the columns loss; needed are done, logits, loss, seen, weight\.",
        ),
        (
            lambda t: t.load_state_dict(t.state_dict() | {"loss": torch.zeros(100)}),
            ShapeError,
            r'ExampleTable\(1797\): "loss" is float32 \(100,\) in the state, float32 \(1797,\) here\.',
        ),
        (
            lambda t: t.load_state_dict(t.state_dict() | {"seen": torch.zeros(1797)}),
            ShapeError,
            r'"seen" is float32 \(1797,\) in the state, int64 \(1797,\) here\.',
        ),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(act, error, message):
    t = table()
    with pytest.raises(error, match=message):
        act(t)
    assert all(same(t[c], first) for c, first in table().state_dict().items())


def test_one_bad_value_keeps_the_others_out():
    t = table()
    with pytest.raises(ShapeError, match="loss"):
        t.put(ROWS, weight=2.0, loss=torch.zeros(2))
    assert t["weight"].eq(1).all()
