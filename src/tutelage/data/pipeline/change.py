"""Operators that change elements, or look at them: map, filter, enumerate, augment."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from ...errors import ConfigError, ShapeError
from ...randomness import counter
from ..checks import ElementError
from ..elements import Element, IntArray, Signature, as_element, as_tensors, leaves, split_rows
from .nodes import Length, Node, Record, finite, stack_records, whole
from .rearrange import Rearranging, Subset
from .streams import Counted, Handle, Lifted, Stream


def called(what: str, f: Callable[..., Any], record: Record, *arguments: Any) -> Any:
    """Return ``f(element, *arguments)``, the element as torch tensors.

    Raises:
        ElementError: if f raises: which element it was, in front of what f said.
    """
    try:
        return f(as_tensors(record.value), *arguments)
    except Exception as error:
        name = getattr(f, "__name__", type(f).__name__)
        raise ElementError.of(f"{what}({name}): element {_named(record)}", error) from error


def changed(what: str, f: Callable[..., Any], record: Record, *arguments: Any) -> Record:
    """Return the record with ``f(element, *arguments)`` in the place of its element.

    Raises:
        ElementError: if f raises, or returns what no element can be.
    """
    value = called(what, f, record, *arguments)
    try:
        return replace(record, value=as_element(value, "the result"))
    except ShapeError as error:
        name = getattr(f, "__name__", type(f).__name__)
        raise ElementError(f"{what}({name}): element {_named(record)}: {error}") from None


def _named(record: Record) -> str:
    index = record.index
    if np.ndim(index) == 0:
        return f"with index {index} in epoch {record.epoch}"
    return f"with indices {np.ravel(index)[0]}, ..."


@dataclass(frozen=True, eq=False)
class Changing(Node):
    """Base of operators that change each element by itself; it keeps its index."""

    child: Node

    @abstractmethod
    def change(self, record: Record) -> Record:
        """Return the changed element."""

    @property
    def length(self) -> Length:
        return self.child.length

    @property
    def domain(self) -> int | None:
        return self.child.domain

    @property
    def unique(self) -> bool:
        return self.child.unique

    @property
    def once(self) -> Node:
        return replace(self, child=self.child.once)

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return self.child.ids(positions, passes)

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        return [self.change(r) for r in self.child.records(positions, passes)]

    def flow(self, number: int) -> Stream:
        return Lifted(self.child.stream(number), self.change)


@dataclass(frozen=True, eq=False)
class Map(Changing):
    """``f(element)``."""

    f: Callable[[Element], Element]
    version: str | None = None

    def change(self, record: Record) -> Record:
        return changed("map", self.f, record)


@dataclass(frozen=True, eq=False)
class BatchedMap(Changing):
    """``f(stacked elements)``: any number of elements at a time, along a leading axis that f keeps."""

    f: Callable[[Element], Element]
    version: str | None = None

    def change(self, record: Record) -> Record:
        return self._apart(self._changed(stack_records([record], "map")), [record])[0]

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        below = self.child.records(positions, passes)
        return self._apart(self._changed(stack_records(below, "map")), below) if below else []

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        return self._changed(self.child.stacked(positions, passes))

    def _changed(self, record: Record) -> Record:
        out = changed("map", self.f, record)
        rows = len(record.index)
        for path, leaf in leaves(out.value):
            if np.ndim(leaf) == 0 or len(leaf) != rows:
                name = f" {path}" if path else ""
                raise ShapeError(
                    f"map: batched=True got {rows} elements and returned{name} of shape {np.shape(leaf)}; it must keep "
                    "the leading axis."
                )
        return out

    @staticmethod
    def _apart(stacked: Record, records: list[Record]) -> list[Record]:
        values = split_rows(stacked.value, len(records))
        return [Record(v, r.index, r.epoch, r.indices) for v, r in zip(values, records)]


@dataclass(frozen=True, eq=False)
class RandomMap(Changing):
    """``f(element, generator)``, the generator seeded by (seed, epoch, index)."""

    draws: ClassVar[bool] = True
    f: Callable[[Element, np.random.Generator], Element]
    name: str
    version: str | None = None

    @property
    def pure(self) -> bool:
        return False

    @cached_property
    def key(self) -> int:
        """Of the random stream."""
        return self.site.key(self.name)

    def change(self, record: Record) -> Record:
        generator = np.random.Generator(np.random.PCG64(self._seed(record)))
        return changed("random_map", self.f, record, generator)

    def _seed(self, record: Record) -> int:
        key = self.key
        for epoch, index in zip(np.ravel(record.epoch).tolist(), np.ravel(record.index).tolist()):
            key = counter(key, epoch, index)
        return key


@dataclass(frozen=True, eq=False)
class Filter(Node):
    """The elements for which ``f(element)`` is true, in order."""

    child: Node
    f: Callable[[Element], Any]
    version: str | None = None

    @property
    def length(self) -> Length:
        return None

    @property
    def domain(self) -> int | None:
        return self.child.domain

    @cached_property
    def indexed(self) -> bool:
        return False

    @property
    def unique(self) -> bool:
        return self.child.unique

    @property
    def signature(self) -> Signature | None:
        return self.child.signature

    def keeps(self, record: Record) -> bool:
        """Tell whether an element passes.

        Raises:
            ElementError: if f raises.
            ShapeError: if it returns no single truth value.
        """
        answer = called("filter", self.f, record)
        if isinstance(answer, torch.Tensor | np.ndarray) and np.prod(answer.shape) != 1:
            raise ShapeError(f"filter: f returned shape {tuple(answer.shape)}, needs one truth value.")
        if not isinstance(answer, torch.Tensor | np.ndarray | np.generic | bool | int | float):
            raise ShapeError(f"filter: f returned a {type(answer).__name__}, needs one truth value.")
        return bool(answer)

    def flow(self, number: int) -> Stream:
        return _Filtered(self, number)

    def materialised(self) -> Node:
        """Evaluate f once, and return the elements that pass as an indexed node.

        Raises:
            ConfigError: if the elements below are endless, cannot be had by position or differ between passes.
        """
        child = self.child.bare
        if not (child.indexed and finite(child.length) and child.fixed and child.pure):
            raise ConfigError(
                "filter: materialise=True needs a finite source in a fixed order; put it before shuffle, random_map "
                "and augment."
            )
        if child.length == 0:
            return child
        kept = [
            position
            for position in range(child.length)
            if self.keeps(child.records(*(a[position : position + 1] for a in whole(0, child.length)))[0])
        ]
        return Subset(child, np.array(kept, dtype=np.int64), site=self.site)


class _Filtered(Stream):
    def __init__(self, node: Filter, number: int) -> None:
        self._node, self._below = node, node.child.stream(number)

    def __next__(self) -> Handle:
        while True:
            handle = next(self._below)
            if self._node.keeps(handle.record()):
                return handle

    def state(self) -> Any:
        return self._below.state()

    def restore(self, state: Any) -> None:
        self._below.restore(state)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        return self._below.handles(refs)

    def close(self) -> None:
        self._below.close()


@dataclass(frozen=True, eq=False)
class Enumerate(Rearranging):
    """``(start + position, element)``."""

    moves_only: ClassVar[bool] = False
    start: int

    @property
    def length(self) -> Length:
        return self.child.length

    @property
    def pure(self) -> bool:
        return self.child.pure and self.child.fixed

    @property
    def signature(self) -> Signature | None:
        below = self.child.signature
        return None if below is None else ("int64 ()", below)

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return positions, passes

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        below = self.child.records(positions, passes)
        return [self.numbered(at, record) for at, record in zip(positions.tolist(), below)]

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        below = self.child.stacked(positions, passes)
        return Record((self.start + positions, below.value), below.index, below.epoch, below.indices)

    def numbered(self, at: int, record: Record) -> Record:
        """Return the element with its number."""
        value = (np.asarray(self.start + at, dtype=np.int64), record.value)
        return Record(value, record.index, record.epoch, record.indices)

    def flow(self, number: int) -> Stream:
        return _Enumerated(self, number)


class _Enumerated(Counted):
    def __init__(self, node: Enumerate, number: int) -> None:
        super().__init__(node.child.stream(number))
        self._node = node

    def __next__(self) -> Handle:
        below = next(self._below)
        self._at += 1
        return self._handle(self._at - 1, below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        below = self._below.handles([ref[1] for ref in refs])
        return [self._handle(ref[0], h) for ref, h in zip(refs, below)]

    def _handle(self, at: int, below: Handle) -> Handle:
        return Handle([at, below.ref], lambda record: self._node.numbered(at, record), below)
