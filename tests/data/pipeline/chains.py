"""Random chains of operators, as data: the same chain builds a pipeline, its stream form and the oracle."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tutelage.data import Pipeline

from .oracle import Node, leaves, tree

# Functions are of the module, not lambdas: only such chains resume and pickle.


def affine(value):
    return tree(lambda leaf: leaf * 3 + 1, value)


def noisy(value, generator):
    return tree(lambda leaf: leaf + int(generator.integers(0, 1000)), value)


def with_constants(value):
    """Its constants hold a set of texts, whose order is another one in another process."""
    return tree(lambda leaf: leaf + (str(leaf.dtype) in {"torch.int64", "torch.int32", "torch.uint8"}), value)


def always(value):
    return True


def not_third(value):
    return int(leaves(value)[0].sum()) % 3 != 0


def sub_pipeline(value):
    return Pipeline.range(4).shuffle(2).take(int(value) % 5)


def sub_stream(value):
    return Pipeline.range(4).filter(always).shuffle(2).take(int(value) % 5)


def sub_oracle(value):
    return Node.range(4).shuffle(2).take(int(value) % 5)


def sub_oracle_stream(value):
    return Node.range(4).filter(always).shuffle(2).take(int(value) % 5)


SUBS = {(True, False): sub_pipeline, (True, True): sub_stream, (False, False): sub_oracle}
SUBS[False, True] = sub_oracle_stream

SOURCES = {
    "range": lambda n: None,
    "table": lambda n: torch.arange(3 * n).view(n, 3),
    "pair": lambda n: (torch.arange(2 * n).view(n, 2), torch.arange(n) % 5),
    "named": lambda n: {"x": torch.arange(2 * n, dtype=torch.float32).view(n, 2), "y": torch.arange(n) + 100},
}


def source(make, kind, n, rename=0):
    """The source of a chain; ``rename`` adds to its numbers, so that other branches have other values."""
    if kind == "range" and not rename:
        return make.range(n)
    nest = torch.arange(n) if kind == "range" else SOURCES[kind](n)
    return make.from_tensor_slices(tree(lambda leaf: leaf + rename, nest))


@dataclass(frozen=True)
class Chain:
    """A source and operators, each (name, arguments); the first argument of merging ones is another chain."""

    kind: str
    n: int
    ops: tuple[tuple[Any, ...], ...]
    rename: int = 0
    measured: bool = True  # the length is known

    def __repr__(self):
        return f"{self.kind}({self.n})" + "".join(f".{name}({', '.join(map(repr, rest))})" for name, *rest in self.ops)

    def build(self, make, stream=False):
        """Build for ``make`` = Pipeline or Node; ``stream``: with a length that is not known."""
        node = source(make, self.kind, self.n, self.rename)
        if stream:
            node = node.filter(always)
        for name, *rest in self.ops:
            node = self._apply(make, node, name, rest, stream)
        return node

    def _apply(self, make, node, name, rest, stream):
        if name in ("zip", "concatenate", "sample_from", "choose_from"):
            other, *rest = rest
            pair = [node, other.build(make, stream)]
            if name == "zip":
                return make.zip(*pair)
            return pair[0].concatenate(pair[1]) if name == "concatenate" else getattr(make, name)(pair, *rest)
        if name in ("interleave", "flat_map"):
            return getattr(node, name)(SUBS[make is not Node, stream], *rest)
        if name == "shuffle":
            return node.shuffle(rest[0], reshuffle=rest[1])
        if name == "batch":
            return node.batch(rest[0], drop_remainder=rest[1])
        if name == "unbatch" and make is Node and rest:
            return node.unbatch(rows=rest[0])
        return getattr(node, name)(*(() if name == "unbatch" else rest))

    def pipeline(self, stream=False, seed=0):
        return self.build(Pipeline, stream).with_seed(seed)

    def oracle(self, stream=False):
        return self.build(Node, stream)

    def rows(self):
        """The rows that an index of this chain names; for chains that change no value."""
        own = [i.value for i in source(Node, self.kind, self.n, self.rename).records()]
        for name, *rest in self.ops:
            if name in ("concatenate", "sample_from", "choose_from"):
                own += rest[0].rows()
        return own


VALUES_STAY = ("shuffle", "shuffle_all", "repeat", "take", "skip", "shard", "cache", "prefetch", "batch", "unbatch")
BRANCHES = ("concatenate", "sample_from", "choose_from")
INDEXED = (
    *VALUES_STAY,
    *BRANCHES,
    *("padded_batch", "map", "random_map", "enumerate", "zip", "interleave", "flat_map"),
)
STREAMED = (*(name for name in INDEXED if name != "shuffle_all"), "filter")


class Writer:
    """Writes a chain that is allowed, from a ``random.Random``."""

    def __init__(self, r: random.Random, names, depth=0):
        self.r, self.names, self.depth = r, names, depth
        self.kind = r.choice(sorted(SOURCES))
        self.n = r.randint(1, 12 if depth else 60)
        self.plain = True  # elements are of the source's structure and dtype
        self.rows = True  # elements are rows of the source, not batches
        self.original = True  # values are the source's
        self.ordered = True  # batches come as they were made
        self.endless = False
        self.in_order = True  # elements come in order and once: what interleave's inputs have to
        self.repeats = 0
        self.just_batched = False
        self.measured = True
        self.sized = True  # the number of rows of all sources is known: what other branches add to their indices

    def chain(self, most=5, like=None):
        """``like``: another writer, whose structure is needed."""
        if like is not None:
            self.kind = like.kind
        ops = []
        for _ in range(self.r.randint(0 if self.depth else 1, most)):
            allowed = [name for name in self.names if self.allows(name)]
            name = self.r.choice(allowed)
            ops.append((name.removesuffix("_all"), *getattr(self, name)()))
            if name != "prefetch":
                self.just_batched = name == "batch"
        if self.endless and not self.depth:
            ops.append(("take", self.r.randint(0, 100)))
        return Chain(self.kind, self.n, tuple(ops), 1000 * self.depth, self.measured)

    def allows(self, name):
        r = self
        alone = r.depth == 0
        return {
            "shuffle": r.measured,
            "shuffle_all": r.measured and not r.endless,
            "repeat": r.repeats < 2 and not r.endless,
            "cache": not r.endless,
            "batch": r.rows,
            "padded_batch": r.rows,
            "unbatch": (not r.rows and r.ordered and r.plain) or (r.kind == "table" and r.rows and r.plain),
            "random_map": r.rows,
            "filter": not r.endless and r.rows,
            "enumerate": alone,
            "map": alone,
            "zip": alone,
            "concatenate": r.plain and r.rows and r.sized and not r.endless,
            "sample_from": r.plain and r.rows and r.sized,
            "choose_from": r.plain and r.rows and r.sized,
            "interleave": r.kind == "range" and r.plain and r.rows and r.in_order and r.original,
            "flat_map": r.kind == "range" and r.plain and r.rows and r.in_order and r.original,
        }.get(name, True)

    def other(self, **options):
        stay = tuple(name for name in self.names if name in VALUES_STAY and "batch" not in name)
        return Writer(self.r, stay, self.depth + 1).chain(2, **options)

    def shuffle(self):
        self.ordered = self.in_order = False
        return self.r.randint(1, 70), self.r.random() < 0.8

    def shuffle_all(self):
        self.ordered = self.in_order = False
        return "all", self.r.random() < 0.8

    def repeat(self):
        self.repeats += 1
        self.in_order = False
        n = self.r.choice([0, 1, 2, 3] if self.repeats > 1 else [0, 1, 2, 3, None])
        self.endless = n is None
        return (n,)

    def take(self):
        n = self.r.randint(-1, 80)
        self.endless = self.endless and n == -1
        return (n,)

    def skip(self):
        return (self.r.randint(0 if self.endless else -1, 30),)

    def shard(self):
        self.ordered = False
        n = self.r.randint(1, 4)
        return n, self.r.randrange(n)

    def cache(self):
        return ()

    def prefetch(self):
        return (self.r.choice([0, 1, 4]),)

    def batch(self):
        self.rows, self.ordered, self.in_order = False, True, False
        return self.r.randint(1, 9), self.r.random() < 0.4

    def padded_batch(self):
        return self.batch()[:1]

    def unbatch(self):
        self.measured = self.measured and (self.original if self.rows else self.just_batched)
        if not self.rows:
            self.rows = True
            return ()
        self.plain = False
        return (3,)

    def map(self):
        self.original = False
        return (affine,)

    def random_map(self):
        self.original = False
        return (noisy,)

    def filter(self):
        return (not_third,)

    def enumerate(self):
        self.plain = self.original = False
        return (self.r.randint(0, 5),)

    def zip(self):
        self.plain = self.original = False
        other = self.other()
        self.endless = self.endless and other_endless(other)
        return (other,)

    def concatenate(self):
        self.in_order = False
        other = self.other(like=self)
        self.endless = other_endless(other)
        return (other,)

    def sample_from(self):
        self.in_order = False
        other = self.other(like=self)
        self.endless = self.endless or other_endless(other)
        return other, [self.r.choice([1, 2, 0.5]), self.r.choice([1, 3, 0.25])]

    def choose_from(self):
        self.in_order, self.endless = False, False
        return self.other(like=self), [self.r.randint(0, 1) for _ in range(self.r.randint(1, 70))]

    def interleave(self):
        self.in_order = self.original = False
        self.sized = "shuffle_all" in self.names  # not in the stream form
        return self.r.randint(1, 4), self.r.randint(1, 3)

    def flat_map(self):
        self.interleave()
        return ()


def other_endless(chain):
    endless = False
    for name, *rest in chain.ops:
        if name == "repeat":
            endless = endless or rest[0] is None
        if name == "take":
            endless = endless and rest[0] == -1
    return endless


def random_chain(r, names=INDEXED, most=5):
    """A chain of 1 to ``most`` operators; endless ones end with ``take``."""
    return Writer(r, names).chain(most)


def chains(names=INDEXED, most=5):
    """The hypothesis strategy of :func:`random_chain`."""
    return st.randoms(use_true_random=False).map(lambda r: random_chain(r, names, most))


def every_op(chain):
    for op in chain.ops:
        yield op
        if op[0] in ("zip", "concatenate", "sample_from", "choose_from"):
            yield from every_op(op[1])


def disturb():
    """Draw from every global generator."""
    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    random.random()
