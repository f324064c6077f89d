"""One writer of a file at a time, and what is kept beside it: how often it was started from."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError

_PATIENCE = 1.0
_PAUSE = 0.05


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Run a block as the only writer of a file; its folder is made.

    Args:
        path: the file; the lock, which ends with the process, is on another one beside it.
        wait: until another writer is done, which is said after a second; else it is an error.

    Raises:
        CheckpointError: if another process writes it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _beside(path).open("a")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}; give another path.") from error
    with lock:
        until = time.monotonic() + _PATIENCE
        while not _taken(lock.fileno()):
            if not wait:
                raise CheckpointError(f"{path} is being written by another process; wait for it.")
            if time.monotonic() > until:
                say(f"waiting for another process, which writes {path}.")
                fcntl.flock(lock, fcntl.LOCK_EX)
                break
            time.sleep(_PAUSE)
        yield


def starts(path: Path) -> int:
    """Count a start from a file; return how many there were before, 0 where that cannot be kept."""
    try:
        with _beside(path).open("a+") as file:
            file.seek(0)
            text = file.read()
            before = int(text) if text.isdecimal() else 0
            file.truncate(0)
            file.write(str(before + 1))
    except OSError:  # a folder that can only be read
        return 0
    return before


def set_aside(path: Path, inode: int, why: str) -> None:
    """Rename a file that is not what it should be, unless another process has replaced it meanwhile, and say so."""
    with locked(path, wait=True):
        if path.is_file() and path.stat().st_ino == inode:
            aside = path.with_name(f"{path.name}.refused")
            os.replace(path, aside)
            say(f"{why} It is set aside as {aside}, and made anew.")


def say(line: str) -> None:
    """Tell the user a line."""
    print(line, file=sys.stderr, flush=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
