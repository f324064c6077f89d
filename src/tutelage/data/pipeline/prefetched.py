"""The stream of a prefetch in the middle of a chain."""

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import CannotResume
from ..checks import MOST
from ..plans import NoPlan
from ..prefetch import ahead
from .streams import Handle, Stream

_SNAPSHOT = 16


class Prefetched(Stream):
    """Elements that a thread reads in advance.

    The thread notes the state below every so many elements; the state here is such a note and how many elements
    the consumer had since, so that what was made ahead but not had does not count. A stream that met a boundary
    without a plan is opened again from there, as the plan may be published by the time the consumer comes to it.

    Args:
        opened: returns a fresh stream of the pass.
        size: elements read in advance.
    """

    def __init__(self, opened: Callable[[], Stream], size: int) -> None:
        self._opened, self._below, self._size = opened, opened(), size
        self._noted: Any = None
        self._since = 0
        self._items: Any = None

    def __next__(self) -> Handle:
        try:
            return self._next()
        except NoPlan:
            if isinstance(self._noted, CannotResume):
                raise
            self._reopen()
        try:
            return self._next()
        except NoPlan:
            self._reopen()
            raise

    def _reopen(self) -> None:
        state = self.state()
        self.close()
        self._below, self._items = self._opened(), None
        self.restore(state)

    def _next(self) -> Handle:
        if self._items is None:
            if self._noted is None:
                self._noted = _note(self._below)
            self._items = ahead(_Reading(self._below, max(self._size, _SNAPSHOT)), 0, MOST, self._size)
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
        noted = _note(self._below) if position % self._every == 0 else None
        handle = next(self._below, None)
        if handle is not None:
            handle.record()
        return noted, handle


def _note(stream: Stream) -> Any:
    try:
        return (stream.state(),)
    except CannotResume as error:
        return error  # for the consumer, if it asks
