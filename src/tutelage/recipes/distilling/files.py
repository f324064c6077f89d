"""What a finished stage leaves in the run folder, and how it is read back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ...checkpoint import load_checkpoint, save_checkpoint, with_prefix, without_prefix
from ...errors import CheckpointError
from ...runs import RunFolder
from .setting import Setting
from .stage import Record, Stage


@dataclass(frozen=True)
class Outcome:
    """What a stage recorded.

    Attributes:
        records: of each seed, one an evaluation.
        ends: of each seed, what counts: the record that was picked, and facts.
        fingerprints: of each seed: ``network``, what was left, and ``teachers``, what was given, by stage.
        seconds: how long it took, resumed parts included.
    """

    records: list[list[Record]]
    ends: list[Record]
    fingerprints: list[dict[str, Any]]
    seconds: float


class Left:
    """The networks that finished stages left, read when they are asked for.

    Args:
        folder: of the run.
        stages: by name.
        settings: one a seed.
    """

    def __init__(self, folder: RunFolder, stages: Mapping[str, Stage], settings: Sequence[Setting]) -> None:
        self._folder, self._stages, self._settings = folder, stages, settings

    def of(self, name: str) -> list[list[nn.Module]]:
        """Return the networks of each seed that a stage left.

        Raises:
            CheckpointError: if its file is damaged.
        """
        path = self._folder.path / f"arms/{name}.safetensors"
        tensors, _ = load_checkpoint(path)
        found = []
        for s, setting in enumerate(self._settings):
            nets = self._stages[name].nets(setting)
            for k, net in enumerate(nets):
                _load(net, without_prefix(f"network.{s}.{k}", tensors), str(path))
            found.append(nets)
        return found


def _load(net: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    try:
        net.load_state_dict(dict(state))
    except RuntimeError as error:
        raise CheckpointError(f"{where} does not fit this run: {' '.join(str(error).split()[:20])}.") from error


def write_outcome(folder: RunFolder, name: str, outcome: Outcome, nets: Sequence[Sequence[nn.Module]]) -> None:
    """Keep what a finished stage recorded and trained, and remove its checkpoint.

    Raises:
        CheckpointError: if it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for s, own in enumerate(nets):
        for k, net in enumerate(own):
            tensors |= with_prefix(f"network.{s}.{k}", net.state_dict())
    save_checkpoint(folder.path / f"arms/{name}.safetensors", tensors, {"arm": name})
    folder.write(f"arms/{name}.json", asdict(outcome))
    folder.drop_checkpoint()


def read_outcome(folder: RunFolder, name: str) -> Outcome | None:
    """Return what a finished stage recorded, None if it is not finished."""
    if not folder.has(f"arms/{name}.json"):
        return None
    facts = folder.read(f"arms/{name}.json")
    try:
        return Outcome(facts["records"], facts["ends"], facts["fingerprints"], facts["seconds"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder.path}/arms/{name}.json is damaged ({error}); remove it and resume to train the stage again."
        ) from error


def restore_metrics(folder: RunFolder, names: Sequence[str]) -> None:
    """Make the metric lines those of the finished stages and of the checkpoint, no more."""
    finished = {name: found for name in names if (found := read_outcome(folder, name)) is not None}
    records = [line for outcome in finished.values() for line in _lines(outcome.records)]
    saved = folder.load()
    if saved is not None:
        if saved[1].get("stage") in finished:  # killed between its last file and the removal of its checkpoint
            folder.drop_checkpoint()
        else:
            records += _lines(saved[1].get("records", []))
    folder.write_metrics(records)


def _lines(records: Sequence[Sequence[Record]]) -> list[Record]:
    """Records by seed and evaluation in the order in which they are written: by evaluation, then seed."""
    return [record for moment in zip(*records) for record in moment]
