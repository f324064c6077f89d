"""The stream of a prefetch in the middle of a chain."""

from collections.abc import Sequence
from typing import Any

from ...errors import CannotResume
from ..plans import NoPlan
from ..prefetch import ahead
from .streams import Handle, Stream

_FOREVER = 1 << 62
_SNAPSHOT = 16


class Prefetched(Stream):
    """Elements that a thread reads in advance.

    The thread notes the state below every so many elements; the state here is such a note and how many elements
    the consumer had since, so that what was made ahead but not had does not count.
    """

    def __init__(self, below: Stream, size: int) -> None:
        self._below, self._size = below, size
        self._noted: Any = None
        self._since = 0
        self._items: Any = None

    def __next__(self) -> Handle:
        if self._items is None:
            self._items = ahead(_Reading(self._below, max(self._size, _SNAPSHOT)), 0, _FOREVER, self._size)
        noted: Any
        handle: Handle | None
        noted, handle = next(self._items, (None, None))
        if handle is None:
            self._items.close()
            raise StopIteration
        if noted is not None:
            self._noted, self._since = noted, 0
        self._since += 1
        assert isinstance(handle, Handle)
        return handle

    def state(self) -> Any:
        if isinstance(self._noted, CannotResume):
            raise self._noted
        if self._noted is None:
            return [self._below.state(), 0]
        return [self._noted[0], self._since]

    def restore(self, state: Any) -> None:
        below, since = state
        self._below.restore(below)
        self._noted, self._since = (below,), since
        for _ in range(since):
            next(self._below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        return self._below.handles(refs)

    def close(self) -> None:
        if self._items is not None:
            self._items.close()
        self._below.close()


class _Reading:
    """What the thread does; apart from the stream, so that it does not keep it alive."""

    def __init__(self, below: Stream, every: int) -> None:
        self._below, self._every = below, every

    def __call__(self, position: int) -> tuple[Any, Handle | None]:
        noted: Any = None
        if position % self._every == 0:
            try:
                noted = (self._below.state(),)
            except CannotResume as error:
                noted = error  # for the consumer, if it asks
        handle = next(self._below, None)
        if handle is not None:
            try:
                handle.record()
            except NoPlan:
                handle.release()  # the consumer asks again when it comes to it
        return noted, handle
