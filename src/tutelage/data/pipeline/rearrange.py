"""Operators that change which elements come, and when: none looks at an element."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...randomness import counter, hashed, integer
from ..elements import IntArray, Signature
from .nodes import ENDLESS, Length, Node, Record, finite, whole
from .orders import buffer_order, full_order
from .prefetched import Prefetched
from .streams import Counted, Handle, Stream

_HASH_DROPS = 24


@dataclass(frozen=True, eq=False)
class Rearranging(Node):
    """Base of operators whose every element is one of the node below."""

    moves_only: ClassVar[bool] = True
    """Whether elements pass through unchanged."""

    child: Node

    @abstractmethod
    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        """Return position and pass in the node below."""

    @property
    def domain(self) -> int | None:
        return self.child.domain

    @property
    def unique(self) -> bool:
        return self.child.unique

    @property
    def signature(self) -> Signature | None:
        return self.child.signature

    @property
    def rows(self) -> int | None:
        return self.child.rows

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return self.child.ids(*self.locate(positions, passes))

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        return self.child.records(*self.locate(positions, passes))

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        return self.child.stacked(*self.locate(positions, passes))


@dataclass(frozen=True, eq=False)
class Subset(Rearranging):
    """The rows ``index`` of the node below, in this order; they keep their index there."""

    index: IntArray

    @property
    def length(self) -> Length:
        return len(self.index)

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return self.index[positions], passes


@dataclass(frozen=True, eq=False)
class Repeat(Rearranging):
    """Pass after pass of the node below; ``count`` None: endless."""

    count: int | None

    @cached_property
    def length(self) -> Length:
        below = self.child.length
        if self.count == 0 or below == 0:
            return 0
        if below is None:
            return None
        return ENDLESS if self.count is None else below * self.count

    @property
    def unique(self) -> bool:
        return self.child.unique and self.count in (0, 1)

    @property
    def fixed(self) -> bool:
        return self.child.fixed or self.count == 0

    @property
    def once(self) -> Node:
        return self.child.once

    def inner(self, number: Any, turn: Any) -> Any:
        """Return the pass below, of a pass and the turn within it; arrays or numbers."""
        if self.count is not None:
            return number * self.count + turn
        # an endless stream counts from 0 in its first pass, and from a hash in others, so that no two meet
        first = (hashed(np.asarray(number).astype(np.uint64), 0) >> np.uint64(_HASH_DROPS)).astype(np.int64)
        return np.where(np.asarray(number) == 0, 0, first) + turn

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        below = self.child.length
        if not finite(below):
            return positions, self.inner(passes, 0)
        turn, position = np.divmod(positions, below)
        return position, self.inner(passes, turn)

    def flow(self, number: int) -> Stream:
        return _Repeated(self, number)


class _Repeated(Stream):
    def __init__(self, node: Repeat, number: int) -> None:
        self._node, self._number, self._turn, self._seen = node, number, 0, False
        self._below = self._open(0)

    def _open(self, turn: int) -> Stream:
        return self._node.child.stream(int(self._node.inner(self._number, turn)))

    def __next__(self) -> Handle:
        count = self._node.count
        while count is None or self._turn < count:
            below = next(self._below, None)
            if below is not None:
                self._seen = True
                return self._handle(self._turn, below)
            if not self._seen:
                break  # an empty stream repeated stays empty
            self._below.close()
            self._turn += 1
            self._below = self._open(self._turn)
            self._seen = False
        raise StopIteration

    def _handle(self, turn: int, below: Handle) -> Handle:
        return Handle([turn, below.ref], lambda record: record, below)

    def state(self) -> Any:
        return [self._turn, self._seen, self._below.state()]

    def restore(self, state: Any) -> None:
        self._turn, self._seen, below = state
        self._below = self._open(self._turn)
        self._below.restore(below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        out: dict[int, Handle] = {}
        for turn in {ref[0] for ref in refs}:
            at = [i for i, ref in enumerate(refs) if ref[0] == turn]
            below = self._open(turn).handles([refs[i][1] for i in at])
            out |= {i: self._handle(turn, h) for i, h in zip(at, below)}
        return [out[i] for i in range(len(refs))]

    def close(self) -> None:
        self._below.close()


@dataclass(frozen=True, eq=False)
class Shuffle(Rearranging):
    """A shuffle buffer of ``size`` elements, or a full shuffle where it holds them all (size None: always)."""

    size: int | None
    reshuffle: bool
    name: str

    @property
    def length(self) -> Length:
        return self.child.length

    @cached_property
    def indexed(self) -> bool:
        return self.child.indexed and finite(self.child.length)

    @property
    def fixed(self) -> bool:
        return self.child.fixed and not self.reshuffle

    @property
    def steady(self) -> bool:
        return self.child.steady

    @property
    def once(self) -> Node:
        return self.child.once

    @cached_property
    def key(self) -> int:
        """Of the random stream."""
        return self.site.key(self.name)

    @cached_property
    def _tables(self) -> dict[int, IntArray]:
        return {}

    def order(self, number: int) -> IntArray:
        """Return the positions below in the order of a pass; the last two are kept."""
        kept = self._tables.get(number)
        if kept is not None:
            return kept
        while len(self._tables) > 1:
            self._tables.pop(next(iter(self._tables)), None)
        self._tables[number] = order = self._order(number)
        return order

    def _order(self, number: int) -> IntArray:
        length, draw = self.child.length, number if self.reshuffle else 0
        assert finite(length)
        if self.size is not None and self.size < length:
            return buffer_order(self.key, draw, length, self.size)
        places, passes = whole(number, length)
        return full_order(self.key, draw, self.child.ids(places, passes)[0] if self.by_index else places)

    @property
    def by_index(self) -> bool:
        """Whether a full shuffle orders by index rather than by position."""
        return self.child.unique and self.child.depth == 0

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        if len(passes) == 0:
            return positions, passes
        if (passes == passes[0]).all():
            return self.order(int(passes[0]))[positions], passes
        out = np.empty_like(positions)
        for number in np.unique(passes).tolist():
            at = passes == number
            out[at] = self.order(number)[positions[at]]
        return out, passes

    def flow(self, number: int) -> Stream:
        return _Shuffled(self, number)


class _Shuffled(Stream):
    """The shuffle as a stream: a buffer of handles, each a reference of some bytes."""

    def __init__(self, node: Shuffle, number: int) -> None:
        self._below = node.child.stream(number)
        self._key = counter(node.key, number if node.reshuffle else 0)
        length = node.child.length
        fits = finite(length) and (node.size is None or node.size >= length)
        self._size = node.size
        self._sorted, self._by_index = fits, node.by_index
        self._slots: list[Handle] = []
        self._at = 0

    def __next__(self) -> Handle:
        if self._at == 0:
            self._fill()
        if not self._slots:
            raise StopIteration
        at, self._at = self._at, self._at + 1
        if self._sorted:
            return self._slots.pop()
        k = int(integer(hashed(self._key, at), len(self._slots)))
        out = self._slots[k]
        coming = next(self._below, None)
        if coming is not None:
            coming.release()
            self._slots[k] = coming
        else:
            self._slots[k] = self._slots[-1]
            self._slots.pop()
        return out

    def _fill(self) -> None:
        while self._size is None or len(self._slots) < self._size:
            coming = next(self._below, None)
            if coming is None:
                break
            coming.release()
            self._slots.append(coming)
        if self._sorted:
            index = [h.record().index if self._by_index else i for i, h in enumerate(self._slots)]
            order = np.argsort(hashed(self._key, np.array(index, dtype=np.int64)), kind="stable")
            for handle in self._slots:
                handle.release()
            self._slots = [self._slots[i] for i in order[::-1]]

    def state(self) -> Any:
        return [self._at, self._below.state(), [h.ref for h in self._slots]]

    def restore(self, state: Any) -> None:
        self._at, below, refs = state
        self._slots = self._below.handles(refs)
        self._below.restore(below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        return self._below.handles(refs)

    def close(self) -> None:
        self._below.close()


@dataclass(frozen=True, eq=False)
class Take(Rearranging):
    """The first ``count`` elements; -1: all."""

    count: int

    @cached_property
    def length(self) -> Length:
        below = self.child.length
        return below if self.count < 0 or below is None else min(below, self.count)

    @property
    def steady(self) -> bool:
        return self.child.fixed or (self.child.steady and self.length == self.child.length)

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return positions, passes

    def flow(self, number: int) -> Stream:
        return _Taken(self.child.stream(number), self.count)


class _Taken(Counted):
    def __init__(self, below: Stream, count: int) -> None:
        super().__init__(below)
        self._count = count

    def __next__(self) -> Handle:
        if 0 <= self._count <= self._at:
            raise StopIteration
        handle = next(self._below)
        self._at += 1
        return handle


@dataclass(frozen=True, eq=False)
class Skip(Rearranging):
    """All but the first ``count`` elements; -1: none."""

    count: int

    @cached_property
    def length(self) -> Length:
        below = self.child.length
        if self.count < 0:
            return 0
        return None if below is None else max(below - self.count, 0)

    @property
    def steady(self) -> bool:
        return self.child.fixed or (self.child.steady and self.length == self.child.length)

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return positions + self.count, passes

    def flow(self, number: int) -> Stream:
        return (
            _Strided(self.child.stream(number), self.count, 1)
            if self.count >= 0
            else _Taken(self.child.stream(number), 0)
        )


@dataclass(frozen=True, eq=False)
class Shard(Rearranging):
    """The elements ``rank, rank + count, ...``."""

    count: int
    rank: int

    @cached_property
    def length(self) -> Length:
        below = self.child.length
        return below if not finite(below) else max(-((self.rank - below) // self.count), 0)

    @property
    def steady(self) -> bool:
        return self.child.fixed

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return positions * self.count + self.rank, passes

    def flow(self, number: int) -> Stream:
        return _Strided(self.child.stream(number), self.rank, self.count)


class _Strided(Counted):
    """Every ``step``-th element from ``first`` on."""

    def __init__(self, below: Stream, first: int, step: int) -> None:
        super().__init__(below)
        self._first, self._step = first, step

    def __next__(self) -> Handle:
        while True:
            handle = next(self._below)
            at, self._at = self._at - self._first, self._at + 1
            if at >= 0 and at % self._step == 0:
                return handle


@dataclass(frozen=True, eq=False)
class Prefetch(Rearranging):
    """Up to ``size`` finished elements of this point, made ahead by a thread."""

    prefetches: ClassVar[bool] = True
    size: int

    @property
    def length(self) -> Length:
        return self.child.length

    @cached_property
    def indexed(self) -> bool:
        return False

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return positions, passes

    def flow(self, number: int) -> Stream:
        return Prefetched(self.child.stream(number), self.size)
