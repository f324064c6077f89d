"""What the header of a file says, read with care: a value that is missing or of another type is named."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

_MISSING: Any = object()
_LONG = 60
_NEAR = 1e-9
_LARGEST = 1e300


@dataclass(frozen=True)
class Header:
    """A JSON object, of which each value is asked for by name and type.

    Attributes:
        facts: the object.
        where: its own name, with a dot behind, for messages.

    Raises:
        DataError: from all methods, naming the value, if it is missing or of another type.
    """

    facts: Mapping[str, Any]
    where: str = ""

    def text(self, name: str) -> str:
        """Return a text on one line that a terminal can show."""
        return str(self._of(name, "a text on one line", _is_text))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return texts, see :meth:`text`."""
        return tuple(self._of(name, "a list of texts on one line each", _list_of(_is_text)))

    def names(self, name: str) -> tuple[str, ...]:
        """Return texts of any characters."""
        return tuple(self._of(name, "a list of texts", _list_of(_is_unicode)))

    def flag(self, name: str) -> bool:
        """Return true or false."""
        return bool(self._of(name, "true or false", lambda v: isinstance(v, bool)))

    def whole(self, name: str) -> int:
        """Return a whole number."""
        return int(self._of(name, "a whole number", is_whole))

    def wholes(self, name: str) -> tuple[int, ...]:
        """Return whole numbers."""
        return tuple(self._of(name, "a list of whole numbers", _list_of(is_whole)))

    def number(self, name: str) -> float:
        """Return a finite number."""
        return float(self._of(name, "a number", is_number))

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return finite numbers."""
        return tuple(map(float, self._of(name, "a list of numbers", _list_of(is_number))))

    def block(self, name: str) -> Any:
        """Return a finite number, or nested lists of such as a tensor has them."""
        return self._of(name, "a number, or lists of numbers of equal lengths", lambda v: _shape(v) is not None)

    def mapping(self, name: str) -> dict[str, Any]:
        """Return an object as it is."""
        return dict(self._of(name, "an object", _is_object))

    def words(self, name: str) -> dict[str, str]:
        """Return texts by name, see :meth:`text`."""
        part = self.part(name)
        return {key: part.text(key) for key in part.facts}

    def mappings(self, name: str) -> list[dict[str, Any]]:
        """Return objects as they are."""
        return list(self._of(name, "a list of objects", _list_of(_is_object)))

    def part(self, name: str) -> "Header":
        """Return an object, to be asked in its turn."""
        found = self._of(name, "an object with names on one line", lambda v: _is_object(v) and all(map(_is_text, v)))
        return Header(found, f"{self.where}{name}.")

    def given(self, name: str) -> bool:
        """Return whether a value is there and not null; null must be there as well."""
        return self._of(name, "there, or null", lambda v: True) is not None

    def _of(self, name: str, needed: str, fits: Callable[[Any], bool]) -> Any:
        value = self.facts.get(name, _MISSING)
        if value is _MISSING:
            raise DataError(f"its header lacks {self.where}{name}.")
        if not fits(value):
            raise DataError(f"its header says that {self.where}{name} is {_short(value)}, but it must be {needed}.")
        return value


def difference(here: Any, there: Any, name: str = "") -> str | None:
    """Return the name of the first value in which two JSON values differ; None if they agree, numbers up to 1e-9."""
    if isinstance(here, dict) and isinstance(there, dict):
        pairs = [(key, here.get(key, _MISSING), there.get(key, _MISSING)) for key in sorted({*here, *there})]
    elif isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        pairs = [(str(i), *both) for i, both in enumerate(zip(here, there))]
    elif is_number(here) and is_number(there):
        return None if math.isclose(here, there, rel_tol=_NEAR, abs_tol=_NEAR) else name
    else:
        return None if here == there and type(here) is type(there) else name
    found = (difference(a, b, f"{name}.{key}".lstrip(".")) for key, a, b in pairs)
    return next((place for place in found if place is not None), None)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_unicode(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _shape(value: Any) -> tuple[int, ...] | None:
    """Of nested lists of numbers; None if it is something else, or their lengths differ."""
    if is_number(value):
        return ()
    if not isinstance(value, list) or not value:
        return None
    inner = {_shape(part) for part in value}
    only = inner.pop()
    return None if inner or only is None else (len(value), *only)


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= _LONG else f"{told[:_LONG]}..."
