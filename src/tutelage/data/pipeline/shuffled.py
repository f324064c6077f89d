"""shuffle: a buffer, or all elements."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...randomness import counter, hashed, integer
from ..elements import IntArray
from .nodes import Length, Node, finite, whole
from .orders import Tables, buffer_order, full_order
from .rearrange import Rearranging
from .streams import Handle, Stream


@dataclass(frozen=True, eq=False)
class Shuffle(Rearranging):
    """A shuffle buffer of ``size`` elements, or a full shuffle where it holds them all (size None: always)."""

    draws: ClassVar[bool] = True
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
    def _tables(self) -> Tables[IntArray]:
        return Tables()

    def order(self, number: int) -> IntArray:
        """Return the positions below in the order of a pass; the last two are kept."""
        return self._tables.get(number, self._order)

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
