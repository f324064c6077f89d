"""What stored logits depend on, by name, so that a difference can be named."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from ..errors import CheckpointError

FORMAT = 2
"""Version of the layout of a file."""

_TEACHER = "teacher."
_NAMED = 3
_LONG = 24


def fingerprint(teacher: Mapping[str, str], inputs: Mapping[str, str], storage: str) -> dict[str, str]:
    """Return all that stored logits depend on, by name.

    Args:
        teacher: its architecture, each of its tensors, and the precision that it runs in, as ``Frozen.fingerprint``.
        inputs: the data and what is done to them, as ``Inputs.facts``.
        storage: in which form logits are stored.
    """
    facts = {f"{_TEACHER}{name}": value for name, value in teacher.items()}
    return {**facts, **inputs, "storage": storage, "format": str(FORMAT)}


def digest(facts: Mapping[str, str]) -> str:
    """Return the SHA-256 of a fingerprint, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()


def check_same(name: str, stored: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Compare the fingerprint of a file with the present one.

    Raises:
        CheckpointError: if they differ, with every field that does.
    """
    differences = list(_differences(stored, present))
    if differences:
        raise CheckpointError(
            f"{name} does not fit: {'; '.join(differences)}. Remove it, or give another path; without a path every "
            "teacher and every data set gets a file of its own."
        )


def _differences(stored: Mapping[str, str], present: Mapping[str, str]) -> Iterator[str]:
    changed = [key for key in sorted({*stored, *present}) if stored.get(key) != present.get(key)]
    of_teacher = [key.removeprefix(_TEACHER) for key in changed if key.startswith(_TEACHER)]
    if of_teacher:
        more = f" and {len(of_teacher) - _NAMED} more" if len(of_teacher) > _NAMED else ""
        yield f"the teacher has changed ({', '.join(of_teacher[:_NAMED])}{more})"
    for key in changed:
        if not key.startswith(_TEACHER):
            yield f"{key} was {_short(stored.get(key))}, is {_short(present.get(key))}"


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= _LONG else f"{value[:_LONG]}..."
