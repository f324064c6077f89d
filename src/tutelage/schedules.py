"""Learning-rate schedules: pure functions of the step, counted from 0, for the ``lr`` of a rule."""

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
