"""A teaching set on disk: one JSON file that says which items are shown, in which order, and why.

It names images and does not hold them: paths are relative to the folder of the file, or to a root that the reader
gives, and the SHA-256 of each file tells whether it is still the same image. So a set that was chosen from a pool can
be played to people, drawn in a report, or chosen from again.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from . import __version__
from .data.items import Item, file_hash
from .data.records.atomic import AtomicWriter
from .errors import DataError
from .explain_teach.wire import first_wrong

FORMAT = "tutelage teaching set"
VERSION = 1
"""Of the layout; a file of another version is refused."""

Hash: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


@dataclass(frozen=True)
class Picture:
    """A file beside an item.

    Attributes:
        path: with ``/``, below the root of images.
        sha256: of its bytes, 64 lower-case hexadecimal digits; None: not known.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    path: str
    sha256: Hash | None = None


@dataclass(frozen=True)
class Shown:
    """One item, as it is shown.

    Attributes:
        path: of the image, with ``/``, below the root of images.
        label: name of its class.
        sha256: of the bytes of the image; None: not known, as in sets from elsewhere without images.
        score: by which the teacher chose it; None: it has none, or too large for a number.
        log_score: natural logarithm of the score; None: it has none.
        reason: in a few words, why it is shown.
        notes: what the teacher saw, plain JSON: class counts, how many rows were kept.
        explanation: an image that shows what to look at; None: none is shown.
        counterfactual: an image of the class that it is confused with; None: none is shown.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    path: str
    label: str
    sha256: Hash | None = None
    score: float | None = None
    log_score: float | None = None
    reason: str = ""
    notes: Mapping[str, JsonValue] = field(default_factory=dict)
    explanation: Picture | None = None
    counterfactual: Picture | None = None

    @classmethod
    def of(cls, item: Item, label: str, **facts: Any) -> "Shown":
        """Return an item of a pool as it is shown; ``facts`` are further attributes."""
        return cls(path=item.path, label=label, sha256=item.sha256, **facts)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All files of the item: image, explanation, counterfactual."""
        others = (self.explanation, self.counterfactual)
        return (Picture(self.path, self.sha256), *(other for other in others if other is not None))


@dataclass(frozen=True)
class Provenance:
    """Where a teaching set is from.

    Attributes:
        teacher: its name, such as ``"maxgrad"``.
        options: of the teacher, plain JSON.
        pool: name of what it chose from.
        pool_fingerprint: of the pool, such as :meth:`tutelage.data.Source.fingerprint`; None: not known.
        seed: of the teacher; None: it has none, or not known.
        filter: of the pool, such as ``"consistent, 5 folds"``; None: none.
        student: whom it was chosen for; None: nobody, or not known.
        version: of tutelage that wrote it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    teacher: str
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    pool: str = ""
    pool_fingerprint: str | None = None
    seed: int | None = None
    filter: str | None = None
    student: str | None = None
    version: str = __version__


@dataclass(frozen=True)
class TeachingSet:
    """Items in the order in which they are shown, and those of the test.

    Attributes:
        name: of the set.
        classes: names, in label order.
        items: what is shown, at least one.
        provenance: where it is from.
        test: items that a test may draw from; may be empty.
        repeats: whether an item may be shown more than once.

    Raises:
        DataError: if a label is no class, an item comes twice without ``repeats``, an item is for teaching and for the
            test, or a path leaves the root of images. Items are the same if their paths or their hashes are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    items: Annotated[tuple[Shown, ...], Field(min_length=1)]
    provenance: Provenance
    test: tuple[Shown, ...] = ()
    repeats: bool = False

    def __post_init__(self) -> None:
        if not self.classes or not self.items:
            raise DataError(f"{self.name}: a teaching set needs at least one class and one item.")
        if len(set(self.classes)) < len(self.classes):
            raise DataError(f"{self.name}: a class name comes twice among {', '.join(self.classes)}.")
        for what, position, item in self._numbered():
            where = f"{self.name}: {what}[{position}]"
            if item.label not in self.classes:
                raise DataError(f'{where}: label "{item.label}" is not among the classes {", ".join(self.classes)}.')
            for picture in item.pictures:
                _check_inside(where, picture.path)
        self._check_distinct()

    @property
    def labels(self) -> tuple[int, ...]:
        """Of each item that is shown, the position of its class."""
        return tuple(self.classes.index(item.label) for item in self.items)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the set; the file appears whole or not at all, and the same set gives the same bytes.

        Raises:
            DataError: if a value is of another type than stated or not finite, or the file cannot be written.
        """
        try:
            content = _ADAPTER.dump_json(self, warnings=False)
            _ADAPTER.validate_json(content)
        except ValidationError as error:
            raise DataError(f"{path}: the teaching set {self.name} cannot be kept: {first_wrong(error)}.") from None
        except (ValueError, TypeError) as error:
            told = str(error).splitlines()[0]
            raise DataError(f"{path}: the teaching set {self.name} cannot be kept: {told}.") from None
        facts = {"format": FORMAT, "version": VERSION, **json.loads(content)}
        AtomicWriter(path, json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n").close()

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, check_files: bool = True
    ) -> "TeachingSet":
        """Read a set.

        Args:
            path: of the file.
            root: what paths of images are relative to; None: the folder of the file.
            check_files: make sure that all images are there, and are what they were.

        Raises:
            DataError: if it cannot be read, is no teaching set or one of another version, a value is missing or of
                another type, for what :class:`TeachingSet` raises, and for what :meth:`check_files` raises.
        """
        path = Path(path)
        facts = _facts(path)
        try:
            found = _ADAPTER.validate_json(json.dumps(facts))
        except ValidationError as error:
            raise DataError(f"{path}: {first_wrong(error)}.") from None
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if check_files:
            found.check_files(path.parent if root is None else root)
        return found

    def check_files(self, root: str | os.PathLike[str]) -> None:
        """Make sure that all images lie below a folder and hold what they held.

        Args:
            root: what their paths are relative to.

        Raises:
            DataError: if one is missing, or its hash is another one.
        """
        for what, position, item in self._numbered():
            for picture in item.pictures:
                file = Path(root) / picture.path
                where = f"{self.name}: {what}[{position}]"
                if not file.is_file():
                    raise DataError(f"{where}: {picture.path} is missing; looked for {file}. Give the root of images.")
                if picture.sha256 is not None and file_hash(file) != picture.sha256:
                    raise DataError(
                        f"{where}: {file} has changed since the set was made: its SHA-256 is not "
                        f"{picture.sha256[:12]}...; put the old file back, or choose anew."
                    )

    def _numbered(self) -> Iterator[tuple[str, int, Shown]]:
        for what, items in (("items", self.items), ("test", self.test)):
            for position, item in enumerate(items):
                yield what, position, item

    def _check_distinct(self) -> None:
        shown: dict[str, str] = {}
        tested: dict[str, str] = {}
        for what, position, item in self._numbered():
            mine, told = (shown, "shown") if what == "items" else (tested, "in the test")
            where = f"{what}[{position}]"
            if (other := _met(item, mine)) and not (what == "items" and self.repeats):
                hint = "; set repeats if that is meant" if what == "items" else ""
                raise DataError(f"{self.name}: {item.path} is {told} twice, as {other} and as {where}{hint}.")
            if what == "test" and (other := _met(item, shown)):
                raise DataError(f"{self.name}: {item.path} is shown, as {other}, and in the test, as {where}.")
            mine.update(dict.fromkeys(_identities(item), where))


_ADAPTER = TypeAdapter(TeachingSet)


def _identities(item: Shown) -> list[str]:
    return [item.path] if item.sha256 is None else [item.path, item.sha256]


def _met(item: Shown, places: Mapping[str, str]) -> str | None:
    return next((places[key] for key in _identities(item) if key in places), None)


def _facts(path: Path) -> dict[str, Any]:
    """What the file says, if it is a teaching set of this version."""
    try:
        facts = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: not a teaching set: it is no JSON.") from None
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise DataError(f'{path}: not a teaching set: it does not say "format": "{FORMAT}".')
    version = facts.pop("version", None)
    if version != VERSION or isinstance(version, bool):
        raise DataError(f"{path}: teaching set of version {version!r}, but this tutelage reads version {VERSION}.")
    return facts


def _check_inside(where: str, path: str) -> None:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path:
        raise DataError(f'{where}: path "{path}" must be relative, with /, and stay below the root of images.')
