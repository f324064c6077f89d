"""Orders: who comes when, as pure functions of keys and lengths."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ...randomness import counter, hashed, integer, real
from ..elements import Array, IntArray

T = TypeVar("T")


class Tables(Generic[T]):
    """Tables of passes; the last two are kept. Replaced as a whole: several threads may ask."""

    def __init__(self) -> None:
        self._kept: dict[int, T] = {}

    def get(self, number: int, make: Callable[[int], T]) -> T:
        """Return the table of a pass, or make it."""
        table = self._kept.get(number)
        if table is None:
            table = make(number)
            self._kept = dict([*self._kept.items()][-1:]) | {number: table}
        return table


def full_order(key: int, number: int, index: IntArray) -> IntArray:
    """Return the order of a full shuffle: places in ascending order of ``h(key, number, index)``.

    The hash is injective, so unlike indices never tie.
    """
    return np.argsort(hashed(counter(key, number), index)).astype(np.int64, copy=False)


def buffer_order(key: int, number: int, length: int, size: int) -> IntArray:
    """Return the order of a shuffle buffer: at output t one of its slots is drawn from ``h(key, number, t)``.

    The next element goes into the slot that was drawn; if there is none, the last slot's element does. No
    element comes more than ``size - 1`` places early.
    """
    slots = list(range(min(size, length)))
    filled = np.minimum(size, length - np.arange(length))
    draws = integer(hashed(counter(key, number), np.arange(length)), filled).tolist()
    out = []
    for coming, k in enumerate(draws, start=size):
        out.append(slots[k])
        if coming < length:
            slots[k] = coming
        else:
            slots[k] = slots[-1]
            slots.pop()
    return np.array(out, dtype=np.int64)


def weighted(draws: Array, weights: npt.NDArray[np.float64]) -> IntArray:
    """Return the branch that each draw in [0, 1) falls on: the inverse of the cumulated, normalised weights."""
    sums = np.cumsum(weights / weights.sum())
    last = np.flatnonzero(weights)[-1]  # the sum may round to less than 1
    chosen: IntArray = np.minimum(np.searchsorted(sums, draws, side="right"), last)
    return chosen


def sample_order(key: int, number: int, lengths: Sequence[int], weights: npt.NDArray[np.float64]) -> IntArray:
    """Return the branch of each draw, until every branch of positive weight is exhausted."""
    left = np.where(weights > 0, lengths, 0)
    draws = real(hashed(counter(key, number), np.arange(int(left.sum()))))
    out = np.empty(len(draws), dtype=np.int64)
    at = 0
    while at < len(draws):  # the weights stay up to the draw that exhausts a branch
        branches = weighted(draws[at:], np.where(left > 0, weights, 0.0))
        exhausts = np.flatnonzero(ordinals(branches, len(left)) + 1 == left[branches])
        branches = branches[: exhausts[0] + 1]
        out[at : at + len(branches)] = branches
        left -= np.bincount(branches, minlength=len(left))
        at += len(branches)
    return out


def choice_order(choices: IntArray, lengths: Sequence[float], stop_on_empty: bool) -> IntArray:
    """Return the branches as chosen, without those of exhausted branches, or up to the first of them."""
    kept = ordinals(choices, len(lengths)) < np.asarray(lengths)[choices]
    if stop_on_empty and not kept.all():
        return choices[: int(np.argmin(kept))]
    return choices[kept]


def ordinals(branches: IntArray, count: int) -> IntArray:
    """Return how often each entry occurred before."""
    out = np.empty_like(branches)
    for branch in range(count):
        at = branches == branch
        out[at] = np.arange(int(at.sum()))
    return out


def interleave_order(lengths: Sequence[int], cycle: int, block: int) -> tuple[IntArray, IntArray]:
    """Return input and position within it of each output of ``interleave``.

    ``cycle`` slots take turns of up to ``block`` elements. A slot found empty yields nothing in that turn and
    takes the next input at its next turn.
    """
    coming = deque(range(len(lengths)))
    slots: list[list[int] | None] = [None] * cycle
    inputs: list[int] = []
    places: list[int] = []
    while coming or any(slot is not None for slot in slots):
        for s in range(cycle):
            slot = slots[s]
            if slot is None:
                if not coming:
                    continue
                slot = slots[s] = [coming.popleft(), 0]
            who, at = slot
            count = min(block, lengths[who] - at)
            inputs += [who] * count
            places += range(at, at + count)
            slot[1] += count
            if count < block:
                slots[s] = None
    return np.array(inputs, dtype=np.int64), np.array(places, dtype=np.int64)
