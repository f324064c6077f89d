"""Starting a run from options, and going on with one from what its folder keeps of them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from ..errors import CheckpointError
from ..runs import RunFolder, environment
from .trajectory import Nobody, Watcher

P_co = TypeVar("P_co", covariant=True)


class Prepare(Protocol[P_co]):
    """Makes a plan of options."""

    def __call__(self, given: Any, *, fresh: bool) -> P_co:
        """Return the plan; ``fresh``: the options are as a user gave them, not as a run folder keeps them."""


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


@dataclass(frozen=True)
class Recipe(Generic[P]):
    """What one recipe differs in from another that is carried out alike.

    Attributes:
        name: of the recipe.
        options: its dataclass; has ``device`` and ``checkpoint_seconds``.
        prepare: from options to a plan; refuses what cannot work.
    """

    name: str
    options: type[Any]
    prepare: Prepare[P]


Carry = Callable[[P, RunFolder, Watcher], dict[str, Any]]
"""Carries a plan out in its folder, from where that stands; returns what ``result.json`` holds."""


def start(
    recipe: Recipe[P], options: Any, out: Path, carry: Carry[P], watcher: Watcher | None = None
) -> dict[str, Any]:
    """Carry the plan of a recipe out in a new folder, after a rehearsal.

    Args:
        recipe: what to run.
        options: as the user gave them.
        out: the run folder; must not exist.
        carry: carries it out.
        watcher: who follows.

    Returns:
        what ``result.json`` holds.

    Raises:
        TutelageError: for unusable options or data, before anything is written; for numbers that are not finite, a
            student that did not learn, or a folder that cannot be written, later.
    """
    RunFolder.check_free(out)
    plan = recipe.prepare(options, fresh=True)
    plan.rehearse()
    where = environment(torch.device(plan.options.device))
    folder = RunFolder.create(out, recipe.name, asdict(plan.options), plan.fingerprints, where)
    with folder.locked():
        return carry(plan, folder, watcher or Nobody())


def go_on(recipe: Recipe[P], folder: RunFolder, carry: Carry[P], watcher: Watcher | None = None) -> dict[str, Any]:
    """Carry on with the plan of a folder that was stopped; a finished one only gets its result again.

    Raises:
        CheckpointError: if the folder cannot be read, or its data has changed.
    """
    plan = recipe.prepare(stored_options(folder, recipe.options), fresh=False)
    folder.check_data(plan.fingerprints)
    with folder.locked():
        return carry(plan, folder, watcher or Nobody())


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
