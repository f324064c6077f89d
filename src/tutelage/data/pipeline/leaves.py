"""Where a pipeline begins: readers, generators, placeholders."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import index
from typing import Any, ClassVar, Self

import numpy as np
import torch

from ...errors import CannotResume, ConfigError, DataError
from ..checks import ElementError
from ..elements import Array, Element, IntArray, Signature, as_element, leaves, map_leaves, owned, sealed, split_rows
from ..reader import Reader
from .nodes import Length, Node, Record
from .streams import Handle, Stream

_FULL_HASH_BYTES = 1 << 30
_HASHED_ROWS = 4096


class ArrayReader(Reader):
    """Rows of arrays in memory, not copied.

    Args:
        nest: dicts and tuples of arrays with equal leading size.
        scale: what integer inputs are divided by before a network sees them, if known.
        check: look for NaN and infinity (one pass over float arrays).
        where: who asks, for messages.

    Raises:
        DataError: if a leaf is a scalar, leading sizes differ, there is no row, or a value is not finite.
    """

    kind: ClassVar[str] = "arrays"

    def __init__(
        self, nest: Element, *, scale: float | None = None, check: bool = False, where: str = "from_tensor_slices"
    ) -> None:
        self.nest, self.scale = as_element(nest, where), scale
        named = [(path or "x", leaf) for path, leaf in leaves(self.nest)]
        if not named:
            raise DataError(f"{where}: there is no array.")
        for path, leaf in named:
            if np.ndim(leaf) == 0 or isinstance(leaf, str | bytes):
                raise DataError(f"{where}: {path} is a scalar; it needs a leading axis of rows.")
        first, rows = named[0]
        for path, leaf in named[1:]:
            if len(leaf) != len(rows):
                raise DataError(
                    f"{where}: {first} has {len(rows)} rows, {path} has {len(leaf)}; leading sizes must agree."
                )
        if len(rows) == 0:
            raise DataError(f"{where}: source is empty.")
        if check:
            for path, leaf in named:
                _check_finite(path, leaf)
        self._length = len(rows)

    def __len__(self) -> int:
        return self._length

    def read(self, index: IntArray) -> list[Element]:
        """Return rows as elements; see :class:`Reader`."""
        return split_rows(self.gather(index), len(index))

    def gather(self, index: IntArray) -> Element:
        """Return rows with one numpy gather a leaf."""
        return map_leaves(lambda leaf: leaf.take(index, axis=0), self.nest)

    def fingerprint(self) -> str:
        """Return the SHA-256 of dtype, shape and bytes of each leaf; of leaves above 1 GB only 4,096 even rows
        are read, and the result starts with ``"sampled-"``.
        """
        digest, sampled = hashlib.sha256(), False
        for path, leaf in leaves(self.nest):
            digest.update(f"{path} {leaf.dtype.str} {leaf.shape}".encode())
            if leaf.dtype == object:
                digest.update(repr(leaf.tolist()).encode())
            elif leaf.nbytes > _FULL_HASH_BYTES:
                sampled = True
                digest.update(np.ascontiguousarray(leaf[_even_rows(len(leaf))]).data)
            else:
                digest.update(np.ascontiguousarray(leaf).data)
        return ("sampled-" if sampled else "") + digest.hexdigest()

    def signature(self) -> Signature:
        """Return dtype and shape of a row of each leaf."""
        return map_leaves(lambda leaf: f"{leaf.dtype} {tuple(leaf.shape[1:])}", self.nest)


def _even_rows(length: int) -> IntArray:
    return np.linspace(0, length - 1, min(length, _HASHED_ROWS)).astype(np.int64)


def _check_finite(path: str, x: Array) -> None:
    if x.dtype.kind not in "fc":
        return
    for start in range(0, len(x), _HASHED_ROWS):  # in parts: the mask of a large set is large too
        finite = np.isfinite(x[start : start + _HASHED_ROWS])
        if not finite.all():
            row = start + int(np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))[0])
            raise DataError(f"from_tensor_slices: {path}[{row}] is not finite; mend it, or pass check=False.")


class ItemReader(Reader):
    """A map-style data set: anything with a length and elements by position, such as torch's ``Dataset``.

    Read in the consumer's process; through ``__getitems__`` if there is one.

    Raises:
        DataError: if it is empty, or has no length or no elements by position.
    """

    kind: ClassVar[str] = "dataset"

    def __init__(self, dataset: Any) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(
                f"from_dataset: a {type(dataset).__name__} has no length and elements by position; is from_iterable "
                "meant?"
            )
        self._dataset = dataset
        if len(dataset) == 0:
            raise DataError("from_dataset: source is empty.")

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, index: IntArray) -> list[Element]:
        """Return copies of elements, which may be the data set's own; see :class:`Reader`.

        Raises:
            ElementError: if the data set raises.
            ShapeError: if it returns what no element can be.
        """
        at = index.tolist()
        items: Any = map(self._item, at)
        if len(at) > 0 and hasattr(self._dataset, "__getitems__"):
            items = self._items(at)
        return [owned(as_element(item, f"from_dataset: element {i}")) for i, item in zip(at, items, strict=True)]

    def _item(self, at: int) -> Any:
        try:
            return self._dataset[at]
        except Exception as error:
            raise ElementError.of(f"from_dataset: element {at}", error) from error

    def _items(self, at: list[int]) -> Any:
        try:
            items = self._dataset.__getitems__(at)
        except Exception as error:
            raise ElementError.of(f"from_dataset: elements {at[0]}, ...", error) from error
        if not isinstance(items, list | tuple) or len(items) != len(at):
            raise DataError(
                f"from_dataset: __getitems__ of {len(at)} positions must return a list of as many elements."
            )
        return items

    def fingerprint(self) -> str:
        """Return the SHA-256 of type, length and up to 16 even elements, starting with ``"sampled-"``."""
        digest = hashlib.sha256(f"{type(self._dataset).__qualname__} {len(self)}".encode())
        at = np.unique(np.linspace(0, len(self) - 1, 16).astype(np.int64))
        for element in self.read(at):
            for path, leaf in leaves(element):
                digest.update(path.encode())
                digest.update(leaf.tobytes() if isinstance(leaf, np.ndarray) else repr(leaf).encode())
        return "sampled-" + digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Read(Node):
    """The elements of a reader in order."""

    reader: Reader

    @cached_property
    def length(self) -> Length:
        return len(self.reader)

    @property
    def domain(self) -> int | None:
        return len(self.reader)

    @property
    def unique(self) -> bool:
        return True

    @property
    def signature(self) -> Signature | None:
        return self.reader.signature()

    @property
    def scale(self) -> float | None:
        return getattr(self.reader, "scale", None)

    def ids(self, positions: IntArray, passes: IntArray) -> tuple[IntArray, IntArray]:
        return positions, passes

    def records(self, positions: IntArray, passes: IntArray) -> list[Record]:
        values = self.reader.read(positions)
        return [Record(*row) for row in zip(values, positions.tolist(), passes.tolist())]

    def stacked(self, positions: IntArray, passes: IntArray) -> Record:
        return Record(self.reader.gather(positions), positions, passes)


@dataclass(frozen=True, eq=False)
class Generate(Node):
    """The elements of ``factory()``, an iterable made anew for each pass; the index counts from 0."""

    factory: Callable[[], Iterable[Any]]
    restartable: bool

    @property
    def length(self) -> Length:
        return None

    @property
    def domain(self) -> int | None:
        return None

    @cached_property
    def indexed(self) -> bool:
        return False

    @property
    def unique(self) -> bool:
        return True

    def items(self) -> Iterator[Any]:
        """Return the elements of a pass.

        Raises:
            ConfigError: if the factory returns nothing to iterate over.
        """
        made = self.factory()
        if not isinstance(made, Iterable):
            raise ConfigError(f"from_generator: factory returned a {type(made).__name__}; it must return an iterable.")
        return iter(made)

    def flow(self, number: int) -> Stream:
        return _Generated(self, number)


class _Generated(Stream):
    """Goes on by making the elements again and passing over those that were had."""

    def __init__(self, node: Generate, number: int) -> None:
        self._node, self._number, self._at = node, number, 0
        self._items: Iterator[Any] | None = None

    def __next__(self) -> Handle:
        if self._items is None:
            self._items = self._node.items()
            deque(islice(self._items, self._at), maxlen=0)
        handle = self._handle(self._at, next(self._items))
        self._at += 1
        return handle

    def state(self) -> Any:
        if not self._node.restartable:
            raise CannotResume(
                "from_generator: this source cannot go on in the middle; pass restartable=True if each call of the "
                "factory gives the same elements."
            )
        return self._at

    def restore(self, state: Any) -> None:
        self._at, self._items = int(state), None

    def handles(self, refs: Sequence[Any]) -> list[Handle]:
        wanted = set(refs)
        found: dict[int, Handle] = {}
        if wanted:
            for at, item in enumerate(islice(self._node.items(), max(wanted) + 1)):
                if at in wanted:
                    found[at] = self._handle(at, item)
        missing = wanted - found.keys()
        if missing:
            raise CannotResume(
                f"from_generator: element {min(missing)} is not there any more; needed is a source that gives the same "
                "elements each time."
            )
        return [found[ref] for ref in refs]

    def close(self) -> None:
        end = getattr(self._items, "close", None)
        if end is not None:
            end()

    def _handle(self, at: int, item: Any) -> Handle:
        # a copy: the generator may use its arrays again
        value = sealed(owned(as_element(item, f"from_generator: element {at}")))
        return Handle(at, lambda: Record(value, at, self._number))


@dataclass(frozen=True, eq=False)
class Placeholder(Node):
    """Arrays that are given later: name -> (shape with None for free sizes, dtype)."""

    arrays: tuple[tuple[str, tuple[int | None, ...], str], ...]
    message: ClassVar[str] = "iterator not initialised: call initialize({})."

    @classmethod
    def of(cls, arrays: dict[str, tuple[tuple[int | None, ...], Any]]) -> Self:
        """Make one of name -> (shape, torch or numpy dtype).

        Raises:
            ConfigError: if there is no array, or one has no leading axis.
        """
        if not arrays:
            raise ConfigError("placeholder: name at least one array, such as x=((None, 4, 5), torch.float32).")
        out = []
        for name, given in arrays.items():
            try:
                sides, dtype = given
                shape = tuple(None if side is None else index(side) for side in sides)
                kind = torch.empty(0, dtype=dtype).numpy().dtype if isinstance(dtype, torch.dtype) else np.dtype(dtype)
            except (TypeError, ValueError):
                raise ConfigError(
                    f"placeholder: {name} is {given!r}; needed are shape and dtype, such as ((None, 4, 5), "
                    "torch.float32)."
                ) from None
            if len(shape) == 0:
                raise ConfigError(f"placeholder: {name} is a scalar; it needs a leading axis of rows.")
            out.append((name, shape, str(kind)))
        return cls(tuple(out))

    @property
    def length(self) -> Length:
        return None

    @property
    def domain(self) -> int | None:
        return None

    @property
    def signature(self) -> Signature:
        return {name: f"{dtype} {shape[1:]}" for name, shape, dtype in self.arrays}

    @property
    def unique(self) -> bool:
        return True

    @cached_property
    def indexed(self) -> bool:
        return False

    def flow(self, number: int) -> Stream:
        raise ConfigError(self.message.format(", ".join(f"{name}=..." for name, _, _ in self.arrays)))

    def bound(self, arrays: dict[str, Any]) -> "Bound":
        """Return a source of these arrays.

        Raises:
            ConfigError: if a name is not known or missing, or shape or dtype differ.
        """
        nest: dict[str, Array] = {}
        for name, shape, dtype in self.arrays:
            if name not in arrays:
                raise ConfigError(f"bind: no {name} given; needed are {', '.join(n for n, _, _ in self.arrays)}.")
            array = as_element(arrays[name], "bind")
            fits = array.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, array.shape))
            if not fits or str(array.dtype) != dtype:
                given = f"{array.dtype} {tuple(array.shape)}"
                raise ConfigError(
                    f"bind: {name} is {given}, the placeholder {dtype} {shape}; cast or reshape it first."
                )
            nest[name] = array
        extra = arrays.keys() - nest.keys()
        if extra:
            raise ConfigError(f"bind: no placeholder {min(extra)}; there are {', '.join(nest)}.")
        return Bound(ArrayReader(nest, where="bind"), self, site=self.site)


@dataclass(frozen=True, eq=False)
class Bound(Read):
    """Arrays in the place of a placeholder, which others may take."""

    placeholder: Placeholder

    @property
    def children(self) -> tuple[Node, ...]:
        return ()

    def bound(self, arrays: dict[str, Any]) -> "Bound":
        """Return the placeholder with other arrays."""
        return self.placeholder.bound(arrays)
