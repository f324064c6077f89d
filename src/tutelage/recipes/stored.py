"""The options of a run as its folder keeps them."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import CheckpointError
from ..runs import RunFolder


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
