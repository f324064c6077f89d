"""What a teacher of learners with hypotheses knows at a step: what each row would leave of their error."""

from typing import Any

import torch
from torch import Tensor

from .errors import DataError
from .hypotheses import Tasks, difficulty, entropy, expected_error
from .hypothesis_space import Space
from .lesson import Batch
from .pools import Filter, Look, OfPool


class OneVsAll:
    """Keep the rows on which the best hypothesis of every one-vs-all task is right.

    The best one is that of least error on the pool. It has seen the labels that it judges; with wrong labels in the
    pool, :class:`tutelage.pools.Consistent` finds more of them.

    Args:
        space: finds the hypotheses.

    Raises:
        DataError: when asked, if a class is left without a row.

    Source: Mac Aodha et al., "Teaching categories to human learners with visual explanations", CVPR 2018.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._keep = OfPool(self._find)

    def __call__(self, pool: Batch, classes: int) -> Tensor:
        """Return bool (N,)."""
        return self._keep(pool, classes)

    def _find(self, pool: Batch, classes: int) -> Tensor:
        known = self.space(pool, classes).tasks(pool.x, pool.y, classes)
        keep = (known.positive[:, known.errors.argmin(1)] == known.targets.T).all(1)
        left = torch.bincount(pool.y[keep].long(), minlength=classes)
        if bool((left == 0).any()):
            label = int((left == 0).nonzero()[0])
            raise DataError(
                f"the one-vs-all filter leaves no row of class {label} ({int((pool.y == label).sum())} in the pool): "
                "take more hypotheses, or turn the filter off (none)."
            )
        return keep


class VersionSpace:
    """The one-vs-all tasks of a pool, found once, and what shown rows leave of their hypotheses.

    ``err`` is counted on the rows that may be shown.

    Args:
        space: finds the hypotheses.
        keep: which rows may be shown.
    """

    def __init__(self, space: Space, keep: Filter) -> None:
        self.space, self.keep = space, keep
        self.tasks = OfPool(self._tasks)

    def log_remaining(self, look: Look) -> Tensor:
        """Return the logarithm of the error that is left if a row is shown next, (N,); of every task, summed."""
        return self.tasks(look.pool, look.classes).log_remaining(look.shown)

    def noted(self, look: Look, row: Tensor) -> dict[str, Any]:
        """Return notes of a lesson, all means over the tasks.

        ``expected_error`` on the rows that may be shown, and ``posterior_entropy`` in bits, after the lesson;
        ``difficulty`` (k,) of its rows in bits, before it.

        Args:
            look: after the lesson's rows were shown.
            row: int64 (k,), those rows.
        """
        known, hypotheses = self.tasks(look.pool, look.classes), self.space(look.pool, look.classes)
        after, before = (known.log_posterior(look.shown[:n]) for n in (len(look.shown), len(look.shown) - len(row)))
        margins = hypotheses.margins(look.pool.x[row])
        return {
            "expected_error": float(expected_error(after, known.errors).mean()),
            "posterior_entropy": float(entropy(after).mean()),
            "difficulty": difficulty(before, margins, hypotheses.alpha).mean(0),
        }

    def _tasks(self, pool: Batch, classes: int) -> Tasks:
        return self.space(pool, classes).tasks(pool.x, pool.y, classes, self.keep(pool, classes))
