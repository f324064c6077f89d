"""A finished run as the report needs it: the result, and what each trajectory recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..checkpoint import load_checkpoint
from ..errors import CheckpointError
from ..runs import RunFolder

Floats: TypeAlias = npt.NDArray[np.float64]
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Trajectory:
    """What one way of training recorded.

    Attributes:
        records: for each seed, a record an epoch.
        arrays: by name, such as ``weight`` and ``loss`` (epochs, N) of the first seed; may be empty.
        ends: for each seed, the record that counts, of staged training.
    """

    records: list[list[Mapping[str, Any]]]
    arrays: Mapping[str, Array]
    ends: Sequence[Mapping[str, Any]] = ()

    def series(self, metric: str) -> Floats:
        """Return a metric as (seeds, epochs), NaN where it was not recorded; no epochs if it never was."""
        length = min((len(seed) for seed in self.records), default=0)
        rows = [[record.get(metric) for record in seed[:length]] for seed in self.records]
        values = np.array(rows, dtype=np.float64).reshape(len(rows), length)
        return values if np.isfinite(values).any() else values[:, :0]

    @property
    def weighs(self) -> bool:
        """Whether the teacher treated examples differently, or at different times differently."""
        if not self.arrays.keys() >= {"weight", "loss"}:
            return False
        weight = self.arrays["weight"]
        known = weight[np.isfinite(weight)]
        return bool(known.size) and bool(known.min() < known.max())


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        result: what ``result.json`` holds. Needed are ``arms``; everything else is shown if it is there. ``about``
            may hold a line about each arm.
        arms: names, the highest mean accuracy first.
        trajectories: of the arms that were trained by themselves; others pick an epoch of another one.
        path: its folder.
    """

    result: Mapping[str, Any]
    arms: tuple[str, ...]
    trajectories: Mapping[str, Trajectory]
    path: Path

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return list(self.result.get("seeds", []))

    @property
    def knows_truth(self) -> bool:
        """Whether the run put the wrong labels in itself, so that it is known which ones they are."""
        return bool(self.part("noise").get("requested"))

    @cached_property
    def weighing(self) -> dict[str, Trajectory]:
        """Trajectories whose weights are not constant, by arm, in order."""
        return {name: t for name, t in self.trajectories.items() if t.weighs}

    def part(self, name: str) -> Mapping[str, Any]:
        """Return a part of the result, such as ``data``; empty if there is none."""
        value: Mapping[str, Any] = self.result.get(name, {})
        return value


def read(path: Path) -> Run:
    """Read a finished run folder.

    Raises:
        CheckpointError: if it is no run folder, damaged, or not finished.
    """
    folder = RunFolder.open(path)
    if not folder.has("result.json"):
        raise CheckpointError(f"{path} is not finished; go on with: tutelage resume {path}")
    result = folder.read("result.json")
    if not isinstance(result, dict) or not isinstance(result.get("arms"), dict):
        raise CheckpointError(f"{path / 'result.json'} is damaged: it has no arms.")
    arms = tuple(sorted(result["arms"], key=lambda name: (-_accuracy(result["arms"][name]), name)))
    networks = "stages" in result  # which no page shows
    found = {name: _trajectory(folder, name, networks) for name in arms if folder.has(f"arms/{name}.json")}
    return Run(result, arms, found, path)


def _accuracy(metrics: Mapping[str, Any]) -> float:
    return float(metrics["accuracy"]["mean"]) if "accuracy" in metrics else -1.0


def _trajectory(folder: RunFolder, name: str, networks: bool) -> Trajectory:
    arrays: dict[str, Array] = {}
    if not networks and folder.has(f"arms/{name}.safetensors"):
        tensors, _ = load_checkpoint(folder.path / f"arms/{name}.safetensors")
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    facts = folder.read(f"arms/{name}.json")
    return Trajectory(facts.get("records", []), arrays, facts.get("ends", ()))
