"""Pieces of work: each leaves files of its own, is read back once it is done, and may go on at any step."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from ..checkpoint import load_checkpoint, save_checkpoint
from ..errors import CheckpointError, NotFiniteError
from ..runs import RunFolder
from .trajectory import Watcher

Record: TypeAlias = dict[str, Any]
Tensors: TypeAlias = dict[str, Tensor]
Left: TypeAlias = tuple[Record, Tensors]
"""What a piece leaves: plain JSON, and tensors."""


@dataclass(frozen=True)
class Stage:
    """Work that is done once a seed.

    Attributes:
        name: of its bar, and of its files ``arms/NAME-SEED``.
        seeds: one piece each.
        steps: of a piece.
        work: does one: (seed, desk) -> what it leaves.
    """

    name: str
    seeds: Sequence[int]
    steps: int
    work: "Callable[[int, Desk], Left]"


class Done:
    """What finished pieces left.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def has(self, stage: str, seed: int) -> bool:
        """Return whether a piece is finished."""
        return self.folder.has(_json(stage, seed))

    def facts(self, stage: str, seed: int) -> Record:
        """Return what a finished piece left in JSON.

        Raises:
            CheckpointError: if its file is damaged.
        """
        return dict(self._read(stage, seed)["facts"])

    def seconds(self, stage: str, seed: int) -> float:
        """Return how long it took, resumed parts included."""
        return float(self._read(stage, seed)["seconds"])

    def tensors(self, stage: str, seed: int) -> Tensors:
        """Return what it left in tensors, on the CPU.

        Raises:
            CheckpointError: if its file is damaged.
        """
        return load_checkpoint(self.folder.path / _tensors(stage, seed))[0]

    def keep(self, stage: str, seed: int, left: Left, seconds: float) -> None:
        """Write what a piece leaves; its checkpoint goes."""
        facts, tensors = left
        if tensors:
            save_checkpoint(self.folder.path / _tensors(stage, seed), tensors, {"stage": stage, "seed": seed})
        self.folder.write(_json(stage, seed), {"facts": facts, "seconds": seconds})
        self.folder.drop_checkpoint()

    def _read(self, stage: str, seed: int) -> Any:
        found = self.folder.read(_json(stage, seed))
        if not isinstance(found, dict) or not {"facts", "seconds"} <= found.keys():
            raise CheckpointError(
                f"{self.folder.path / _json(stage, seed)} is damaged; remove it and resume to do this part again."
            )
        return found


def _json(stage: str, seed: int) -> str:
    return f"arms/{stage}-{seed}.json"


def _tensors(stage: str, seed: int) -> str:
    return f"arms/{stage}-{seed}.safetensors"


class Desk:
    """Where a piece is worked on: its checkpoint, its records, and who follows.

    Args:
        stage: whose piece.
        seed: which.
        folder: of the run.
        watcher: who follows.
        every: least seconds between two checkpoints.
    """

    def __init__(self, stage: Stage, seed: int, folder: RunFolder, watcher: Watcher, every: float) -> None:
        self.stage, self.seed = stage.name, seed
        self._folder, self._watcher, self._every = folder, watcher, every
        saved = folder.load()
        mine = saved is not None and (saved[1].get("stage"), saved[1].get("seed")) == (self.stage, seed)
        self.saved = saved if mine else None
        """Tensors and facts of the checkpoint that this piece goes on from, if there is one."""
        self._before = float(saved[1]["seconds"]) if mine and saved is not None else 0.0
        self._started = self._saved_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent on this piece, resumed parts included."""
        return self._before + time.monotonic() - self._started

    def advance(self) -> None:
        """A step was taken; test rows are looked at when all is over, so there is no accuracy to show."""
        self._watcher.advance(None)

    def record(self, records: Iterable[Record]) -> None:
        """Append lines to ``metrics.jsonl``."""
        self._folder.append_metrics(records)

    def maybe_save(self, state: Callable[[], Left]) -> None:
        """Keep a checkpoint if the last one is old enough."""
        if time.monotonic() - self._saved_at < self._every:
            return
        facts, tensors = state()
        self._folder.save(tensors, {**facts, "stage": self.stage, "seed": self.seed, "seconds": self.seconds})
        self._saved_at = time.monotonic()

    @property
    def unfit(self) -> str:
        """The line for a checkpoint that does not fit, after its cause."""
        return f"{self._folder.checkpoint} does not fit this run; remove it to do {self.stage} from its start"


def carry_out(stages: Sequence[Stage], done: Done, watcher: Watcher, every: float = 0.0) -> dict[str, float]:
    """Do what is not done yet, in order.

    Args:
        stages: in their order.
        done: what is finished.
        watcher: who follows.
        every: least seconds between two checkpoints.

    Returns:
        how long each stage took, resumed parts included.

    Raises:
        NotFiniteError: naming the stage, the seed, and what is kept.
        CheckpointError: if something cannot be written or read.
    """
    _restore_metrics(stages, done)
    for stage in stages:
        open_seeds = [seed for seed in stage.seeds if not done.has(stage.name, seed)]
        if not open_seeds:
            continue
        saved = done.folder.load()
        within = saved[1]["done"] if saved is not None and saved[1].get("stage") == stage.name else 0
        before = stage.steps * (len(stage.seeds) - len(open_seeds)) + within
        watcher.start(stage.name, stage.steps * len(stage.seeds), before)
        for seed in open_seeds:
            desk = Desk(stage, seed, done.folder, watcher, every)
            try:
                left = stage.work(seed, desk)
            except NotFiniteError as error:
                kept = "the last good checkpoint" if done.folder.checkpoint.is_file() else "what was done before"
                raise NotFiniteError(
                    f"{stage.name}, seed {seed}: {error} In {done.folder.path}, {kept} is kept."
                ) from error
            done.keep(stage.name, seed, left, desk.seconds)
    return {stage.name: sum(done.seconds(stage.name, seed) for seed in stage.seeds) for stage in stages}


def _restore_metrics(stages: Sequence[Stage], done: Done) -> None:
    """Make the metric lines those of the finished pieces and of the checkpoint, no more."""
    records: list[Record] = []
    finished = [(stage.name, seed) for stage in stages for seed in stage.seeds if done.has(stage.name, seed)]
    for name, seed in finished:
        records += done.facts(name, seed).get("records", [])
    saved: tuple[Tensors, Mapping[str, Any]] | None = done.folder.load()
    if saved is not None:
        if (saved[1].get("stage"), saved[1].get("seed")) in finished:  # killed before its checkpoint was removed
            done.folder.drop_checkpoint()
        else:
            records += saved[1].get("records", [])
    done.folder.write_metrics(records)
