"""Stream form: the elements of one pass, one after another, with a state to go on from.

A stream yields handles. A handle knows how to find its element again, so a shuffle buffer holds handles, not
elements, and the state of a pipeline holds references, not data.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .nodes import Node, Record


class Handle:
    """An element of a stream, read when it is asked for.

    Args:
        ref: finds the element again in a stream of the same pass; plain data for JSON.
        make: the records of ``parents`` -> the record.
        *parents: what the element is made of.
    """

    __slots__ = ("_make", "_parents", "_record", "ref")

    def __init__(self, ref: Any, make: Callable[..., Record], *parents: "Handle") -> None:
        self.ref, self._make, self._parents = ref, make, parents
        self._record: Record | None = None

    def record(self) -> Record:
        """Return the element, made on the first call and then kept."""
        if self._record is None:
            self._record = self._make(*(p.record() for p in self._parents))
            for parent in self._parents:
                parent.release()
        return self._record

    def release(self) -> None:
        """Forget the element, not how to make it."""
        self._record = None
        for parent in self._parents:
            parent.release()


class Stream(ABC):
    """The elements of one pass of a node."""

    def __iter__(self) -> "Stream":
        return self

    @abstractmethod
    def __next__(self) -> Handle:
        """Return the next element."""

    @abstractmethod
    def state(self) -> Any:
        """Return where the stream stands, plain data for JSON."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Bring a fresh stream of the same pass to a state."""

    @abstractmethod
    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        """Return elements by reference, wherever the stream stands."""

    @abstractmethod
    def close(self) -> None:
        """End threads and files; the stream is not used again."""


class IndexedStream(Stream):
    """The stream of a node in indexed form: a counter."""

    def __init__(self, node: Node, number: int) -> None:
        self._node, self._number, self._at = node, number, 0

    def __next__(self) -> Handle:
        length = self._node.length
        assert length is not None
        if self._at >= length:
            raise StopIteration
        self._at += 1
        return self._handle(self._at - 1)

    def state(self) -> Any:
        return self._at

    def restore(self, state: Any) -> None:
        self._at = int(state)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        return [self._handle(ref) for ref in refs]

    def close(self) -> None:
        pass

    def _handle(self, position: int) -> Handle:
        return Handle(position, lambda: self._node.records(np.array([position]), np.array([self._number]))[0])


class Lifted(Stream):
    """A stream whose elements are another one's, each changed by itself."""

    def __init__(self, below: Stream, change: Callable[[Record], Record]) -> None:
        self._below, self._change = below, change

    def __next__(self) -> Handle:
        below = next(self._below)
        return Handle(below.ref, self._change, below)

    def state(self) -> Any:
        return self._below.state()

    def restore(self, state: Any) -> None:
        self._below.restore(state)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        return [Handle(h.ref, self._change, h) for h in self._below.handles(refs)]

    def close(self) -> None:
        self._below.close()


class Counted(Stream):
    """Base of streams that pass on elements of one stream below and count something."""

    def __init__(self, below: Stream) -> None:
        self._below, self._at = below, 0

    def state(self) -> Any:
        return [self._at, self._below.state()]

    def restore(self, state: Any) -> None:
        self._at = state[0]
        self._below.restore(state[1])

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        return self._below.handles(refs)

    def close(self) -> None:
        self._below.close()


class Peek:
    """A stream with its next element already asked for, so that its end is known in time."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._ahead: Handle | None = None
        self._asked = False

    def empty(self) -> bool:
        """Tell whether the stream has no element left."""
        if not self._asked:
            self._ahead = next(self.stream, None)
            self._asked = True
        return self._ahead is None

    def take(self) -> Handle:
        """Return the next element; there must be one."""
        if self.empty():
            raise StopIteration
        handle, self._ahead, self._asked = self._ahead, None, False
        assert handle is not None
        return handle

    def state(self) -> Any:
        """Return where the stream stands."""
        return [self.stream.state(), self._asked, self._ahead and self._ahead.ref]

    def restore(self, state: Any) -> None:
        """Bring a fresh one to a state."""
        below, self._asked, ref = state
        self.stream.restore(below)
        self._ahead = None if ref is None else self.stream.handles([ref])[0]
