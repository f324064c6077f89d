"""Iterative machine teaching: show the example whose step brings the student nearest to a target."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...codewords import wide
from ...errors import ConfigError
from ...lesson import Batch, Lesson
from ...linear_sgd import MCBOOST, SQUARED, LinearLoss, check_learner, surrogate_terms, terms, weights_of
from ...pools import Filter, Look, everything
from ...randomness import counter, smallest, stream
from ...rules import Scalar
from ...selecting import Selecting
from ...student import Student
from ...teacher import Teacher


class IterativeTeaching(Selecting):
    """Shows the row whose gradient step brings the last layer ``W`` nearest to a target ``W*``.

    The score of a row is by how much a step of rate eta lowers ``||W - W*||^2``: ``2 eta T2 - eta^2 T1``, see
    :mod:`tutelage.linear_sgd`. It is exact for a student whose last layer alone takes steps of plain SGD, one row at a
    time; layers below that one, momentum or a refit make it a heuristic. There is no filter by default: a wrong label
    pulls away from a good target, and so is not shown. But a target that was fitted to wrong labels has learned some of
    them by heart, and then they are what pulls hardest towards it: fit it to rows that a filter keeps, or filter.

    Args:
        target: W* (K, d), (d,) for a single output, or a trained student: its last layer.
        loss: what the student studies by, and what its pool's labels are.
        eta: the rate of its steps, > 0; default: that of the student's rule.
        surrogate: know losses only, not the weights: ``T2 := L(W) - L(W*)``, a lower bound for a convex loss.
        again: whether a row may be shown more than once, as is published; False for a teaching set.
        keep: which rows may be shown; default: all.

    Raises:
        ConfigError: for eta <= 0; in ``teach``, if the student's last layer has a bias.
        ShapeError: in ``teach``, if that layer has not the shape of the target.

    Source: Liu, Dai, Humayun, Tay, Yu, Smith, Rehg and Song, "Iterative machine teaching", ICML 2017: the
    omniscient and the surrogate teacher, choosing from a pool.
    """

    target: Tensor

    def __init__(
        self,
        target: Tensor | Student,
        *,
        loss: LinearLoss = MCBOOST,
        eta: float | None = None,
        surrogate: bool = False,
        again: bool = True,
        keep: Filter = everything,
    ) -> None:
        super().__init__(keep, again=again, loss=loss.losses, labels=loss.labels)
        if eta is not None and eta <= 0:
            raise ConfigError(f"eta = {eta}, but a step has a rate above 0; None takes that of the student's rule.")
        self.linear, self.eta, self.surrogate = loss, eta, surrogate
        self.register_buffer("target", weights_of(target))

    def score(self, look: Look, free: Tensor) -> Tensor:
        """Return by how much each row lowers the squared distance to the target, (N,)."""
        check_learner(look.student, self.target)
        features, labels, target = look.features, look.pool.y, self.target.to(look.features)
        eta = self.rate(look.student)
        if self.surrogate:
            return surrogate_terms(self.linear, features, labels, look.logits, features @ target.T).gain(eta)
        residuals = self.linear.residuals(look.logits, labels)
        return terms(residuals, features, look.codewords - target).gain(eta)

    def rate(self, student: Student) -> Scalar:
        """Return the rate of the student's next step."""
        return student.lr if self.eta is None else self.eta


def rescaled(pool: Batch, scales: Sequence[float], loss: LinearLoss = MCBOOST) -> Batch:
    """Return a pool in which every row is there at several sizes: multiples of its input.

    Labels of the squared error are multiplied as well, so that a row stays right for any linear target; those that say
    a class stay as they are. All sizes of a row have its index, so that a teacher that shows no row again shows one.

    Args:
        pool: inputs must be floating numbers.
        scales: > 0, at least one; 1 for the row as it is.
        loss: what the student studies by.

    Raises:
        ConfigError: for no scale, or one that is not above 0.

    Source: as :class:`IterativeTeaching`: teaching from a rescalable pool, here of given sizes.
    """
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise ConfigError(f"scales = {list(scales)}, but a row needs one size or more, each a number above 0.")
    x = torch.cat([scale * pool.x for scale in scales])
    y = torch.cat([scale * pool.y if loss == SQUARED else pool.y for scale in scales])
    return Batch(x, y, pool.index.repeat(len(scales)), pool.progress)


class ImitationTeaching(Teacher):
    """Iterative teaching of a student whose weights are hidden: of a copy of them that is learned from its answers.

    The teacher sees the student's features ``f`` and answers ``W f``, and chooses as :class:`IterativeTeaching` for
    a copy V. For the row that is shown and for a few questions, rows of the pool drawn anew each time, it corrects the
    copy, ``V <- V - (V f - W f) f^T / ||f||^2``, after which both answer alike there; then V takes the step that W is
    about to take. Questions matter: without any the copy is right on what is shown alone, and the student is taught
    worse than by rows at random in the long run.

    Args:
        target: as for :class:`IterativeTeaching`, as are loss, eta, again and keep.
        loss: see there.
        eta: see there.
        queries: how many questions before a step, >= 0.
        spread: standard deviation of the copy at the start, >= 0.
        again: see there.
        keep: see there.
        seed: of the copy at the start, and of the questions.

    Raises:
        ConfigError, ShapeError: as for :class:`IterativeTeaching`; for negative queries or spread.

    Source: as :class:`IterativeTeaching`: the imitation teacher.
    """

    copy: Tensor

    def __init__(
        self,
        target: Tensor | Student,
        *,
        loss: LinearLoss = MCBOOST,
        eta: float | None = None,
        queries: int = 1,
        spread: float = 0.1,
        again: bool = True,
        keep: Filter = everything,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if queries < 0 or spread < 0:
            raise ConfigError(f"queries = {queries} and spread = {spread}, but neither may be below 0.")
        self.choosing = IterativeTeaching(target, loss=loss, eta=eta, again=again, keep=keep)
        self.queries, self.spread, self.seed = queries, spread, seed
        generator = torch.Generator().manual_seed(stream(seed, "copy of a student") >> 1)
        drawn = torch.randn(self.choosing.target.shape, generator=generator, dtype=torch.float64)
        self.register_buffer("copy", (spread * drawn).to(self.choosing.target))

    @property
    def again(self) -> bool:
        """Whether rows may be shown more than once."""
        return self.choosing.again

    def teach(self, batch: Batch, student: Student) -> Lesson:
        """Return the row to show, with the notes of :meth:`Selecting.teach` and ``query``, the inputs asked about."""
        name = check_learner(student, self.copy)
        lesson = self.choosing.teach(batch, student.at({name: self.copy.to(student.head[1])}))
        key = counter(stream(self.seed, "questions"), len(self.choosing.shown))
        asked = smallest(key, batch.index, min(self.queries, len(batch)))
        return replace(lesson, notes={**lesson.notes, "query": batch.x[asked]})

    @torch.no_grad()
    def learn(self, lesson: Lesson, student: Student, validation: Batch | None) -> dict[str, Any]:
        """Correct the copy, and have it take the student's step; return how far its answers were off (mean square)."""
        features, answers = map(wide, student.embed(torch.cat([lesson.x, lesson.notes["query"]])))
        copy = self.copy.to(features)
        error = (features @ copy.T - answers).square().mean()
        for f, answer in zip(features, answers):
            copy = copy - torch.outer(copy @ f - answer, f) / f.square().sum().clamp_min(torch.finfo(f.dtype).tiny)
        shown = features[: len(lesson)]
        residuals = self.choosing.linear.residuals(shown @ copy.T, lesson.target)
        self.copy.copy_(copy - self.choosing.rate(student) * residuals.T @ shown / len(lesson))
        return {**self.choosing.learn(lesson, student, validation), "imitation_error": error}
