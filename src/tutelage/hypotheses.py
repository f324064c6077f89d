"""Linear hypotheses of simulated learners, and what labelled rows leave of them: pure functions of tensors.

A hypothesis h takes ``y = +1`` for a row x with probability ``P(y|h,x) = 1 / (1 + exp(-alpha y h(x)))`` and predicts +1
if ``h(x) > 0``. A learner who is shown a row lets go of hypotheses that are wrong on it::

    Lk[h, i] = 1 if h is right on row i, else P(y_i|h, x_i)
    q[h|A]   = q0[h] prod_{i in A} Lk[h, i],   q0 = 1 / H
    err[h]   = share of the pool on which h is wrong
    F(A)     = sum_h (q0[h] - q[h|A]) err[h]

``F`` never decreases and is submodular. More than two classes are as many one-vs-all tasks, each with a ``q``, an
``err`` and an ``Lk`` of its own over the same hypotheses, and sums go over the tasks; two classes are one task, whose
+1 is class 1. Weights ``q`` are kept as logarithms.

Source: Singla, Bogunovic, Bartók, Karbasi and Krause, "Near-optimally teaching the crowd to classify", ICML 2014
(STRICT); one-vs-all: Mac Aodha, Su, Chen, Perona and Yue, "Teaching categories to human learners with
visual explanations", CVPR 2018.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .errors import DataError, ShapeError

CLIP = 8.0
"""Standard deviations beyond which a feature is cut, so that no outlier decides alone."""


def flat(x: Tensor) -> Tensor:
    """Return inputs (N, ...) as features (N, d)."""
    return x.flatten(1)


@dataclass(frozen=True, eq=False)
class Features:
    """Features standardised by the rows of a pool and cut at +-8, with a constant 1 as the last one; float64.

    Attributes:
        mean: (d,).
        scale: (d,), > 0.
        embed: inputs (N, ...) -> features (N, d) before that.
    """

    mean: Tensor
    scale: Tensor
    embed: Callable[[Tensor], Tensor] = flat

    @classmethod
    def of(cls, x: Tensor, embed: Callable[[Tensor], Tensor] = flat) -> "Features":
        """Return the features whose mean is 0 and whose variance is 1 on ``x``; one that is constant there stays 0.

        Raises:
            ShapeError: if ``embed`` returns something else than (N, d).
            DataError: for features that are not finite.
        """
        rows = embed(x).detach()
        if rows.ndim != 2 or len(rows) != len(x):
            raise ShapeError(f"embed returned {tuple(rows.shape)} for {len(x)} rows, but needs (N, d).")
        rows = rows.double()
        if not bool(rows.isfinite().all()):
            row = int((~rows.isfinite()).any(1).nonzero()[0])
            raise DataError(f"row {row} of the pool has a feature that is not finite: leave it out.")
        varies = rows.amax(0) > rows.amin(0)
        return cls(rows.mean(0), rows.std(0, correction=0).where(varies, 1.0), embed)

    def __call__(self, x: Tensor) -> Tensor:
        """Return (N, d + 1)."""
        rows = ((self.embed(x).detach().double() - self.mean) / self.scale).clamp(-CLIP, CLIP)
        return torch.cat([rows, torch.ones_like(rows[:, :1])], 1)


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """A set of linear hypotheses.

    Attributes:
        weights: (H, D), float64.
        features: what they look at, (N, D).
        alpha: > 0; how decided learners are.
    """

    weights: Tensor
    features: Features
    alpha: float = 0.5

    def __len__(self) -> int:
        return len(self.weights)

    def margins(self, x: Tensor) -> Tensor:
        """Return ``h(x)`` (N, H)."""
        return self.features(x) @ self.weights.T

    def tasks(self, x: Tensor, labels: Tensor, classes: int, counted: Tensor | None = None) -> "Tasks":
        """Return what the hypotheses make of labelled rows.

        Args:
            x: inputs (N, ...).
            labels: class ids (N,).
            classes: K >= 2.
            counted: bool (N,), the rows of which ``err`` is the share; default: all.
        """
        return tasks(self.margins(x), targets(labels, classes), self.alpha, counted)


def targets(labels: Tensor, classes: int) -> Tensor:
    """Return bool (C, N), whether a row is +1 in a task: C = K one-vs-all tasks, or one of class 1 if K = 2."""
    ids = torch.arange(classes, device=labels.device) if classes > 2 else labels.new_ones(1)
    return labels == ids[:, None]


def chances(margins: Tensor, alpha: float) -> Tensor:
    """Return ``P(+1|h, x) = 1 / (1 + exp(-alpha h(x)))`` of margins of any shape.

    It is the softmax of the two logits ``(alpha / 2) h(x)`` and ``-(alpha / 2) h(x)``.
    """
    return (alpha * margins).sigmoid()


@dataclass(frozen=True, eq=False)
class Tasks:
    """What H hypotheses make of N rows in C tasks.

    Attributes:
        positive: bool (N, H), which rows they take for +1.
        log_wrong: (N, H), ``log P`` of the sign that they do not take a row for.
        targets: bool (C, N), which rows are +1.
        errors: (C, H), ``err``.
    """

    positive: Tensor
    log_wrong: Tensor
    targets: Tensor
    errors: Tensor

    @cached_property
    def plus(self) -> Tensor:
        """``Lk`` (N, H) of a row if it is +1."""
        return self.log_wrong.exp().masked_fill_(self.positive, 1.0)

    @cached_property
    def minus(self) -> Tensor:
        """``Lk`` (N, H) of a row if it is -1."""
        return self.log_wrong.exp().masked_fill_(~self.positive, 1.0)

    def wrong(self, rows: Tensor) -> Tensor:
        """Return bool (C, T, H), which hypotheses are wrong on rows int64 (T,)."""
        return self.targets[:, rows, None] != self.positive[rows]

    def log_likelihoods(self, rows: Tensor) -> Tensor:
        """Return ``log Lk`` (C, T, H) of rows int64 (T,)."""
        return self.log_wrong[rows].where(self.wrong(rows), 0.0)

    def log_posterior(self, shown: Tensor) -> Tensor:
        """Return ``log q`` (C, H), not normalised, after the rows int64 (T,) were shown."""
        return self.log_likelihoods(shown).sum(1) - math.log(self.errors.shape[1])

    def log_remaining(self, shown: Tensor) -> Tensor:
        """Return ``log sum_c sum_h q[h] err[h] Lk[h, i]`` (N,), what is left of the error if row i is shown next.

        A likelihood depends on the task by the row's sign alone, so that nothing of the size C N H is formed. The
        largest ``q err`` is taken out before the sum: nothing underflows however many rows were shown. If no hypothesis
        is ever wrong, it is the logarithm of the smallest float.
        """
        tiny = torch.finfo(self.errors.dtype).tiny
        weights = self.log_posterior(shown) + self.errors.log()
        largest = weights.amax().nan_to_num(neginf=0.0)
        shares = (weights - largest).exp()
        sums = torch.where(self.targets.T, self.plus @ shares.T, self.minus @ shares.T).sum(1)
        return largest + sums.clamp_min(tiny).log()

    def value(self, shown: Tensor) -> Tensor:
        """Return ``F`` of the rows int64 (T,), a scalar >= 0."""
        lost = -self.log_likelihoods(shown).sum(1).expm1()
        return (lost * self.errors).sum() / self.errors.shape[1]


def tasks(margins: Tensor, targets: Tensor, alpha: float, counted: Tensor | None = None) -> Tasks:
    """Return what hypotheses make of rows; see :class:`Tasks`.

    Args:
        margins: ``h(x)`` (N, H).
        targets: bool (C, N).
        alpha: > 0.
        counted: bool (N,), the rows of which ``err`` is the share, at least one; default: all.
    """
    positive = margins > 0  # h(x) = 0 predicts -1
    log_wrong = logsigmoid(-alpha * margins.abs())
    rows = slice(None) if counted is None else counted
    predicted, wanted = positive[rows].to(margins), targets[:, rows].to(margins)
    errors = (wanted @ (1 - predicted) + (1 - wanted) @ predicted) / len(predicted)
    return Tasks(positive, log_wrong, targets, errors)


def expected_error(log_q: Tensor, errors: Tensor) -> Tensor:
    """Return ``sum_h q err`` (C,), ``q`` normalised, of ``log q`` and ``err`` (C, H) on a pool or on test rows."""
    expected: Tensor = (log_q.softmax(1) * errors).sum(1)
    return expected


def entropy(log_q: Tensor) -> Tensor:
    """Return the entropy (C,) of ``q`` in bits, in [0, log2 H], of ``log q`` (C, H)."""
    shares = log_q.softmax(1)
    bits: Tensor = torch.special.entr(shares).sum(1) / math.log(2)
    return bits


def difficulty(log_q: Tensor, margins: Tensor, alpha: float) -> Tensor:
    """Return how undecided the learners are about rows: the entropy of ``sum_h q P(+1|h, x)`` in bits, in [0, 1].

    Args:
        log_q: (C, H).
        margins: (N, H).
        alpha: > 0.

    Returns:
        (C, N).
    """
    plus = log_q.softmax(1) @ chances(margins, alpha).T
    bits: Tensor = (torch.special.entr(plus) + torch.special.entr(1 - plus)) / math.log(2)
    return bits
