"""JSON files of a known form: read with care, one line for what is wrong, and written back with what is not known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ..data.records.atomic import AtomicWriter
from ..errors import DataError

_SHOWN = 60
T = TypeVar("T")


class Wire(BaseModel):
    """A JSON object: values of exactly the stated types, and any others, which are kept as they are."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)


def read_json(path: Path, kind: type[T]) -> T:
    """Read a file.

    Args:
        path: of the file.
        kind: what it must hold.

    Raises:
        DataError: if it cannot be read, is no JSON, or a value is missing or of another type: names file and key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as error:
        raise DataError(f"{path}: {first_wrong(error)}.") from None


def write_json(path: Path, value: Wire | Sequence[Wire]) -> None:
    """Write what :func:`read_json` reads back equal; the file appears whole or not at all.

    Raises:
        DataError: if it cannot be written.
    """
    content = TypeAdapter(Any).dump_json(value, exclude_unset=True)
    AtomicWriter(path, content + b"\n").close()


def first_wrong(error: ValidationError) -> str:
    """Return the first thing that is wrong, on one line: the key, what is needed, and what was given."""
    found = error.errors(include_url=False, include_context=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    said = found["msg"].removeprefix("Value error, ")
    what = said[:1].lower() + said[1:]
    given = repr(found["input"])
    shown = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."
    if found["type"] == "missing":
        return f'key "{place}" is missing'
    return f'key "{place}": {what}; given: {shown}' if place else " ".join(f"{what}".split())
