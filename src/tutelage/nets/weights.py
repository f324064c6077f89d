"""Weights of a network in one safetensors file: a user's own teacher comes in, a student goes out."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..data.records.headed import is_pickle, write_headed
from ..errors import DataError

FORMAT = 1
"""Version of the facts in the header."""
_FEW = 3


def save_weights(net: nn.Module, path: str | os.PathLike[str], facts: Mapping[str, Any]) -> None:
    """Write all parameters and buffers of a network to a safetensors file, which appears whole or not at all.

    The same contents give the same bytes; anything that reads safetensors reads it.

    Args:
        net: such as ``student.net``.
        path: the file.
        facts: what the network is and where it learned, plain JSON: name, shape, classes, seed, metrics.

    Raises:
        ConfigError: if the facts are nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    write_headed(Path(path), "network", FORMAT, {"facts": dict(facts)}, net.state_dict())


def load_weights(net: nn.Module, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Put the weights of a safetensors file, of whatever origin, into a network of the same layers.

    They take the dtype and the device of the network's own.

    Args:
        net: such as ``build("resnet56", (3, 32, 32), 100)``.
        path: the file.

    Returns:
        the facts that :func:`save_weights` was given; none for a file that something else wrote.

    Raises:
        DataError: if there is no such file, it is no safetensors file, cut, holds values that are not finite, or does
            not fit the network: the message names the first few layers that are missing, left over, or have another
            shape, and how many there are. The network is then as it was.
    """
    path = Path(path)
    facts, tensors = _read(path)
    if wrong := _misfit(net.state_dict(), tensors):
        raise DataError(f"{path} does not fit this {type(net).__name__}: {'; '.join(wrong)}.")
    if spoilt := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise DataError(
            f"{path} holds values that are not finite in {', '.join(spoilt[:_FEW])}; did its training diverge?"
        )
    net.load_state_dict(tensors)
    return facts


def weights_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the facts that :func:`save_weights` was given; none for a file that something else wrote.

    Raises:
        DataError: if there is no such file, or it is no safetensors file.
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; weights are a safetensors file, such as save_weights writes.")
    if is_pickle(path):
        convert = f"save_file(torch.load('{path.name}', weights_only=True), '{path.stem}.safetensors')"
        raise DataError(
            f"{path} is a pickle file, which may run code when it is read. Convert it where you trust it, with "
            f"safetensors.torch: {convert}."
        )
    try:
        with safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is no safetensors file, or cut: {error}.") from None
    try:
        facts: dict[str, Any] = json.loads(header.get("tutelage network", "{}")).get("facts", {})
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None
    return facts, tensors


def _misfit(needed: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What is wrong, a part a kind; nothing if the tensors fit."""
    missing, extra = [n for n in needed if n not in given], sorted(given.keys() - needed.keys())
    shapes = [
        f"{n} {tuple(given[n].shape)} instead of {tuple(tensor.shape)}"
        for n, tensor in needed.items()
        if n in given and given[n].shape != tensor.shape
    ]
    kinds = (("missing", missing), ("left over", extra), ("of another shape", shapes))
    return [f"{len(names)} {kind}{_listed(names)}" for kind, names in kinds if names]


def _listed(names: Sequence[str]) -> str:
    return (", such as " if len(names) > _FEW else ": ") + ", ".join(names[:_FEW])
