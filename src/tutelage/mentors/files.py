"""Mentor files: one safetensors file with a JSON text in its header, without pickle."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.records.headed import read_headed, write_headed
from ..errors import ConfigError, DataError, unknown
from .mentor import Mentor, Settings
from .network import MentorNetwork

FORMAT = 1
"""Version of the layout; a file of another version is refused."""

SHIPPED = ("self_paced", "spcl_linear", "hard", "focal", "predefined")
"""Curricula of :mod:`tutelage.curricula` whose fitted mentors come with the package."""


def save_mentor(mentor: Mentor, path: str | os.PathLike[str]) -> None:
    """Write a mentor to a file, which appears whole or not at all; the same mentor gives the same bytes.

    Raises:
        ConfigError: if ``settings.origin`` is nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    network = mentor.network
    facts = {
        "form": network.form,
        "time": network.time,
        "bias_in_matrix": network.bias_in_matrix,
        "held": mentor.held,
        "settings": asdict(mentor.settings),
    }
    write_headed(Path(path), "mentor", FORMAT, facts, network.state_dict())


def load_mentor(path: str | os.PathLike[str]) -> Mentor:
    """Read what :func:`save_mentor` wrote, onto the CPU.

    Raises:
        DataError: if there is no such file, it is no mentor file, cut, or of another version.
    """
    path = Path(path)
    facts, tensors = read_headed(path, "mentor", FORMAT)
    try:
        return _restored(path, facts, tensors)
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None


def _restored(path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Mentor:
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
