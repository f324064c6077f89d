"""Arguments that are nearly right: one clear line when the pipeline is built, and never another meaning."""

import sys

import numpy as np
import pytest
import torch

from tutelage.data import ExampleTable, Pipeline, Plans, from_arrays
from tutelage.errors import TutelageError

from .chains import affine
from .oracle import plain

TEN = Pipeline.range(10)
PAIRS = Pipeline.from_tensor_slices((torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.arange(10)))
SOURCE = from_arrays(np.zeros((5, 2), np.float32), np.arange(5), num_classes=5)


def values(pipe):
    return [plain(element) for element in pipe]


def generated():
    yield 1


REFUSED = {
    "range float": (lambda: Pipeline.range(2.5), r"^range: size is 2\.5; it must be a whole number\.$"),
    "range text": (lambda: Pipeline.range("3"), r"^range: size is '3'"),
    "range truth": (lambda: Pipeline.range(True), r"^range: size is True"),
    "enumerate": (lambda: TEN.enumerate("3"), r"^enumerate: start is '3'"),
    "enumerate none": (lambda: TEN.enumerate(None), r"^enumerate: start is None"),
    "shard": (lambda: TEN.shard(2, 0.5), r"^shard: index is 0\.5; it must be a whole number\.$"),
    "seed float": (lambda: Pipeline.range(3, seed=1.5), r"^pipeline: seed is 1\.5"),
    "seed text": (lambda: TEN.with_seed("a"), r"^pipeline: seed is 'a'"),
    "zip of a list": (lambda: Pipeline.zip([TEN, TEN]), r"^zip: a list given, needed is a Pipeline\.$"),
    "concatenate": (lambda: TEN.concatenate(3), r"^concatenate: 3 given, needed is a Pipeline\.$"),
    "sample_from": (lambda: Pipeline.sample_from(TEN, TEN), r"^sample_from: needed is a list of pipelines"),
    "choose_from": (lambda: Pipeline.choose_from([TEN, 3], [0]), r"^choose_from: 3 given"),
    "weights": (
        lambda: Pipeline.sample_from([TEN, TEN], "ab"),
        r"^sample_from: weights are 'ab'; they must be numbers",
    ),
    "switch list": (lambda: Pipeline.switch([TEN]), r"^switch: a list given, needed is a dict"),
    "switch number": (lambda: Pipeline.switch({"a": 3}), r"^switch: 3 given, needed is a Pipeline\.$"),
    "map": (lambda: TEN.map(None), r"^map: f is None; it must be a function, not what one returned\.$"),
    "random_map": (lambda: TEN.random_map(5), r"^random_map: f is 5"),
    "filter": (lambda: TEN.filter("x"), r"^filter: f is a str"),
    "flat_map": (lambda: TEN.flat_map(TEN), r"^interleave: f is a Pipeline"),
    "generator": (
        lambda: Pipeline.from_generator(generated()),
        r"^from_generator: factory is a generator; .* function",
    ),
    "factory": (
        lambda: list(Pipeline.from_generator(lambda: None)),
        r"^from_generator: factory returned a NoneType",
    ),
    "iterable": (lambda: Pipeline.from_iterable(5), r"^from_iterable: 5 given"),
    "dataset": (lambda: Pipeline.from_dataset(5), r"^from_dataset: a int has no length"),
    "reader": (lambda: Pipeline.from_reader("file"), r"^from_reader: a str given, needed is a Reader"),
    "cache": (lambda: TEN.cache(5), r"^cache: 5 given, needed is the path of a file\.$"),
    "placeholder shape": (
        lambda: Pipeline.placeholder(x=(None, 4)),
        r"^placeholder: x is \(None, 4\); needed are shape",
    ),
    "placeholder side": (lambda: Pipeline.placeholder(x=((None, "a"), torch.float32)), r"^placeholder: x is "),
    "placeholder dtype": (lambda: Pipeline.placeholder(x=((None,), "text?")), r"^placeholder: x is "),
    "planned": (lambda: TEN.planned("x"), r"^planned: a str given, needed is Plans\.$"),
    "augment": (lambda: PAIRS.augment("x"), r"^augment: a str given, needed is an Augmentation, such as"),
    "scale 0": (lambda: PAIRS.augment(scale=0), r"^augment: scale is 0; it must be a positive number\.$"),
    "scale nan": (lambda: PAIRS.augment(scale=float("nan")), r"^augment: scale is nan"),
    "steps": (lambda: PAIRS.batch(2).batches(steps=2.5), r"^batches: steps is 2\.5; it must be a whole number\.$"),
    "start": (lambda: PAIRS.batch(2).batches(start="1"), r"^batches: start is '1'"),
    "prefetch": (lambda: PAIRS.batch(2).batches(prefetch=None), r"^batches: prefetch is None"),
    "threads": (lambda: PAIRS.batch(2).batches(threads=2.5), r"^batches: threads is 2\.5"),
    "rank": (lambda: PAIRS.batch(2).batches(rank=0.5, world=2), r"^batches: rank is 0\.5"),
    "world": (lambda: PAIRS.batch(2).batches(world=2.0), r"^batches: world is 2\.0"),
    "device": (lambda: PAIRS.batch(2).batches(device="abacus"), r"^batches: device 'abacus' cannot be used"),
    "no data": (lambda: PAIRS.batch(2).batches(device="meta"), r"^batches: device 'meta' cannot be used"),
    "far": (lambda: PAIRS.batch(2).batches(device="cuda:99"), r"^batches: device 'cuda:99' cannot be used"),
    "index float": (lambda: Pipeline.from_source(SOURCE, index=[0.5, 1.7]), r"index is float64, needs whole numbers"),
    "index mask": (lambda: Pipeline.from_source(SOURCE, index=np.eye(5, dtype=bool)[0]), r"index is bool.*nonzero\(\)"),
    "table n": (lambda: ExampleTable(2.5, weight=1.0), r"^ExampleTable: n is 2\.5"),
    "table column": (lambda: ExampleTable(2, weight="a"), r'^ExampleTable\(2\): "weight" got a str'),
    "table device": (lambda: ExampleTable(2, device="abacus", weight=1.0), r"^ExampleTable: device 'abacus' cannot"),
    "table state": (lambda: ExampleTable(2, weight=1.0).load_state_dict({"weight": [1, 2]}), r"no state of a table"),
    "plans truth": (lambda: Plans(True), r"^plan: n is True"),
    "plans text": (lambda: Plans(3).publish(order=["a"]), r"^plan: a list is neither order nor probability"),
    "plans state": (lambda: Plans(3).load_state_dict({"sizes": 3}), r"^plan: this is no state of Plans"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, match = REFUSED[name]
    with pytest.raises(TutelageError, match=match) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [lambda x: None, lambda x: "False", lambda x: [0]], ids=["nothing", "text", "list"])
def test_filter_needs_a_truth_value(answer):
    with pytest.raises(TutelageError, match=r"^filter: f returned a \w+, needs one truth value\.$"):
        list(TEN.filter(answer))


def test_numbers_of_numpy_are_numbers():
    assert values(TEN.batch(np.int64(4)).skip(np.int8(1)).take(np.uint8(1))) == [[4, 5, 6, 7]]
    assert values(TEN.shard(np.int64(3), np.int64(1))) == [1, 4, 7]
    assert Plans(np.int64(3), every=np.int32(2)).every == 2


def test_an_array_is_a_column_and_a_value():
    table = ExampleTable(3, weight=np.arange(3.0), seen=[0, 1, 2])
    table.put(torch.tensor([0, 1]), weight=np.array([5.0, 6.0]))
    assert table["weight"].tolist() == [5.0, 6.0, 2.0]
    assert table["seen"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("huge", [sys.maxsize, 10**30])
def test_huge_numbers(huge):
    assert values(TEN.take(huge)) == list(range(10))
    assert values(TEN.skip(huge)) == []
    assert values(TEN.batch(huge)) == [list(range(10))]
    assert sorted(values(TEN.shuffle(huge))) == list(range(10))
    assert values(TEN.map(affine).prefetch(huge).take(2)) == [1, 4]
    assert values(TEN.repeat(huge).batch(4).take(3)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert len(values(TEN.repeat(huge).shuffle(3).take(20))) == 20
    assert len(next(PAIRS.repeat(huge).batch(4).batches(steps=9)).index) == 4


def test_drawing_from_long_branches_is_quick():
    """A million draws: one by one they would take half a minute."""
    long = TEN.repeat(100_000)
    both = Pipeline.sample_from([long, long.map(affine)], [1, 2])
    assert len(both) == 2_000_000
    assert len(values(both.take(5))) == 5
    ids = np.arange(1_000_000) % 2
    assert values(Pipeline.choose_from([long, long], ids).take(4)) == [0, 0, 1, 1]
