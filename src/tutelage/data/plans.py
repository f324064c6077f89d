"""Plans: what a teacher wants to be drawn next, and from when on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError
from ..randomness import counter, hashed, real
from .elements import IntArray

FloatArray: TypeAlias = npt.NDArray[np.float64]

_BEHIND = 8
"""Boundaries behind the reading whose plans are kept, for a reader that goes on where a consumer stopped."""

_TABLES = 2
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_KINDS = ("order", "replacement", "no replacement")


class NoPlan(ConfigError):
    """An element is asked for whose boundary has no plan yet."""


class Plans:
    """The mailbox between a teacher and a pipeline: which of n elements are drawn, decided anew at boundaries.

    The stream is cut into boundaries of ``every`` draws each. The plan of a boundary must be there before its first
    element is made: prefetching stops in front of a boundary without a plan, so that timing cannot change the
    stream. If boundary b + 1 is planned while b is consumed, prefetching goes on across the edge.

        plans = Plans(1797, every="pass")
        plans.publish(probability=torch.ones(1797))
        plans.publish(probability=weights)  # of the second pass
        plans.keep()  # the third pass like the second

    Draw t of boundary b, with s the key of the pipeline's stream and h, real as in :mod:`tutelage.randomness`:

    - ``order``: its entry t;
    - ``probability``: the inverse of its cumulative distribution at ``real(h(s, b, t))``, in float64;
    - without replacement: element t in ascending order of ``-log(1 - u_i) / probability_i`` with
      ``u_i = real(h(s, b, i))``, equals by i (Efraimidis and Spirakis, "Weighted random sampling with a
      reservoir", Information Processing Letters 97, 2006, in logarithms).

    ``real`` has 24 bits: with replacement, an element whose share is below 2^-24 may be out of reach.

    One thread publishes, keeps and takes states; others may read. Plans pickle.

    Args:
        n: number of elements to draw from, at least 1.
        every: draws a boundary: a number, or ``"pass"`` for n.

    Raises:
        ConfigError: for an n or ``every`` below 1.
    """

    def __init__(self, n: int, every: int | Literal["pass"] = "pass") -> None:
        draws = n if every == "pass" else every
        for name, value, also in (("n", n, ""), ("every", draws, ', or "pass"')):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ConfigError(f"plan: {name} is {value!r}; it must be at least 1{also}.")
        self.n, self.every = int(n), int(draws)
        self._shelf = _Shelf(hashlib.sha256(f"{self.n} {self.every}".encode()).digest())
        self._reading = 0  # the furthest boundary that was read
        self._tables: tuple[tuple[tuple[int, int], IntArray], ...] = ()

    def publish(
        self, *, order: Tensor | None = None, probability: Tensor | None = None, replacement: bool = True
    ) -> None:
        """Say what is drawn in the next boundary.

        Args:
            order: the elements to draw, integers in 0..n - 1, shape (every,); repeats are allowed.
            probability: of each element, shape (n,), finite, >= 0, up to a common factor.
            replacement: whether an element may come twice in a boundary; for ``probability`` only.

        Raises:
            ConfigError: if not exactly one of both is given, if it is not as described, or if each element may
                come once and fewer of them have a positive probability than are drawn.
        """
        if (order is None) == (probability is None):
            raise ConfigError("plan: publish takes either order=... or probability=....")
        kind = "order" if order is not None else "replacement" if replacement else "no replacement"
        plan = self._plan(self._shelf.boundaries, kind, order if probability is None else probability)
        self._shelf = self._shelf.with_plan(plan, self._reading - _BEHIND)

    def keep(self) -> None:
        """Let the present plan hold for the next boundary too, with new draws.

        Raises:
            ConfigError: before the first plan.
        """
        if not self._shelf.plans:
            raise ConfigError("plan: there is none to keep; call publish(...) first.")
        self._shelf = self._shelf.kept()

    def limit(self) -> int:
        """Return the number of element positions that are planned so far."""
        return self._shelf.boundaries * self.every

    def index(self, positions: IntArray, key: int) -> IntArray:
        """Return which elements, 0..n - 1, stand at positions of the stream; both int64, shape (m,).

        Args:
            positions: below :meth:`limit`.
            key: of the pipeline's stream.

        Raises:
            NoPlan: for a boundary without a plan.
            ConfigError: for one so far behind that its plan is gone.
        """
        shelf = self._shelf  # read once: the publisher may replace it meanwhile
        boundary, draw = np.divmod(positions, self.every)
        found = np.empty_like(boundary)
        for b in np.unique(boundary).tolist():
            here = boundary == b
            found[here] = self._drawn(shelf.plan(b), b, draw[here], key)
            self._reading = max(self._reading, b)
        return found

    def digest(self) -> dict[str, Any]:
        """Return ``{"version": number of publications, "sha256": of all that was published and kept, in order}``."""
        return {"version": self._shelf.version, "sha256": self._shelf.digest.hex()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the plans that may still be read, and the counters."""
        shelf = self._shelf
        return {
            "sizes": torch.tensor([self.n, self.every]),
            "counters": torch.tensor([shelf.boundaries, shelf.version]),
            "digest": torch.tensor(list(shelf.digest), dtype=torch.uint8),
            "first": torch.tensor([p.first for p in shelf.plans], dtype=torch.int64),
            "kind": torch.tensor([_KINDS.index(p.kind) for p in shelf.plans], dtype=torch.int64),
        } | {f"plan.{i}": torch.from_numpy(p.values.copy()) for i, p in enumerate(shelf.plans)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; nothing changes if it is refused.

        Raises:
            ConfigError: if it is none of Plans, or of other n or ``every``.
        """
        try:
            sizes = state["sizes"].tolist()
            if sizes != [self.n, self.every]:
                raise ConfigError(
                    f"plan: the state has [n, every] {sizes}; it does not fit plans that have {[self.n, self.every]}."
                )
            boundaries, version = state["counters"].tolist()
            kinds = [_KINDS[kind] for kind in state["kind"].tolist()]
            plans = [
                self._plan(first, kind, state[f"plan.{i}"])
                for i, (first, kind) in enumerate(zip(state["first"].tolist(), kinds))
            ]
            digest = bytes(state["digest"].tolist())
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"plan: this is no state of Plans ({error!r}).") from error
        self._shelf = _Shelf(digest, tuple(plans), boundaries, version)
        self._reading, self._tables = 0, ()

    def _plan(self, first: int, kind: str, given: Any) -> "_Plan":
        try:
            tensor = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError):
            raise ConfigError(
                f"plan: a {type(given).__name__} is neither order nor probability; pass a tensor."
            ) from None
        if kind == "order":
            return _Plan(first, kind, self._checked_order(tensor))
        values = self._checked_probability(tensor)
        positive = np.count_nonzero(values)
        if kind == "no replacement" and positive < self.every:
            raise ConfigError(
                f"plan: {self.every} draws without replacement need as many elements of positive probability, but "
                f"there are {positive}; draw fewer with every=..., or use replacement=True."
            )
        return _Plan(first, kind, values)

    def _drawn(self, plan: "_Plan", boundary: int, draw: IntArray, key: int) -> IntArray:
        if plan.kind == "order":
            found: IntArray = plan.values[draw]
        elif plan.kind == "replacement":
            found = np.searchsorted(plan.cumulative, real(hashed(counter(key, boundary), draw)), side="right")
        else:
            found = self._table(plan, boundary, key)[draw]
        return found

    def _table(self, plan: "_Plan", boundary: int, key: int) -> IntArray:
        """Return the draws of a boundary without replacement; the last tables are kept."""
        tables = self._tables
        for name, table in tables:
            if name == (boundary, key):
                return table
        table = _without_replacement(plan.values, self.every, counter(key, boundary))
        self._tables = (*tables[-_TABLES + 1 :], ((boundary, key), table))
        return table

    def _checked_order(self, given: Tensor) -> IntArray:
        if given.dtype not in _INTEGERS or given.shape != (self.every,):
            dtype = str(given.dtype).removeprefix("torch.")
            raise ConfigError(f"plan: order is {dtype} {tuple(given.shape)}; it must be int64 ({self.every},).")
        values: IntArray = given.to("cpu", torch.int64).numpy().copy()  # the teacher may write in its own
        outside = values[(values < 0) | (values >= self.n)]
        if outside.size:
            raise ConfigError(f"plan: order names element {outside[0]}; valid are 0..{self.n - 1}.")
        return values

    def _checked_probability(self, given: Tensor) -> FloatArray:
        if given.shape != (self.n,):
            raise ConfigError(f"plan: probability has shape {tuple(given.shape)}; it must be ({self.n},).")
        values: FloatArray = given.detach().to("cpu", torch.float64).numpy().copy()
        bad = np.flatnonzero(~((values >= 0) & np.isfinite(values)))
        if bad.size:
            raise ConfigError(f"plan: probability[{bad[0]}] is {values[bad[0]]}; it must be finite and >= 0.")
        with np.errstate(over="ignore"):
            total = values.cumsum()[-1]
        if not 0 < total < np.inf:
            raise ConfigError(f"plan: probability sums to {total}; the sum must be positive and finite.")
        return values


@dataclass(frozen=True, eq=False)
class _Plan:
    """What holds from boundary ``first`` on; ``values`` is an order (every,) or probabilities (n,)."""

    first: int
    kind: str
    values: npt.NDArray[Any]

    @cached_property
    def cumulative(self) -> FloatArray:
        summed: FloatArray = np.cumsum(self.values)
        summed /= summed[-1]  # ends in 1 exactly, so that no draw falls behind the last element
        return summed


@dataclass(frozen=True, eq=False)
class _Shelf:
    """All that is published, replaced as a whole: whoever reads it needs no lock."""

    digest: bytes
    plans: tuple[_Plan, ...] = ()
    boundaries: int = 0
    version: int = 0

    def plan(self, boundary: int) -> _Plan:
        if boundary >= self.boundaries:
            raise NoPlan(f"plan: no plan for boundary {boundary}; call publish(...) or keep() before it.")
        for plan in reversed(self.plans):
            if plan.first <= boundary:
                return plan
        raise ConfigError(
            f"plan: the plan of boundary {boundary} is gone, the oldest one left is of boundary "
            f"{self.plans[0].first}; a new run needs new Plans."
        )

    def with_plan(self, plan: _Plan, floor: int) -> "_Shelf":
        """Put a plan in front, and drop those that reach no boundary from ``floor`` on."""
        plans = (*self.plans, plan)
        left = (p for p, following in pairwise(plans) if following.first > floor)
        digest = hashlib.sha256(self.digest + plan.kind.encode() + plan.values.tobytes()).digest()
        return _Shelf(digest, (*left, plan), self.boundaries + 1, self.version + 1)

    def kept(self) -> "_Shelf":
        digest = hashlib.sha256(self.digest + b"keep").digest()
        return _Shelf(digest, self.plans, self.boundaries + 1, self.version)


def _without_replacement(weight: FloatArray, draws: int, key: int) -> IntArray:
    """Return ``draws`` rows of positive weight in ascending order of ``-log(1 - u) / weight``, equals by row."""
    rows = np.flatnonzero(weight)
    with np.errstate(over="ignore"):  # a weight near 0 puts its row last
        late = -np.log(1 - real(hashed(key, rows))) / weight[rows]
    if draws < len(rows):  # a partition is cheaper than sorting all; it leaves the order of equals open
        near = late <= np.partition(late, draws - 1)[draws - 1]
        rows, late = rows[near], late[near]
    return rows[np.argsort(late, kind="stable")[:draws]].astype(np.int64)
