"""Which pipeline it is: a hash of operators, arguments and functions, so that a state is not given to another one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, dtype

from ... import fingerprints
from ...errors import CannotResume
from ...fingerprints import bytecode
from ..plans import Plans
from ..reader import Reader
from .nodes import Node, Site
from .rearrange import Prefetch

_NO_NAME = "<lambda>"
_OPERATORS = {"BatchedMap": "map", "Generate": "from_generator", "RandomMap": "random_map"}


def digest(node: Node) -> str:
    """Return the SHA-256, in hex, of a chain of operators; prefetching and the contents of the sources aside.

    Raises:
        CannotResume: if a function cannot be told from others.
    """
    return hashlib.sha256(json.dumps(described(node)).encode()).hexdigest()


def form(node: Node) -> str:
    """Return what the state of a stream of this chain looks like: its operators, prefetching included."""
    below = ",".join(form(child) for child in node.children)
    return f"{type(node).__name__}({below})"


def described(node: Node, *, contents: bool = False) -> Any:
    """Return a chain as plain data.

    Args:
        node: the end of the chain.
        contents: also tell functions by their defaults and what they close over, and objects that are called, or
            change elements, by their attributes and code. A state does not: a run may go on with other values there.

    Raises:
        CannotResume: if a function cannot be told from others.
    """
    if isinstance(node, Prefetch):
        return described(node.child, contents=contents)
    version, name = getattr(node, "version", None), type(node).__name__
    telling = _Telling(_OPERATORS.get(name, name.lower()), version, contents)
    arguments = {
        f.name: telling.plain(getattr(node, f.name)) for f in fields(node) if f.name not in ("site", "version")
    }
    return [name, arguments]


@dataclass(frozen=True)
class _Telling:
    """Tells the arguments of an operator from others.

    Attributes:
        where: the operator, for messages.
        version: of its functions, told by the user.
        contents: see :func:`described`.
    """

    where: str
    version: str | None
    contents: bool

    def plain(self, value: Any) -> Any:
        """Return a value as plain data."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | slice):
            return repr(value)
        if isinstance(value, dtype | Path | Enum | np.dtype):
            return str(value)
        if isinstance(value, np.generic):
            return self.plain(value.item())
        if isinstance(value, Node):
            return described(value, contents=self.contents)
        if isinstance(value, Reader):
            return [value.kind, len(value)]
        if isinstance(value, Plans):
            return ["plans", value.n, value.every]
        if isinstance(value, Site):
            return None
        if isinstance(value, Tensor | np.ndarray):
            array = np.ascontiguousarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
            return [str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
        if isinstance(value, Mapping):
            return {str(k): self.plain(v) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return [self.plain(v) for v in value]
        if isinstance(value, set | frozenset):  # whose order differs between processes
            return ["set", *sorted(json.dumps(self.plain(v)) for v in value)]
        if is_dataclass(value) and not isinstance(value, type):
            parts = {f.name: self.plain(getattr(value, f.name)) for f in fields(value)}
            return [_name(type(value)), parts | ({"code": _contents(type(value))} if self.contents else {})]
        if callable(value):
            return self._function(value)
        made = vars(value) if hasattr(value, "__dict__") else _made_of(value, self.where)
        return [_name(type(value)), self.plain(made)]

    def _function(self, f: Any) -> Any:
        """Return name and bytecode of a function."""
        if self.version is not None:
            return ["version", self.version]
        if isinstance(f, partial):
            return ["partial", self._function(f.func), self.plain([f.args, f.keywords])]
        code = getattr(f, "__code__", None)
        name = _name(f) if code is not None or hasattr(f, "__qualname__") else _name(type(f))
        if _NO_NAME in name.rsplit(".", 1)[-1]:
            versioned = 'pass version="1" (and another one when it changes), or '
            raise CannotResume(
                f"{self.where}: a lambda cannot be told from another one; "
                f"{'' if self.where == 'from_generator' else versioned}give a named function."
            )
        if code is None:
            code = getattr(getattr(type(f), "__call__", None), "__code__", None)  # noqa: B004 - its code, not whether
        if code is None and not hasattr(f, "__qualname__") and not hasattr(f, "__dict__"):  # such as an itemgetter
            return [name, self.plain(_made_of(f, self.where))]
        found = [name, None if code is None else bytecode(code)]
        return [*found, _contents(f)] if self.contents else found


def _contents(value: Any) -> str:
    return fingerprints.digest(fingerprints.described(value))


def _made_of(value: Any, where: str) -> Any:
    """Return what an object of a built-in class, which has no attributes, is made of."""
    try:
        made = value.__reduce_ex__(2)
    except TypeError:
        raise CannotResume(
            f'{where}: a {type(value).__name__} cannot be told from another one; pass version="1" (and another one '
            "when it changes)."
        ) from None
    return made[1:] if isinstance(made, tuple) else made


def _name(f: Any) -> str:
    return f"{getattr(f, '__module__', '')}.{f.__qualname__}"
