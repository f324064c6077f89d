"""Checkpoints: one safetensors file, replaced in one step, without pickle.

The file holds tensors by name, and in its header a JSON text with everything else. It is written beside the old one,
flushed to the disk and renamed over it, so that a full disk or a killed process leaves the previous one readable.
"""

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import CheckpointError

FORMAT = 1
"""Version of the layout; a file of another version is refused."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at every moment either the old or the new content is there.

    Raises:
        CheckpointError: if it cannot be written; the old content is kept.
    """
    beside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        kept = ""
        with contextlib.suppress(OSError):
            kept = "; the previous one is kept" if path.is_file() else ""
            beside.unlink()
        fix = "free some space" if error.errno == errno.ENOSPC else "choose another folder"
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}{kept}; {fix}.") from error


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of the previous one.

    Args:
        path: the file.
        tensors: by name; tensors that share storage are written apart.
        facts: whatever JSON can hold.

    Raises:
        CheckpointError: if the file cannot be written; the previous one is kept.
    """
    # one entry: safetensors writes several in an order that changes from process to process
    header = {"tutelage": json.dumps({"format": FORMAT, "facts": facts}, sort_keys=True)}
    separate = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    write_atomically(path, save(separate, header))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote: tensors on the CPU, and facts.

    Raises:
        CheckpointError: if there is no such file, it is cut or not readable, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["tutelage"])
            if header["format"] != FORMAT:
                raise CheckpointError(
                    f"{path} has checkpoint format {header['format']}, but this version reads {FORMAT}."
                )
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, header["facts"]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error


def with_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with ``prefix.`` before each name."""
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def without_prefix(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries below ``prefix.`` under their short names."""
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in state.items() if name.startswith(start)}
