"""What tells one pipeline from another: arguments, functions, the key of a cache file; and damaged states."""

import copy
import json
import re
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.data import Augmentation, Crop, Flip, Pipeline
from tutelage.data.pipeline.identity import described
from tutelage.errors import CannotResume, DataError

from .chains import always
from .oracle import plain

TEN = Pipeline.range(10)
ROWS = Pipeline.from_tensor_slices((torch.zeros(6, 2), torch.arange(6)))


def second(first, value):
    return value


def moved(a, b):
    state = json.loads(json.dumps(iter(a).state_dict()))
    iter(b).load_state_dict(state)


@pytest.mark.parametrize(
    ("a", "b"),
    [(1, 2), (1, "1"), (b"a", b"b"), ({1}, {2}), (1j, 2j), (slice(1), slice(2)), (None, "None"), (1.0, np.float32(2))],
    ids=str,
)
def test_bound_arguments_are_told_apart(a, b):
    moved(TEN.map(partial(second, a)), TEN.map(partial(second, a)))
    with pytest.raises(CannotResume, match="chain was"):
        moved(TEN.map(partial(second, a)), TEN.map(partial(second, b)))


def test_numbers_of_numpy():
    moved(TEN.batch(np.int64(4)), TEN.batch(4))
    with pytest.raises(CannotResume, match="chain was"):
        moved(TEN.batch(np.int64(4)), TEN.batch(np.int64(5)))
    with pytest.raises(CannotResume, match="chain was"):
        moved(TEN.padded_batch(2, values=np.float32(1)), TEN.padded_batch(2, values=np.float32(2)))


def test_functions_of_built_in_classes():
    moved(ROWS.map(itemgetter(1)), ROWS.map(itemgetter(1)))
    with pytest.raises(CannotResume, match="chain was"):
        moved(ROWS.map(itemgetter(0)), ROWS.map(itemgetter(1)))


def test_a_seed_of_numpy_is_plain_data():
    state = json.loads(json.dumps(iter(Pipeline.range(4, seed=np.int64(3)).shuffle()).state_dict()))
    iter(Pipeline.range(4, seed=3).shuffle()).load_state_dict(state)


def test_ranks_of_numpy_are_plain_data():
    json.dumps(ROWS.batch(np.int64(2)).batches(rank=np.int64(1), world=np.int64(2), steps=np.int64(2)).state_dict())


def test_a_lambda_as_factory():
    """It has no version to pass."""
    pipe = Pipeline.from_generator(lambda: [1], restartable=True)
    with pytest.raises(CannotResume, match=r"^from_generator: a lambda .*; give a named function\.$"):
        iter(pipe).state_dict()


# ---- with what functions and objects hold


def adding(k):
    def add(value):
        return value + k

    return add


def with_default(k):
    def add(value, k=k):
        return value + k

    return add


def with_keyword(k):
    def add(value, *, k=k):
        return value + k

    return add


class Adder:
    """Is called."""

    def __init__(self, k):
        self.k = k

    def __call__(self, value):
        return value + self.k

    def add(self, value):
        return value + self.k


@dataclass(frozen=True)
class Adds:
    """Is called, too."""

    k: float

    def __call__(self, value):
        return value + self.k


class AddsTwice(nn.Module):
    """As transforms of torchvision are."""

    def __init__(self, k):
        super().__init__()
        self.inner = nn.Identity()
        self.k = k

    def forward(self, value):
        return value + 2 * self.k


def looped(k):
    """A function that closes over itself."""

    def add(value):
        return value + k if value else add(value + 1)

    return add


HOLDING = {
    "closure": adding,
    "default": with_default,
    "keyword": with_keyword,
    "object": Adder,
    "data class": Adds,
    "module": AddsTwice,
    "method": lambda k: Adder(k).add,
    "partial": lambda k: partial(second, adding(k)),
    "closure of a closure": lambda k: adding(adding(k)),
    "closure over itself": looped,
}


@pytest.mark.parametrize("name", HOLDING)
@pytest.mark.parametrize(
    ("a", "b"), [(1, 2), ([1, {2: 3}], [1, {2: 4}]), (torch.ones(2), torch.tensor([1, 1.5]))], ids=["n", "nest", "x"]
)
def test_contents_are_told_if_asked_for(name, a, b):
    one, again, other = (TEN.map(HOLDING[name](value)).node for value in (a, copy.deepcopy(a), b))
    assert described(one, contents=True) == described(again, contents=True) != described(other, contents=True)
    json.dumps(described(one, contents=True))
    if name not in ("data class", "partial"):  # whose fields and arguments every state tells
        assert described(one) == described(again) == described(other)  # a state accepts it


def test_contents_of_an_augmentation_are_its_arguments_and_code():
    def parts(*looks):
        return described(ROWS.augment(Augmentation(*looks)).node, contents=True)

    assert parts(Crop(1), Flip()) == parts(Crop(1), Flip()) != parts(Crop(2), Flip())
    crop = parts(Crop(1))[1]["augmentation"][1]["transforms"][0]
    assert crop[0].endswith("Crop")
    assert re.fullmatch("[0-9a-f]{64}", crop[1]["code"])
    versioned = described(TEN.map(adding(1), version="1").node, contents=True)
    assert versioned == described(TEN.map(adding(2), version="1").node, contents=True)  # the user's word


# ---- damaged states


@pytest.mark.parametrize("state", [None, [], "x", 3, {}])
def test_what_is_no_state(state):
    for iterator in (
        iter(TEN),
        ROWS.batch(2).batches(),
        Pipeline.switch({"a": TEN}),
        TEN.iterator(),
    ):
        with pytest.raises(CannotResume, match=r"^cannot resume: "):
            iterator.load_state_dict(state)


@pytest.mark.parametrize("stream", [None, 3, [], "x", {}, [1, 2, 3]])
def test_a_damaged_stream(stream):
    pipe = TEN.filter(always).shuffle(4)
    with pytest.raises(CannotResume, match=r"^cannot resume: stream is damaged"):
        iter(pipe).load_state_dict(iter(pipe).state_dict() | {"stream": stream})


@pytest.mark.parametrize("name", [None, "c"])
def test_a_switch_without_its_branch(name):
    def switch():
        return Pipeline.switch({"a": TEN, "b": TEN})

    with pytest.raises(CannotResume, match=r"^cannot resume: .* name of a branch"):
        switch().load_state_dict(switch().state_dict() | {"name": name})


# ---- cache


def elements(pipe):
    return [plain(e) for e in pipe]


def test_a_cache_in_memory_needs_no_name():
    assert elements(TEN.map(lambda x: x + 1).cache().repeat(2)) == 2 * list(range(1, 11))


def test_a_cache_file_belongs_to_its_data(tmp_path):
    def cached(shift, seed=0, path="data"):
        return Pipeline.from_tensor_slices(torch.arange(4) + shift, seed=seed).cache(tmp_path / path)

    assert elements(cached(0)) == elements(cached(0)) == [0, 1, 2, 3]
    assert elements(cached(0, seed=1)) == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"was made by another pipeline or from other data"):
        elements(cached(5))


def test_a_cache_file_belongs_to_its_seed(tmp_path):
    def cached(seed):
        return Pipeline.range(20, seed=seed).shuffle().cache(tmp_path / "order")

    assert elements(cached(0)) == elements(cached(0))
    with pytest.raises(DataError, match=r"was made by another pipeline or from other data"):
        elements(cached(1))
