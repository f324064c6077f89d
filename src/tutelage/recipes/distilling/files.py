"""What a finished stage leaves in the run folder, and how it is read back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ...checkpoint import load_checkpoint, save_checkpoint, with_prefix, without_prefix
from ...errors import CheckpointError
from ...frozen import Frozen
from ...runs import RunFolder
from ..finished import by_moment, read_finished, restore_lines
from .setting import Setting
from .stage import Given, Record, Stage

_TAKEN = "taken.json"
"""Fingerprints of the networks that came from elsewhere, by stage."""


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


def check_taken(folder: RunFolder, stages: Sequence[Stage], setting: Setting) -> None:
    """Refuse networks from elsewhere that are others than when the run started; a finished stage has its own.

    Raises:
        CheckpointError: naming what differs.
    """
    kept = folder.read(_TAKEN) if folder.has(_TAKEN) else {}
    for stage in stages:
        if not isinstance(stage, Given) or stage.needs or folder.has(f"arms/{stage.name}.json"):
            continue
        found = Frozen(stage.take(setting, {})).fingerprint()
        before = kept.setdefault(stage.name, found)
        if changed := sorted(name for name in {*before, *found} if before.get(name) != found.get(name)):
            raise CheckpointError(
                f"{folder.path}: what {stage.name} is read from has changed since the run started "
                f"({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}); put the old file back, or start a "
                "new run."
            )
    if kept:
        folder.write(_TAKEN, kept)


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
    return read_finished(folder, name, Outcome, "stage")


def restore_metrics(folder: RunFolder, names: Sequence[str]) -> None:
    """Make the metric lines those of the finished stages and of the checkpoint, no more."""
    finished = {name: by_moment(found.records) for name in names if (found := read_outcome(folder, name)) is not None}
    restore_lines(folder, finished, "stage", lambda facts: by_moment(facts.get("records", [])))
