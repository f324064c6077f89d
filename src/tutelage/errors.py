"""The errors that users see: each says what was given, what is needed and the usual fix."""

import difflib
from collections.abc import Iterable


class TutelageError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line and exits with status 2."""


class ShapeError(TutelageError):
    """A tensor has the wrong shape, dtype or device."""


class DataError(TutelageError):
    """A data set, a label, a file or a split is not usable."""


class StaleTarget(DataError):
    """A stored answer belongs to another input than the one that it is asked for."""


class ConfigError(TutelageError):
    """An option, a name or a combination of them is not valid."""


class NotFiniteError(TutelageError):
    """A loss or a weight became NaN or infinite during training."""


class NotDifferentiable(TutelageError):
    """A derivative that is asked for does not exist, or is not implemented."""


class NotConverged(TutelageError):
    """An iterative solution does not come nearer: the problem is not what the method needs.

    Args:
        message: what happened, and the fix.
        residual: relative one of the solution when it stopped.
    """

    def __init__(self, message: str, residual: float = float("nan")) -> None:
        super().__init__(message)
        self.residual = residual


class CheckpointError(TutelageError):
    """A run folder or a checkpoint cannot be written, read or resumed."""


class CannotResume(CheckpointError):
    """A stream of data cannot go on from a state: it is not the same stream, or its source cannot."""


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name, with the nearest known one if there is any.

    Args:
        kind: what the name stands for, such as ``"teacher"``.
        given: the name that was given.
        known: the valid names.
    """
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    return f'unknown {kind} "{given}".{hint} Known: {", ".join(names)}.'
