"""Elements: what a pipeline carries. A nest of dicts and tuples whose leaves are arrays, or ``str`` or ``bytes``.

Inside a pipeline leaves are numpy arrays; functions of the user and consumers see torch tensors.
"""

from ast import literal_eval
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ShapeError

Element: TypeAlias = Any
"""A nest of dict and tuple with leaves; inside a pipeline the leaves are numpy arrays, ``str`` or ``bytes``."""

Array: TypeAlias = npt.NDArray[Any]
IntArray: TypeAlias = npt.NDArray[np.int64]
Signature: TypeAlias = Any
"""A nest like an element's whose leaves are texts such as ``"uint8 (3, 32, 32)"``."""

_TEXT = (str, bytes)
_TYPES = np.typecodes["AllInteger"] + "?efdFD"
"""The types of numbers that numpy and torch share."""


def map_leaves(f: Callable[..., Any], nest: Element, *others: Element) -> Element:
    """Return the nest with ``f(leaf, *leaves of the others)`` in each leaf's place.

    Raises:
        ShapeError: if the nests differ in structure.
    """
    if isinstance(nest, dict):
        for other in others:
            if not isinstance(other, dict) or other.keys() != nest.keys():
                raise ShapeError(f"elements differ in structure: {outline(nest)} and {outline(other)}.")
        return {key: map_leaves(f, value, *(o[key] for o in others)) for key, value in nest.items()}
    if isinstance(nest, tuple):
        for other in others:
            if not isinstance(other, tuple) or len(other) != len(nest):
                raise ShapeError(f"elements differ in structure: {outline(nest)} and {outline(other)}.")
        parts = [map_leaves(f, *items) for items in zip(nest, *others)]
        return type(nest)(*parts) if hasattr(nest, "_fields") else tuple(parts)
    for other in others:
        if isinstance(other, dict | tuple):
            raise ShapeError(f"elements differ in structure: {outline(nest)} and {outline(other)}.")
    return f(nest, *others)


def leaves(nest: Element, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf), such as ``("x", array)`` or ``("0/y", array)``; the path of a lone leaf is empty."""
    if isinstance(nest, dict | tuple):
        items = nest.items() if isinstance(nest, dict) else enumerate(nest)
        for key, value in items:
            yield from leaves(value, f"{path}/{key}" if path else str(key))
    else:
        yield path, nest


def outline(nest: Element) -> str:
    """Return the structure of a nest as text, leaves as ``.``: ``{x: ., y: .}``."""
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key}: {outline(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, tuple):
        return "(" + ", ".join(map(outline, nest)) + ")"
    return "."


def as_element(value: Any, where: str = "element") -> Element:
    """Return a user's value with numpy arrays for tensors, numbers and lists of numbers, by torch's conventions.

    A Python float becomes float32, an int int64; a PIL image (H, W) or (H, W, C) uint8.

    Raises:
        ShapeError: if a leaf is nothing that an element can hold.
    """
    return map_leaves(lambda leaf: _as_leaf(leaf, where), value)


def _as_leaf(leaf: Any, where: str) -> Any:
    if isinstance(leaf, Tensor):
        return _from_tensor(leaf, where)
    if (type(leaf) is np.ndarray and leaf.dtype.char in _TYPES) or isinstance(leaf, str | bytes):  # most are
        return leaf
    if isinstance(leaf, list) and leaf and all(isinstance(item, _TEXT) for item in leaf):
        return _texts(leaf)
    try:
        if isinstance(leaf, bool | int | float | complex | list):
            return torch.as_tensor(leaf).numpy()
        array = np.asarray(leaf)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ShapeError(f"{where}: {type(leaf).__name__} is no leaf of an element ({error}).") from None
    if array.dtype == object and not all(isinstance(item, _TEXT) for item in array.flat):
        raise ShapeError(
            f"{where}: {type(leaf).__name__} is no leaf of an element; needed are arrays, tensors, numbers, str, "
            "bytes, and dicts and tuples of them."
        )
    if isinstance(leaf, np.ma.MaskedArray):
        raise ShapeError(f"{where}: a masked array is no leaf of an element; fill it first.")
    if array.dtype.char not in _TYPES + "OSU":
        raise ShapeError(f"{where}: an array is {array.dtype}, which torch lacks; cast it to another type.")
    return array


def _from_tensor(leaf: Tensor, where: str) -> Array:
    array: Array
    lazy = leaf.is_conj() or leaf.is_neg()
    try:
        array = (leaf.resolve_conj().resolve_neg() if lazy else leaf).detach().cpu().numpy()
    except (TypeError, RuntimeError, NotImplementedError):  # a type or layout that numpy has not
        kind = str(leaf.dtype if leaf.layout == torch.strided else leaf.layout)
        raise ShapeError(
            f"{where}: a tensor is {kind} on {leaf.device}, which numpy lacks; make it a dense float32 one on the CPU."
        ) from None
    return array


def as_tensors(element: Element) -> Element:
    """Return the element with torch tensors for numeric arrays; texts and arrays of texts stay."""
    return map_leaves(_as_tensor, element)


def _as_tensor(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        if leaf.dtype.kind in "OSU":
            return leaf
        return torch.from_numpy(leaf if leaf.flags.writeable and _suits(leaf) else _native(leaf))
    return torch.as_tensor(leaf) if isinstance(leaf, np.generic) else leaf


def readable(array: Any, who: str) -> Array:
    """Return an array of numbers as torch can read it: itself, or a copy if strides or byte order differ.

    Raises:
        ShapeError: if it holds texts.
    """
    if isinstance(array, _TEXT) or array.dtype.kind in "OSU":
        raise ShapeError(f"{who}: x and y must hold numbers; got texts, which map can number.")
    found: Array = array if _suits(array) else _native(array)
    return found


def _suits(array: Array) -> bool:
    return array.dtype.isnative and all(stride >= 0 for stride in array.strides)


def _native(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("="))


def owned(element: Element) -> Element:
    """Return the element with copies of its arrays."""
    return map_leaves(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, element)


def frozen(element: Element) -> Element:
    """Return the element with arrays that nobody can write to; consumers get copies."""
    return sealed(map_leaves(lambda leaf: leaf.view() if isinstance(leaf, np.ndarray) else leaf, element))


def sealed(element: Element) -> Element:
    """Return the element itself, whose arrays cannot be written to any more."""
    for _, leaf in leaves(element):
        if isinstance(leaf, np.ndarray):
            leaf.setflags(write=False)
    return element


def signature(element: Element) -> Signature:
    """Return dtype and shape of each leaf as text, in the structure of the element."""
    return map_leaves(_leaf_signature, element)


def _leaf_signature(leaf: Any) -> str:
    return type(leaf).__name__ if isinstance(leaf, _TEXT) else f"{leaf.dtype} {tuple(leaf.shape)}"


def describe(nest: Signature) -> str:
    """Return a signature on one line."""
    if isinstance(nest, dict):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in nest.items()) + "}"
    if isinstance(nest, tuple):
        return "(" + ", ".join(map(describe, nest)) + ")"
    return str(nest)


def leading(nest: Signature | None) -> int | None:
    """Return the leading size that all leaves of a signature have, if there is one."""
    sizes: set[int | None] = set()
    for _, text in leaves(nest):
        _, _, shape = (text or "").partition(" ")
        sizes.add(None if shape in ("", "()") else literal_eval(shape)[0])
    return sizes.pop() if len(sizes) == 1 else None


def stacked_signature(nest: Signature | None, rows: int | None) -> Signature | None:
    """Return the signature of so many stacked elements; None: their number differs."""
    return None if nest is None else map_leaves(lambda text: _stacked_text(text, rows), nest)


def _stacked_text(text: str, rows: int | None) -> str:
    dtype, _, shape = text.partition(" ")
    return f"object ({rows},)" if not shape else f"{dtype} {(rows, *literal_eval(shape))}"


def split_rows(stacked: Element, count: int) -> list[Element]:
    """Return the rows of stacked leaves as ``count`` elements; a row of a 1-d array is a 0-d array."""
    return [map_leaves(lambda leaf, i=i: _row(leaf, i), stacked) for i in range(count)]


def _row(leaf: Array, i: int) -> Any:
    row = leaf[i]
    if isinstance(row, np.generic):
        return row.item() if row.dtype.kind in "SU" else np.asarray(row)
    return row


def _texts(items: Sequence[Any]) -> Array:
    out: Array = np.empty(len(items), dtype=object)
    out[:] = items
    return out


def stack(elements: Sequence[Element], index: Sequence[Any] | None = None, where: str = "batch") -> Element:
    """Stack each leaf; texts become an array of objects, shape (n,).

    Args:
        elements: at least one.
        index: what to call them in messages; None: their place.
        where: who asks, for messages.

    Raises:
        ShapeError: if structure, dtype or shape differ.
    """
    first = elements[0]

    def together(*leaves_: Any) -> Array:
        text = isinstance(leaves_[0], _TEXT)
        shape, dtype = (None, None) if text else (leaves_[0].shape, leaves_[0].dtype)
        for i, leaf in enumerate(leaves_):
            at = "" if index is None else f" (index {index[i]})"
            if isinstance(leaf, _TEXT) != text or (not text and leaf.dtype != dtype):
                raise ShapeError(
                    f"{where}: element {i}{at} is {_leaf_signature(leaf)}, element 0 {_leaf_signature(leaves_[0])}; "
                    "cast with map first."
                )
            if not text and leaf.shape != shape:
                raise ShapeError(
                    f"{where}: element {i}{at} has shape {leaf.shape}, element 0 {shape}; use padded_batch or resize."
                )
        return _texts(leaves_) if text else np.stack(leaves_)

    return map_leaves(together, first, *elements[1:])
