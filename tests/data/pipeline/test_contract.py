"""What every pipeline keeps to: global state, threads, pickling, prefetching, fresh weights."""

import gc
import json
import pickle
import random
import threading
import time

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from tutelage.data import Augmentation, Crop, Cutout, ExampleTable, Flip, Mixup, Pipeline
from tutelage.data.reader import Reader

from .chains import affine, always, noisy, random_chain
from .oracle import assert_same

PIXELS = (torch.arange(40 * 48) % 251).to(torch.uint8).view(40, 3, 4, 4)
PAIRS = Pipeline.from_tensor_slices((PIXELS, torch.arange(40) % 4))
AUGMENTATION = Augmentation(Crop(1), Flip(), Cutout(2), Mixup(4))


def global_states():
    numpy_state = np.random.get_state()  # noqa: NPY002
    return (torch.get_rng_state().numpy().tobytes(), pickle.dumps(numpy_state), pickle.dumps(random.getstate()))


def test_global_random_states_stay():
    before = global_states()
    pipe = PAIRS.shuffle(7).random_map(_noisy_labels).repeat(2).batch(8).augment(AUGMENTATION)
    len(pipe)
    list(pipe)
    list(pipe.prefetch(2).records())
    with pipe.batches(steps=5) as it:
        next(it)
        state = it.state_dict()
    with pipe.batches(steps=5, prefetch=2) as it:
        it.load_state_dict(state)
        list(it)
    list(iter(Pipeline.sample_from([Pipeline.range(5), Pipeline.range(5).filter(always).shuffle(2)], [1, 1])))
    assert global_states() == before


def _noisy_labels(pair, generator):
    return pair[0], noisy(pair[1], generator) % 4


# ---- threads


@pytest.fixture
def no_thread_left():
    before = set(threading.enumerate())
    yield
    gc.collect()
    until(lambda: set(threading.enumerate()) <= before)
    assert [t.name for t in threading.enumerate() if t not in before] == []


def until(holds, seconds=60.0):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)


RUNS = {
    "indexed": lambda: iter(Pipeline.range(50).shuffle().prefetch(3)),
    "stream": lambda: iter(Pipeline.range(50).filter(always).shuffle(5).prefetch(3)),
    "in the middle": lambda: iter(Pipeline.range(50).prefetch(3).map(affine).batch(2)),
    "two": lambda: iter(Pipeline.range(50).prefetch(3).map(affine).prefetch(2)),
    "zip": lambda: iter(Pipeline.zip(Pipeline.range(50).prefetch(2), Pipeline.range(9).repeat().prefetch(2))),
    "records": lambda: Pipeline.range(50).prefetch(3).records(),
    "batches": lambda: PAIRS.repeat().batch(8).prefetch(2).batches(steps=50, prefetch=3),
    "switch": lambda: _used(Pipeline.switch({"a": Pipeline.range(50).prefetch(2)})),
    "initialised": lambda: _initialised(Pipeline.range(50).prefetch(2).iterator()),
}


def _used(it):
    it.use("a")
    return it


def _initialised(it):
    it.initialize()
    return it


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("name", sorted(RUNS))
class TestThreads:
    def test_end_with_close(self, name):
        it = RUNS[name]()
        for _ in range(3):
            next(it)
        it.close()

    def test_end_with_the_stream(self, name):
        it = RUNS[name]()
        list(it)
        del it

    def test_end_when_dropped(self, name):
        it = RUNS[name]()
        next(it)
        del it

    def test_end_when_never_begun(self, name):
        RUNS[name]()

    def test_end_with_an_exception_of_the_consumer(self, name):
        with pytest.raises(KeyError):
            broken_off(RUNS[name]())


def broken_off(it):
    with it:
        next(it)
        raise KeyError


def breaks(x):
    if (x == 5).any():
        raise ValueError("five")
    return x


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
def test_no_thread_survives_an_exception(stream):
    source = Pipeline.range(20).filter(always) if stream else Pipeline.range(20)
    it = iter(source.map(breaks).prefetch(3))
    with pytest.raises(Exception, match="five"):
        list(it)
    with pytest.raises(StopIteration):
        next(it)


@pytest.mark.usefixtures("no_thread_left")
def test_initialize_ends_the_thread_of_before():
    it = Pipeline.range(50).prefetch(3).iterator()
    for _ in range(5):
        it.initialize()
        next(it)
    before = threading.active_count()
    it.initialize()
    next(it)
    assert threading.active_count() <= before
    it.close()


def test_elements_without_prefetch_are_made_by_the_consumer():
    made = []

    def where(x):
        made.append(threading.get_ident())
        return x

    list(Pipeline.range(5).map(where).prefetch(0))
    assert set(made) == {threading.get_ident()}


# ---- prefetching, counted


class Counted:
    """A map that counts what it finished."""

    def __init__(self):
        self.finished = 0
        self.lock = threading.Lock()

    def __call__(self, x):
        with self.lock:
            self.finished += 1
        return x


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
def test_prefetch_makes_so_many_ahead(depth, stream):
    counted = Counted()
    source = Pipeline.range(60).filter(always) if stream else Pipeline.range(60)
    it = iter(source.map(counted).prefetch(depth))
    time.sleep(0.05)
    assert counted.finished == 0, "it starts at the first next"
    for received in range(1, 20):
        assert next(it).item() == received - 1
        until(lambda: counted.finished >= received + depth)  # noqa: B023
        assert counted.finished == received + depth
    time.sleep(0.1)
    assert counted.finished == 19 + depth
    it.close()


def test_prefetch_counts_elements_of_its_point():
    """Two batches of 5, not two rows; and what is behind it is not made ahead."""
    rows, batches = Counted(), Counted()
    it = iter(Pipeline.range(100).map(rows).batch(5).prefetch(2).map(batches))
    next(it)
    until(lambda: rows.finished >= 15)
    time.sleep(0.1)
    assert (rows.finished, batches.finished) == (15, 1)
    it.close()


def test_prefetch_overlaps():
    """The next element is made while the consumer holds this one."""
    made = [threading.Event() for _ in range(10)]

    def mark(x):
        made[int(x)].set()
        return x

    it = iter(Pipeline.range(10).map(mark).prefetch(1))
    for k in range(9):
        next(it)
        assert made[k + 1].wait(60)
    it.close()


@pytest.mark.parametrize("depth", [1, 4])
def test_an_error_surfaces_at_its_element(depth):
    it = iter(Pipeline.range(20).map(breaks).prefetch(depth))
    assert [next(it).item() for _ in range(5)] == list(range(5))
    with pytest.raises(Exception, match="five"):
        next(it)


# ---- pickling


class Squares(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return torch.tensor(i * i), i % 3


class Toy(Reader):
    kind = "toy"

    def __len__(self):
        return 8

    def read(self, index):
        return [(np.asarray(i * 2), f"text {i}") for i in index]

    def fingerprint(self):
        return "0" * 64


SOURCES = {
    "range": Pipeline.range(12),
    "map data set": Pipeline.from_dataset(Squares()),
    "materialised": Pipeline.from_dataset(Squares(), materialise=True),
    "reader": Pipeline.from_reader(Toy()),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_sources(name):
    pipe = SOURCES[name]
    records = list(pipe.shuffle(5).records())
    assert sorted(r.index for r in records) == list(range(len(pipe)))
    for r in records:
        if name == "reader":
            assert r.value == (2 * r.index, f"text {r.index}")
        elif name == "range":
            assert r.value == r.index
        else:
            assert (int(r.value[0]), int(r.value[1])) == (r.index**2, r.index % 3)
    resumed = pickle.loads(pickle.dumps(pipe)).shuffle(5).records()  # noqa: S301
    with pipe.shuffle(5).records() as it:
        next(it)
        resumed.load_state_dict(json.loads(json.dumps(it.state_dict())))
    if name == "reader":
        assert [r.value for r in resumed] == [r.value for r in records[1:]]
    else:
        assert_same(resumed, records[1:])


@pytest.mark.parametrize("seed", range(20))
def test_pipelines_pickle(seed):
    chain = random_chain(random.Random(seed))
    pipe = chain.pipeline()
    assert_same(pickle.loads(pickle.dumps(pipe)).records(), pipe.records())  # noqa: S301
    list(pipe)
    assert_same(pickle.loads(pickle.dumps(pipe)).records(1), pipe.records(1))  # noqa: S301


def test_augmented_pipelines_pickle():
    pipe = PAIRS.shuffle().batch(8).augment(AUGMENTATION)
    again = pickle.loads(pickle.dumps(pipe))  # noqa: S301
    assert all(torch.equal(a.x, b.x) for a, b in zip(pipe.batches(), again.batches(), strict=True))


# ---- stale weights


def test_weights_are_fresh_behind_a_prefetch():
    """A weight read in a map is as old as the prefetch is deep; one read by ``batch.index`` never is."""
    table = ExampleTable(200, weight=0.0)
    pipe = Pipeline.from_tensor_slices((torch.arange(200), torch.arange(200))).shuffle()

    made = []

    def read_early(pair):
        made.append(pair)
        return torch.stack((pair[0], table.get(pair[0][None], "weight")[0].long())), pair[1]

    stale = {"map": 0, "table": 0}
    for step, batch in enumerate(pipe.map(read_early).batch(1).batches(prefetch=64)):
        if step == 0:
            until(lambda: len(made) >= 60)  # the thread runs ahead
        stale["map"] += int(batch.x[0, 1] != step)
        stale["table"] += int(table.get(batch.index, "weight") != step)
        table.put(torch.arange(200), weight=float(step + 1))
    assert stale["table"] == 0
    assert stale["map"] >= 50
