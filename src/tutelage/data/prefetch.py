"""Making elements ahead of their use, in one thread."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], start: int, stop: int, depth: int) -> Iterator[T]:
    """Yield ``make(start)``, ..., ``make(stop - 1)`` in order, with up to ``depth`` elements made in advance.

    The thread starts at the first ``next`` and ends when the iterator is exhausted, closed or dropped; an
    error surfaces at its element.

    Args:
        make: position -> element; must not depend on when it is called.
        start: first position.
        stop: position behind the last.
        depth: elements made in advance; 0: none, and no thread.
    """
    if depth == 0:
        yield from map(make, range(start, stop))
        return
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tutelage-prefetch")
    try:
        pending: deque[Future[T]] = deque()
        for position in range(start, stop):
            pending.append(pool.submit(make, position))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
