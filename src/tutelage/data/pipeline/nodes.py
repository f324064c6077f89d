"""Node: one operator of a pipeline, in its two forms.

*Indexed form*: positions and passes go down the chain as whole arrays, and the elements are read last, only those
that are wanted. The place in the stream is one integer. *Stream form* (``streams.py``): elements come one after
another; for sources without random access and for what cannot know its length.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeGuard

import numpy as np

from ...lesson import Mixed
from ...randomness import stream
from ..elements import Element, IntArray, Signature, leading, stack

if TYPE_CHECKING:
    from .streams import Stream

ENDLESS = inf
_UNKNOWN_SIZE = 1 << 40
Length: TypeAlias = int | float | None
"""A number of elements, ENDLESS, or None: not known before all were seen."""


def offsets_of(nodes: Iterable["Node"]) -> list[int]:
    """Return what is added to the index of each node's elements where they are joined, and what comes next.

    A source without a length counts as 2^40 elements, so that an index still names one element.
    """
    out = [0]
    for node in nodes:
        out.append(out[-1] + (_UNKNOWN_SIZE if node.domain is None else node.domain))
    return out


def finite(length: Length) -> TypeGuard[int]:
    """Tell whether a length is a number."""
    return length is not None and length != ENDLESS


@dataclass(slots=True)
class Record:
    """An element and who it is.

    Attributes:
        value: the element.
        index: its position in the full source; of a batch those of its rows, int64, (n,).
        epoch: in which pass its source was read, from 0; of a batch int64, (n,).
        indices: after ``zip``, the index in each branch.
        mixed: which other examples are in the rows of a batch, after mixup or cutmix.
    """

    value: Element
    index: Any
    epoch: Any
    indices: tuple[Any, ...] = ()
    mixed: Mixed | None = None


def stack_records(records: list[Record], where: str = "batch") -> Record:
    """Return one record with stacked leaves and the index and epoch of each row."""
    value = stack([r.value for r in records], [r.index for r in records], where)
    return joined(value, records)


def joined(value: Element, records: list[Record]) -> Record:
    """Return ``value`` with the index and epoch of each record."""
    indices = tuple(map(_together, zip(*(r.indices for r in records))))
    return Record(value, _together([r.index for r in records]), _together([r.epoch for r in records]), indices)


def _together(ids: Any) -> Any:
    if any(isinstance(i, list) for i in ids) or len({np.shape(i) for i in ids}) > 1:
        return list(ids)  # of batches of different sizes
    return np.array(ids, dtype=np.int64)


@dataclass(frozen=True)
class Site:
    """Where a node stands: what its random stream is called."""

    seed: int = 0
    prefix: str = ""

    def key(self, name: str) -> int:
        """Return the key of the stream ``name`` there."""
        return stream(self.seed, self.prefix + name)


@dataclass(frozen=True, eq=False)
class Node(ABC):
    """One operator with what is below it. Immutable; tables and caches beside the fields are kept for speed only."""

    prefetches: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    """Whether the seed matters here."""

    site: Site = field(default=Site(), kw_only=True)

    # What is known before anything is read ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def length(self) -> Length:
        """The number of elements of a pass."""

    @property
    @abstractmethod
    def domain(self) -> int | None:
        """How many values the index can take: the size of the full source; None: not known."""

    @cached_property
    def indexed(self) -> bool:
        """Whether elements can be had by position."""
        return all(child.indexed for child in self.children)

    @property
    def unique(self) -> bool:
        """Whether each element of a pass has an index of its own."""
        return False

    @property
    def fixed(self) -> bool:
        """Whether the indices come in the same order in every pass."""
        return all(child.fixed for child in self.children)

    @property
    def steady(self) -> bool:
        """Whether the same indices come in every pass, in whatever order."""
        return all(child.steady for child in self.children)

    @cached_property
    def bare(self) -> "Node":
        """The same elements without prefetching, which hides that they can be had by position."""
        return self.replaced(lambda n: n.children[0].bare if n.prefetches else None)

    @property
    def once(self) -> "Node":
        """A node with the same elements, each index once, in whatever order."""
        return self

    @property
    def pure(self) -> bool:
        """Whether an element depends on its index alone, not on the pass."""
        return all(child.pure for child in self.children)

    @property
    def depth(self) -> int:
        """How many axes the index of an element has: 0: it is one number; 1: the element is a batch."""
        return max((child.depth for child in self.children), default=0)

    @property
    def rows(self) -> int | None:
        """The number of rows of every element, if it is known and the same."""
        return leading(self.signature)

    @property
    def signature(self) -> Signature | None:
        """Dtype and shape of an element's leaves, if known."""
        return None

    @property
    def scale(self) -> float | None:
        """What integer inputs are divided by before a network sees them, if the source says so."""
        below = self.children
        return below[0].scale if len(below) == 1 else None

    @property
    def children(self) -> tuple["Node", ...]:
        """The nodes below."""
        return tuple(self._nodes())

    def _nodes(self) -> Iterator["Node"]:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (v for v in value if isinstance(v, Node))

    # The indexed form ------------------------------------------------------------------------------------------------

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        """Return index and epoch of flat elements, reading none."""
        raise NotImplementedError(f"{type(self).__name__} has no ids")

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        """Return the elements at positions of passes, int64, (n,) each."""
        raise NotImplementedError(f"{type(self).__name__} has no indexed form")

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        """Return the same, at least one, as one record with stacked leaves."""
        return stack_records(self.records(positions, passes))

    # The stream form -------------------------------------------------------------------------------------------------

    def stream(self, number: int) -> "Stream":
        """Return the elements of a pass one after another."""
        from .streams import IndexedStream

        return IndexedStream(self, number) if self.indexed else self.flow(number)

    def flow(self, number: int) -> "Stream":
        """Return the stream form proper."""
        raise NotImplementedError(f"{type(self).__name__} has no stream form")

    # Copies ----------------------------------------------------------------------------------------------------------

    def at(self, site: Site) -> Self:
        """Return the same tree at another site; branch k of a merge stands at ``k/`` below it."""
        changes: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Node):
                changes[f.name] = value.at(site)
            elif isinstance(value, tuple) and any(isinstance(v, Node) for v in value):
                changes[f.name] = tuple(
                    v.at(Site(site.seed, f"{site.prefix}{k}/")) if isinstance(v, Node) else v
                    for k, v in enumerate(value)
                )
        return replace(self, **changes, site=site)

    def replaced(self, choose: Callable[["Node"], "Node | None"]) -> "Node":
        """Return the tree with the node that ``choose`` returns in the place of each for which it returns one."""
        chosen = choose(self)
        if chosen is not None:
            return chosen
        changes: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Node):
                changes[f.name] = value.replaced(choose)
            elif isinstance(value, tuple) and any(isinstance(v, Node) for v in value):
                changes[f.name] = tuple(v.replaced(choose) if isinstance(v, Node) else v for v in value)
        return replace(self, **changes) if changes else self

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def whole(number: int, length: int) -> tuple[IntArray, IntArray]:
    """Return all positions of a pass of so many elements, and the pass for each."""
    return np.arange(length), np.full(length, number)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)
