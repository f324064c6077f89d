"""What is asked of arguments: one line says what was given and what is needed."""

from collections.abc import Callable
from math import isfinite
from typing import Any, Self

import numpy as np
import torch

from ..errors import ConfigError, DataError
from .elements import IntArray

MOST = 1 << 62
"""More elements than any stream has; what is longer counts as endless."""


class ElementError(DataError):
    """A user's function or data set raised at an element; the error itself is the cause."""

    @classmethod
    def of(cls, where: str, error: Exception) -> Self:
        """Return the error that says where another one was raised, on one line."""
        return cls(f"{where}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")


def whole_number(who: str, value: Any, least: int | None = 1, what: str = "size") -> int:
    """Return a whole number as ``int``; one above 2^62, more than any stream has, as 2^62.

    Raises:
        ConfigError: if it is none, such as a truth value, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{who}: {what} is {value!r}; it must be a whole number.")
    if least is not None and value < least:
        raise ConfigError(f"{who}: {what} is {value}; it must be at least {least}.")
    return min(int(value), MOST)


def function(who: str, f: Any, what: str = "f") -> Callable[..., Any]:
    """Return a function.

    Raises:
        ConfigError: if it cannot be called.
    """
    if not callable(f):
        raise ConfigError(f"{who}: {what} is {_shown(f)}; it must be a function, not what one returned.")
    return f  # type: ignore[no-any-return]


def positive(who: str, value: Any, what: str) -> float:
    """Return a positive, finite number.

    Raises:
        ConfigError: if it is none.
    """
    if not isinstance(value, int | float | np.number) or not (isfinite(value) and value > 0):
        raise ConfigError(f"{who}: {what} is {value!r}; it must be a positive number.")
    return float(value)


def numbers(who: str, values: Any, what: str) -> tuple[float, ...]:
    """Return a row of numbers.

    Raises:
        ConfigError: if it is none.
    """
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise ConfigError(f"{who}: {what} are {values!r}; they must be numbers.") from None


def instance(who: str, value: Any, kind: Any, needed: str) -> None:
    """Raise a ConfigError that says what is needed if a value is not of a kind."""
    if not isinstance(value, kind):
        raise ConfigError(f"{who}: {_shown(value)} given, needed is {needed}.")


def device_for(who: str, device: Any) -> torch.device:
    """Return a device that is there.

    Raises:
        ConfigError: if it is none, or this machine or build of torch has it not.
    """
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f'{who}: device {device!r} cannot be used ({said}); use "cpu" or another one.') from None
    return chosen


def row_index(name: str, length: int, index: Any) -> IntArray:
    """Return positions of a source of ``length`` rows as int64, (n,).

    Raises:
        DataError: if they are no whole numbers, there is none, one comes twice or lies outside.
    """
    given = np.asarray(index)
    if given.size and given.dtype.kind not in "iu":
        hint = "; pass mask.nonzero()" if given.dtype == bool else ""
        raise DataError(f"{name}: index is {given.dtype}, needs whole numbers{hint}.")
    chosen: IntArray = np.ascontiguousarray(given, dtype=np.int64)
    if chosen.ndim != 1 or chosen.size == 0:
        raise DataError(f"{name}: index has shape {chosen.shape}; it must name at least one row.")
    if chosen.min() < 0 or chosen.max() >= length:
        raise DataError(f"{name}: index reaches from {chosen.min()} to {chosen.max()}; valid are 0..{length - 1}.")
    values, counts = np.unique(chosen, return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{name}: index names row {values[counts > 1][0]} twice.")
    return chosen


def _shown(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"a {type(value).__name__}"
