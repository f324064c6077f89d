"""Exact resume: what a state holds, what is refused and with which words, what is accepted."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import IterableDataset

import tutelage
from tutelage.data import Augmentation, Crop, Pipeline
from tutelage.errors import CannotResume

from .chains import INDEXED, affine, always, noisy, not_third, random_chain, with_constants
from .oracle import assert_same, plain, same_item

ROOT = Path(__file__).resolve().parents[3]
ROWS = torch.arange(40).view(20, 2)


def base():
    return Pipeline.from_tensor_slices(ROWS).map(affine).shuffle(6).repeat(3).batch(4)


def state_of(pipe, after=5):
    with pipe.records() as it:
        for _ in range(after):
            next(it)
        return json.loads(json.dumps(it.state_dict()))


def load(pipe, state):
    with pipe.records() as it:
        it.load_state_dict(state)
        return list(it)


# ---- what a state is


def test_contents():
    state = state_of(base().with_seed(9))
    assert state["tutelage"] == tutelage.__version__
    assert re.fullmatch("[0-9a-f]{64}", state["chain"])
    assert state["seed"] == 9
    assert state["step"] == 5
    (source,) = state["sources"]
    assert source["length"] == 20
    assert isinstance(source["kind"], str)
    assert re.fullmatch("[0-9a-f]{64}", source["fingerprint"])
    assert isinstance(state["format"], int)


@pytest.mark.parametrize("after", [0, 1, 5, 15])
def test_size_in_the_indexed_form(after):
    pipe = Pipeline.zip(base().unbatch(), Pipeline.range(10_000).shuffle()).batch(2)
    assert len(json.dumps(state_of(pipe, after))) < 1024


def test_a_state_does_not_change_with_the_iterator():
    with base().records() as it:
        next(it)
        state = it.state_dict()
        before = json.dumps(state)
        next(it)
        assert json.dumps(state) == before


def test_reading_the_state_changes_nothing():
    for pipe in (base(), base().prefetch(2), Pipeline.from_tensor_slices(ROWS).filter(always).shuffle(6).prefetch(2)):
        received = []
        with pipe.records() as it:
            for record in it:
                received.append(record)
                it.state_dict()
        assert_same(received, pipe.records())


# ---- refused


def other_map(value):
    return value * 3 + 2


def same_name(body):
    """A function that calls itself ``changed``, with another body."""

    def one(value):
        return value + 1

    def two(value):
        return value + 2

    chosen = {1: one, 2: two}[body]
    chosen.__qualname__ = chosen.__name__ = "changed"
    return chosen


def source(rows=ROWS):
    return Pipeline.from_tensor_slices(rows)


OTHER_CHAINS = {
    "operator more": (base(), base().skip(1)),
    "operator less": (base(), source().map(affine).shuffle(6).batch(4)),
    "other order": (source().repeat(2).shuffle(6), source().shuffle(6).repeat(2)),
    "shuffle size": (base(), source().map(affine).shuffle(7).repeat(3).batch(4)),
    "reshuffle": (source().shuffle(6), source().shuffle(6, reshuffle=False)),
    "stream name": (source().shuffle(6), source().shuffle(6, name="mine")),
    "repeat count": (base(), source().map(affine).shuffle(6).repeat(4).batch(4)),
    "take": (source().take(10), source().take(11)),
    "skip": (source().skip(1), source().skip(2)),
    "shard": (source().shard(2, 0), source().shard(2, 1)),
    "drop": (source().batch(3), source().batch(3, drop_remainder=True)),
    "padding": (source().padded_batch(3), source().padded_batch(3, values=1)),
    "weights": (
        Pipeline.sample_from([source(), source()], [1, 2]),
        Pipeline.sample_from([source(), source()], [2, 1]),
    ),
    "ids": (
        Pipeline.choose_from([source(), source()], [0, 1] * 5),
        Pipeline.choose_from([source(), source()], [1, 0] * 5),
    ),
    "cycle": (
        source().interleave(_rows := lambda x: source(), 1, version="1"),
        source().interleave(_rows, 2, version="1"),
    ),
    "name of the function": (base(), source().map(other_map).shuffle(6).repeat(3).batch(4)),
    "body of the function": (source().map(same_name(1)), source().map(same_name(2))),
    "version": (source().map(affine, version="1"), source().map(affine, version="2")),
    "augmentation": tuple(
        Pipeline.from_tensor_slices((torch.zeros(9, 1, 4, 4, dtype=torch.uint8), torch.arange(9))).augment(
            Augmentation(Crop(padding))
        )
        for padding in (1, 2)
    ),
}


@pytest.mark.parametrize("name", sorted(OTHER_CHAINS))
def test_other_chains_are_refused(name):
    stored, present = OTHER_CHAINS[name]
    state = state_of(stored)
    assert load(stored, state) is not None
    with pytest.raises(CannotResume, match="fingerprint" if name == "ids" else "chain") as caught:
        load(present, state)
    assert "\n" not in str(caught.value)


def test_other_seed():
    with pytest.raises(CannotResume, match=r"seed.*\b3\b.*\b4\b"):
        load(base().with_seed(4), state_of(base().with_seed(3)))


def test_other_source():
    state = state_of(source().shuffle(6))
    with pytest.raises(CannotResume, match=r"length.*\b20\b.*\b19\b"):
        load(source(ROWS[:19]).shuffle(6), state)
    changed = ROWS.clone()
    changed[7, 1] = -1
    theirs = state["sources"][0]["fingerprint"][:8]
    with pytest.raises(CannotResume, match=f"fingerprint.*{theirs}"):
        load(source(changed).shuffle(6), state)
    with pytest.raises(CannotResume, match="fingerprint"):
        load(source(ROWS.int()).shuffle(6), state)


def test_a_source_that_was_changed_in_place():
    """The fingerprint is of the data at the time, not of an object."""
    rows = ROWS.clone()
    state = state_of(source(rows))
    rows[3, 0] += 1
    with pytest.raises(CannotResume, match="fingerprint"):
        load(source(rows), state)


def pairs(n=64):
    return Pipeline.from_tensor_slices((torch.arange(n), torch.arange(n) % 3)).shuffle()


def test_other_global_batch():
    with pairs().batch(8).batches() as it:
        next(it)
        state = it.state_dict()
    assert state["batch"]["global"] == 8
    with pairs().batch(4).batches() as it, pytest.raises(CannotResume, match=r"batch|chain"):
        it.load_state_dict(state)


@pytest.mark.parametrize(
    ("stored", "words"), [(0, "format.*0"), (999, "format.*999"), ("x", "format"), (None, "format")]
)
def test_unknown_format(stored, words):
    with pytest.raises(CannotResume, match=words):
        load(base(), {**state_of(base()), "format": stored})


def test_missing_field():
    for field in ("format", "chain", "step"):
        state = state_of(base())
        del state[field]
        with pytest.raises(CannotResume, match=field):
            load(base(), state)


@pytest.mark.parametrize("step", [-1, "x", None, 2.5])
def test_damaged_step(step):
    with pytest.raises(CannotResume, match="step"):
        load(base(), {**state_of(base()), "step": step})


def test_no_state():
    with pytest.raises(CannotResume):
        load(base(), [1])


def test_the_pass_is_in_the_state():
    pipe = source().shuffle()
    with pipe.records(2) as it:
        next(it)
        state = it.state_dict()
    assert_same(load(pipe, state), list(pipe.records(2))[1:])


def test_lambda_without_version():
    pipe = source().map(lambda x: x + 1)
    with pytest.raises(CannotResume, match=r"version="):
        load(pipe, state_of(pipe))
    named = source().map(lambda x: x + 1, version="plus one")
    assert len(load(named, state_of(named))) == 15


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(30))


def numbers():
    return iter(torch.arange(30))


@pytest.mark.parametrize(
    "make",
    [lambda **o: Pipeline.from_generator(numbers, **o), lambda **o: Pipeline.from_iterable(Stream(), **o)],
    ids=["generator", "iterable"],
)
def test_generators(make):
    once = make().shuffle(4).batch(2)
    with pytest.raises(CannotResume, match="restartable"):
        load(once, state_of(once))
    again = make(restartable=True).shuffle(4).batch(2)
    assert_same(load(again, state_of(again)), list(again.records())[5:])
    assert [r.index for r in make().records()] == list(range(30)), "without a length the index counts up from 0"


# ---- accepted


def adding(k):
    def add(value):
        return value + k

    return add


ACCEPTED = {
    "prefetch": (base(), base().prefetch(3)),
    "no prefetch": (base().prefetch(3), base()),
    "closure": (source().map(adding(1)).shuffle(), source().map(adding(2)).shuffle()),
}


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_accepted(name):
    stored, present = ACCEPTED[name]
    assert_same(load(present, state_of(stored)), list(present.records())[5:])


def test_other_prefetch_of_batches():
    pipe = pairs().batch(8)
    whole = list(pipe.batches())
    with pipe.batches(prefetch=4) as it:
        for _ in range(3):
            next(it)
        state = it.state_dict()
    with pipe.batches(prefetch=0) as it:
        it.load_state_dict(state)
        assert [b.index.tolist() for b in it] == [b.index.tolist() for b in whole[3:]]


def test_functions_of_every_operator_count():
    """random_map, filter, interleave: a function of another name is another chain."""
    for stored, present in (
        (source().random_map(noisy), source().random_map(noisier)),
        (source().filter(not_third), source().filter(always)),
        (source().filter(always, materialise=True), source().filter(not_third, materialise=True)),
        (source().flat_map(once), source().flat_map(twice)),
    ):
        with pytest.raises(CannotResume, match="chain"):
            load(present, state_of(stored))


def noisier(value, generator):
    return value + int(generator.integers(0, 7))


def once(value):
    return Pipeline.range(2)


def twice(value):
    return Pipeline.range(2).repeat(2)


# ---- the acceptance rows


def resumes(chain, cut):
    """Whether the pipeline that stopped after ``cut`` items goes on as the whole one does."""
    whole = list(chain.pipeline().records())
    cut = min(cut, len(whole))
    with chain.pipeline().records() as it:
        head = [next(it) for _ in range(cut)]
        state = json.loads(json.dumps(it.state_dict()))
    made = head + load(chain.pipeline(), state)
    return len(made) == len(whole) and all(map(same_item, made, whole))


@pytest.mark.slow
def test_2000_random_indexed_chains():
    r = random.Random(0)
    wrong = [chain for chain in (random_chain(r, INDEXED) for _ in range(2000)) if not resumes(chain, r.randint(0, 80))]
    assert wrong == []


PROGRAM = """
import hashlib, json, random, sys
from tests.data.pipeline.chains import random_chain, with_constants
from tests.data.pipeline.oracle import plain
seed, stream = int(sys.argv[1]), sys.argv[2] == "1"
chain = random_chain(random.Random(seed), tuple(sys.argv[3].split()))
with chain.pipeline(stream).map(with_constants).records() as it:
    it.load_state_dict(json.loads(sys.argv[4]))
    rest = [(plain(r.value), plain(r.index), plain(r.epoch)) for r in it]
print(json.dumps(rest))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "stream"), [(4, False), (2, False), (11, True), (12, True)])
def test_new_process(seed, stream):
    """Hashes of Python objects differ between processes; a state must not hold any."""
    names = ("map", "shuffle", "repeat", "batch", "random_map", "concatenate")
    chain = random_chain(random.Random(seed), names)
    pipe = chain.pipeline(stream).map(with_constants)
    whole = list(pipe.records())
    cut = len(whole) // 2
    assert cut > 0
    state = state_of(pipe, cut)
    command = [sys.executable, "-c", PROGRAM, str(seed), str(int(stream)), " ".join(names), json.dumps(state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = json.dumps([(plain(r.value), plain(r.index), plain(r.epoch)) for r in whole[cut:]])
    assert json.loads(done.stdout) == json.loads(expected)
