"""Teachers that select: each shows the rows of a pool that score highest, and remembers which it has shown."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError, NotFiniteError
from .lesson import Batch, Lesson, Loss
from .linear_sgd import Labels
from .losses import cross_entropy
from .mcboost import check_labels
from .pools import Filter, Look, classes_of, everything
from .stale_scores import StaleScores
from .student import Student
from .teacher import Teacher

Beside = Callable[[Look, Tensor], Mapping[str, Any]]
"""What to note beside the chosen rows: (look, rows int64 (k,)) -> notes by name."""


class Selecting(Teacher):
    """Shows a few rows of a pool at a time: those of largest score, ties to the lowest index, none twice.

    Scores that differ by no more than rounding are ties: the same row in another place of the pool may get other last
    bits, and it is not the place that is to decide.

    ``teach`` takes the whole pool as its batch and returns the rows to show now; ``learn`` takes note that they were
    shown, by index, so that a pool may be filtered or arranged anew in between.

    Args:
        keep: which rows may be shown; default: all.
        rows: how many to show at a time, >= 1; each is chosen as if those before it had been shown, by a student that
            has not studied them yet.
        again: whether a row may be shown more than once.
        loss: what the student studies the rows by, (logits, labels) -> (n,).
        labels: what the pool's labels are: class ids, or numbers, of which there are no counts a class.
        beside: what to note beside the chosen rows, such as images that go with them.
        stale: looks at a part of the pool at most steps, and remembers the scores for it; of this teacher alone.
        seed: of draws.

    Raises:
        ConfigError: for fewer than one row; when asked for more rows than the pool has.
        DataError: for labels that the student does not know.
        NotFiniteError: if a score is NaN, as those of a student that diverged are.
    """

    def __init__(
        self,
        keep: Filter = everything,
        *,
        rows: int = 1,
        again: bool = False,
        loss: Loss = cross_entropy,
        labels: Labels = "classes",
        beside: Beside | None = None,
        stale: StaleScores | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if rows < 1:
            raise ConfigError(f"rows = {rows}, but a step shows 1 row or more.")
        self.keep, self.rows, self.again, self.loss, self.seed = keep, rows, again, loss, seed
        self.labels, self.beside, self.stale = labels, beside, stale
        self.shown: list[int] = []

    @abstractmethod
    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return the scores (N,) of the pool's rows; the largest among ``free`` is shown.

        Args:
            look: what is known at this step.
            free: bool (N,), the rows that may be shown now, at least one.

        Returns:
            Minus infinity for rows that are not to be shown now.
        """

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the rows to show now, each with weight 1.

        ``notes``: ``index`` of the rows in the data set and ``row`` in the pool, int64 (k,), ``score`` (k,), ``kept``,
        how many rows of the pool may be shown, and ``class_counts`` (K,) of those if labels are class ids; and what
        :meth:`StaleScores.noted` returns.
        """
        look, found = self.looked(batch, student), []
        free = self._free(look)
        stale = None if self.stale is None else self.stale.scores(look, free, self.rows, self.score)
        for _ in range(self.rows):
            best, score = self._best(look, stale)
            found.append((best, score))
            look = look.showing(best)
        row = torch.tensor([r for r, _ in found], device=batch.x.device)
        notes = {
            "index": batch.index[row],
            "row": row,
            "score": torch.stack([s for _, s in found]),
            "kept": int(look.kept.sum()),
            **self._counts(look),
            **({} if self.beside is None else self.beside(look, row)),
            **({} if self.stale is None or stale is None else self.stale.noted(look, free, stale, row)),
        }
        weight = torch.ones(len(row), dtype=batch.weight_dtype, device=batch.x.device)
        return Lesson(batch.x[row], batch.y[row], weight, self.loss, notes)

    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Remember that these rows were shown."""
        if self.stale is not None:
            self.stale.learn(lesson.notes)
        self.shown.extend(lesson.notes["index"].tolist())
        return {"shown": len(self.shown)}

    def looked(self, pool: Batch, student: Student) -> Look:
        """Return what this teacher knows now."""
        classes = classes_of(student, pool)
        if self.labels == "classes":
            check_labels(pool.y, classes)
        shown = torch.tensor(self.shown, dtype=pool.index.dtype, device=pool.index.device)
        shown = (shown[:, None] == pool.index).nonzero()[:, 1]
        return Look(pool, student, classes, self.keep(pool, classes), shown, self.seed, len(self.shown))

    def _counts(self, look: Look) -> dict[str, Tensor]:
        if self.labels == "numbers":
            return {}
        return {"class_counts": torch.bincount(look.pool.y[look.kept].long(), minlength=look.classes)}

    def _free(self, look: Look) -> Tensor:
        """The rows that may be shown now, bool (N,)."""
        free = look.kept.clone()
        if not self.again:
            free[look.shown] = False
        if not bool(free.any()):
            raise ConfigError(
                f"asked for row {look.step + 1}, but the pool has {len(look.pool)} rows, of which "
                f"{int(look.kept.sum())} may be shown, each once: ask for fewer, or filter less."
            )
        return free

    def _best(self, look: Look, given: Tensor | None) -> tuple[int, Tensor]:
        """The free row of largest score, if it is given such as was found before, and that score."""
        free = self._free(look)
        scores = (self.score(look, free) if given is None else given).detach().masked_fill(~free, -torch.inf)
        if bool(scores.isnan().any()):
            raise NotFiniteError(
                f"{type(self).__name__}: the score of row {int(scores.isnan().nonzero()[0])} is NaN after "
                f"{look.step} rows; the student diverged: use a smaller learning rate."
            )
        largest = scores.max()
        ties = (free & _ties(scores, largest)).nonzero().squeeze(1)
        return int(ties[look.pool.index[ties].argmin()]), largest

    def get_extra_state(self) -> Tensor:
        """Return the indices of the rows shown so far, int64 (T,), in order."""
        return torch.tensor(self.shown, dtype=torch.long)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what :meth:`get_extra_state` gave."""
        self.shown = [int(index) for index in state]


def _ties(scores: Tensor, largest: Tensor) -> Tensor:
    """Which scores (N,) differ from the largest by no more than rounding, of the size of the finite ones."""
    size = scores.abs().nan_to_num(posinf=0.0).max()
    return (scores == largest) | (scores >= largest - 32 * torch.finfo(scores.dtype).eps * size)
