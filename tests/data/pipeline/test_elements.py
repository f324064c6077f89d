"""Elements of any kind: arrays of odd layout and type, texts, padding, and nothing shared with the source."""

import json
import warnings

import numpy as np
import pytest
import torch

from tutelage.data import Augmentation, Crop, Flip, Pipeline
from tutelage.errors import DataError, ShapeError

from .chains import always
from .oracle import plain

X = np.arange(12 * 3 * 8 * 8).astype(np.uint8).reshape(12, 3, 8, 8)
Y = np.arange(12)
AUGMENTATION = Augmentation(Crop(1), Flip())


def same(value):
    return value


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


ODD = {
    "x reversed": (X[::-1], Y),
    "y reversed": (X, Y[::-1]),
    "x mirrored": (X[..., ::-1], Y),
    "x transposed": (X.transpose(0, 1, 3, 2), Y),
    "read-only": (read_only(X), read_only(Y)),
    "other byte order": (X.astype(">i2"), Y.astype(">i4")),
}


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION], ids=["plain", "augmented"])
@pytest.mark.parametrize("name", ODD)
def test_arrays_of_odd_layout(name, augmentation):
    """The fast path and the general one give the same batches, without a word."""
    pipe = Pipeline.from_tensor_slices(ODD[name])
    fast, general = pipe.batch(5), pipe.map(same).batch(5)
    if augmentation:
        fast, general = fast.augment(augmentation), general.augment(augmentation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = list(zip(fast.batches(), general.batches(), strict=True))
    for a, b in pairs:
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


@pytest.mark.parametrize(
    ("match", "leaf"),
    [
        (r"datetime64\[s\], which torch lacks", np.zeros(3, "datetime64[s]")),
        (r"which torch lacks", np.zeros(3, np.longdouble)),
        (r"which torch lacks", np.zeros(3, [("a", int), ("b", float)])),
        (r"masked array .* fill it first", np.ma.array([1, 2, 3], mask=[0, 1, 0])),
        (r"ndarray is no leaf", np.array([object(), None, 1], object)),
        (r"a tensor is torch\.sparse_coo", torch.eye(3).to_sparse()),
        (r"a tensor is .* on meta", torch.ones(3, device="meta")),
    ],
)
def test_what_no_element_can_be(match, leaf):
    with pytest.raises(ShapeError, match=match):
        Pipeline.from_tensor_slices(leaf)


def test_conjugates_and_negatives():
    lazy = torch.tensor([1 + 2j, 3 - 1j]).conj()
    assert plain(next(iter(Pipeline.from_tensor_slices(lazy)))) == 1 - 2j
    assert plain(next(iter(Pipeline.from_tensor_slices(lazy.imag)))) == -2.0


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("pair", [(["a"] * 4, Y[:4]), (X[:4], ["a"] * 4)], ids=["x", "y"])
def test_batches_of_texts(pair, general):
    pipe = Pipeline.from_tensor_slices(pair)
    with pytest.raises(ShapeError, match=r"^batches: x and y must hold numbers; got texts"):
        list((pipe.map(same) if general else pipe).batch(2).batches())


def test_a_map_of_batches_keeps_the_rows():
    fewer = Pipeline.from_tensor_slices((X, Y)).batch(4).map(lambda pair: (pair[0][:2], pair[1][:2]))
    with pytest.raises(ShapeError, match=r"^batches: a batch of 4 rows has 2 x and 2 y; keep its rows\.$"):
        next(fewer.batches())
    with pytest.raises(ShapeError, match=r"^unbatch: a batch of 4 rows was changed to 2; keep its rows\.$"):
        list(fewer.unbatch())


def test_unbatch_of_nothing():
    with pytest.raises(ShapeError, match=r"^unbatch: the element with index 0 has no leaf"):
        list(iter(Pipeline.range(3).map(lambda x: ()).unbatch()))


# ---- texts and padding


def of(*elements):
    return Pipeline.from_generator(lambda: iter(elements))


def test_a_text_among_numbers():
    for pair in ("a", 1), (1, "a"):
        with pytest.raises(ShapeError, match=r"^batch: element 1 \(index 1\) is .*; cast with map first\.$"):
            list(of(*pair).batch(2))
        with pytest.raises(ShapeError, match=r"^padded_batch: element 1 \(index 1\) is "):
            list(of(*pair).padded_batch(2))


def test_padding_goes_by_name():
    one, two = {"x": np.ones(1), "y": np.zeros(2)}, {"y": np.zeros(1), "x": np.ones(2)}
    [batch] = of(one, two).padded_batch(2)
    assert batch["x"].tolist() == [[1, 0], [1, 1]]
    assert batch["y"].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "pair",
    [((np.ones(1), np.ones(1)), (np.ones(1),)), ((np.ones(1), np.ones(1)), np.ones(1)), ({"x": 1}, {"y": 1})],
)
def test_padding_of_other_structures(pair):
    with pytest.raises(ShapeError, match=r"differ in structure"):
        list(of(*pair).padded_batch(2))


@pytest.mark.parametrize("shapes", [(3, 4), (), (-5,), ("a",), (2.5,), "ab"])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(ShapeError, match=r"^padded_batch: shapes has .* for a leaf with 1 axes; give a size or None"):
        list(of(np.ones(1), np.ones(3)).padded_batch(2, shapes=shapes))


@pytest.mark.parametrize("value", ["a", float("nan"), 300, -1, 1.5, (1, 2), 10**30])
def test_values_that_do_not_fit(value):
    with pytest.raises(ShapeError, match=r"^padded_batch: value .* does not fit into uint8"):
        list(of(np.ones(1, np.uint8), np.ones(3, np.uint8)).padded_batch(2, values=value))


def test_padding_values():
    def last(dtype, value):
        return next(iter(of(np.ones(1, dtype), np.ones(2, dtype)).padded_batch(2, values=value)))[0, 1]

    assert last(np.float32, 0.1) == torch.tensor(0.1)
    assert torch.isnan(last(np.float32, float("nan")))
    assert last(np.uint8, torch.tensor(7)) == 7
    assert bool(last(bool, True))


def test_padding_of_texts():
    [batch] = of(np.array(["a"], object), np.array(["b", "c"], object)).padded_batch(2)
    assert batch.tolist() == [["a", ""], ["b", "c"]]


# ---- nothing is shared


def add_one(value):
    value += 1
    return value


class Items:
    def __init__(self):
        self.rows = torch.zeros(3, 2)

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.rows[i]


@pytest.mark.parametrize("many", [False, True])
def test_a_data_set_stays_as_it_was(many):
    items = Items()
    if many:
        Items.__getitems__ = lambda self, index: [self.rows[i] for i in index]
    try:
        pipe = Pipeline.from_dataset(items).map(add_one)
        assert [plain(e) for e in pipe.repeat(2)] == [[1.0, 1.0]] * 6
        assert not items.rows.any()
    finally:
        if many:
            del Items.__getitems__


def reused():
    buffer = np.zeros(2)
    for i in range(4):
        buffer[:] = i
        yield buffer


def test_a_generator_may_use_its_array_again():
    pipe = Pipeline.from_generator(reused)
    assert [plain(b) for b in pipe.batch(2)] == [[[0, 0], [1, 1]], [[2, 2], [3, 3]]]
    assert sorted(plain(e)[0] for e in list(pipe.prefetch(2).shuffle(3))) == [0, 1, 2, 3]


def test_elements_made_twice_are_changed_once():
    """A shuffle forgets what it has seen and makes it again; a map in place must not show."""
    made = Pipeline.from_generator(reused, restartable=True).map(add_one).filter(always).shuffle(3)
    assert sorted(plain(e)[0] for e in made) == [1, 2, 3, 4]
    rows = Pipeline.range(9).padded_batch(3).unbatch().map(add_one).shuffle()
    with rows.records() as it:
        received = [next(it) for _ in range(4)]
        state = json.loads(json.dumps(it.state_dict()))
    with rows.records() as it:
        it.load_state_dict(state)
        received += list(it)
    assert [plain(r.value) for r in received] == [r.index + 1 for r in received]


def test_a_cached_batch_stays_as_it_was():
    pipe = Pipeline.from_tensor_slices((X, Y)).map(same).batch(4).cache()
    for _ in range(2):
        for batch in pipe.batches():
            assert torch.equal(batch.x, torch.from_numpy(X[batch.index]))
            batch.x.zero_()


# ---- data sets that go wrong


class Broken(Items):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def __getitem__(self, i):
        if i == 1:
            raise self.error
        return self.rows[i]


@pytest.mark.parametrize("error", [KeyError("gone"), StopIteration(), ValueError("two\nlines")])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_data_set_that_raises(error, prefetch):
    """A StopIteration must not look like the end."""
    with pytest.raises(DataError, match=rf"^from_dataset: element 1: {type(error).__name__}: ") as caught:
        list(iter(Pipeline.from_dataset(Broken(error)).prefetch(prefetch)))
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("answer", [lambda self, index: [1], lambda self, index: {"x": index}])
def test_a_data_set_that_returns_too_little(answer, monkeypatch):
    monkeypatch.setattr(Items, "__getitems__", answer, raising=False)
    with pytest.raises(DataError, match=r"^from_dataset: __getitems__ .*3 positions"):
        list(iter(Pipeline.from_dataset(Items()).batch(3)))
