"""Iterators of a pipeline: elements or records, one-shot, initialisable, switched; all with a state."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Generic, Self, TypeAlias, TypeVar

import numpy as np

from ...errors import CannotResume, ConfigError, unknown
from ..checks import MOST
from ..elements import as_tensors, describe
from ..plans import NoPlan
from ..prefetch import ahead
from .identity import form
from .merge import alike
from .nodes import Node, Record
from .prefetched import Prefetched
from .rearrange import Prefetch
from .states import as_state, check, no_state, resume_stream, snapshot

T = TypeVar("T")
_LATER = object()


Run: TypeAlias = Callable[[Callable[[int], Any], int, int], Iterator[Any]]
"""(make, start, stop) -> the elements ``make(start)``, ..., made ahead or not; ends with its ``close``."""


class Steps(Generic[T]):
    """Elements by number; each is a pure function of its number.

    An element whose plan is not there yet is asked for again when the consumer comes to it.
    """

    def __init__(self, make: Callable[[int], T], stop: int, run: Run) -> None:
        self._make, self._stop, self._run = make, stop, run
        self.at = 0
        self._items: Iterator[Any] | None = None
        self._waits = False

    def seek(self, at: int) -> None:
        """Go on at a number."""
        self.close()
        self.at, self._items, self._waits = at, None, False

    def __next__(self) -> T:
        if self._items is None:
            self._items = self._run(partial(_tried, self._make), self.at, self._stop)
        item: Any = _LATER if self._waits else next(self._items)
        if item is _LATER:
            self._waits = True
            item = self._make(self.at)
            self._waits = False
        self.at += 1
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the thread."""
        if self._items is not None:
            self._items.close()  # type: ignore[attr-defined]  # a generator


def _tried(make: Callable[[int], Any], number: int) -> Any:
    try:
        return make(number)
    except NoPlan:
        return _LATER


def _made(top: Node, epoch: int, convert: Callable[[Record], Any], number: int) -> Any:
    # no method: the thread must not keep the iterator alive
    return convert(top.records(np.array([number]), np.array([epoch]))[0])


def trimmed(node: Node) -> tuple[Node, int]:
    """Return a node without the prefetches at its top, and how many elements they make ahead."""
    depth = 0
    while isinstance(node, Prefetch):
        depth, node = max(depth, node.size), node.child
    return node, depth


class ElementIterator(Generic[T]):
    """The elements of one pass.

    Ends for good at the end of the pass. ``state_dict`` counts what was had, not what was made ahead.
    """

    def __init__(self, node: Node, epoch: int, convert: Callable[[Record], T], kind: str) -> None:
        self._node, self._convert, self._kind = node, convert, kind
        self._open(epoch)

    def _open(self, epoch: int) -> None:
        self._epoch = epoch
        self._steps: Steps[T] | None = None
        self._done = False
        top, depth = trimmed(self._node)
        if top.indexed:
            assert top.length is not None
            stop = int(min(top.length, MOST))
            self._steps = Steps(partial(_made, top, epoch, self._convert), stop, partial(ahead, depth=depth))
        else:
            self._stream = Prefetched(partial(top.stream, epoch), depth)
            self._count = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._done:
            raise StopIteration
        try:
            if self._steps is not None:
                return next(self._steps)
            record = next(self._stream).record()
        except StopIteration:
            self.close()
            raise
        self._count += 1
        return self._convert(record)

    @property
    def step(self) -> int:
        """How many elements were had."""
        return self._count if self._steps is None else self._steps.at

    def state_dict(self) -> dict[str, Any]:
        """Return where the iterator stands, plain data for JSON.

        Raises:
            CannotResume: if a function of the chain cannot be recognised, or a generator cannot be made again.
        """
        place: dict[str, Any] = {"kind": self._kind, "epoch": self._epoch, "step": self.step}
        if self._steps is None:
            place |= {"stream": self._stream.state(), "form": form(trimmed(self._node)[0])}
        return snapshot(self._node, **place)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same pipeline; what was had before is forgotten.

        Raises:
            CannotResume: if the pipeline, its source, its seed or its plan is another one; see :func:`check`.
        """
        check(state, snapshot(self._node, kind=self._kind))
        self.close()
        self._open(int(state["epoch"]))
        if self._steps is not None:
            self._steps.seek(int(state["step"]))
        else:
            resume_stream(self._stream, state, form(trimmed(self._node)[0]))
            self._count = int(state["step"])

    def close(self) -> None:
        """End threads and files; the iterator has no more elements."""
        self._done = True
        if self._steps is not None:
            self._steps.close()
        else:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plain(record: Record) -> Any:
    """Return the element with torch tensors."""
    return as_tensors(record.value)


def tensors(record: Record) -> Record:
    """Return the record with torch tensors in its value."""
    return replace(record, value=as_tensors(record.value))


class InitialisableIterator:
    """An iterator that is started, and started again, by ``initialize``.

    Args:
        bound: the arrays for placeholders -> the node to run.
    """

    def __init__(self, bound: Callable[[dict[str, Any]], Node], needs: tuple[str, ...]) -> None:
        self._bound, self._needs = bound, needs
        self._calls = 0
        self._iterator: ElementIterator[Any] | None = None

    def initialize(self, epoch: int | None = None, **arrays: Any) -> Self:
        """Start at element 0 of a pass.

        Args:
            epoch: which pass; None: the number of earlier calls, so that shuffles differ from call to call.
            **arrays: for the placeholders of the pipeline.

        Raises:
            ConfigError: if an array is missing or does not fit.
        """
        node = self._bound(arrays)
        self.close()
        self._iterator = ElementIterator(node, self._calls if epoch is None else epoch, plain, "elements")
        self._calls += 1
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._started())

    def _started(self) -> ElementIterator[Any]:
        if self._iterator is None:
            names = ", ".join(f"{name}=..." for name in self._needs)
            raise ConfigError(f"iterator not initialised: call initialize({names}).")
        return self._iterator

    def state_dict(self) -> dict[str, Any]:
        """Return where the iterator stands; see :meth:`ElementIterator.state_dict`."""
        return self._started().state_dict() | {"initialisations": self._calls}

    def load_state_dict(self, state: Mapping[str, Any], **arrays: Any) -> None:
        """Go on from a state.

        Args:
            state: of the same pipeline.
            **arrays: for the placeholders; if the iterator is initialised with them already, none.

        Raises:
            CannotResume: see :meth:`ElementIterator.load_state_dict`.
        """
        if self._iterator is None or arrays:
            self.initialize(0, **arrays)
        calls = as_state(state).get("initialisations", self._calls)
        if not isinstance(calls, int):
            raise no_state("number of initialisations")
        self._started().load_state_dict(state)
        self._calls = calls

    def close(self) -> None:
        """End threads and files."""
        if self._iterator is not None:
            self._iterator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SwitchIterator:
    """Several pipelines of equal structure behind one iterator; each keeps its place.

    Raises:
        ConfigError: if there is no branch, or two differ in structure, dtype or shape.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        if not nodes:
            raise ConfigError("switch: name at least one data set.")
        (first, node), *others = nodes.items()
        for name, other in others:
            a, b = node.signature, other.signature
            if a is not None and b is not None and not alike(a, b):
                raise ConfigError(f"switch: {first} is {describe(a)}, {name} {describe(b)}; cast with map first.")
        self._branches = {name: ElementIterator(n, 0, plain, "elements") for name, n in nodes.items()}
        self._name = first

    def use(self, name: str) -> Self:
        """Take the next elements from the branch ``name``.

        Raises:
            ConfigError: if there is none.
        """
        if name not in self._branches:
            raise ConfigError(f"switch: {unknown('data set', name, self._branches)}")
        self._name = name
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._branches[self._name])

    def state_dict(self) -> dict[str, Any]:
        """Return where each branch stands, and which one is in use."""
        return {"name": self._name, "switch": {name: b.state_dict() for name, b in self._branches.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            CannotResume: if the branches are others; see :meth:`ElementIterator.load_state_dict`.
        """
        stored = as_state(state).get("switch")
        if not isinstance(stored, Mapping) or stored.keys() != self._branches.keys():
            was = ", ".join(stored) if isinstance(stored, Mapping) else "no switch"
            raise CannotResume(f"cannot resume: switch was {was}, is now {', '.join(self._branches)}.")
        if state.get("name") not in self._branches:
            raise no_state("name of a branch")
        for name, branch in self._branches.items():
            branch.load_state_dict(stored[name])
        self._name = state["name"]

    def close(self) -> None:
        """End threads and files of all branches."""
        for branch in self._branches.values():
            branch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
