"""Teacher files: what a teacher learned, in one safetensors file with a JSON text in its header, without pickle."""

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from . import __version__
from .data.records.headed import read_headed, write_headed
from .errors import ConfigError, DataError, unknown
from .teacher import Teacher
from .teachers import DeepInteractions, DynamicLoss, KeepMask, MetaWeightNet

FORMAT = 1
"""Version of the layout; a file of another version is refused."""

Keepable: TypeAlias = DeepInteractions | MetaWeightNet | KeepMask | DynamicLoss

KINDS: Mapping[str, type[Keepable]] = {
    "deep-interactions": DeepInteractions,
    "meta-weight-net": MetaWeightNet,
    "keep-mask": KeepMask,
    "dynamic-loss": DynamicLoss,
}
"""Teachers that can be kept, by their name in a file; ``arguments`` of each is what it was made with, plain JSON."""


def save_teacher(teacher: Keepable, path: str | os.PathLike[str], origin: Mapping[str, Any]) -> None:
    """Write what a teacher learned to a file, which appears whole or not at all; the same gives the same bytes.

    Its parameters and its own counters are kept. What its parts remember of a run is not: the optimiser, the window
    that it looked at, an episode half done, whether it was frozen.

    Args:
        teacher: one of :data:`KINDS`.
        path: the file.
        origin: where it learned, plain JSON: data, noise, seed, metrics. The version of tutelage is added.

    Raises:
        ConfigError: for another teacher, or if ``origin`` is nothing that JSON can hold.
        DataError: if the file cannot be written.
    """
    kind = next((name for name, made in KINDS.items() if type(teacher) is made), None)
    if kind is None:
        known = ", ".join(made.__name__ for made in KINDS.values())
        raise ConfigError(
            f"a {type(teacher).__name__} cannot be kept in a file, only {known}; keep its state_dict instead."
        )
    facts = {"teacher": kind, "arguments": teacher.arguments, "origin": {**origin, "tutelage": __version__}}
    write_headed(Path(path), "teacher", FORMAT, facts, _learned(teacher))


def load_teacher(path: str | os.PathLike[str], **changes: Any) -> Keepable:
    """Read what :func:`save_teacher` wrote, onto the CPU: the teacher as it had learned, ready to go on.

    It is not frozen: for one that only teaches, call ``freeze()``. A student of other classes or features than those it
    was made for is refused by ``teach``.

    Args:
        path: the file.
        **changes: arguments that are to differ, such as ``steps``, ``rule`` or ``loss``; those that are no plain JSON
            are not in the file, and have their defaults. Not the sizes of what was learned.

    Raises:
        ConfigError: for changes that the teacher does not know, or that do not fit what it learned.
        DataError: if there is no such file, it is no teacher file, cut, damaged, or of another version.
    """
    path = Path(path)
    facts, tensors = read_headed(path, "teacher", FORMAT)
    try:
        teacher = _made(facts["teacher"], facts["arguments"])
        wrong = _misfit(teacher, tensors)
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise DataError(f"{path} is damaged: {error!r}.") from None
    if wrong:
        raise DataError(f"{path}: {wrong}.")
    if changes:
        try:
            teacher = _made(facts["teacher"], {**facts["arguments"], **changes})
        except TypeError as error:
            raise ConfigError(f"{path} cannot be loaded with {', '.join(changes)}: {error}.") from None
        if wrong := _misfit(teacher, tensors):
            raise ConfigError(f"{path} cannot be loaded with {', '.join(changes)}: {wrong}.")
    _take(teacher, tensors)
    return teacher


def teacher_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a teacher file says of itself: ``teacher``, ``arguments`` and ``origin``.

    Raises:
        DataError: as :func:`load_teacher`.
    """
    facts, _ = read_headed(Path(path), "teacher", FORMAT)
    return {name: facts.get(name) for name in ("teacher", "arguments", "origin")}


def _learned(teacher: Teacher) -> dict[str, Tensor]:
    """The parameters of a teacher and the buffers that are its own, not those of its parts."""
    return dict(chain(teacher.named_parameters(), teacher.named_buffers(recurse=False)))


def _made(kind: str, arguments: Mapping[str, Any]) -> Keepable:
    if kind not in KINDS:
        raise ConfigError(unknown("kind of teacher", kind, KINDS))
    return KINDS[kind](**arguments)


def _misfit(teacher: Teacher, tensors: Mapping[str, Tensor]) -> str:
    """What is wrong with the tensors for this teacher; nothing if they fit."""
    name, needed = type(teacher).__name__, _learned(teacher)
    for tensor, like in needed.items():
        if tensor not in tensors or tensors[tensor].shape != like.shape:
            found = f"has shape {tuple(tensors[tensor].shape)}" if tensor in tensors else "is missing"
            return f'the tensor "{tensor}" {found}; this {name} needs it with {tuple(like.shape)}'
    if more := sorted(tensors.keys() - needed):
        return f'this {name} has no tensor "{more[0]}"'
    return ""


def _take(teacher: Teacher, tensors: Mapping[str, Tensor]) -> None:
    teacher.to(next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()))
    teacher.load_state_dict({**teacher.state_dict(), **tensors})
