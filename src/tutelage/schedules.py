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
