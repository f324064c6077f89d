"""One seed of an experiment with few labels: who is labelled, what comes in a step, and the test rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...data.sources import IntArray
from ...errors import DataError
from ...lesson import Batch
from ...randomness import stream
from ..draws import Draws
from ..one_seed import OneSeed
from .views import Role, Views

_AT_ONCE = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting(OneSeed):
    """One seed: roles, streams and networks.

    Attributes:
        roles: ``trusted`` are the labelled rows, ``unlabelled`` those whose labels are not used; beside what every
            seed has.
        views: how rows look.
        batch_size: unlabelled rows a step.
        labelled_batch: labelled rows a step.
        replacement: draw unlabelled rows with replacement.
        probe: points (G, ...) at which the networks' answers are kept over training, or None.
    """

    views: Views
    batch_size: int
    labelled_batch: int
    replacement: bool
    probe: Tensor | None = None

    def __post_init__(self) -> None:
        present = len(np.unique(self.source.y[self.roles.trusted]))
        if present < self.source.num_classes:
            raise DataError(
                f"{len(self.roles.trusted)} labelled rows hold {present} of the {self.source.num_classes} classes of "
                f"{self.source.name}; each needs at least one: raise --labels, or name rows of every class."
            )
        if not self.test_rows:
            raise DataError(
                f"no row of {self.source.name} is left to test on; raise --test, or name fewer rows in "
                "--labelled-rows and --unlabelled-rows."
            )

    @property
    def pool(self) -> IntArray:
        """The unlabelled rows."""
        return self.roles.unlabelled

    @property
    def steps_a_pass(self) -> int:
        """About how many steps see as many rows as the pool has."""
        return -(-len(self.pool) // self.batch_size)

    def labelled(self, step: int, steps: int, size: int | None = None, *, clean: bool = False) -> Batch:
        """Return the labelled rows of a step, with a clean view of them too if asked.

        Args:
            step: counted from 0.
            steps: in all.
            size: rows; default: ``labelled_batch``.
            clean: whether to add the view "clean".
        """
        draws = Draws(stream(self.seed, "labelled"), self.roles.trusted, size or self.labelled_batch, False)
        index, x = self._rows(draws.at(step))
        views = {"clean": self.views.look("clean", x, index, step)} if clean else {}
        look = self.views.look("labelled", x, index, step)
        return Batch(look, self._y[index], index, step / steps, views=views)

    def batch(self, step: int, steps: int, needed: Sequence[Role] = ("weak", "strong"), *, clean: bool = True) -> Batch:
        """Return unlabelled rows of a step (y is -1) with labelled ones beside them.

        Args:
            step: counted from 0.
            steps: in all.
            needed: which views to make; x is the first of them.
            clean: whether the labelled rows get a clean view.
        """
        draws = Draws(stream(self.seed, "unlabelled"), self.pool, self.batch_size, self.replacement)
        index, x = self._rows(draws.at(step))
        views: dict[str, Tensor] = {role: self.views.look(role, x, index, step) for role in needed}
        y = torch.full_like(index, -1)
        labelled = self.labelled(step, steps, clean=clean)
        return Batch(views[needed[0]], y, index, step / steps, views=views, labelled=labelled)

    def clean_pool(self) -> Iterator[Tensor]:
        """Yield the clean views of the pool, in its order, in pieces."""
        for start in range(0, len(self.pool), _AT_ONCE):
            index, x = self._rows(self.pool[start : start + _AT_ONCE])
            yield self.views.look("clean", x, index, 0)

    def tested(self, answer: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and labels of the test rows.

        Args:
            answer: logits (N, C) of rows (N, ...).
        """
        x, y = self._tested
        pieces = []
        for start in range(0, len(x), _AT_ONCE):
            rows = x[start : start + _AT_ONCE].to(self.device)
            index = torch.arange(start, start + len(rows), device=self.device)
            pieces.append(answer(self.views.look("clean", rows, index, 0)))
        return torch.cat(pieces), y.to(self.device)

    def _rows(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows).to(self.device)
        return index, self._x[index]
