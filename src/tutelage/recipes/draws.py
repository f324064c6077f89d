"""Rows of a step as a function of its number, so that a run may go on at any."""

import functools
from dataclasses import dataclass

import numpy as np

from ..data.sources import IntArray
from ..randomness import counter, hashed, integer, permutation


@functools.lru_cache(maxsize=32)
def _order(key: int, number: int, n: int) -> IntArray:
    return permutation(counter(key, number), n)


@dataclass(frozen=True, eq=False)
class Draws:
    """A stream of rows.

    Attributes:
        key: of the stream.
        rows: positions to draw from, (n,).
        size: rows a step; all n: these, in order, every step.
        replacement: draw each by itself; else pass by pass, each in an order of its own, without remainder.
    """

    key: int
    rows: IntArray
    size: int
    replacement: bool

    def at(self, step: int) -> IntArray:
        """Return the positions (size,) of a step, counted from 0."""
        n = len(self.rows)
        if self.replacement:
            return self._rows(integer(hashed(counter(self.key, step), np.arange(self.size)), n))
        if self.size == n:
            return self.rows
        passes, places = self.passes(step), self._places(step) % n
        found = np.empty(self.size, dtype=np.int64)
        for number in range(int(passes[0]), int(passes[-1]) + 1):
            here = passes == number
            found[here] = _order(self.key, number, n)[places[here]]
        return self._rows(found)

    def passes(self, step: int) -> IntArray:
        """Return which pass over the rows each of a step's belongs to, (size,); with replacement: which would be."""
        return self._places(step) // len(self.rows)

    def _places(self, step: int) -> IntArray:
        return step * self.size + np.arange(self.size)

    def _rows(self, places: IntArray) -> IntArray:
        rows: IntArray = self.rows[places]
        return rows
