"""Iterators: one-shot, by epoch, initialisable, feedable, switched; their places and messages."""

import json

import numpy as np
import pytest
import torch

from tutelage.data import Pipeline
from tutelage.errors import ConfigError, TutelageError

from .chains import affine, always
from .oracle import assert_same, plain

TEN = Pipeline.range(10).shuffle()
FED = Pipeline.placeholder(x=((None, 4, 5), torch.float32))
ARRAY = np.arange(200, dtype=np.float32).reshape(10, 4, 5)


def values(iterator):
    return [plain(v) for v in iterator]


def test_one_shot():
    it = iter(TEN)
    assert iter(it) is it
    assert len(values(it)) == 10
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(it)
    assert values(TEN) == values(TEN) == values(TEN.epoch(0)), "a second iterator gives the same elements"


def test_epochs_are_the_passes_of_repeat():
    passes = values(TEN.repeat(3))
    assert [values(TEN.epoch(e)) for e in range(3)] == [passes[:10], passes[10:20], passes[20:]]
    assert {r.epoch for r in TEN.records(2)} == {2}


def test_two_iterators_do_not_disturb_each_other():
    a, b = iter(TEN.prefetch(2)), iter(TEN)
    turns = [(next(a).item(), next(b).item()) for _ in range(10)]
    assert [x for x, _ in turns] == [y for _, y in turns] == values(TEN)


@pytest.mark.parametrize("pipe", [TEN, TEN.filter(always), TEN.prefetch(2)], ids=["indexed", "stream", "prefetch"])
def test_initialisable(pipe):
    it = pipe.iterator()
    it.initialize()
    assert values(it) == values(TEN.epoch(0))
    with pytest.raises(StopIteration):
        next(it)
    it.initialize()
    assert [next(it).item() for _ in range(3)] == values(TEN.epoch(1))[:3], "None counts earlier calls"
    it.initialize(epoch=7)
    assert values(it) == values(TEN.epoch(7))
    it.initialize()
    assert values(it) == values(TEN.epoch(3))
    it.close()


def test_next_before_initialize():
    with pytest.raises(ConfigError, match=r"^iterator not initialised: call initialize\("):
        next(TEN.iterator())
    with pytest.raises(ConfigError, match=r"^iterator not initialised: call initialize\(x=\.\.\.\)\.$"):
        next(FED.iterator())


def test_unbound_placeholder():
    for run in (iter, lambda pipe: pipe.records(), lambda pipe: pipe.epoch(1)):
        with pytest.raises(ConfigError, match=r"^iterator not initialised: call initialize\(x=\.\.\.\)\.$"):
            next(run(FED.batch(2)))


def test_bind():
    batches = list(FED.batch(2).bind(x=ARRAY))
    assert [tuple(b["x"].shape) for b in batches] == [(2, 4, 5)] * 5
    assert torch.equal(torch.cat([b["x"] for b in batches]), torch.from_numpy(ARRAY))
    assert len(FED.batch(2).bind(x=ARRAY)) == 5
    assert len(list(FED.batch(2).bind(x=torch.from_numpy(ARRAY[:7])))) == 4


def test_initialize_binds():
    it = FED.batch(2).iterator()
    it.initialize(x=ARRAY)
    assert [tuple(b["x"].shape) for b in it] == [(2, 4, 5)] * 5
    it.initialize(x=ARRAY[:4] + 1)
    assert torch.equal(torch.cat([b["x"] for b in it]), torch.from_numpy(ARRAY[:4] + 1))
    rebound = FED.bind(x=ARRAY).shuffle().iterator()
    rebound.initialize(x=ARRAY[:3])
    assert len(list(rebound)) == 3


def test_bind_several():
    fed = Pipeline.placeholder(x=((None, 2), torch.float32), y=((None,), torch.int64))
    pipe = fed.bind(x=torch.zeros(6, 2), y=torch.arange(6)).batch(4)
    assert [b["y"].tolist() for b in pipe] == [[0, 1, 2, 3], [4, 5]]
    with pytest.raises(TutelageError, match=r"6.*5|5.*6"):
        fed.bind(x=torch.zeros(6, 2), y=torch.arange(5))
    with pytest.raises(TutelageError, match="y"):
        fed.bind(x=torch.zeros(6, 2))
    with pytest.raises(TutelageError, match="z"):
        fed.bind(x=torch.zeros(6, 2), y=torch.arange(6), z=torch.arange(6))


@pytest.mark.parametrize(
    ("array", "given"),
    [(ARRAY[:, :, :4], r"\(.*4, 4\)"), (ARRAY.astype(np.int64), "int64"), (ARRAY[0], r"\(4, 5\)|\(5,\)")],
)
def test_bind_checks_structure(array, given):
    with pytest.raises(TutelageError, match=given) as caught:
        FED.bind(x=array)
    assert "float32" in str(caught.value) or "(None, 4, 5)" in str(caught.value)
    with pytest.raises(TutelageError, match=given):
        FED.iterator().initialize(x=array)


def test_state_of_an_initialisable_iterator():
    """It counts the calls of ``initialize``."""
    it = TEN.iterator()
    it.initialize()
    it.initialize()
    head = [next(it).item() for _ in range(4)]
    state = json.loads(json.dumps(it.state_dict()))
    assert state["initialisations"] == 2
    again = TEN.iterator()
    again.load_state_dict(state)
    assert head + values(again) == values(TEN.epoch(1))
    again.initialize()
    assert values(again) == values(TEN.epoch(2))


# ---- switch


def train():
    return Pipeline.range(6).shuffle().repeat()


def valid():
    return Pipeline.range(3).map(affine)


def test_switch_keeps_places():
    it = Pipeline.switch({"train": train(), "valid": valid()})
    expected = values(train().take(5))
    it.use("train")
    assert [next(it).item() for _ in range(3)] == expected[:3]
    it.use("valid")
    assert next(it).item() == 1
    it.use("train")
    assert [next(it).item() for _ in range(2)] == expected[3:]
    it.use("valid")
    assert values(it) == [4, 7]
    it.use("train")
    assert next(it).item() == values(train().take(6))[5]


def test_one_state_for_all_branches():
    it = Pipeline.switch({"train": train(), "valid": valid()})
    it.use("train")
    for _ in range(4):
        next(it)
    it.use("valid")
    next(it)
    state = json.loads(json.dumps(it.state_dict()))
    again = Pipeline.switch({"train": train(), "valid": valid()})
    again.load_state_dict(state)
    assert next(again).item() == 4, "the name in use is in the state"
    again.use("train")
    assert next(again).item() == values(train().take(5))[4]
    it.close()
    again.close()


def test_switch_refuses():
    floats = Pipeline.from_tensor_slices(torch.zeros(3))
    with pytest.raises(TutelageError, match=r"^switch: .*int64 \(\), .*float32 \(\); cast with map first\.$"):
        Pipeline.switch({"train": train(), "valid": floats})
    it = Pipeline.switch({"train": train(), "valid": valid()})
    with pytest.raises(ConfigError, match=r"test.*train"):
        it.use("test")


def test_the_first_branch_is_in_use():
    it = Pipeline.switch({"train": train(), "valid": valid()})
    assert next(it).item() == values(train().take(1))[0]


# ---- closing


@pytest.mark.parametrize("prefetch", [0, 2])
def test_closed(prefetch):
    pipe = Pipeline.range(10).prefetch(prefetch)
    it = iter(pipe)
    next(it)
    it.close()
    it.close()
    with pytest.raises(StopIteration):
        next(it)
    with iter(pipe) as other:
        next(other)
    with pytest.raises(StopIteration):
        next(other)


def test_state_after_the_end():
    it = TEN.records()
    list(it)
    again = TEN.records()
    again.load_state_dict(it.state_dict())
    assert_same(again, [])
