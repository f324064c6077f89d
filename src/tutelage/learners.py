"""Simulated learners with hypotheses: each has one for every task, and takes another one when it is wrong."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .errors import ConfigError
from .hypotheses import Hypotheses
from .randomness import counter, hashed_tensor, real_tensor, stream


@dataclass(frozen=True, eq=False)
class VersionSpaceLearners:
    """Many learners who see the same rows and differ in their luck; a value, which ``taught`` makes new.

    A learner has one hypothesis h_c of each task c. One that is wrong on a shown row is drawn anew from ``q_c``, what
    the rows shown so far leave, that one included. They take a row for ``argmax_c h_c(x)``, of two classes for 1 if
    ``h(x) > 0``.

    Attributes:
        hypotheses: that they choose from.
        classes: K >= 2.
        held: int64 (B, C), the hypothesis of each learner in each task.
        log_q: (C, H), not normalised.
        shown: how many rows they were shown.
        key: of their draws.

    Source: Singla et al., "Near-optimally teaching the crowd to classify", ICML 2014.
    """

    hypotheses: Hypotheses
    classes: int
    held: Tensor
    log_q: Tensor
    shown: int
    key: int

    @classmethod
    def new(cls, hypotheses: Hypotheses, classes: int, learners: int = 200, *, seed: int = 0) -> "VersionSpaceLearners":
        """Return learners who were shown nothing.

        Args:
            hypotheses: that they choose from, each as likely as another.
            classes: K >= 2.
            learners: B >= 1.
            seed: of their draws.

        Raises:
            ConfigError: for fewer than two classes or one learner.
        """
        if classes < 2 or learners < 1:
            raise ConfigError(f"{learners} learners of {classes} classes: needs 1 learner and 2 classes or more.")
        key = stream(seed, "version-space learners")
        log_q = hypotheses.weights.new_zeros(classes if classes > 2 else 1, len(hypotheses))
        return cls(hypotheses, classes, _drawn(log_q, learners, counter(key, 0)), log_q, 0, key)

    def taught(self, x: Tensor, labels: Tensor) -> "VersionSpaceLearners":
        """Return them after they were shown rows (T, ...) with labels (T,), one after another."""
        rows = torch.arange(len(x), device=x.device)
        seen = self.hypotheses.tasks(x, labels, self.classes)
        wrong, log_likelihoods = seen.wrong(rows), seen.log_likelihoods(rows)
        held, log_q, each = self.held, self.log_q, torch.arange(len(self.log_q), device=x.device)
        for row in range(len(x)):
            log_q = log_q + log_likelihoods[:, row]
            fresh = _drawn(log_q, len(held), counter(self.key, self.shown + row + 1))
            held = fresh.where(wrong[each, row, held], held)
        return replace(self, held=held, log_q=log_q, shown=self.shown + len(x))

    def predict(self, x: Tensor) -> Tensor:
        """Return the class that each learner takes rows (N, ...) for, int64 (B, N)."""
        return _decided(self.hypotheses.margins(x)[:, self.held]).T

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the share of learners who take rows (N, ...) for a class, (N, K)."""
        return one_hot(self.predict(x), self.classes).double().mean(0)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Return the mean share of rows (N, ...) that a learner takes for their labels (N,)."""
        return float((self.predict(x) == labels).double().mean())

    def posterior_mean(self, x: Tensor) -> Tensor:
        """Return the class ``argmax_c sum_h q_c[h] h(x)`` of rows (N, ...), int64 (N,): a vote of all."""
        return _decided(self.hypotheses.margins(x) @ self.log_q.softmax(1).T)


def _decided(margins: Tensor) -> Tensor:
    """The class of the largest margin (..., C); of a single task whether it is above 0."""
    return margins.argmax(-1) if margins.shape[-1] > 1 else (margins.squeeze(-1) > 0).long()


def _drawn(log_q: Tensor, learners: int, key: int) -> Tensor:
    """Hypotheses int64 (B, C), that of a task with probability ``q`` (C, H)."""
    tasks = len(log_q)
    draws = real_tensor(hashed_tensor(key, torch.arange(learners * tasks, device=log_q.device)))
    bounds = log_q.softmax(1).cumsum(1)
    draws = draws.to(bounds).view(learners, tasks).T.contiguous() * bounds[:, -1:]
    return torch.searchsorted(bounds, draws, right=True).clamp_max(log_q.shape[1] - 1).T
