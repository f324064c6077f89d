"""Filters of pools by name, and what a user can do about one that leaves too little."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...errors import DataError
from ...pools import Consistent, EmptiedClass, Filter, everything

FILTERS = ("none", "in-sample", "cross-fitted")


def filter_of(name: str | None, *, seed: int, folds: int = 5, quota: int = 0) -> Filter:
    """Return a filter by its name; None: that which keeps all rows.

    Args:
        name: of :data:`FILTERS`.
        seed: of the folds.
        folds: of the cross-fitted filter.
        quota: rows that it leaves of each class at least.
    """
    if name in (None, "none"):
        return everything
    return Consistent(folds=None if name == "in-sample" else folds, quota=quota, seed=seed)


@contextmanager
def emptied_in_words(classes: Sequence[str], remedy: str) -> Iterator[None]:
    """Have an emptied class named, and the options that help.

    Args:
        classes: names by label.
        remedy: what to do, after "give".

    Raises:
        DataError: for a filter that leaves a class without a row.
    """
    try:
        yield
    except EmptiedClass as error:
        raise DataError(
            f"the filter leaves no row of class {classes[error.label]} ({error.rows} in the pool): give {remedy}."
        ) from error
