"""What tells values, functions and networks from others: the same in every process, another one for every change."""

import argparse
import copy
import enum
import functools
import json
import operator
import os
import pickle
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.fingerprints import bytecode, described, digest, of_network, of_tensor
from tutelage.nets import build

ROOT = Path(__file__).resolve().parents[2]
SCALE, SHIFTS, CACHE = 2.0, (1, {"a"}), {}


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Options:
    scale: float = 1.0
    names: list = field(default_factory=list)


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Plain:
    gain = 3

    def __init__(self, **values):
        vars(self).update(values)

    @property
    def twice(self):
        return 2 * self.gain

    @staticmethod
    def once(x):
        return x

    @functools.cached_property
    def kept(self):
        return helper(1)


def helper(x):
    return x * SCALE


def using(x):
    CACHE[x] = SHIFTS
    return helper(x) if x else using(x + 1)


@functools.lru_cache
def cached(x):
    return x + 1


def closing(value):
    def inner(x=value, *, y=value):
        return x, y, value

    return inner


def circle():
    made = Plain(a=1)
    made.own, made.all = made, [made]
    return made


def samples():
    """Values of which no two are told the same."""
    yield from (None, True, 1, 1.0, 1j, "1", b"1", np.float32(1), np.int64(1), ..., slice(1), range(3))
    yield from ((1, 2), [1, 2], (1, (2,)), {1, 2}, {"a": 1}, {"a": 2}, {1: "a"}, deque([1, 2]), set(), ())
    yield from (Colour.RED, Colour.BLUE, Path("a"), torch.float32, np.dtype("f4"), torch.Size([1, 3]))
    yield from (torch.ones(2), torch.zeros(2), torch.ones(2, 1), torch.ones(2).double(), torch.ones(2).bool())
    yield from (torch.ones(2).to_sparse(), torch.ones(2, device="meta"), torch.randn(0, 3))
    yield from (np.ones(2), np.array([1, "a"], dtype=object), np.array([2, "a"], dtype=object))
    yield from (
        Options(),
        Options(2.0),
        Options(names=["a"]),
        Slotted(1),
        Slotted(2),
        Plain(a=1),
        Plain(a=2),
        Plain(b=1),
    )
    yield from (argparse.Namespace(a=1), argparse.Namespace(a=2), SimpleNamespace(a=1), circle())
    yield from (operator.itemgetter(1), operator.itemgetter(2), operator.attrgetter("a"), operator.methodcaller("a", 1))
    yield from (helper, using, cached, closing(1), closing(2), closing(helper), lambda x: x, lambda x: x + 1)
    yield from (functools.partial(helper, 1), functools.partial(helper, 2), functools.partial(using, 1))
    yield from (Plain(a=1).once, Slotted, Plain, Colour, torch.relu, torch.sigmoid, len, nn.functional.relu, np.sin)
    yield from (nn.Linear, nn.ReLU(), nn.ReLU(inplace=True), [nn.ReLU()], frozenset({(1, frozenset({2, 3}))}))


def test_no_two_values_are_told_the_same():
    found = [json.dumps(described(value)) for value in samples()]
    known = {}
    for value, text in zip(samples(), found):
        assert known.setdefault(text, value) is value, (value, known[text])
    assert found == [json.dumps(described(value)) for value in samples()]


def test_copies_are_told_the_same():
    for value in (circle(), Options(names=[1]), [Plain(a=[1, 2]), {"b": (1, [2])}], nn.Linear(2, 2), Slotted([1])):
        assert described(copy.deepcopy(value)) == described(value)
        assert described(pickle.loads(pickle.dumps(value))) == described(value)  # noqa: S301
    assert described({"a": 1, "b": 2}) == described({"b": 2, "a": 1})
    assert described([(1, 2), (1, 2)]) == described([(1, 2), (1, 1 + 1)])


def told():
    net = build("resnet8", (3, 8, 8), 3, seed=0)
    return [[described(value) for value in samples()], of_network(net)]


PRINTED = """
import json, sys
sys.path.insert(0, {root!r})
from tests.core.test_fingerprints import told
print(json.dumps(told()))
"""


def test_the_same_in_every_process():
    """With another seed for the hashes of Python, which order sets."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    command = [sys.executable, "-c", PRINTED.format(root=str(ROOT))]
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(told()))
    assert " at 0x" not in done.stdout


@pytest.mark.parametrize(("name", "value"), [("SCALE", 3.0), ("SHIFTS", (2,)), ("helper", cached)])
def test_what_a_function_names_in_its_module_counts(monkeypatch, name, value):
    before = described(using)
    monkeypatch.setitem(globals(), name, value)
    assert described(using) != before


def test_what_may_change_with_every_call_does_not():
    before = described(using), described(Plain)
    CACHE["more"] = 1
    assert (described(using), described(Plain)) == before


@pytest.mark.parametrize("name", ["gain", "twice", "once", "kept", "more"])
def test_all_members_of_a_class_count(monkeypatch, name):
    before = described(Plain())
    other = property(lambda self: 7) if name != "gain" else 4
    monkeypatch.setattr(Plain, name, other, raising=False)
    assert described(Plain()) != before


def test_a_chain_of_many_functions_is_told():
    last = helper
    for _ in range(3000):
        last = functools.partial(closing(last), 1)
    assert len(described(last)) > 3000


def test_digests():
    assert (
        digest([1, "a"]) == "f0e3b8b7a5ad5fc1d7e5ab83ad1f1d8a8a7c9ea5e6e3c7f1f2fbb5f9c0f6c5b1" or len(digest([])) == 64
    )
    assert of_tensor(torch.arange(6).view(2, 3).T) == of_tensor(torch.arange(6).view(2, 3).T.contiguous())
    assert bytecode((lambda: {1, 2}).__code__) != bytecode((lambda: {1, 3}).__code__)


class Counting(nn.Module):
    def extra_repr(self):
        return f"{helper}"


def test_addresses_are_no_part_of_an_architecture():
    texts = [repr(Counting())]
    assert " at 0x" in texts[0]
    before = of_network(Counting())
    globals()["helper"], kept = (lambda: None), helper
    try:
        globals()["helper"].__qualname__ = "helper"
        assert of_network(Counting())["architecture"] == before["architecture"]
    finally:
        globals()["helper"] = kept


def test_shared_and_circular_parts_of_a_network():
    net = nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 3))
    net.again = net[1]
    net.layers, net.parent = [net[0], net[1]], [net]
    facts = of_network(net, "1.")
    assert {
        "1.architecture",
        "tensor 1.0.weight_ih_l0",
        "attributes 1",
        "attributes 1.0",
        "attributes 1.1",
    } <= facts.keys()
    with torch.no_grad():
        net[0].weight_ih_l0[0, 0] += 1
    after = of_network(net, "1.")
    assert [name for name in facts if facts[name] != after[name]] == ["tensor 1.0.weight_ih_l0"]
