"""What a trajectory recorded, on disk and back."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..checkpoint import load_checkpoint, save_checkpoint
from ..errors import CheckpointError
from ..runs import RunFolder
from .finished import Record as Record
from .finished import by_moment, restore_lines


@dataclass(frozen=True)
class Outcome:
    """What a trajectory recorded.

    Attributes:
        records: for each seed, a record an epoch; of :mod:`tutelage.recipes.schooling` one an episode.
        tensors: ``index, given, true`` (N,), ``weight, loss`` (epochs, N) of the first seed; ``rows, mean_weight,
            last_weight, early_loss, mean_loss, seen, suggested`` (S, N) of all seeds; ``suspects`` (M,) and ``images``
            of the first seed; ``teacher.S.NAME``, the teachers as they ended; ``dump_*``, see
            :mod:`tutelage.recipes.dumping`. Of schooling the teachers alone.
        stacked: whether the seeds were trained in one pass.
        seconds: how long it took, resumed parts included.
    """

    records: list[list[Record]]
    tensors: dict[str, Tensor]
    stacked: bool
    seconds: float


def write_outcome(folder: RunFolder, name: str, outcome: Outcome) -> None:
    """Keep what a finished trajectory recorded, and remove its checkpoint.

    Raises:
        CheckpointError: if it cannot be written.
    """
    save_checkpoint(folder.path / f"arms/{name}.safetensors", outcome.tensors, {"arm": name})
    facts = {"records": outcome.records, "stacked": outcome.stacked, "seconds": outcome.seconds}
    folder.write(f"arms/{name}.json", facts)
    folder.drop_checkpoint()


def read_outcome(folder: RunFolder, name: str) -> Outcome | None:
    """Return what a finished trajectory recorded, None if it is not finished."""
    if not folder.has(f"arms/{name}.json"):
        return None
    facts = folder.read(f"arms/{name}.json")
    try:
        tensors, _ = load_checkpoint(folder.path / f"arms/{name}.safetensors")
        return Outcome(facts["records"], tensors, facts["stacked"], facts["seconds"])
    except (CheckpointError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder.path}/arms/{name} is damaged ({error}); remove {name}.json there and resume to train it again."
        ) from error


def restore_metrics(folder: RunFolder, names: Sequence[str]) -> None:
    """Make the metric lines those of the finished trajectories and of the checkpoint, no more."""
    finished = {name: by_moment(found.records) for name in names if (found := read_outcome(folder, name)) is not None}
    restore_lines(folder, finished, "trajectory", lambda facts: by_moment(facts.get("records", [])))
