"""The folder of a run: what was asked, what came out, and where to go on.

::

    config.json        recipe, version and options
    environment.json   device, threads and versions
    metrics.jsonl      a line an epoch, arm and seed
    arms/              what each finished trajectory recorded (JSON, and safetensors for weights over training)
    checkpoint/        where the unfinished one stands
    result.json        the outcome
    report.html        the outcome with pictures
"""

import fcntl
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from . import __version__
from .checkpoint import load_checkpoint, save_checkpoint, write_atomically
from .errors import CheckpointError, ConfigError


def encode(value: Any) -> bytes:
    """Return indented JSON with sorted keys; refuses NaN and infinity."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


class RunFolder:
    """One run on disk.

    Args:
        path: the folder; must exist. Use :meth:`create` for a new run and :meth:`open` for an old one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint" / "state.safetensors"
        self._metrics = path / "metrics.jsonl"

    @staticmethod
    def free(name: str, parent: Path = Path("runs")) -> Path:
        """Return the next free numbered folder for a recipe, such as runs/curricula-003."""
        taken = [
            int(m[1]) for p in parent.glob(f"{name}-*") if (m := re.fullmatch(rf"{re.escape(name)}-(\d+)", p.name))
        ]
        return parent / f"{name}-{max(taken, default=0) + 1:03d}"

    @staticmethod
    def check_free(path: Path) -> None:
        """Make sure that a run may be written to this path.

        Raises:
            ConfigError: if something is there already.
        """
        try:
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                return
            resumable = (path / "config.json").is_file()
        except OSError as error:
            raise ConfigError(f"--out {path} cannot be used: {error.strerror}; give another folder.") from error
        hint = f", or go on with: tutelage resume {path}" if resumable else " or remove it"
        raise ConfigError(f"{path} exists; give another --out{hint}.")

    @classmethod
    def create(
        cls,
        path: Path,
        recipe: str,
        config: Mapping[str, Any],
        data: Mapping[str, str],
        environment: Mapping[str, Any],
    ) -> "RunFolder":
        """Make the folder of a new run.

        Args:
            path: the folder.
            recipe: its name.
            config: the options, as resolved: what ``resume`` needs to do the same again.
            data: fingerprints of the data sources by role.
            environment: see :func:`environment`.

        Raises:
            ConfigError: if the folder exists.
            CheckpointError: if it cannot be written.
        """
        cls.check_free(path)
        folder = cls(path)
        facts = {"recipe": recipe, "version": __version__, "config": dict(config), "data": dict(data)}
        encode(facts)  # refuses what JSON cannot hold before anything is written
        folder.write("environment.json", environment)
        folder.write("config.json", facts)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run.

        Raises:
            CheckpointError: if it is none, damaged, or of another version.
        """
        folder = cls(path)
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} is not a run folder: it has no config.json.")
        facts = folder.read("config.json")
        if not isinstance(facts, dict) or not {"recipe", "version", "config", "data"} <= facts.keys():
            raise CheckpointError(f"{path / 'config.json'} is damaged: it lacks recipe, version, config or data.")
        if facts["version"] != __version__:
            raise CheckpointError(
                f"{path} was written by tutelage {facts['version']}, but this is {__version__}; install that version."
            )
        return folder

    @property
    def recipe(self) -> str:
        """The name of the recipe."""
        return str(self.read("config.json")["recipe"])

    def check_data(self, data: Mapping[str, str]) -> None:
        """Make sure that the data is what the run started with.

        Raises:
            CheckpointError: if a fingerprint differs.
        """
        stored = self.read("config.json")["data"]
        for role, fingerprint in data.items():
            if stored.get(role) != fingerprint:
                raise CheckpointError(
                    f"{self.path}: the {role} data has changed since the run started; "
                    "put the old data back, or start a new run."
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing this run; the lock goes with the process, however it ends.

        Raises:
            CheckpointError: if another process has it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CheckpointError(f"{self.path} is being written by another process; wait for it.") from error
            yield

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file in one step.

        Raises:
            CheckpointError: if it cannot be written.
        """
        write_atomically(self.path / name, encode(value))

    def read(self, name: str) -> Any:
        """Read a JSON file.

        Raises:
            CheckpointError: if it is missing or damaged.
        """
        try:
            return json.loads((self.path / name).read_text())
        except OSError as error:
            raise CheckpointError(f"{self.path / name} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise CheckpointError(f"{self.path / name} is damaged: {error}.") from error

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.path / name).is_file()

    def write_metrics(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Replace all metric lines; a run that goes on drops the lines after its checkpoint."""
        text = "".join(json.dumps(r, sort_keys=True, allow_nan=False) + "\n" for r in records)
        write_atomically(self._metrics, text.encode())

    def append_metrics(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append metric lines.

        Raises:
            CheckpointError: if the disk is full.
        """
        try:
            with self._metrics.open("a") as file:
                file.writelines(json.dumps(r, sort_keys=True, allow_nan=False) + "\n" for r in records)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {self._metrics}: {error.strerror}; free some space, then: tutelage resume {self.path}"
            ) from error

    def save(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        save_checkpoint(self.checkpoint, tensors, facts)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return the checkpoint, None if there is none yet."""
        return load_checkpoint(self.checkpoint) if self.checkpoint.is_file() else None

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint of a trajectory that is finished."""
        self.checkpoint.unlink(missing_ok=True)


def environment(device: torch.device) -> dict[str, Any]:
    """Return what results may depend on: versions, device, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "tutelage": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
    }
