"""augment: the inputs of examples or batches, drawn per index and epoch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from ...errors import ShapeError
from ...lesson import Mixed
from ..augment import Augmentation
from ..elements import Element, IntArray, as_tensors, outline, readable, split_rows
from .change import Changing
from .nodes import Node, Record, finite, stack_records, walk
from .streams import Counted, Handle, Stream


@dataclass(frozen=True, eq=False)
class Augment(Changing):
    """An augmentation of the inputs, drawn per index and epoch; mixing, of batches, per place in the stream."""

    draws: ClassVar[bool] = True
    augmentation: Augmentation
    divisor: float
    views: int | None = None

    def drawn_in(self, epoch: IntArray) -> IntArray:
        """Return the epochs to draw for: with a bank of views, the number of the view."""
        return epoch if self.views is None else epoch % self.views

    @property
    def pure(self) -> bool:
        return False

    def change(self, record: Record) -> Record:
        if self.depth == 0:
            return _first(self._augmented(_batch_of_one(record)), record)
        return self._augmented(record)

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        out = super().records(positions, passes)
        if self.augmentation.mixing is not None:
            out = [self.mixed(record, step) for record, step in zip(out, self.steps(positions, passes).tolist())]
        return out

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        return (
            self._augmented(self.child.stacked(positions, passes))
            if self.depth == 0
            else super().stacked(positions, passes)
        )

    def steps(self, positions: IntArray, passes: IntArray) -> IntArray:
        """Return the place of a batch in the whole stream, which mixing is drawn by.

        A pass of unknown length counts as 2^32 batches.
        """
        length = self.length
        return passes * (length if finite(length) else 1 << 32) + positions

    def flow(self, number: int) -> Stream:
        return _Augmented(self, number) if self.augmentation.mixing is not None else super().flow(number)

    def _augmented(self, record: Record) -> Record:
        x, y, put = inputs(record.value, "augment")
        index = torch.from_numpy(np.asarray(record.index))
        epoch = torch.from_numpy(self.drawn_in(np.asarray(record.epoch)))
        params = self.augmentation.draw(self.site.seed, epoch, index)
        x = self.augmentation.apply(as_tensors(readable(x, "augment")), params, self.divisor)
        return Record(put(x.numpy(), y), record.index, record.epoch, record.indices, record.mixed)

    @cached_property
    def _looks(self) -> "Looks":
        return Looks.of(self)

    def mixed(self, record: Record, step: int) -> Record:
        """Return a batch mixed as drawn for its place in the stream."""
        x, y, put = inputs(record.value, "augment")
        x, y = (as_tensors(readable(a, "augment")) for a in (x, y))
        index, view = torch.from_numpy(record.index), self._looks.view(record.epoch)
        x, y, mixed = self.augmentation.mix(x, y, self.site.seed, step, index, view)
        twice = mixed is not None and record.mixed is not None
        return replace(record, value=put(x.numpy(), y.numpy()), mixed=_unknown(len(x)) if twice else mixed)


class _Augmented(Counted):
    """Augmented and mixed batches."""

    def __init__(self, node: Augment, number: int) -> None:
        super().__init__(node.child.stream(number))
        self._node, self._number = node, number

    def __next__(self) -> Handle:
        below = next(self._below)
        self._at += 1
        return self._handle(self._at - 1, below)

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        below = self._below.handles([ref[1] for ref in refs])
        return [self._handle(ref[0], h) for ref, h in zip(refs, below)]

    def _handle(self, at: int, below: Handle) -> Handle:
        step = int(self._node.steps(np.array([at]), np.array([self._number]))[0])

        def make(record: Record) -> Record:
            return self._node.mixed(self._node.change(record), step)

        return Handle([at, below.ref], make, below)


@dataclass(frozen=True)
class Looks:
    """How the rows of a chain look, beside which examples they are.

    Attributes:
        views: so many views of each row there are, view ``epoch mod views``; None: there is no bank of views.
        mixes: whether rows are mixed with others.
    """

    views: int | None
    mixes: bool

    @classmethod
    def of(cls, node: Node) -> Self:
        """Return how the rows of a chain look; with several banks of views, by how many passes all come again."""
        augments = [n for n in walk(node) if isinstance(n, Augment)]
        banks = [n.views for n in augments if n.views is not None]
        return cls(math.lcm(*banks) if banks else None, any(n.augmentation.mixing is not None for n in augments))

    def view(self, epoch: IntArray) -> Tensor | None:
        """Return the view of each row, int64 (n,)."""
        return None if self.views is None else torch.from_numpy(epoch % self.views)

    def mixed(self, record: Record) -> Mixed | None:
        """Return what else is in the rows of a batch; an operator after the mixing may have lost it."""
        return _unknown(len(record.index)) if self.mixes and record.mixed is None else record.mixed


def _unknown(rows: int) -> Mixed:
    return Mixed(torch.full((rows,), -1), torch.ones(rows), linear=False)


def inputs(value: Element, who: str) -> tuple[Any, Any, Callable[[Any, Any], Element]]:
    """Return x and y of an element (x, y) or {"x", "y"}, and how to put others in their places.

    Raises:
        ShapeError: for another structure.
    """
    if isinstance(value, tuple) and len(value) == 2 and not any(isinstance(v, tuple | dict) for v in value):
        return *value, lambda x, y: (x, y)
    if isinstance(value, dict) and value.keys() == {"x", "y"}:
        return value["x"], value["y"], lambda x, y: {"x": x, "y": y}
    raise ShapeError(f"{who}: an element is {outline(value)}, needs (x, y) or {{x: ., y: .}}; use map first.")


def _batch_of_one(record: Record) -> Record:
    return stack_records([record], "augment")


def _first(batch: Record, record: Record) -> Record:
    return Record(split_rows(batch.value, 1)[0], record.index, record.epoch, record.indices)
