"""Schedules: pure functions of the step, counted from 0, for the ``lr`` of a rule, and its momentum or first beta."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from .errors import ConfigError


def check_rate(lr: float) -> None:
    """Refuse a learning rate that is negative or not finite.

    Raises:
        ConfigError: naming it.
    """
    if not (math.isfinite(lr) and lr >= 0):
        raise ConfigError(f"learning rate is {lr}; it must be finite and at least 0.")


@dataclass(frozen=True)
class StepDecay:
    """``lr * factor^k`` where k counts the steps in ``at`` that have been reached."""

    lr: float
    at: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        return self.lr * self.factor ** sum(step >= a for a in self.at)


@dataclass(frozen=True)
class Cosine:
    """``final + (lr - final) (1 + cos(pi step / steps)) / 2``, constant after the last step."""

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        share = min(step / self.steps, 1.0)
        return self.final + (self.lr - self.final) * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True)
class Exponential:
    """``lr * factor^floor(step / every)``."""

    lr: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        check_rate(self.lr)

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Warmup:
    """Another schedule, multiplied by ``(step + 1) / (steps + 1)`` during the first ``steps`` steps."""

    then: Callable[[int], float]
    steps: int

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        return self.then(step) * min(1.0, (step + 1) / (self.steps + 1))


@dataclass(frozen=True)
class WarmCosine:
    """Up from ``lr / warmup`` to ``lr`` in a line during ``warmup`` steps, then down in a cosine to 0 at ``steps``.

    ``lr (t + 1) / warmup`` for t < warmup, then ``lr (1 + cos(pi (t - warmup) / (steps - warmup))) / 2``.
    Source: the published code of Pham et al., "Meta pseudo labels", CVPR 2021.
    """

    lr: float
    steps: int
    warmup: int = 0

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if not 0 <= self.warmup < self.steps:
            raise ConfigError(f"warmup is {self.warmup}; it must be in 0..{self.steps - 1}, below the steps in all.")

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = min((step - self.warmup) / (self.steps - self.warmup), 1.0)
        return self.lr * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True)
class Wait:
    """0 for the first ``steps`` steps, then another schedule: from its own start, or with ``shift=False`` joined late.

    The student of the published Meta Pseudo Labels: ``Wait(WarmCosine(lr, steps - wait, warmup), wait)``.
    """

    then: Callable[[int], float]
    steps: int
    shift: bool = True

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        return 0.0 if step < self.steps else self.then(step - self.steps * self.shift)


@dataclass(frozen=True)
class OneCycle:
    """One cycle: the rate rises in half a cosine, then falls in another; the momentum falls and rises against it.

    With ``p = warmup * steps - 1`` the last step of the rise, the rate goes from ``lr / start_factor`` at step 0 to
    ``lr`` at p and to ``lr / start_factor / final_factor`` at ``steps - 1``, where it stays. From a to b in n steps,
    step t is at ``b + (a - b) (1 + cos(pi t / n)) / 2``. Equal to ``torch.optim.lr_scheduler.OneCycleLR`` with its
    defaults; for a rule that follows both: ``AdamW(cycle, betas=(cycle.momentum, 0.999))``.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates",
    2018.

    Attributes:
        lr: the highest rate.
        steps: in all, at least 1.
        warmup: share of the steps in which the rate rises, in [0, 1].
        start_factor: the first rate is so many times below the highest, > 0.
        final_factor: the last rate is so many times below the first, > 0.
        high: momentum at both ends, in [0, 1).
        low: momentum at the peak of the rate, in [0, 1).
    """

    lr: float
    steps: int
    warmup: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4
    high: float = 0.95
    low: float = 0.85

    def __post_init__(self) -> None:
        check_rate(self.lr)
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; a cycle needs at least 1.")
        if not 0 <= self.warmup <= 1:
            raise ConfigError(f"warmup is {self.warmup}; it is the share of the steps that rise, in [0, 1].")
        if not (self.start_factor > 0 and self.final_factor > 0):
            raise ConfigError(f"the factors are {self.start_factor} and {self.final_factor}; both must be above 0.")
        if not (0 <= self.high < 1 and 0 <= self.low < 1):
            raise ConfigError(f"the momentum cycles between {self.high} and {self.low}; both must be in [0, 1).")

    def __call__(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        first = self.lr / self.start_factor
        return self._at(step, first, self.lr, first / self.final_factor)

    def momentum(self, step: int) -> float:
        """Return the momentum, or first beta, of a step, counted from 0."""
        return self._at(step, self.high, self.low, self.high)

    def _at(self, step: int, first: float, middle: float, last: float) -> float:
        peak, end = self.warmup * self.steps - 1, self.steps - 1
        step = min(step, end)
        if step <= peak:
            return _half_cosine(first, middle, step / peak if peak else 1.0)
        return _half_cosine(middle, last, (step - peak) / (end - peak))


def _half_cosine(a: float, b: float, share: float) -> float:
    return b + (a - b) / 2.0 * (math.cos(math.pi * share) + 1.0)
