"""Batches and their undoing."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np

from ...errors import ShapeError
from ..elements import (
    Array,
    Element,
    IntArray,
    Signature,
    leaves,
    map_leaves,
    sealed,
    split_rows,
    stack,
    stacked_signature,
)
from .nodes import ENDLESS, Length, Node, Record, finite, joined, stack_records
from .rearrange import Take
from .streams import Handle, Stream


@dataclass(frozen=True, eq=False)
class Grouping(Node):
    """Base of operators that make one element of ``size`` consecutive ones."""

    child: Node
    size: int
    drop_remainder: bool

    @abstractmethod
    def combine(self, records: list[Record]) -> Record:
        """Return the group."""

    @property
    def short(self) -> bool:
        """Whether the last group may be short."""
        below = self.child.length
        return not self.drop_remainder and (below is None or (below != ENDLESS and below % self.size != 0))

    @cached_property
    def length(self) -> Length:
        below = self.child.length
        if not finite(below):
            return below
        return below // self.size if self.drop_remainder else ceil(below / self.size)

    @property
    def domain(self) -> int | None:
        return self.child.domain

    @property
    def depth(self) -> int:
        return self.child.depth + 1

    @property
    def unique(self) -> bool:
        return self.child.unique

    @property
    def steady(self) -> bool:
        return self.child.fixed

    @property
    def rows(self) -> int | None:
        return None if self.short else self.size

    def members(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return position and pass below of the members of groups, one group after another, and the sizes."""
        first = positions * self.size
        below = self.child.length
        sizes = np.minimum(self.size, below - first) if finite(below) else np.full(len(first), self.size)
        if len(first) == 1:
            return np.arange(first[0], first[0] + sizes[0]), passes.repeat(sizes[0]), sizes
        within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.repeat(first, sizes) + within, np.repeat(passes, sizes), sizes

    def flow(self, number: int) -> Stream:
        return _Grouped(self, number)


@dataclass(frozen=True, eq=False)
class Batch(Grouping):
    """Stacked leaves."""

    @property
    def signature(self) -> Signature | None:
        return stacked_signature(self.child.signature, None if self.short else self.size)

    def combine(self, records: list[Record]) -> Record:
        return stack_records(records)

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        at, when, sizes = self.members(positions, passes)
        ends = np.cumsum(sizes).tolist()
        return [self.child.stacked(at[end - n : end], when[end - n : end]) for n, end in zip(sizes.tolist(), ends)]


@dataclass(frozen=True, eq=False)
class PaddedBatch(Grouping):
    """Leaves padded at the end of each axis to the longest of the group, or to given shapes, then stacked."""

    shapes: Any
    values: Any

    def combine(self, records: list[Record]) -> Record:
        first, *others = (r.value for r in records)
        shapes, values = iter(_for_leaves(self.shapes, first, None)), iter(_for_leaves(self.values, first, 0))
        padded = map_leaves(lambda *column: _padded(column, next(shapes), next(values), records), first, *others)
        return joined(padded, records)

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        at, when, sizes = self.members(positions, passes)
        below = iter(self.child.records(at, when))
        return [self.combine([next(below) for _ in range(n)]) for n in sizes.tolist()]


def _padded(column: tuple[Any, ...], shape: Any, value: Any, records: list[Record]) -> Array:
    """Return the leaves at one place of some elements, padded and stacked."""
    if any(isinstance(leaf, str | bytes) for leaf in column):
        return stack(column, [r.index for r in records], "padded_batch")  # type: ignore[no-any-return]
    if len({leaf.ndim for leaf in column}) > 1:
        raise ShapeError("padded_batch: elements differ in their number of axes; reshape them with map first.")
    to = _sides(shape, np.max([leaf.shape for leaf in column], axis=0).astype(int).tolist())
    fill = _fill(value, column)
    out: Array = np.full((len(column), *to), fill, dtype=column[0].dtype)
    for row, (leaf, record) in enumerate(zip(column, records)):
        if any(n > m for n, m in zip(leaf.shape, to)):
            raise ShapeError(
                f"padded_batch: the element with index {record.index} has shape {leaf.shape}, larger than "
                f"{tuple(to)}; give larger shapes."
            )
        if leaf.dtype != out.dtype:
            raise ShapeError(f"padded_batch: leaves are {out.dtype} and {leaf.dtype}; cast with map first.")
        place: tuple[Any, ...] = (row, *map(slice, leaf.shape))
        out[place] = leaf
    return out


def _sides(shape: Any, longest: list[int]) -> list[int]:
    """Return the shape to pad to, where the longest leaves of a batch have these sides."""
    if shape is None:
        return longest
    sides = list(shape) if isinstance(shape, Iterable) else [shape]
    whole = all(s is None or (isinstance(s, int | np.integer) and s >= -1) for s in sides)
    if not whole or len(sides) != len(longest):
        raise ShapeError(
            f"padded_batch: shapes has {shape!r} for a leaf with {len(longest)} axes; give a size or None for each of "
            "them, in the structure of an element."
        )
    return [m if s in (None, -1) else int(s) for s, m in zip(sides, longest)]


def _fill(value: Any, column: tuple[Any, ...]) -> Any:
    """Return what to pad arrays of a dtype with; texts with empty ones."""
    dtype = column[0].dtype
    if dtype.kind in "OSU":
        first = next((item for leaf in column for item in leaf.flat), "")
        return value if isinstance(value, str | bytes) else type(first)()
    given = np.asarray(value)
    with np.errstate(all="ignore"):
        cast = given.astype(dtype) if given.shape == () and given.dtype.kind in "biufc" else None
    # a float may lose digits, nothing else
    if cast is None or not (cast == given or (dtype.kind in "fc" and np.isfinite(cast) == np.isfinite(given))):
        raise ShapeError(f"padded_batch: value {value!r} does not fit into {dtype}; give another one, or use map.")
    return cast


def _for_leaves(given: Any, element: Element, usual: Any) -> list[Any]:
    """Return a shape or value for each leaf: given for all, or in the structure of the element."""
    count = sum(1 for _ in leaves(element))
    if given is None:
        return [usual] * count
    if isinstance(element, dict):
        if not isinstance(given, Mapping) or given.keys() != element.keys():
            if isinstance(given, Mapping):
                raise ShapeError(f"padded_batch: given for {sorted(given)}, elements have {sorted(element)}.")
            return [given] * count
        return [v for key, leaf in element.items() for v in _for_leaves(given[key], leaf, usual)]
    if isinstance(element, tuple) and isinstance(given, tuple) and len(given) == len(element):
        return [v for part, leaf in zip(given, element) for v in _for_leaves(part, leaf, usual)]
    return [given] * count


class _Grouped(Stream):
    def __init__(self, node: Grouping, number: int) -> None:
        self._node, self._below = node, node.child.stream(number)

    def __next__(self) -> Handle:
        members: list[Handle] = []
        for handle in self._below:
            members.append(handle)
            if len(members) == self._node.size:
                break
        if not members or (len(members) < self._node.size and self._node.drop_remainder):
            raise StopIteration
        return self._handle(members)

    def state(self) -> Any:
        return self._below.state()

    def restore(self, state: Any) -> None:
        self._below.restore(state)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        members = iter(self._below.handles([ref for group in refs for ref in group]))
        return [self._handle([next(members) for _ in group]) for group in refs]

    def close(self) -> None:
        self._below.close()

    def _handle(self, members: list[Handle]) -> Handle:
        return Handle([h.ref for h in members], lambda *records: self._node.combine(list(records)), *members)


def unbatch(node: Node) -> Node:
    """Return the rows of a node's elements; of plain batches simply what was batched."""
    if type(node) is not Batch or (node.drop_remainder and node.child.length is None):
        return Unbatch(node)
    below = node.child.length
    if node.drop_remainder and finite(below) and below % node.size:
        return Take(node.child, below // node.size * node.size)
    return node.child


@dataclass(frozen=True, eq=False)
class Unbatch(Node):
    """The rows of each element along its leading axis.

    Rows of a batch have their own index again; row j of a plain element of m rows has ``index m + j``.
    """

    child: Node

    @cached_property
    def indexed(self) -> bool:
        return self.child.indexed and self.child.depth == 0 and self.rows_each is not None

    @property
    def rows_each(self) -> int | None:
        """The number of rows of every element below, if known."""
        return self.child.rows

    @cached_property
    def length(self) -> Length:
        grouped = self.child.bare
        if type(grouped) is Batch and grouped.short:
            return grouped.child.length
        below, rows = self.child.length, self.rows_each
        if below == 0 or rows == 0:
            return 0
        return None if below is None or rows is None else below * rows

    @property
    def depth(self) -> int:
        return max(self.child.depth - 1, 0)

    @property
    def domain(self) -> int | None:
        below, rows = self.child.domain, self.rows_each
        if self.child.depth:
            return below
        return None if below is None or rows is None else below * rows

    @property
    def unique(self) -> bool:
        return self.child.unique and (self.child.depth > 0 or self.rows_each is not None)

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        rows = self.rows_each
        assert rows is not None
        element, row = np.divmod(positions, rows)
        index, epoch = self.child.ids(element, passes)
        return index * rows + row, epoch

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        rows = self.rows_each
        assert rows is not None
        element, row = np.divmod(positions, rows)
        which, place = np.unique(np.stack([element, passes]), axis=1, return_inverse=True)
        below = [self.apart(record) for record in self.child.records(which[0], which[1])]
        return [below[p][r] for p, r in zip(place.ravel().tolist(), row.tolist())]

    def apart(self, record: Record) -> list[Record]:
        """Return the rows of an element."""
        named = list(leaves(record.value))
        if not named:
            raise ShapeError(f"unbatch: the element with index {record.index} has no leaf to take apart.")
        for path, leaf in named:
            if np.ndim(leaf) == 0 or isinstance(leaf, str | bytes):
                name = f"leaf {path} of " if path else ""
                raise ShapeError(f"unbatch: {name}the element with index {record.index} has no axis to take apart.")
        count = len(named[0][1])
        for path, leaf in named:
            if len(leaf) != count:
                raise ShapeError(f"unbatch: {named[0][0]} has {count} rows, {path} has {len(leaf)}.")
        values = [sealed(row) for row in split_rows(record.value, count)]  # which may be asked for again
        if self.child.depth:
            if count != len(record.index):
                raise ShapeError(f"unbatch: a batch of {len(record.index)} rows was changed to {count}; keep its rows.")
            indices = list(zip(*record.indices)) or [()] * count
            return [
                Record(v, _number(record.index[r]), _number(record.epoch[r]), indices[r]) for r, v in enumerate(values)
            ]
        return [Record(v, record.index * count + r, record.epoch) for r, v in enumerate(values)]

    def flow(self, number: int) -> Stream:
        return _Apart(self, number)


def _number(index: Any) -> Any:
    return int(index) if np.ndim(index) == 0 else index


class _Apart(Stream):
    def __init__(self, node: Unbatch, number: int) -> None:
        self._node, self._below = node, node.child.stream(number)
        self._ref: Any = None
        self._row = 0
        self._rows: list[Handle] = []

    def __next__(self) -> Handle:
        while self._row >= len(self._rows):
            handle = next(self._below)
            self._ref, self._row, self._rows = handle.ref, 0, self._apart(handle)
        self._row += 1
        return self._rows[self._row - 1]

    def state(self) -> Any:
        return [self._below.state(), self._ref, self._row, bool(self._rows)]

    def restore(self, state: Any) -> None:
        below, self._ref, self._row, open_ = state
        self._rows = self._apart(self._below.handles([self._ref])[0]) if open_ else []
        self._below.restore(below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        below = self._below.handles([ref[0] for ref in refs])
        return [self._row_of(h, ref[1]) for h, ref in zip(below, refs)]

    def close(self) -> None:
        self._below.close()

    def _apart(self, handle: Handle) -> list[Handle]:
        rows = self._node.apart(handle.record())
        handle.release()
        return [Handle([handle.ref, r], lambda row=row: row) for r, row in enumerate(rows)]

    def _row_of(self, handle: Handle, row: int) -> Handle:
        return Handle([handle.ref, row], lambda record: self._node.apart(record)[row], handle)
