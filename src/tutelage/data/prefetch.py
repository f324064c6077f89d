"""Making elements ahead of their use, in one thread."""

import atexit
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread, current_thread
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST_AHEAD = 1 << 20


def ahead(make: Callable[[int], T], start: int, stop: int, depth: int) -> Iterator[T]:
    """Yield ``make(start)``, ..., ``make(stop - 1)`` in order, with up to ``depth`` elements made in advance.

    The thread starts at the first ``next`` and ends when the iterator is exhausted, closed or dropped; an error
    surfaces at its element and ends the iterator.

    Args:
        make: position -> element; must not depend on when it is called.
        start: first position.
        stop: position behind the last.
        depth: elements made in advance, 2^20 at most; 0: none, and no thread.
    """
    if depth == 0:
        yield from map(make, range(start, stop))
        return
    producer = _Producer(make, range(start, stop), depth)
    try:
        for _ in range(start, stop):
            yield producer.take()
    finally:
        producer.end()


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _Producer(Generic[T]):
    """A thread that makes one element for each ticket.

    Tickets and elements go through queues written in C: a pool of futures costs several times as much an element.
    """

    def __init__(self, make: Callable[[int], T], positions: range, depth: int) -> None:
        self._tickets: SimpleQueue[None] = SimpleQueue()
        self._made: SimpleQueue[T | _Failed] = SimpleQueue()
        self._ended = Event()
        for _ in range(min(depth, _MOST_AHEAD)):
            self._tickets.put(None)
        work = (make, positions, self._tickets, self._made, self._ended)
        self._thread = Thread(target=_work, args=work, name="tutelage-prefetch", daemon=True)
        self._thread.start()
        atexit.register(self.end)  # an iterator left open must not keep the thread at work while modules go

    def take(self) -> T:
        """Return the next element and let another one be made; raise the error that it met."""
        made = self._made.get()
        if isinstance(made, _Failed):
            raise made.error
        self._tickets.put(None)
        return made

    def end(self) -> None:
        """End the thread after the element that it is at."""
        if self._ended.is_set():  # by the exit of the program, perhaps, when modules are gone
            return
        atexit.unregister(self.end)
        self._ended.set()
        self._tickets.put(None)
        if self._thread is not current_thread():  # the collector may drop an iterator in any thread
            self._thread.join()


def _work(
    make: Callable[[int], T],
    positions: range,
    tickets: SimpleQueue[None],
    made: "SimpleQueue[T | _Failed]",
    ended: Event,
) -> None:
    for position in positions:
        tickets.get()
        if ended.is_set():
            return
        try:
            made.put(make(position))
        except BaseException as error:  # noqa: BLE001 - it belongs to the consumer, who waits for it and raises it
            made.put(_Failed(error))
            return
