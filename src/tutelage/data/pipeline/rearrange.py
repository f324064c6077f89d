"""Operators that change which elements come, and when: none looks at an element."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np

from ...randomness import hashed
from ..checks import MOST
from ..elements import IntArray, Signature
from .nodes import ENDLESS, Length, Node, Record, finite
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
        if self.count is None or below * self.count > MOST:
            return ENDLESS
        return below * self.count

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
        return Prefetched(partial(self.child.stream, number), self.size)
