"""sample_from and choose_from: each element from a branch that is drawn, or named."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from ...errors import ConfigError
from ...randomness import counter, hashed, real
from ..elements import Array, IntArray
from .merge import MergedStream, Merging
from .nodes import ENDLESS, Length, Node, Record, Site, finite, whole
from .orders import Tables, choice_order, ordinals, sample_order, weighted
from .streams import Handle, Peek, Stream


@dataclass(frozen=True, eq=False)
class Drawing(Merging):
    """Base of operators that draw from branches by a table a pass."""

    @abstractmethod
    def _table(self, number: int) -> IntArray:
        """Return the branch of each element of a pass."""

    @cached_property
    def _tables(self) -> Tables[tuple[IntArray, IntArray]]:
        return Tables()

    def table(self, number: int) -> tuple[IntArray, IntArray]:
        """Return branch and position within it of each element of a pass; the last two tables are kept."""
        return self._tables.get(number, self._made)

    def _made(self, number: int) -> tuple[IntArray, IntArray]:
        branch = self._table(number)
        return branch, ordinals(branch, len(self.branches))

    def locate(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        branch, at = np.empty_like(positions), np.empty_like(positions)
        for number in np.unique(passes).tolist():
            here = passes == number
            branches, places = self.table(number)
            branch[here], at[here] = branches[positions[here]], places[positions[here]]
        return branch, at, passes


@dataclass(frozen=True, eq=False)
class Sample(Drawing):
    """Each element from a branch drawn by weight; exhausted branches leave the others renormalised."""

    draws: ClassVar[bool] = True
    weights: tuple[float, ...]
    stop_on_empty: bool
    name: str

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        right = len(weights) == len(self.branches) and np.isfinite(weights).all() and (weights >= 0).all()
        if not right or weights.sum() <= 0:
            shown = ", ".join(f"{w:g}" for w in self.weights)
            raise ConfigError(f"sample_from: weights [{shown}] must be >= 0 with a positive sum, one per data set.")
        super().__post_init__()

    @property
    def who(self) -> str:
        return "sample_from"

    @property
    def share(self) -> Array:
        """The weights as an array."""
        return np.asarray(self.weights, dtype=np.float64)

    @cached_property
    def key(self) -> int:
        """Of the random stream."""
        return self.site.key(self.name)

    @cached_property
    def indexed(self) -> bool:
        return not self.stop_on_empty and all(b.indexed and finite(b.length) for b in self.branches)

    @cached_property
    def length(self) -> Length:
        lengths = [b.length for b, w in zip(self.branches, self.weights) if w > 0]
        if None in lengths or (self.stop_on_empty and any(finite(n) for n in lengths)):
            return None
        return sum(n for n in lengths if n is not None)

    @property
    def fixed(self) -> bool:
        return False

    def _table(self, number: int) -> IntArray:
        lengths = [b.length for b in self.branches if finite(b.length)]
        return sample_order(self.key, number, lengths, self.share)

    def flow(self, number: int) -> Stream:
        return _Sampled(self, number)


class _Drawn(MergedStream):
    """Base of streams that draw from branches."""

    def __init__(self, node: Drawing, number: int) -> None:
        super().__init__(node, number)
        self._peeks = [Peek(stream) for stream in self._below]

    def state(self) -> Any:
        return [self._at, [peek.state() for peek in self._peeks]]

    def restore(self, state: Any) -> None:
        self._at, peeks = state
        for peek, s in zip(self._peeks, peeks):
            peek.restore(s)


class _Sampled(_Drawn):
    def __init__(self, node: Sample, number: int) -> None:
        super().__init__(node, number)
        self._sample, self._key = node, counter(node.key, number)

    def __next__(self) -> Handle:
        weights = self._sample.share
        if not self._sample.stop_on_empty:
            empty = [w > 0 and peek.empty() for w, peek in zip(weights.tolist(), self._peeks)]
            weights = np.where(empty, 0.0, weights)
        if not weights.any():
            raise StopIteration
        branch = int(weighted(real(hashed(self._key, self._at)), weights))
        return self._from(branch, self._peeks[branch].take())


@dataclass(frozen=True, eq=False)
class Choose(Drawing):
    """Each element from the branch that a stream of numbers names."""

    choices: Node
    stop_on_empty: bool

    @property
    def who(self) -> str:
        return "choose_from"

    def at(self, site: Site) -> Self:
        return replace(super().at(site), choices=self.choices.at(Site(site.seed, f"{site.prefix}ids/")))

    @cached_property
    def indexed(self) -> bool:
        return self._choices_known and all(b.indexed for b in self.branches)

    @property
    def _choices_known(self) -> bool:
        ids = self.choices.bare
        return ids.indexed and finite(ids.length) and ids.fixed and ids.pure

    @property
    def steady(self) -> bool:
        return self.fixed

    @cached_property
    def length(self) -> Length:
        known = self._choices_known and all(b.length is not None for b in self.branches)
        return len(self._table(0)) if known else None

    def chosen(self, record: Record) -> IntArray:
        """Return the branch that each choice names.

        Raises:
            ConfigError: if a choice is no whole number, or there is no such branch.
        """
        ids = record.value
        if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu" or ids.size != np.size(record.index):
            raise ConfigError("choose_from: ids must be whole numbers.")
        for branch in ids[(ids < 0) | (ids >= len(self.branches))].ravel().tolist()[:1]:
            raise ConfigError(
                f"choose_from: id {branch} of {len(self.branches)} data sets; valid are 0..{len(self.branches) - 1}."
            )
        return ids.astype(np.int64).reshape(np.shape(record.index))

    @cached_property
    def _chosen(self) -> IntArray:
        ids = self.choices.bare
        assert finite(ids.length)
        if ids.length == 0:
            return np.empty(0, dtype=np.int64)
        return self.chosen(ids.stacked(*whole(0, ids.length)))

    def _table(self, number: int) -> IntArray:
        lengths = [ENDLESS if b.length is None else b.length for b in self.branches]
        return choice_order(self._chosen, lengths, self.stop_on_empty)

    def flow(self, number: int) -> Stream:
        return _Chosen(self, number)


class _Chosen(_Drawn):
    def __init__(self, node: Choose, number: int) -> None:
        super().__init__(node, number)
        self._choose, self._ids = node, node.choices.stream(number)

    def __next__(self) -> Handle:
        while True:
            branch = int(self._choose.chosen(next(self._ids).record()))
            peek = self._peeks[branch]
            if not peek.empty():
                return self._from(branch, peek.take())
            if self._choose.stop_on_empty:
                raise StopIteration

    def state(self) -> Any:
        return [super().state(), self._ids.state()]

    def restore(self, state: Any) -> None:
        super().restore(state[0])
        self._ids.restore(state[1])

    def close(self) -> None:
        super().close()
        self._ids.close()
