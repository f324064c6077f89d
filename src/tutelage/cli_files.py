"""What commands that write a file, or show what a file holds, have in common."""

from collections.abc import Sequence
from pathlib import Path

from .errors import ConfigError


def check_new(option: str, path: Path, suffixes: Sequence[str], what: str) -> None:
    """Make sure that a file can be written, before it takes time to make what is to be in it.

    Args:
        option: that names it, such as ``"--out"``.
        path: of the file.
        suffixes: that it may have, such as ``(".csv", ".json")``.
        what: the file is, up to its suffix: ``"answers are written as"``.

    Raises:
        ConfigError: for another suffix, a file that exists, and a folder that does not.
    """
    if path.suffix not in suffixes:
        known = " or ".join(", ".join(suffixes).rsplit(", ", 1))
        raise ConfigError(f"{option} {path}: {what} {known}.")
    if path.exists():
        raise ConfigError(f"{option} {path}: it exists, and is not written over; give another name, or move it away.")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}; make it, or give another.")


def printable(text: str) -> str:
    """Return text as a terminal can show it, whoever wrote the file that it is from."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
