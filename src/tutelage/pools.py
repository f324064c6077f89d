"""Pools that a teacher selects from: which rows may be shown, and what is known of them at a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from .codewords import Fit, answers, centred, codewords_of, turned, wide
from .errors import ConfigError, DataError, NotFiniteError, ShapeError
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
    """The linear codeword student on the inputs, flattened, less their mean over the pool, each of one norm.

    Of the rows that a model does not see it knows that mean alone, and no label.

    Attributes:
        fit: how it is fitted, from 0.
        norm: of a row.
    """

    fit: Fit = field(default_factory=lambda: Fit(steps=400))
    norm: float = 4.0

    def __call__(self, pool: Batch, classes: int, seen: Tensor) -> Tensor:
        """Return logits (B, N, K); see :class:`Reference`."""
        rows = centred(pool.x, norm=self.norm)
        rows = rows if rows.shape[1] <= len(rows) else turned(rows)
        start = rows.new_zeros(len(seen), classes, rows.shape[1])
        return answers(rows, self.fit(rows, pool.y.expand(len(seen), -1), start, seen))


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


def without_duplicates() -> Filter:
    """Return a filter that keeps the first, by index, of rows with the same input, or none if their labels differ.

    Two labels for one image teach nothing, and one of them is wrong.
    """
    return OfPool(_first_of_equal)


def _first_of_equal(pool: Batch, classes: int) -> Tensor:
    groups: dict[str, list[int]] = {}
    x = pool.x.cpu()
    for row in pool.index.argsort().tolist():
        groups.setdefault(of_tensor(x[row]), []).append(row)
    keep = torch.zeros(len(pool), dtype=torch.bool)
    for rows in groups.values():
        keep[rows[0]] = len(set(pool.y[rows].tolist())) == 1
    return keep.to(pool.x.device)


class Every:
    """Keep what all of some filters keep, each of which sees the rows that those before it kept.

    So a reference that comes after :func:`without_duplicates` judges no row by a model that saw its twin.

    Args:
        filters: in order; none keeps everything.
    """

    def __init__(self, filters: Sequence[Filter]) -> None:
        self.filters = tuple(filters)
        self._keep = OfPool(self._find)

    def __call__(self, pool: Batch, classes: int) -> Tensor:
        """Return bool (N,)."""
        return self._keep(pool, classes)

    def _find(self, pool: Batch, classes: int) -> Tensor:
        rows = torch.arange(len(pool), device=pool.x.device)
        for keep in self.filters:
            rows = rows[keep(part_of(pool, rows), classes)]
        return torch.zeros_like(pool.index, dtype=torch.bool).index_fill_(0, rows, True)


class EmptiedClass(DataError):
    """A filter leaves no row of a class.

    Args:
        label: of the class.
        rows: of it in the pool.

    Attributes:
        label: of the class.
        rows: of it in the pool.
    """

    def __init__(self, label: int, rows: int) -> None:
        super().__init__(
            f"the consistency filter leaves no row of class {label} ({rows} in the pool): set a quota, or turn the "
            "filter off (everything)."
        )
        self.label, self.rows = label, rows


class Consistent:
    """Keep the rows whose label a reference model predicts: wrong labels are the hardest examples of all.

    Cross-fitted, each row is judged by a model that has not seen it. The rows are dealt to folds class by class, in an
    order drawn from (seed, index), so that each model sees all classes.

    Args:
        reference: makes the models.
        folds: >= 2; None: in-sample, one model sees the whole pool, and so has learned some wrong labels by heart.
        quota: a class with fewer kept rows than this adds those of largest reference margin (own logit less the largest
            other one); 0: none does.
        seed: of the folds.

    Raises:
        ConfigError: for fewer than two folds, a negative quota.
        EmptiedClass: when asked, if the filter leaves a class of the pool without a row.
        DataError: when asked, if a model is left with no row to see.
        NotFiniteError: when asked, if a model answers NaN.
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
            raise DataError(
                f"a pool of {len(pool)} rows leaves nothing for a model to see outside one of {self.folds} folds: give "
                "it more rows, or turn the filter off (everything)."
            )
        logits = self.reference(pool, classes, seen)
        if logits.shape != (len(seen), len(pool), classes):
            raise ShapeError(
                f"the reference returned {tuple(logits.shape)}, but needs {(len(seen), len(pool), classes)}, logits of "
                "each model for all rows."
            )
        own = logits[judged.to(logits.device).int().argmax(0), torch.arange(len(pool), device=logits.device)]
        if bool(own.isnan().any()):
            raise NotFiniteError(
                f"the reference answers NaN to row {int(own.isnan().any(1).nonzero()[0])} of the pool: its training "
                "diverged, or the inputs hold NaN."
            )
        return self._kept(pool, own, classes)

    def fold(self, pool: Batch) -> Tensor:
        """Return the fold of each row, int64 (N,), in 0 .. folds - 1; 0 if there is but one model."""
        order = hashed_tensor(stream(self.seed, "folds of a pool"), pool.index.long()).argsort(stable=True)
        order = order[pool.y[order].argsort(stable=True)]
        dealt = torch.arange(len(order), device=order.device) % (self.folds or 1)
        return torch.empty_like(order).scatter_(0, order, dealt)

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
            if len(rows) and not bool(keep[rows].any()):
                raise EmptiedClass(label, len(rows))
        return keep


@dataclass(frozen=True)
class Look:
    """What a selecting teacher sees at a step.

    Attributes:
        pool: all rows.
        student: as it is now.
        classes: K, how many the student knows.
        kept: bool (N,), the rows that may be shown.
        shown: int64 (T,), places in the pool of the rows shown so far that are in it, in order.
        seed: of the teacher's draws.
        step: how many rows were shown so far, also such as are not in this pool.
    """

    pool: Batch
    student: Student
    classes: int
    kept: Tensor
    shown: Tensor
    seed: int
    step: int
    _answers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def features(self) -> Tensor:
        """The student's embeddings (N, d) of the pool, in evaluation mode, of one pass a step; float32 at least."""
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
        return codewords_of(self.student, self.features[:64], self.logits[:64])

    def showing(self, row: int) -> "Look":
        """Return the look after one more row was shown, to the same student."""
        shown = torch.cat([self.shown, self.shown.new_tensor([row])])
        return replace(self, shown=shown, step=self.step + 1)

    def at(self, places: Tensor) -> "Look":
        """Return the look at some rows of the pool alone, int64 (n,)."""
        shown = (self.shown[:, None] == places).nonzero()[:, 1]
        return replace(self, pool=part_of(self.pool, places), kept=self.kept[places], shown=shown, _answers=[])

    def in_turn(self, free: Tensor) -> Tensor:
        """Return which of the ``free`` rows, bool (N,), are of the class whose turn it is.

        At step t this is class t mod K, or the next one that has a free row.
        """
        turn = (self.pool.y.long() - self.step) % self.classes
        return free & (turn == turn[free].min())

    def _embedded(self) -> tuple[Tensor, Tensor]:
        if not self._answers:
            features, logits = self.student.embed(self.pool.x)
            self._answers.append((wide(features), wide(logits)))
        return self._answers[0]


def part_of(pool: Batch, rows: Tensor) -> Batch:
    """Return some rows of a pool, int64 (n,), with their views."""
    views = {name: view[rows] for name, view in pool.views.items()}
    return Batch(pool.x[rows], pool.y[rows], pool.index[rows], views=views)


def classes_of(student: Student, pool: Batch) -> int:
    """Return how many classes a student tells apart, from what it answers to the first row."""
    return student.predict(pool.x[:1]).shape[-1]
