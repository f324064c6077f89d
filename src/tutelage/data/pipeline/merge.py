"""Operators with several branches: zip, concatenate, sample_from, choose_from."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

import numpy as np

from ...errors import ConfigError, ShapeError
from ..checks import MOST
from ..elements import Array, IntArray, Signature, describe, map_leaves
from .nodes import Length, Node, Record, offsets_of
from .streams import Handle, Stream


@dataclass(frozen=True, eq=False)
class Branching(Node):
    """Base of operators with several branches."""

    branches: tuple[Node, ...]

    @property
    def scale(self) -> float | None:
        return self.branches[0].scale


@dataclass(frozen=True, eq=False)
class Zip(Branching):
    """Tuples of one element of each branch, up to the end of the shortest; the first one's index counts."""

    @cached_property
    def length(self) -> Length:
        lengths = [b.length for b in self.branches]
        return None if None in lengths else min(lengths)  # type: ignore[type-var]

    @property
    def domain(self) -> int | None:
        return self.branches[0].domain

    @property
    def unique(self) -> bool:
        return self.branches[0].unique

    @property
    def steady(self) -> bool:
        return self.branches[0].fixed

    @property
    def pure(self) -> bool:
        return self.fixed and super().pure

    @property
    def depth(self) -> int:
        return self.branches[0].depth

    @property
    def signature(self) -> Signature | None:
        parts = tuple(b.signature for b in self.branches)
        return None if None in parts else parts

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return self.branches[0].ids(positions, passes)

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        return [tupled(*rs) for rs in zip(*(b.records(positions, passes) for b in self.branches))]

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        return tupled(*(b.stacked(positions, passes) for b in self.branches))

    def flow(self, number: int) -> Stream:
        return _Zipped(self, number)


def tupled(*records: Record) -> Record:
    """Return the tuple of the branches' elements."""
    first = records[0]
    return Record(tuple(r.value for r in records), first.index, first.epoch, tuple(r.index for r in records))


class _Many(Stream):
    """Base of streams of several streams."""

    def __init__(self, node: Branching, number: int) -> None:
        self._below = [b.stream(number) for b in node.branches]

    def close(self) -> None:
        for stream in self._below:
            stream.close()


class _Zipped(_Many):
    def __next__(self) -> Handle:
        return self._handle([next(stream) for stream in self._below])

    def state(self) -> Any:
        return [stream.state() for stream in self._below]

    def restore(self, state: Any) -> None:
        for stream, s in zip(self._below, state):
            stream.restore(s)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        columns = [stream.handles([ref[b] for ref in refs]) for b, stream in enumerate(self._below)]
        return [self._handle(list(hs)) for hs in zip(*columns)]

    @staticmethod
    def _handle(parts: list[Handle]) -> Handle:
        return Handle([h.ref for h in parts], tupled, *parts)


@dataclass(frozen=True, eq=False)
class Merging(Branching):
    """Base of operators whose every element is one of some branch; the sources' sizes add up for the index."""

    def __post_init__(self) -> None:
        first = self.branches[0].signature
        for other in (b.signature for b in self.branches[1:]):
            if first is not None and other is not None and not alike(first, other):
                names = ("left", "right") if self.who == "concatenate" else ("the first", "another")
                raise ConfigError(
                    f"{self.who}: {names[0]} is {describe(first)}, {names[1]} {describe(other)}; cast with map first."
                )

    @property
    def who(self) -> str:
        """The operator's name, for messages."""
        return type(self).__name__.lower()

    @abstractmethod
    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return branch, and position and pass in the branch."""

    @property
    def domain(self) -> int | None:
        return None if any(b.domain is None for b in self.branches) else self.offsets[-1]

    @cached_property
    def offsets(self) -> list[int]:
        """What each branch adds to its index."""
        return offsets_of(self.branches)

    @property
    def unique(self) -> bool:
        return all(b.unique for b in self.branches)

    @property
    def signature(self) -> Signature | None:
        return self.branches[0].signature

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        branch, at, when = self.locate(positions, passes)
        index, epoch = np.empty_like(positions), np.empty_like(positions)
        for b in np.unique(branch).tolist():
            here = branch == b
            index[here], epoch[here] = self.branches[b].ids(at[here], when[here])
            index[here] += self.offsets[b]
        return index, epoch

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        branch, at, when = self.locate(positions, passes)
        out: list[Any] = [None] * len(positions)
        for b in np.unique(branch).tolist():
            here = np.flatnonzero(branch == b)
            for place, record in zip(here.tolist(), self.branches[b].records(at[here], when[here])):
                out[place] = shifted(record, self.offsets[b])
        return out

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        branch, at, when = self.locate(positions, passes)
        parts, places = [], []
        for b in np.unique(branch).tolist():
            here = np.flatnonzero(branch == b)
            parts.append(shifted(self.branches[b].stacked(at[here], when[here]), self.offsets[b]))
            places.append(here)
        return parts[0] if len(parts) == 1 else put_together(parts, places, self.who)


def alike(a: Signature, b: Signature) -> bool:
    """Tell whether elements agree in structure and dtype, and in shape where both know it."""
    try:
        equal: list[bool] = []
        map_leaves(lambda u, v: equal.append(_alike_leaves(u, v)), a, b)
    except ShapeError:
        return False
    return all(equal)


def _alike_leaves(a: str, b: str) -> bool:
    free = ("(None", "object")
    return a == b or (a.split(" ")[0] == b.split(" ")[0] and any(f in t for f in free for t in (a, b)))


def shifted(record: Record, offset: int) -> Record:
    """Return the record with an index that many higher."""
    if offset:
        record = replace(record, index=_plus(record.index, offset))
    return record


def _plus(index: Any, offset: int) -> Any:
    return [_plus(i, offset) for i in index] if isinstance(index, list) else index + offset


def put_together(parts: list[Record], places: list[IntArray], who: str) -> Record:
    """Return stacked parts as one, each row at its place."""
    back = np.argsort(np.concatenate(places))

    def joint(*arrays: Array) -> Array:
        for array in arrays[1:]:
            if array.dtype != arrays[0].dtype or array.shape[1:] != arrays[0].shape[1:]:
                a, b = (f"{x.dtype} {tuple(x.shape[1:])}" for x in (arrays[0], array))
                raise ShapeError(f"{who}: elements are {a} and {b}; cast with map, or use padded_batch or resize.")
        together: Array = np.concatenate(arrays)[back]
        return together

    value = map_leaves(joint, *(p.value for p in parts))
    indices = tuple(joint(*columns) for columns in zip(*(p.indices for p in parts)))
    return Record(value, joint(*(p.index for p in parts)), joint(*(p.epoch for p in parts)), indices)


class MergedStream(_Many):
    """Base of streams that take from one branch or another."""

    def __init__(self, node: Merging, number: int) -> None:
        super().__init__(node, number)
        self._offsets, self._at = node.offsets, 0

    def _from(self, branch: int, handle: Handle) -> Handle:
        self._at += 1
        return self._handle(branch, handle)

    def _handle(self, branch: int, handle: Handle) -> Handle:
        return Handle([branch, handle.ref], partial(shifted, offset=self._offsets[branch]), handle)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        out: dict[int, Handle] = {}
        for b, stream in enumerate(self._below):
            here = [i for i, ref in enumerate(refs) if ref[0] == b]
            below = stream.handles([refs[i][1] for i in here])
            out |= {i: self._handle(b, h) for i, h in zip(here, below)}
        return [out[i] for i in range(len(refs))]


@dataclass(frozen=True, eq=False)
class Concatenate(Merging):
    """The elements of one branch after those of the other."""

    @cached_property
    def length(self) -> Length:
        total: Length = 0
        for branch in self.branches:
            if branch.length is None or total is None:
                return None
            total += branch.length
        return total

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        sums = accumulate(b.length or 0 for b in self.branches)
        ends = np.array([min(end, MOST) for end in sums], dtype=np.int64)
        branch = np.searchsorted(ends, positions, side="right")
        starts = np.concatenate([[0], ends])
        return branch, positions - starts[branch], passes

    def flow(self, number: int) -> Stream:
        return _Concatenated(self, number)


class _Concatenated(MergedStream):
    def __init__(self, node: Concatenate, number: int) -> None:
        super().__init__(node, number)
        self._now = 0

    def __next__(self) -> Handle:
        while self._now < len(self._below):
            handle = next(self._below[self._now], None)
            if handle is not None:
                return self._from(self._now, handle)
            self._now += 1
        raise StopIteration

    def state(self) -> Any:
        now = min(self._now, len(self._below) - 1)
        return [self._now, self._at, self._below[now].state()]

    def restore(self, state: Any) -> None:
        self._now, self._at, below = state
        self._below[min(self._now, len(self._below) - 1)].restore(below)
