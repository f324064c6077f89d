"""Mentor files: one safetensors file with a JSON text in its header, without pickle."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..data.records.atomic import AtomicWriter
from ..errors import ConfigError, DataError, unknown
from .mentor import Mentor, Settings
from .network import MentorNetwork

FORMAT = 1
"""Version of the layout; a file of another version is refused."""

SHIPPED = ("self_paced", "spcl_linear", "hard", "focal", "predefined")
"""Curricula of :mod:`tutelage.curricula` whose fitted mentors come with the package."""

_KEY = "tutelage mentor"


def save_mentor(mentor: Mentor, path: str | os.PathLike[str]) -> None:
    """Write a mentor to a file, which appears whole or not at all; the same mentor gives the same bytes.

    Raises:
        ConfigError: if ``settings.origin`` is nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    network = mentor.network
    facts = {
        "format": FORMAT,
        "form": network.form,
        "time": network.time,
        "bias_in_matrix": network.bias_in_matrix,
        "held": mentor.held,
        "settings": asdict(mentor.settings),
    }
    try:
        # one entry: safetensors writes several in an order that changes from process to process
        header = {_KEY: json.dumps(facts, sort_keys=True, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the origin of a mentor must be plain JSON: {error}.") from None
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    AtomicWriter(path, save(tensors, header)).close()


def load_mentor(path: str | os.PathLike[str]) -> Mentor:
    """Read what :func:`save_mentor` wrote, onto the CPU.

    Raises:
        DataError: if there is no such file, it is no mentor file, cut, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; a mentor file is made by save_mentor.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is no mentor file, or cut: {error}.") from None
    if _KEY not in header:
        raise DataError(f"{path} is no mentor file; it is safetensors, but was not written by save_mentor.")
    try:
        return _restored(path, json.loads(header[_KEY]), tensors)
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None


def _restored(path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Mentor:
    if facts["format"] != FORMAT:
        raise DataError(f"{path} has mentor format {facts['format']}, but this version reads {FORMAT}.")
    network = MentorNetwork(facts["form"], facts["time"], seed=0, bias_in_matrix=facts["bias_in_matrix"])
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if more := sorted(tensors.keys() - needed):
        raise DataError(f'{path}: a {network.form} mentor has no tensor "{more[0]}".')
    for name, shape in needed.items():
        if name not in tensors or tuple(tensors[name].shape) != shape:
            found = f"has shape {tuple(tensors[name].shape)}" if name in tensors else "is missing"
            raise DataError(f'{path}: the tensor "{name}" {found}; a {network.form} mentor needs it with {shape}.')
    network.to(tensors["out.weight"].dtype).load_state_dict(tensors)
    return Mentor(network, Settings(**facts["settings"]), held=facts["held"])


def shipped(name: str) -> Mentor:
    """Return the mentor that was fitted to a curriculum of :mod:`tutelage.curricula` and comes with the package.

    Each is the best of five seeds over the whole grid; ``settings.origin`` says how well it fits.

    Args:
        name: one of :data:`SHIPPED`.

    Raises:
        ConfigError: for another name.
    """
    if name not in SHIPPED:
        raise ConfigError(unknown("shipped mentor", name, SHIPPED))
    return load_mentor(Path(__file__).parent / "shipped" / f"{name}.safetensors")
