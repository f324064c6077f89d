"""Which options of staged recipes count only in some runs, and the refusal of those that were given for nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data import DataSet
from ...data.loading import NAMES
from ...errors import ConfigError
from ..ranges import flag
from ..used import Table, check_used, use
from .options import Chosen

FREE_MOMENTUM = ("steps", "cosine", "constant")
"""Rates with which a momentum may be chosen; one cycle brings its own."""
COMMON: Table = {
    "pad": use(augment="crop-flip"),
    "momentum": use(rule="sgd", rates=FREE_MOMENTUM),
}
"""Of every staged recipe; a recipe's own table may name them again."""

_READ = {
    "label": "Parquet, csv, TFRecord or Hub data",
    "image": "Parquet, TFRecord or Hub data",
    "resize": "images in files",
    "classes": "files that do not name their classes",
}
_UNREAD = {".npz": ("label", "image", "resize"), ".csv": ("image", "resize")}


def refuse_unused(given: Any, options: Chosen, data: DataSet, table: Table, arms: Sequence[str] = ()) -> None:
    """Refuse what a user gave and nothing in the run looks at; not for what a run folder keeps.

    Args:
        given: as the user gave them.
        options: with nothing left to choose.
        data: what they name.
        table: when options of the recipe count, beside :data:`COMMON`.
        arms: of the run, by name.

    Raises:
        ConfigError: naming the option and what would use it.
    """
    check_used(given, options, {**COMMON, **table}, arms)
    refuse_unread(given, data)


def refuse_unread(given: Any, data: DataSet) -> None:
    """Refuse what reading the data does not look at, of ``label``, ``image``, ``resize``, ``classes`` and ``test``.

    Raises:
        ConfigError: naming the option and what would use it.
    """
    for name in _unread(given.data):
        if getattr(given, name) is not None:
            raise ConfigError(f"{flag(name)} is for {_READ[name]}, which {data.train.name} is not; leave it out.")
    if given.test is not None and data.test is not None:
        raise ConfigError(
            f"--test is for data without test rows of its own, but {data.train.name} has {len(data.test):,}; leave it "
            "out."
        )


def _unread(name: str) -> Sequence[str]:
    """Options that reading the data does not look at."""
    path = Path(name)
    if name == "digits":
        return tuple(_READ)
    if name.endswith("-sim") and name in NAMES:
        return ("label", "image", "classes")
    if name in NAMES or (path.is_dir() and not any(path.glob("*.parquet"))):
        return ("image", "classes")
    return _UNREAD.get(path.suffix, ()) if path.is_file() else ()
