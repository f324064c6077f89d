"""Pools that a teacher selects from: which rows may be shown, and what is known of them at a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from .codewords import Fit, centred
from .errors import ConfigError, DataError, ShapeError
from .fingerprints import of_tensor
from .lesson import Batch, Lesson
from .mcboost import check_labels
from .randomness import hashed_tensor, stream
from .student import Student

_Found = TypeVar("_Found")


class OfPool(Generic[_Found]):
    """A function of a pool that remembers the last pool it was asked about, and what it found.

    Teachers that hold the same one share its work. Copies and pickles remember nothing.

    Args:
        find: (pool, classes) -> what is found; of the pool alone, by seeded randomness.
    """

    def __init__(self, find: Callable[[Batch, int], _Found]) -> None:
        self.find = find
        self._last: tuple[tuple[Any, ...], list[int], _Found] | None = None

    def __call__(self, pool: Batch, classes: int) -> _Found:
        """Return what is found of a pool whose student knows this many classes."""
        tensors = (pool.x, pool.y, pool.index, *pool.views.values())
        versions = [classes, *(t._version for t in tensors)]
        last = self._last
        if last is None or last[1] != versions or any(a is not b for a, b in zip(last[0], tensors, strict=True)):
            last = self._last = (tensors, versions, self.find(pool, classes))
        return last[2]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what was found."""
        return self.__dict__ | {"_last": None}


class Reference(Protocol):
    """Fits models to labelled rows and asks them about all rows."""

    def __call__(self, pool: Batch, classes: int, seen: Tensor) -> Tensor:
        """Return logits (B, N, K) of B models; ``seen`` bool (B, N) says which rows each one is fitted on."""
        ...


@dataclass(frozen=True)
class LinearReference:
    """The linear codeword student on the inputs, flattened, centred on the rows it sees, each of one norm.

    Attributes:
        fit: how it is fitted, from 0.
        norm: of a row.
    """

    fit: Fit = field(default_factory=lambda: Fit(steps=400))
    norm: float = 4.0

    def __call__(self, pool: Batch, classes: int, seen: Tensor) -> Tensor:
        """Return logits (B, N, K); see :class:`Reference`."""
        x = pool.x.flatten(1)
        x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        rows = torch.stack([centred(x, x[mask].mean(0), self.norm) for mask in seen])
        start = rows.new_zeros(len(seen), classes, rows.shape[2])
        words = self.fit(rows, pool.y.expand(len(seen), -1), start, seen)
        return torch.bmm(rows, words.transpose(1, 2))


@dataclass(frozen=True)
class Judge:
    """A student that was trained elsewhere, on other rows, and judges all of these.

    Attributes:
        student: the one that is asked, in evaluation mode.
    """

    student: Student

    def __call__(self, pool: Batch, classes: int, seen: Tensor) -> Tensor:
        """Return logits (B, N, K), B times the same; see :class:`Reference`."""
        return self.student.predict(pool.x).expand(len(seen), -1, -1)


@dataclass(frozen=True)
class Trained:
    """A network trained from its present state on the rows that each model sees.

    Attributes:
        student: where each model begins; not changed.
        steps: updates of each, on all its rows at once.
        loss: (logits, labels) -> (n,).
    """

    student: Student
    steps: int
    loss: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, pool: Batch, classes: int, seen: Tensor) -> Tensor:
        """Return logits (B, N, K); see :class:`Reference`."""
        found = []
        for mask in seen:
            model, x = self.student, pool.x[mask]
            lesson = Lesson(x, pool.y[mask], torch.ones(len(x), dtype=pool.weight_dtype, device=x.device), self.loss)
            for _ in range(self.steps):
                model = model.after(lesson, differentiable=False)
            found.append(model.predict(pool.x))
        return torch.stack(found)


class Filter(Protocol):
    """Says which rows of a pool may be shown."""

    def __call__(self, pool: Batch, classes: int) -> Tensor:
        """Return bool (N,), of a pool whose student knows this many classes."""
        ...


def everything(pool: Batch, classes: int) -> Tensor:
    """Keep all rows."""
    return torch.ones(len(pool), dtype=torch.bool, device=pool.x.device)


@dataclass(frozen=True)
class Duplicates:
    """Keep the first, by index, of rows with the same input; if they differ in their labels, none of them.

    Two labels for one image teach nothing, and one of them is wrong.
    """

    def __call__(self, pool: Batch, classes: int) -> Tensor:
        """Return bool (N,)."""
        groups: dict[str, list[int]] = {}
        for row in pool.index.argsort().tolist():
            groups.setdefault(of_tensor(pool.x[row]), []).append(row)
        keep = torch.zeros(len(pool), dtype=torch.bool)
        for rows in groups.values():
            keep[rows[0]] = len(set(pool.y[rows].tolist())) == 1
        return keep.to(pool.x.device)


without_duplicates = Duplicates()


@dataclass(frozen=True)
class Every:
    """Keep what all of some filters keep.

    Attributes:
        filters: one or more.
    """

    filters: Sequence[Filter]

    def __call__(self, pool: Batch, classes: int) -> Tensor:
        """Return bool (N,)."""
        return torch.stack([keep(pool, classes) for keep in self.filters]).all(0)


class Consistent:
    """Keep the rows whose label a reference model predicts: wrong labels are the hardest examples of all.

    Cross-fitted, each row is judged by a model that has not seen it. A fold is every ``folds``-th row of a class, in an
    order drawn from (seed, index), so that each model sees all classes.

    Args:
        reference: makes the models.
        folds: >= 2; None: in-sample, one model sees the whole pool, and so has learned some wrong labels by heart.
        quota: a class with fewer kept rows than this adds those of largest reference margin (own logit less the largest
            other one); 0: none does.
        seed: of the folds.

    Raises:
        ConfigError: for fewer than two folds, a negative quota.
        DataError: when asked, if the filter leaves a class of the student without a row.
    """

    def __init__(
        self, reference: Reference | None = None, folds: int | None = 5, *, quota: int = 0, seed: int = 0
    ) -> None:
        if folds is not None and folds < 2:
            raise ConfigError(f"folds = {folds}, but needs 2 or more; None fits the reference on the whole pool.")
        if quota < 0:
            raise ConfigError(f"quota = {quota}, but needs 0 or more rows of a class.")
        self.reference = LinearReference() if reference is None else reference
        self.folds, self.quota, self.seed = folds, quota, seed
        self._keep = OfPool(self._find)

    def __call__(self, pool: Batch, classes: int) -> Tensor:
        """Return bool (N,)."""
        return self._keep(pool, classes)

    def _find(self, pool: Batch, classes: int) -> Tensor:
        check_labels(pool.y, classes)
        fold = self.fold(pool)
        everybody = fold.new_ones(1, len(fold), dtype=torch.bool)
        seen = everybody if self.folds is None else fold != torch.arange(self.folds, device=fold.device)[:, None]
        judged = everybody if self.folds is None else ~seen
        if not bool(seen.any(1).all()):
            raise DataError(f"a pool of {len(pool)} rows has nothing outside one of {self.folds} folds: use fewer.")
        logits = self.reference(pool, classes, seen)
        if logits.shape != (len(seen), len(pool), classes):
            raise ShapeError(
                f"the reference returned {tuple(logits.shape)}, but needs {(len(seen), len(pool), classes)}, logits of "
                "each model for all rows."
            )
        own = logits[judged.to(logits.device).int().argmax(0), torch.arange(len(pool), device=logits.device)]
        return self._kept(pool, own, classes)

    def fold(self, pool: Batch) -> Tensor:
        """Return the fold of each row, int64 (N,), in 0 .. folds - 1; 0 if there is but one model."""
        drawn = hashed_tensor(stream(self.seed, "folds of a pool"), pool.index.long())
        fold = torch.zeros_like(pool.index, dtype=torch.long)
        for label in range(int(pool.y.max()) + 1) if self.folds else ():
            rows = (pool.y == label).nonzero().squeeze(1)
            rows = rows[drawn[rows].argsort()]
            fold[rows] = torch.arange(len(rows), device=fold.device) % (self.folds or 1)
        return fold

    def _kept(self, pool: Batch, logits: Tensor, classes: int) -> Tensor:
        labels = pool.y.long()[:, None]
        rivals = logits.scatter(1, labels, -torch.inf).amax(1)
        margins = logits.gather(1, labels).squeeze(1) - rivals
        keep = margins > 0
        for label in range(classes):
            rows = (pool.y == label).nonzero().squeeze(1)
            if int(keep[rows].sum()) < self.quota:
                order = sorted(rows.tolist(), key=lambda row: (-float(margins[row]), int(pool.index[row])))
                keep[order[: self.quota]] = True
            if not bool(keep[rows].any()):
                raise DataError(
                    f"the consistency filter leaves no row of class {label} ({len(rows)} in the pool): set a quota, or "
                    "turn the filter off (none)."
                )
        return keep


@dataclass(frozen=True)
class Look:
    """What a selecting teacher sees at a step.

    Attributes:
        pool: all rows.
        student: as it is now.
        kept: bool (N,), the rows that may be shown.
        shown: int64 (T,), places in the pool of the rows shown so far that are in it, in order.
        seed: of the teacher's draws.
        step: how many rows were shown so far, also such as are not in this pool.
    """

    pool: Batch
    student: Student
    kept: Tensor
    shown: Tensor
    seed: int
    step: int
    _answers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @cached_property
    def classes(self) -> int:
        """K, how many classes the student knows."""
        return classes_of(self.student, self.pool)

    @property
    def features(self) -> Tensor:
        """The student's embeddings (N, d) of the pool, in evaluation mode, of one pass a step."""
        return self._embedded()[0]

    @property
    def logits(self) -> Tensor:
        """The student's logits (N, K) of the pool, of the same pass."""
        return self._embedded()[1]

    @property
    def codewords(self) -> Tensor:
        """The rows (K, d) of the student's last linear layer.

        Raises:
            ShapeError: if that layer does not give the logits.
        """
        words = self.student.head[1].detach()
        features, logits = self.features[:8], self.logits[:8]
        fits = words.shape == (logits.shape[1], features.shape[1])
        bias = logits - features @ words.T if fits else logits
        if not fits or bool(((bias - bias[0]).abs() > 1e-3 * (logits.abs().max() + 1)).any()):
            raise ShapeError(
                "the student's logits are not what its last linear layer answers, so that the layer's rows are no "
                "codewords of the classes: end the network with that layer."
            )
        return words

    def showing(self, row: int) -> "Look":
        """Return the look after one more row was shown, to the same student."""
        shown = torch.cat([self.shown, self.shown.new_tensor([row])])
        return replace(self, shown=shown, step=self.step + 1)

    def in_turn(self, free: Tensor) -> Tensor:
        """Return which of the ``free`` rows, bool (N,), are of the class whose turn it is.

        At step t this is class t mod K, or the next one that has a free row.
        """
        turn = (self.pool.y.long() - self.step) % self.classes
        return free & (turn == turn[free].min()) if bool(free.any()) else free

    def _embedded(self) -> tuple[Tensor, Tensor]:
        if not self._answers:
            self._answers.append(self.student.embed(self.pool.x))
        return self._answers[0]


def classes_of(student: Student, pool: Batch) -> int:
    """Return how many classes a student tells apart, from what it answers to the first row."""
    return student.predict(pool.x[:1]).shape[-1]
