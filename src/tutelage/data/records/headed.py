"""Things on disk that carry tensors and say what they are: one safetensors file with a JSON text in its header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...errors import ConfigError, DataError
from .atomic import AtomicWriter

_PICKLED = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")
"""How files of ``torch.save`` begin, the present ones and the older; safetensors may begin with two of these bytes."""


def write_headed(path: Path, what: str, version: int, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file, which appears whole or not at all; the same contents give the same bytes.

    Args:
        path: the file.
        what: it is, in one word, such as ``"mentor"``.
        version: of its layout.
        facts: plain JSON.
        tensors: by name; those that share storage are written apart.

    Raises:
        ConfigError: if the facts, of which ``origin`` is the user's, are nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    try:
        # one entry: safetensors writes several in an order that changes from process to process
        text = json.dumps({"format": version, **facts}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the origin of a {what} must be plain JSON: {error}.") from None
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    AtomicWriter(path, save(apart, {f"tutelage {what}": text})).close()


def is_pickle(path: Path) -> bool:
    """Return whether a file is one of ``torch.save``, which may run code when it is read.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_PICKLED)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def read_headed(
    path: Path, what: str, version: int, *, maker: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the facts, and the tensors on the CPU, of what :func:`write_headed` wrote.

    Args:
        path: the file.
        what: it must be.
        version: of its layout.
        maker: what writes such files; None: ``save_`` and ``what``.

    Raises:
        DataError: if there is no such file, it is something else, cut, damaged, or of another version.
    """
    maker = maker or f"save_{what}"
    if not path.is_file():
        raise DataError(f"{path} does not exist; a {what} file is made by {maker}.")
    if is_pickle(path):
        raise DataError(
            f"{path} is a pickle file, which may run code when it is read; a {what} file is safetensors, made by "
            f"{maker}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is no {what} file, or cut: {error}.") from None
    if f"tutelage {what}" not in header:
        raise DataError(f"{path} is no {what} file; it is safetensors, but was not written by {maker}.")
    try:
        facts: dict[str, Any] = json.loads(header[f"tutelage {what}"])
        found = facts["format"]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None
    if found != version:
        raise DataError(f"{path} has {what} format {found}, but this version reads {version}.")
    return facts, tensors
