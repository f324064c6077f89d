"""cache: elements are made once, those of pass 0, and then kept in memory or in a file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..elements import IntArray, Signature, frozen
from .identity import digest
from .nodes import Length, Node, Record, finite, walk
from .states import sources
from .streams import Handle, Stream


class _Shelf:
    """What a cache holds: records by position, all of them once ``whole`` is set."""

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self._key = path, key
        self.records: dict[int, Record] = {}
        self.whole = False
        if path is not None and path.exists():
            from ..store import read_records

            values, index, epoch = read_records(path, key)
            self.records = {i: _frozen(Record(*row)) for i, row in enumerate(zip(values, index, epoch))}
            self.whole = True

    def complete(self) -> None:
        """All records are there: write the file, if there is to be one."""
        self.whole = True
        if self._path is not None:
            from ..store import write_records

            ordered = [self.records[i] for i in range(len(self.records))]
            columns = [r.value for r in ordered], [r.index for r in ordered], [r.epoch for r in ordered]
            write_records(self._path, self._key, *columns)


@dataclass(frozen=True, eq=False)
class Cache(Node):
    """The elements of pass 0 below, each made once; a file is written when the last one was made."""

    child: Node
    path: Path | None

    @property
    def length(self) -> Length:
        return self.child.length

    @property
    def domain(self) -> int | None:
        return self.child.domain

    @cached_property
    def indexed(self) -> bool:
        return self.child.indexed and finite(self.child.length)

    @property
    def unique(self) -> bool:
        return self.child.unique

    @property
    def fixed(self) -> bool:
        return True

    @property
    def steady(self) -> bool:
        return True

    @property
    def pure(self) -> bool:
        return True

    @property
    def signature(self) -> Signature | None:
        return self.child.signature

    @cached_property
    def shelf(self) -> _Shelf:
        """What was made so far."""
        return _Shelf(self.path, "" if self.path is None else self._key)

    @property
    def _key(self) -> str:
        """What the elements depend on: operators, sources, and the seed if anything is drawn."""
        seed = self.site if any(n.draws for n in walk(self.child)) else None
        what = json.dumps([digest(self.child), list(sources(self.child)), str(seed)])
        return hashlib.sha256(what.encode()).hexdigest()

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return self.child.ids(positions, np.zeros_like(passes))

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        kept = self.shelf.records
        missing = np.array([p for p in dict.fromkeys(positions.tolist()) if p not in kept], dtype=np.int64)
        if len(missing):
            made = self.child.records(missing, np.zeros_like(missing))
            kept.update(zip(missing.tolist(), map(_frozen, made)))
            if len(kept) == self.length and not self.shelf.whole:
                self.shelf.complete()
        return [_copied(kept[p]) for p in positions.tolist()]

    def flow(self, number: int) -> Stream:
        return _Caching(self)


def _frozen(record: Record) -> Record:
    return replace(record, value=frozen(record.value))


def _copied(record: Record) -> Record:
    return Record(record.value, record.index, record.epoch, record.indices, record.mixed)


class _Caching(Stream):
    """Fills the shelf in a full pass; then reads from it."""

    def __init__(self, node: Cache) -> None:
        self._node, self._shelf = node, node.shelf
        self._at = 0
        self._below: Stream | None = None
        self._seen: dict[int, Record] = {}

    def __next__(self) -> Handle:
        if self._shelf.whole:
            if self._at >= len(self._shelf.records):
                raise StopIteration
            self._at += 1
            return self._handle(self._at - 1)
        below = next(self._opened(), None)
        if below is None:
            self._shelf.records = self._seen
            self._shelf.complete()
            raise StopIteration
        self._seen[self._at] = record = _frozen(below.record())
        self._at += 1
        return Handle(self._at - 1, lambda: _copied(record))

    def _opened(self) -> Stream:
        """Return the stream below, standing where this one does."""
        if self._below is None:
            self._below = self._node.child.stream(0)
            self._seen = {i: _frozen(next(self._below).record()) for i in range(self._at)}
        return self._below

    def _handle(self, at: int) -> Handle:
        return Handle(at, lambda: _copied(self._shelf.records[at]))

    def state(self) -> Any:
        return self._at

    def restore(self, state: Any) -> None:
        self._at = int(state)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        if self._shelf.whole:
            return [self._handle(ref) for ref in refs]
        last = max(refs, default=-1)
        stream = self._node.child.stream(0)
        seen = [_frozen(next(stream).record()) for _ in range(last + 1)]
        stream.close()
        return [Handle(ref, lambda record=seen[ref]: _copied(record)) for ref in refs]

    def close(self) -> None:
        if self._below is not None:
            self._below.close()
