"""grain beneath: several threads or processes for steps, and a pipeline as a grain data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ConfigError
from .nodes import Node, finite


def through_grain(
    make: Callable[[int], Any], start: int, stop: int, *, threads: int, workers: int, depth: int
) -> Iterator[Any]:
    """Yield ``make(start)``, ..., ``make(stop - 1)`` in order, made ahead by grain.

    Args:
        make: position -> element; must not depend on when it is called. For processes it must pickle, and give numpy
            arrays or tuples of them, which travel through shared memory.
        start: first position.
        stop: position behind the last.
        threads: in each process.
        workers: processes; 0: this one. They are spawned: a script needs its ``if __name__ == "__main__"``.
        depth: elements made in advance, at least as many as threads.
    """
    import grain

    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(depth, threads))
    steps = grain.MapDataset.range(start, stop).map(make).to_iter_dataset(read)
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=max(depth, 1))
        steps = steps.mp_prefetch(options)
    iterator = iter(steps)
    try:
        yield from iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


@dataclass(frozen=True)
class _Elements:
    """The random-access source that grain wants."""

    node: Node

    def __len__(self) -> int:
        assert finite(self.node.length)
        return self.node.length

    def __getitem__(self, position: Any) -> Any:
        return self.node.records(np.array([int(position)]), np.array([0]))[0].value

    def __repr__(self) -> str:
        return f"tutelage.Pipeline({len(self)})"


def as_grain(node: Node) -> Any:
    """Return the elements of pass 0, as numpy arrays, as a ``grain.MapDataset``.

    Raises:
        ConfigError: if elements cannot be had by position, or are endless.
    """
    import grain

    if not node.indexed or not finite(node.length):
        raise ConfigError("to_grain: needs a finite stream with positions, without filter, prefetch or a generator.")
    return grain.MapDataset.source(_Elements(node))
