"""The operators of tf.data over lazy Python lists, a few lines each: the oracle of the pipeline's tests.

Written from the specification alone. Nothing is indexed, vectorised or kept: a node makes the items of a pass
from the items of its inputs. The methods are called as those of ``Pipeline``, so one chain builds both.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, count, islice
from operator import itemgetter
from typing import Any

import numpy as np
import torch

M = (1 << 64) - 1
EMPTY = object()


def h(key, *counters):
    for c in counters:
        z = key + (c + 1) * 0x9E3779B97F4A7C15 & M
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M
        z = (z ^ z >> 27) * 0x94D049BB133111EB & M
        key = z ^ z >> 31
    return key


def stream(seed, name):
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")


def endless_pass(p, q):
    """The pass below, in turn q of an endless repeat: q in its pass 0, in others from a hash on, so that none meet."""
    return q if p == 0 else (h(p, 0) >> 24) + q


def tree(f, nest, *others):
    if isinstance(nest, dict):
        return {key: tree(f, nest[key], *(o[key] for o in others)) for key in nest}
    if isinstance(nest, tuple):
        return tuple(tree(f, *parts) for parts in zip(nest, *others, strict=True))
    return f(nest, *others)


def leaves(nest):
    if isinstance(nest, dict | tuple):
        return [leaf for part in (nest.values() if isinstance(nest, dict) else nest) for leaf in leaves(part)]
    return [nest]


@dataclass(frozen=True)
class Item:
    value: Any
    index: Any  # int; of a batch the int64 array of its rows
    epoch: Any
    indices: tuple = ()


Key = Callable[[str], int]  # name of a random stream -> its key


def inside(key: Key, k: int) -> Key:
    return lambda name: key(f"{k}/{name}")


def moved(items, offset):
    return (replace(i, index=i.index + offset) for i in items)


def stacked(rows, join=torch.stack):
    value = tree(lambda *parts: join(parts), *(r.value for r in rows))
    return Item(value, np.array([r.index for r in rows]), np.array([r.epoch for r in rows]))


def slots(child, size, key):
    """The buffer of 2.2: emit the drawn slot and fill it with the next item, or with the last slot."""
    full = list(islice(child, size))
    for t in count():
        if not full:
            return
        k = (h(key, t) >> 32) * len(full) >> 32
        yield full[k]
        full[k] = next(child, EMPTY)
        if full[k] is EMPTY:
            full[k] = full[-1]
            full.pop()


@dataclass(frozen=True)
class Node:
    run: Callable[[int, Key], Iterator[Item]]
    domain: int  # rows of the full sources
    known: bool = True  # the length
    endless: bool = False
    unique: bool = True  # no index comes twice in a pass
    unique_rows: bool = True  # the same of the rows, if the elements are batches
    names: tuple[str, ...] = ()  # of the random operators from the source to here

    # sources

    @staticmethod
    def from_tensor_slices(nest):
        n = len(leaves(nest)[0])
        return Node(lambda p, key: (Item(tree(itemgetter(i), nest), i, p) for i in range(n)), n)

    @staticmethod
    def range(n):
        return Node.from_tensor_slices(torch.arange(n))

    # one input

    def then(self, run, **changes):
        return replace(self, run=run, **changes)

    def named(self, kind):
        n = self.names.count(kind)
        return (f"{kind}.{n + 1}" if n else kind), (*self.names, kind)

    def map(self, f, batched=False, version=None):
        return self.then(lambda p, key: (replace(i, value=f(i.value)) for i in self.run(p, key)))

    def random_map(self, f, name=None, version=None):
        kind, names = self.named("random_map")

        def run(p, key):
            for i in self.run(p, key):
                seed = h(key(name or kind), i.epoch, i.index)
                yield replace(i, value=f(i.value, np.random.Generator(np.random.PCG64(seed))))

        return self.then(run, names=names)

    def filter(self, f, materialise=False, version=None):
        return self.then(lambda p, key: (i for i in self.run(p, key) if f(i.value)), known=self.known and materialise)

    def repeat(self, n=None):
        endless = n is None or n == -1

        def run(p, key):
            for q in count() if endless else range(n):
                items = self.run(endless_pass(p, q) if endless else p * n + q, key)
                first = next(items, EMPTY)
                if first is EMPTY:
                    return
                yield first
                yield from items

        return self.then(
            run, endless=endless or self.endless, unique=self.unique and n in (0, 1), unique_rows=n in (0, 1)
        )

    def shuffle(self, size="all", reshuffle=True, name=None):
        kind, names = self.named("shuffle")

        def run(p, key):
            k = h(key(name or kind), p if reshuffle else 0)
            if not self.known or self.endless:
                return slots(self.run(p, key), size, k)
            items = list(self.run(p, key))
            if size != "all" and size < len(items):
                return slots(iter(items), size, k)
            rank = [h(k, i.index) if self.unique else h(k, position) for position, i in enumerate(items)]
            return iter([items[j] for j in sorted(range(len(items)), key=rank.__getitem__)])

        return self.then(run, names=names)

    def shuffle_and_repeat(self, size, n=None):
        return self.shuffle(size).repeat(n)

    def batch(self, n, drop_remainder=False, join=torch.stack):
        def run(p, key):
            items = self.run(p, key)
            while rows := list(islice(items, n)):
                if len(rows) == n or not drop_remainder:
                    yield stacked(rows, join)

        return self.then(run, unique=False, unique_rows=self.unique)

    def padded_batch(self, n, shapes=None, values=0, drop_remainder=False):
        def join(parts):
            shape = shapes or [max(sizes) for sizes in zip(*(part.shape for part in parts))]
            out = torch.full((len(parts), *shape), values, dtype=parts[0].dtype)
            for row, part in zip(out, parts):
                row[tuple(map(slice, part.shape))] = part
            return out

        return self.batch(n, drop_remainder, join)

    def unbatch(self, rows=None):
        """``rows``: of every element, if the elements are no batches."""

        def run(p, key):
            for i in self.run(p, key):
                for j in range(len(leaves(i.value)[0])):
                    value = tree(lambda leaf, j=j: leaf[j], i.value)
                    if rows is None:
                        yield Item(value, int(i.index[j]), int(i.epoch[j]))
                    else:
                        yield Item(value, i.index * rows + j, i.epoch)

        return self.then(run, domain=self.domain * (rows or 1), unique=self.unique if rows else self.unique_rows)

    def take(self, n):
        endless = self.endless and n == -1
        return self.then(lambda p, key: islice(self.run(p, key), None if n == -1 else n), endless=endless)

    def skip(self, n):
        if n == -1:
            return self.take(0)
        return self.then(lambda p, key: islice(self.run(p, key), n, None))

    def shard(self, n, k):
        return self.then(lambda p, key: islice(self.run(p, key), k, None, n))

    def cache(self, path=None):
        return self.then(lambda p, key: self.run(0, key))

    def prefetch(self, n):
        return self

    def enumerate(self, start=0):
        def run(p, key):
            for n, i in enumerate(self.run(p, key), start):
                yield replace(i, value=(torch.tensor(n), i.value))

        return self.then(run)

    # several inputs; they count their random operators apart, each in its own "k/"

    def merged(self, run, nodes, **changes):
        domain, known = sum(n.domain for n in nodes), all(n.known for n in nodes)
        return replace(self, **{"run": run, "domain": domain, "known": known, "names": ()} | changes)

    @staticmethod
    def zip(*nodes):
        def run(p, key):
            for row in zip(*(node.run(p, inside(key, k)) for k, node in enumerate(nodes))):
                first = row[0]
                yield Item(tuple(i.value for i in row), first.index, first.epoch, tuple(i.index for i in row))

        return nodes[0].merged(run, nodes, domain=nodes[0].domain, endless=all(n.endless for n in nodes))

    @staticmethod
    def branches(nodes, p, key):
        """The items of each branch, told apart by their indices."""
        offsets = accumulate((n.domain for n in nodes), initial=0)
        return [moved(node.run(p, inside(key, k)), offset) for k, (node, offset) in enumerate(zip(nodes, offsets))]

    def concatenate(self, other):
        nodes = (self, other)

        def run(p, key):
            for branch in Node.branches(nodes, p, key):
                yield from branch

        return self.merged(run, nodes, endless=any(n.endless for n in nodes), unique=all(n.unique for n in nodes))

    @staticmethod
    def choice(nodes, pick, **changes):
        """``pick(p, key, heads)`` yields branches to take from; ``heads``: the next item of each, or EMPTY."""

        def run(p, key):
            branches = Node.branches(nodes, p, key)
            heads = [next(b, EMPTY) for b in branches]
            for k in pick(p, key, heads):
                yield heads[k]
                heads[k] = next(branches[k], EMPTY)

        return nodes[0].merged(run, nodes, unique=all(n.unique for n in nodes), **changes)

    @staticmethod
    def sample_from(nodes, weights, stop_on_empty=False):
        def pick(p, key, heads):
            for t in count():
                left = [w if stop_on_empty or head is not EMPTY else 0 for w, head in zip(weights, heads)]
                if not sum(left):
                    return
                up_to = list(accumulate(w / sum(left) for w in left))
                k = bisect_right(up_to, (h(key("sample_from"), p, t) >> 40) / 2**24)
                if heads[k] is EMPTY:
                    return
                yield k

        endless = any(n.endless for n, w in zip(nodes, weights) if w)
        known = all(n.known for n in nodes) and not stop_on_empty
        return Node.choice(nodes, pick, endless=endless, known=known)

    @staticmethod
    def choose_from(nodes, ids, stop_on_empty=False):
        def pick(p, key, heads):
            for k in ids:
                if heads[k] is not EMPTY:
                    yield k
                elif stop_on_empty:
                    return

        return Node.choice(nodes, pick, endless=False)

    def interleave(self, f, cycle, block=1, version=None):
        """``f`` as for the pipeline, giving nodes. Inputs have to come in order and once a pass."""

        def run(p, key):
            inputs, offset = self.run(p, key), 0
            slots_ = [None] * cycle
            more = True
            while more or any(slots_):
                for k in range(cycle):
                    if slots_[k] is None:
                        new = next(inputs, EMPTY)
                        more = new is not EMPTY
                        if not more:
                            continue
                        node = f(new.value)
                        slots_[k] = moved(node.run(max(p, new.epoch), inside(key, new.index)), offset)
                        offset += node.domain
                    for _ in range(block):
                        item = next(slots_[k], EMPTY)
                        if item is EMPTY:
                            slots_[k] = None
                            break
                        yield item

        domain = sum(f(i.value).domain for i in self.run(0, lambda name: 0)) if not self.endless else 0
        return self.merged(run, [self], domain=domain)

    def flat_map(self, f, version=None):
        return self.interleave(f, 1)

    # running

    def records(self, epoch=0, seed=0):
        return self.run(epoch, lambda name: stream(seed, name))

    def values(self, epoch=0, seed=0):
        return [i.value for i in self.records(epoch, seed)]


def plain(value):
    """Numbers and lists for tensors, to be compared with ``==``."""
    return tree(lambda leaf: leaf.tolist() if isinstance(leaf, torch.Tensor | np.ndarray) else leaf, value)


def same_leaf(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and np.array_equal(a, b)


def same(a, b):
    """Whether two elements are equal: structure, dtypes, shapes and bits."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return same_leaf(a, b)


def same_item(a, b):
    """Whether two items or records are equal in value, index and epoch."""
    return same(a.value, b.value) and np.array_equal(a.index, b.index) and np.array_equal(a.epoch, b.epoch)


def assert_same(made, expected):
    """Two lists of items or records are equal; the message shows the first difference."""
    made, expected = list(made), list(expected)
    for place, (a, b) in enumerate(zip(made, expected)):
        assert same_item(a, b), (
            f"item {place} is {plain(a.value)}, index {a.index}, epoch {a.epoch}; "
            f"expected {plain(b.value)}, index {b.index}, epoch {b.epoch}"
        )
    assert len(made) == len(expected), f"{len(made)} items, expected {len(expected)}"
