"""Options of the recipe."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ...errors import ConfigError
from ..selection.options import PoolOptions

Chosen: TypeAlias = Any
"""Options of which nothing is left to choose; the type checker cannot know which of them are no longer None."""
MADE, READ = ("regression", "logistic"), "digits"
"""Problems whose rows are drawn from a normal distribution, and the one whose rows are read."""


@dataclass(frozen=True)
class Config(PoolOptions):
    """Options of the recipe; None means: chosen to fit the problem."""

    problem: Literal["regression", "logistic", "digits"] = "regression"
    """regression: numbers that a vector of norm 1 explains; logistic: the signs of such numbers; digits: classes of the
    rows that --data names, digits or others."""
    noise: str = "0"
    """Share of the pool's labels that are drawn anew among all classes."""
    seeds: int = 10
    """Number of seeds; each draws its own rows, target and teachers' draws, shared by all teachers."""
    dim: int = 10
    """Inputs of a row, each drawn from N(0, 1)."""
    rows: int = 500
    """Rows of the pool."""
    loss: Literal["softmax", "mcboost"] = "softmax"
    """What the learner of classes descends."""
    filter: Literal["none", "in-sample", "cross-fitted"] = "cross-fitted"
    """Which rows of the pool are used, to fit the target and to be shown: all (none), or those whose label a linear
    model predicts, fitted on the whole pool (in-sample) or on the other folds (cross-fitted)."""
    eta: float | None = None
    """Rate of the learner's steps; default: 0.05, of the logistic problem 0.2."""
    steps: int | None = None
    """Steps of the learner, one row each; default: 100, of the logistic problem 150."""
    near: float | None = None
    """Squared distance to the target at which a learner counts as having arrived; default: 0.01, of digits half of that
    at the start."""
    teachers: str | None = None
    """Teachers to compare, separated by commas; default: all but rescalable; random, the baseline, is always among
    them."""
    queries: int = 1
    """Rows that imitation asks about before each step."""
    spread: float = 0.1
    """Standard deviation of an imitating teacher's copy at the start."""
    bound: float | None = None
    """Largest label that label synthesis makes; default: twice the largest one in the pool."""
    hard: bool = False
    """Label synthesis chooses among the real labels; of mcboost, whose labels do not mix, it always does."""
    scales: str = "0.5,1,2"
    """Sizes at which the rescalable pool has each row, separated by commas."""
    decay: float = 1.0
    """Weight decay of the learners that study a smallest set all at once."""


def sizes_of(text: str) -> tuple[float, ...]:
    """Read the sizes of a rescalable pool.

    Raises:
        ConfigError: if one is no number above 0, or comes twice.
    """
    try:
        found = tuple(float(part) for part in str(text).split(","))
    except ValueError:
        raise ConfigError(f'--scales is "{text}"; give sizes of a row, such as 0.5,1,2.') from None
    if len(set(found)) < len(found) or not all(0 < scale <= 1e6 for scale in found):
        raise ConfigError(f"--scales is {text}; each size comes once, above 0 and at most 1000000.")
    return found
