"""Starting a run from options, and going on with one from what its folder keeps of them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from ..errors import CheckpointError
from ..runs import RunFolder, environment


class Planned(Protocol):
    """What follows from options: rehearsed, then carried out."""

    @property
    def options(self) -> Any:
        """The options, with nothing left to choose."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of the data by role."""

    def rehearse(self) -> None:
        """Refuse what cannot work before anything is written."""


P = TypeVar("P", bound=Planned)
Carry = Callable[[P, RunFolder], dict[str, Any]]
"""Carries a plan out in its folder, from where that stands; returns what ``result.json`` holds."""


def start(name: str, prepare: Callable[..., P], options: Any, out: Path, carry: Carry[P]) -> dict[str, Any]:
    """Carry a plan out in a new folder, after a rehearsal.

    Args:
        name: of the recipe.
        prepare: from options to a plan; refuses what cannot work.
        options: as the user gave them.
        out: the run folder; must not exist.
        carry: carries it out.
    """
    RunFolder.check_free(out)
    plan = prepare(options, fresh=True)
    plan.rehearse()
    where = environment(torch.device(plan.options.device))
    folder = RunFolder.create(out, name, asdict(plan.options), plan.fingerprints, where)
    with folder.locked():
        return carry(plan, folder)


def go_on(kind: type[Any], prepare: Callable[..., P], folder: RunFolder, carry: Carry[P]) -> dict[str, Any]:
    """Carry on with the plan of a folder, whose options are of the dataclass ``kind``.

    Raises:
        CheckpointError: if the folder cannot be read, or its data has changed.
    """
    plan = prepare(stored_options(folder, kind), fresh=False)
    folder.check_data(plan.fingerprints)
    with folder.locked():
        return carry(plan, folder)


def stored_options(folder: RunFolder, kind: type[Any]) -> Any:
    """Return the options of a run, of the recipe's dataclass.

    Raises:
        CheckpointError: if one is missing, or has another type.
    """
    stored = folder.read("config.json")["config"]
    try:
        if missing := set(kind.__dataclass_fields__) - set(stored):
            raise CheckpointError(f"{folder.path}/config.json is damaged: {min(missing)} is missing.")
        return TypeAdapter(kind).validate_python(stored)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(f"{folder.path}/config.json is damaged: {' '.join(str(error).split()[:20])}.") from error
