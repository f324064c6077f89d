"""Operators with several branches: zip, concatenate, sample_from, choose_from."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, Self

import numpy as np

from ...errors import ConfigError, ShapeError
from ...randomness import counter, hashed, real
from ..elements import Array, IntArray, Signature, describe, map_leaves
from .nodes import ENDLESS, Length, Node, Record, Site, finite, offsets_of, whole
from .orders import choice_order, ordinals, sample_order, weighted
from .streams import Handle, Peek, Stream


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
        lengths = [min(b.length or 0, 1 << 62) for b in self.branches]
        ends = np.minimum(np.array(list(accumulate(lengths)), dtype=np.float64), 2.0**62).astype(np.int64)
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


@dataclass(frozen=True, eq=False)
class Drawing(Merging):
    """Base of operators that draw from branches by a table a pass."""

    @abstractmethod
    def _table(self, number: int) -> IntArray:
        """Return the branch of each element of a pass."""

    @cached_property
    def _tables(self) -> dict[int, tuple[IntArray, IntArray]]:
        return {}

    def table(self, number: int) -> tuple[IntArray, IntArray]:
        """Return branch and position within it of each element of a pass; the last two tables are kept."""
        kept = self._tables.get(number)
        if kept is not None:
            return kept
        while len(self._tables) > 1:
            self._tables.pop(next(iter(self._tables)), None)
        branch = self._table(number)
        self._tables[number] = made = (branch, ordinals(branch, len(self.branches)))
        return made

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        branch, at = np.empty_like(positions), np.empty_like(positions)
        for number in np.unique(passes).tolist():
            here = passes == number
            branches, places = self.table(number)
            branch[here], at[here] = branches[positions[here]], places[positions[here]]
        return branch, at, passes


@dataclass(frozen=True, eq=False)
class Sample(Drawing):
    """Each element from a branch drawn by weight; exhausted branches leave the others renormalised."""

    weights: tuple[float, ...]
    stop_on_empty: bool
    name: str

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        right = len(weights) == len(self.branches) and np.isfinite(weights).all() and (weights >= 0).all()
        if not right or weights.sum() <= 0:
            shown = ", ".join(f"{w:g}" for w in self.weights)
            raise ConfigError(f"sample_from: weights [{shown}] must be >= 0 with a positive sum, one per data set.")
        super().__post_init__()

    @property
    def who(self) -> str:
        return "sample_from"

    @property
    def share(self) -> Array:
        """The weights as an array."""
        return np.asarray(self.weights, dtype=np.float64)

    @cached_property
    def key(self) -> int:
        """Of the random stream."""
        return self.site.key(self.name)

    @cached_property
    def indexed(self) -> bool:
        return not self.stop_on_empty and all(b.indexed and finite(b.length) for b in self.branches)

    @cached_property
    def length(self) -> Length:
        lengths = [b.length for b, w in zip(self.branches, self.weights) if w > 0]
        if None in lengths or (self.stop_on_empty and any(finite(n) for n in lengths)):
            return None
        return sum(n for n in lengths if n is not None)

    @property
    def fixed(self) -> bool:
        return False

    def _table(self, number: int) -> IntArray:
        lengths = [b.length for b in self.branches if finite(b.length)]
        return sample_order(self.key, number, lengths, self.share)

    def flow(self, number: int) -> Stream:
        return _Sampled(self, number)


class _Drawn(MergedStream):
    """Base of streams that draw from branches."""

    def __init__(self, node: Drawing, number: int) -> None:
        super().__init__(node, number)
        self._peeks = [Peek(stream) for stream in self._below]

    def state(self) -> Any:
        return [self._at, [peek.state() for peek in self._peeks]]

    def restore(self, state: Any) -> None:
        self._at, peeks = state
        for peek, s in zip(self._peeks, peeks):
            peek.restore(s)


class _Sampled(_Drawn):
    def __init__(self, node: Sample, number: int) -> None:
        super().__init__(node, number)
        self._sample, self._key = node, counter(node.key, number)

    def __next__(self) -> Handle:
        weights = self._sample.share
        if not self._sample.stop_on_empty:
            empty = [w > 0 and peek.empty() for w, peek in zip(weights.tolist(), self._peeks)]
            weights = np.where(empty, 0.0, weights)
        if not weights.any():
            raise StopIteration
        branch = weighted(float(real(hashed(self._key, self._at))), weights)
        return self._from(branch, self._peeks[branch].take())


@dataclass(frozen=True, eq=False)
class Choose(Drawing):
    """Each element from the branch that a stream of numbers names."""

    choices: Node
    stop_on_empty: bool

    @property
    def who(self) -> str:
        return "choose_from"

    def at(self, site: Site) -> Self:
        return replace(super().at(site), choices=self.choices.at(Site(site.seed, f"{site.prefix}ids/")))

    @cached_property
    def indexed(self) -> bool:
        return self._choices_known and all(b.indexed for b in self.branches)

    @property
    def _choices_known(self) -> bool:
        ids = self.choices.bare
        return ids.indexed and finite(ids.length) and ids.fixed and ids.pure

    @property
    def steady(self) -> bool:
        return self.fixed

    @cached_property
    def length(self) -> Length:
        known = self._choices_known and all(b.length is not None for b in self.branches)
        return len(self._table(0)) if known else None

    def chosen(self, record: Record) -> int:
        """Return the branch that a choice names.

        Raises:
            ConfigError: if there is no such branch.
        """
        if np.size(record.value) != 1 or not np.issubdtype(np.asarray(record.value).dtype, np.integer):
            raise ConfigError("choose_from: ids must be whole numbers.")
        branch = int(np.asarray(record.value).reshape(()))
        if not 0 <= branch < len(self.branches):
            raise ConfigError(
                f"choose_from: id {branch} of {len(self.branches)} data sets; valid are 0..{len(self.branches) - 1}."
            )
        return branch

    @cached_property
    def _chosen(self) -> IntArray:
        ids = self.choices.bare
        assert finite(ids.length)
        if ids.length == 0:
            return np.empty(0, dtype=np.int64)
        return np.array([self.chosen(r) for r in ids.records(*whole(0, ids.length))], dtype=np.int64)

    def _table(self, number: int) -> IntArray:
        lengths = [ENDLESS if b.length is None else b.length for b in self.branches]
        return choice_order(self._chosen, lengths, self.stop_on_empty)

    def flow(self, number: int) -> Stream:
        return _Chosen(self, number)


class _Chosen(_Drawn):
    def __init__(self, node: Choose, number: int) -> None:
        super().__init__(node, number)
        self._choose, self._ids = node, node.choices.stream(number)

    def __next__(self) -> Handle:
        while True:
            branch = self._choose.chosen(next(self._ids).record())
            peek = self._peeks[branch]
            if not peek.empty():
                return self._from(branch, peek.take())
            if self._choose.stop_on_empty:
                raise StopIteration

    def state(self) -> Any:
        return [super().state(), self._ids.state()]

    def restore(self, state: Any) -> None:
        super().restore(state[0])
        self._ids.restore(state[1])

    def close(self) -> None:
        super().close()
        self._ids.close()
