"""What finished arms leave in a run folder, and how a run that was killed knows where it stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

from ..errors import CheckpointError, NotFiniteError
from ..runs import RunFolder

Record: TypeAlias = dict[str, Any]
T = TypeVar("T")


def read_finished(folder: RunFolder, name: str, kind: type[T], what: str = "arm") -> T | None:
    """Return what a finished arm recorded in ``arms/NAME.json``, None if it is not finished.

    Args:
        folder: of the run.
        name: of the arm.
        kind: a dataclass, whose fields the file has.
        what: is finished, for the message.

    Raises:
        CheckpointError: if the file is damaged.
    """
    if not folder.has(f"arms/{name}.json"):
        return None
    facts = folder.read(f"arms/{name}.json")
    try:
        return kind(**{field.name: facts[field.name] for field in fields(kind)})  # type: ignore[arg-type]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder.path}/arms/{name}.json is damaged ({error}); remove it and resume to train the {what} again."
        ) from error


def restore_lines(
    folder: RunFolder,
    finished: Mapping[str, Sequence[Record]],
    key: str,
    under_way: Callable[[Mapping[str, Any]], Sequence[Record]],
) -> None:
    """Make the metric lines those of what is finished and of the checkpoint, no more.

    Args:
        folder: of the run.
        finished: lines by name, in the order in which they were written.
        key: of the name in the facts of a checkpoint.
        under_way: lines of the facts of a checkpoint.
    """
    lines = [line for own in finished.values() for line in own]
    saved = folder.load()
    if saved is not None:
        if saved[1].get(key) in finished:  # killed between its last file and the removal of its checkpoint
            folder.drop_checkpoint()
        else:
            lines += under_way(saved[1])
    folder.write_metrics(lines)


def by_moment(records: Sequence[Sequence[Record]]) -> list[Record]:
    """Return records by seed and evaluation in the order in which they are written: by evaluation, then seed."""
    return [record for moment in zip(*records) for record in moment]


@contextmanager
def placed(name: str, folder: RunFolder) -> Iterator[None]:
    """Say of what is not finite in which arm it was, and what is kept.

    Raises:
        NotFiniteError: the one from within, with name and folder.
    """
    try:
        yield
    except NotFiniteError as error:
        kept = "the last good checkpoint is kept" if folder.checkpoint.is_file() else "no checkpoint was made yet"
        raise NotFiniteError(f"{name}: {error} In {folder.path}, {kept}.") from error
