"""Options of recipes whose teachers choose rows of a pool."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError
from ..naming import DataOptions, full
from ..options import on_this_machine
from ..ranges import within

SEEDS = 2**62
BASELINE = "random"
"""The teacher that all others are compared with."""


@dataclass(frozen=True)
class PoolOptions(DataOptions):
    """Options that say which rows are in the pool and in the test, and where the run is done."""

    lists: str | None = None
    """Published lists of training and test images, TRAIN.txt,TEST.txt, of the folder that --data names."""
    only: str | None = None
    """Classes that are used, by name or number, separated by commas; default: all, of digits 3,4,5,8,9."""
    per_class: int | None = None
    """Rows of a class, pool and test together, drawn from the training rows; default: all."""
    test: float | None = None
    """Share of the rows that is held out as test; default: 0.2, or the test rows of the data if it has some and
    --per-class is not given."""
    noise: str = "0,0.1"
    """Shares of the pool's labels that are drawn anew among all classes, separated by commas."""
    seeds: int = 8
    """Number of seeds; each draws its own split, noise and teachers' draws, shared by all teachers."""
    first_seed: int = 0
    """The first seed."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto: cuda if there is one."""
    threads: int | None = None
    """Threads of a CPU operation; default: PyTorch's choice."""


def check_pool(options: Any) -> None:
    """Refuse values outside their ranges.

    Raises:
        ConfigError: naming the option.
    """
    if not options.data:
        raise ConfigError("--data is empty; give a name, a file or a folder.")
    for name, least, most in (
        *(("seeds", 1, 1000), ("threads", 1, 1024), ("classes", 2, 10**6), ("resize", 1, 4096)),
        *(("per_class", 2, 10**8), ("first_seed", 0, SEEDS)),
    ):
        within(options, name, least, most)
    if options.test is not None and not 0 < options.test < 1:
        raise ConfigError(f"--test is {options.test}; it is a share of the rows and must lie between 0 and 1.")


def settled(given: Any) -> dict[str, Any]:
    """Return those options of a pool of which something is left to choose or to be said in full.

    Raises:
        ConfigError: if there is no such device.
    """
    found = {"data": str(full(given.data)), "noise": str(given.noise)} | on_this_machine(given)
    if given.lists is None:
        return found
    lists = ",".join(str(full(part.strip())) for part in given.lists.split(","))
    return found | {"data": str(Path(given.data).resolve()), "lists": lists}


def check_export(target: str | None) -> None:
    """Refuse a folder to write to that is no new or empty one: what lies there would be mixed with what is written.

    Raises:
        ConfigError: naming it.
    """
    if target is None:
        return
    path = Path(target)
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"--export {path}: there is no folder {path.parent}; make it, or name another.")
    try:
        free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise ConfigError(f"--export {path}: cannot be used ({error.strerror}); give another.") from error
    if not free:
        raise ConfigError(f"--export {path}: it exists and is not an empty folder; give another, or remove it.")


def make_room(path: Path) -> None:
    """Make a folder of an export, and those that it lies in.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made ({error.strerror}); give another --export.") from None


def file_name(arm: str) -> str:
    """Return the name of an arm as that of a file, without its ending."""
    return re.sub(r"[^a-z0-9.]+", "-", arm.lower()).strip("-")
