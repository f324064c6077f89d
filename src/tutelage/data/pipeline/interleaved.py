"""interleave and flat_map: each element names a pipeline of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np

from ...errors import ConfigError, ShapeError
from ..elements import Element, IntArray
from .change import called
from .merge import put_together, shifted
from .nodes import Length, Node, Record, Site, finite, offsets_of, whole
from .orders import Tables, interleave_order
from .streams import Handle, Stream


@dataclass(frozen=True)
class _Inputs:
    """The pipelines that the elements of a source make, by ascending index of the element."""

    index: IntArray
    nodes: list[Node]
    offsets: list[int]


@dataclass(frozen=True, eq=False)
class Interleave(Node):
    """``cycle`` of the pipelines ``f(element)`` in turn, up to ``block`` elements of each.

    Where the elements below can be had by position, their pipelines are made once; the sizes of their sources add
    up, in the order of the elements' index, for the index. A pipeline is in the pass of its element, or in that of
    the whole if that is later (below a cache): ``repeat().interleave(f)`` shuffles within f anew each time.
    """

    draws: ClassVar[bool] = True  # perhaps, in the pipelines that f returns
    child: Node
    f: Callable[[Element], Any]
    cycle: int
    block: int
    version: str | None = None

    @cached_property
    def known(self) -> bool:
        """Whether the pipelines are the same in every pass, so that they can be made once."""
        once = self.child.bare.once
        return once.indexed and finite(once.length) and once.depth == 0 and once.pure and once.steady

    @cached_property
    def inputs(self) -> _Inputs:
        """The pipelines, if they are known."""
        once = self.child.bare.once
        assert finite(once.length)
        records = {r.index: r for r in once.records(*whole(0, once.length))} if once.length else {}
        nodes = [self.made(records[index]) for index in sorted(records)]
        return _Inputs(np.array(sorted(records), dtype=np.int64), nodes, offsets_of(nodes))

    def made(self, record: Record) -> Node:
        """Return the pipeline of an element.

        Raises:
            ShapeError: if f returns something else.
            ConfigError: if it has a seed of its own.
        """
        pipeline: Any = called("interleave", self.f, record)
        node = getattr(pipeline, "node", None)
        if not isinstance(node, Node):
            raise ShapeError(f"interleave: f returned a {type(pipeline).__name__}, needs a Pipeline.")
        if getattr(pipeline, "seed", None) not in (None, self.site.seed):
            raise ConfigError(
                f"interleave: f returned a pipeline with seed {pipeline.seed}, the whole has seed {self.site.seed}; "
                "leave the inner seed out."
            )
        return node.at(Site(self.site.seed, f"{self.site.prefix}{record.index}/"))

    @cached_property
    def indexed(self) -> bool:
        return (
            self.known
            and self.child.indexed
            and finite(self.child.length)
            and all(n.indexed and finite(n.length) for n in self.inputs.nodes)
        )

    @cached_property
    def length(self) -> Length:
        """The sum over the inputs, where all pipelines are known and finite."""
        below = self.child.length
        if not self.known or not finite(below) or below == 0:
            return 0 if below == 0 else None
        lengths = [n.length for n in self.inputs.nodes]
        if not all(map(finite, lengths)):
            return None
        turn = np.searchsorted(self.inputs.index, self.child.bare.ids(*whole(0, below))[0])
        return int(np.array(lengths, dtype=np.int64)[turn].sum())

    @property
    def domain(self) -> int | None:
        return self.inputs.offsets[-1] if self.known and all(n.domain is not None for n in self.inputs.nodes) else None

    @property
    def unique(self) -> bool:
        return self.known and self.child.unique and all(n.unique for n in self.inputs.nodes)

    @property
    def fixed(self) -> bool:
        return self.child.fixed and self.known and all(n.fixed for n in self.inputs.nodes)

    @property
    def steady(self) -> bool:
        return self.known and all(n.steady for n in self.inputs.nodes)

    @property
    def pure(self) -> bool:
        return self.known and all(n.pure for n in self.inputs.nodes)

    @property
    def depth(self) -> int:
        return self.inputs.nodes[0].depth if self.known and self.inputs.nodes else 0

    @cached_property
    def _tables(self) -> Tables[IntArray]:
        return Tables()

    def table(self, number: int) -> IntArray:
        """Return pipeline, and position and pass within it, of each element of a pass, (3, length); the last two
        tables are kept.
        """
        return self._tables.get(number, self._table)

    def _table(self, number: int) -> IntArray:
        length, nodes = self.child.length, self.inputs.nodes
        assert finite(length)
        index, epoch = self.child.ids(*whole(number, length))
        turn = np.searchsorted(self.inputs.index, index)
        lengths = [n for n in (nodes[i].length for i in turn.tolist()) if finite(n)]
        which, at = interleave_order(lengths, self.cycle, self.block)
        return np.stack([turn[which], at, np.maximum(epoch, number)[which]])

    def _parts(self, positions: IntArray, passes: IntArray) -> list[tuple[IntArray, int, IntArray, IntArray]]:
        """Return (places, pipeline, positions in it, passes) for each pipeline that is met."""
        found = np.empty((3, len(positions)), dtype=np.int64)
        for number in np.unique(passes).tolist():
            here = passes == number
            found[:, here] = self.table(number)[:, positions[here]]
        which, at, when = found
        places = [(np.flatnonzero(which == b), b) for b in np.unique(which).tolist()]
        return [(here, b, at[here], when[here]) for here, b in places]

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        index, epoch = np.empty_like(positions), np.empty_like(positions)
        for here, b, at, when in self._parts(positions, passes):
            index[here], epoch[here] = self.inputs.nodes[b].ids(at, when)
            index[here] += self.inputs.offsets[b]
        return index, epoch

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        out: list[Any] = [None] * len(positions)
        for here, b, at, when in self._parts(positions, passes):
            for place, record in zip(here.tolist(), self.inputs.nodes[b].records(at, when)):
                out[place] = shifted(record, self.inputs.offsets[b])
        return out

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        parts, places = [], []
        for here, b, at, when in self._parts(positions, passes):
            parts.append(shifted(self.inputs.nodes[b].stacked(at, when), self.inputs.offsets[b]))
            places.append(here)
        return parts[0] if len(parts) == 1 else put_together(parts, places, "interleave")

    def flow(self, number: int) -> Stream:
        return _Interleaved(self, number)


class _Interleaved(Stream):
    """Slots that hold a pipeline each. A reference is [element, offset, reference in its pipeline]."""

    def __init__(self, node: Interleave, number: int) -> None:
        self._node, self._number = node, number
        self._below = node.child.stream(number)
        self._slots: list[_Slot | None] = [None] * node.cycle
        self._turn = 0  # the slot whose turn it is
        self._taken = 0  # elements it gave in this turn
        self._offset = 0  # of the next pipeline, where they are not known beforehand
        self._exhausted = False

    def __next__(self) -> Handle:
        idle = 0
        while idle < self._node.cycle:
            slot = self._slots[self._turn] or self._open_next()
            self._slots[self._turn] = slot
            idle = idle + 1 if slot is None else 0
            if slot is not None and self._taken < self._node.block:
                handle = next(slot.stream, None)
                if handle is not None:
                    self._taken += 1
                    return slot.lifted(handle)
                slot.stream.close()
                self._slots[self._turn] = None
            self._turn = (self._turn + 1) % self._node.cycle
            self._taken = 0
        raise StopIteration

    def _open_next(self) -> "_Slot | None":
        handle = None if self._exhausted else next(self._below, None)
        if handle is None:
            self._exhausted = True
            return None
        slot = self._open(handle, self._offset)
        self._offset = slot.behind
        return slot

    def _open(self, handle: Handle, offset: int) -> "_Slot":
        record = handle.record()
        if self._node.known:
            inputs = self._node.inputs
            which = int(np.searchsorted(inputs.index, record.index))
            node, offset = inputs.nodes[which], inputs.offsets[which]
        else:
            node = self._node.made(record)
        handle.release()
        number = max(self._number, int(record.epoch)) if np.ndim(record.epoch) == 0 else self._number
        return _Slot(handle.ref, offset, offset + offsets_of([node])[1], node.stream(number))

    def state(self) -> Any:
        slots = [None if s is None else [s.ref, s.offset, s.stream.state()] for s in self._slots]
        return [self._below.state(), slots, self._turn, self._taken, self._offset, self._exhausted]

    def restore(self, state: Any) -> None:
        below, slots, self._turn, self._taken, self._offset, self._exhausted = state
        for s, slot in enumerate(slots):
            if slot is not None:
                opened = self._open(self._below.handles([slot[0]])[0], slot[1])
                opened.stream.restore(slot[2])
                self._slots[s] = opened
        self._below.restore(below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        out = []
        for element, offset, ref in refs:
            slot = self._open(self._below.handles([element])[0], offset)
            out.append(slot.lifted(slot.stream.handles([ref])[0]))
        return out

    def close(self) -> None:
        for slot in self._slots:
            if slot is not None:
                slot.stream.close()
        self._below.close()


@dataclass
class _Slot:
    """An open pipeline: of which element, what its index is added to, and where the next one's begins."""

    ref: Any
    offset: int
    behind: int
    stream: Stream

    def lifted(self, handle: Handle) -> Handle:
        """Return the element as one of the whole."""
        return Handle([self.ref, self.offset, handle.ref], partial(shifted, offset=self.offset), handle)
