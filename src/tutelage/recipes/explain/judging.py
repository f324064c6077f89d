"""What learners make of a teaching set: what errors they are left with, and what they answer."""

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from ...hypotheses import Hypotheses, difficulty, entropy, expected_error
from ...learners import VersionSpaceLearners
from ..selection.rows import Drawn

Record: TypeAlias = dict[str, Any]
METRICS = ("error", "accuracy", "posterior", "entropy")


class Shared(Protocol):
    """What is known of a seed."""

    @property
    def drawn(self) -> Drawn:
        """Rows as hypotheses see them."""

    @property
    def hypotheses(self) -> Hypotheses:
        """Of the pool."""

    @property
    def classes(self) -> int:
        """K."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Follows learners who are shown rows of a pool with the labels given there.

    Attributes:
        found: what arms share.
        learners: how many, of the seed.
        errors: (C, H), ``err`` of the hypotheses on the test rows.
    """

    found: Shared
    learners: int
    errors: Tensor = field(init=False)

    def __post_init__(self) -> None:
        drawn = self.found.drawn
        known = self.found.hypotheses.tasks(drawn.test_x, drawn.test_y, self.found.classes)
        object.__setattr__(self, "errors", known.errors)

    def __call__(self, shown: Tensor, rows: int) -> Record:
        """Return what learners know before the first lesson and after each, and what they thought of each row.

        Args:
            shown: int64 (T,), rows of the pool in order.
            rows: in a lesson.

        Returns:
            ``error``: ``sum_h q err`` on the test rows, mean over tasks; ``accuracy``: share of the test rows on which
            a learner is right, mean over learners; ``posterior``: the same of the mean of all hypotheses by ``q``;
            ``entropy`` of ``q`` in bits, mean over tasks: lists of T / rows + 1. ``undecided`` (T,): how undecided
            learners were about each row before they saw it, in bits, mean over tasks.
        """
        found, pool = self.found, self.found.drawn.pool
        learners = VersionSpaceLearners.new(found.hypotheses, found.classes, self.learners, seed=found.drawn.seed)
        states, undecided = [self._known(learners)], []
        for part in torch.split(shown, rows):
            margins = found.hypotheses.margins(pool.x[part])
            undecided += difficulty(learners.log_q, margins, found.hypotheses.alpha).mean(0).tolist()
            learners = learners.taught(pool.x[part], pool.y[part])
            states.append(self._known(learners))
        return {name: [state[name] for state in states] for name in METRICS} | {"undecided": undecided}

    def best(self) -> dict[str, float]:
        """Return error and accuracy of who holds the hypotheses of least error on the pool: what teaching leads to."""
        found, pool = self.found, self.found.drawn.pool
        least = found.hypotheses.tasks(pool.x, pool.y, found.classes).errors.argmin(1)
        learner = VersionSpaceLearners.new(found.hypotheses, found.classes, 1)
        log_q = torch.full_like(learner.log_q, -torch.inf).scatter_(1, least[:, None], 0.0)
        known = VersionSpaceLearners(found.hypotheses, found.classes, least[None], log_q, 0, 0)
        return {name: self._known(known)[name] for name in ("error", "accuracy")}

    def _known(self, learners: VersionSpaceLearners) -> dict[str, float]:
        drawn = self.found.drawn
        vote = learners.posterior_mean(drawn.test_x) == drawn.test_y
        return {
            "error": float(expected_error(learners.log_q, self.errors).mean()),
            "accuracy": learners.accuracy(drawn.test_x, drawn.test_y),
            "posterior": float(vote.double().mean()),
            "entropy": float(entropy(learners.log_q).mean()),
        }
