"""Which pipeline it is: a hash of operators, arguments and functions, so that a state is not given to another one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
from torch import Tensor, dtype

from ...errors import CannotResume
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


def described(node: Node) -> Any:
    """Return a chain as plain data.

    Raises:
        CannotResume: if a function cannot be told from others.
    """
    if isinstance(node, Prefetch):
        return described(node.child)
    version, name = getattr(node, "version", None), type(node).__name__
    arguments = {
        f.name: _plain(getattr(node, f.name), _OPERATORS.get(name, name.lower()), version)
        for f in fields(node)
        if f.name not in ("site", "version")
    }
    return [name, arguments]


def _plain(value: Any, where: str, version: str | None) -> Any:
    """Return a value as plain data."""

    def plain(inner: Any) -> Any:
        return _plain(inner, where, version)

    if value is None or isinstance(value, bool | int | float | complex | str | bytes | slice):
        return repr(value)
    if isinstance(value, dtype | Path | Enum | np.dtype):
        return str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Node):
        return described(value)
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
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, set | frozenset):  # whose order differs between processes
        return ["set", *sorted(json.dumps(plain(v)) for v in value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [_name(type(value)), {f.name: plain(getattr(value, f.name)) for f in fields(value)}]
    if callable(value):
        return _function(value, where, version)
    return [_name(type(value)), plain(vars(value) if hasattr(value, "__dict__") else _made_of(value, where))]


def _function(f: Any, where: str, version: str | None) -> Any:
    """Return name and bytecode of a function; what it closes over is not seen."""
    if version is not None:
        return ["version", version]
    if isinstance(f, partial):
        return ["partial", _function(f.func, where, None), _plain([f.args, f.keywords], where, None)]
    code = getattr(f, "__code__", None)
    name = _name(f) if code is not None or hasattr(f, "__qualname__") else _name(type(f))
    if _NO_NAME in name.rsplit(".", 1)[-1]:
        versioned = 'pass version="1" (and another one when it changes), or '
        raise CannotResume(
            f"{where}: a lambda cannot be told from another one; {'' if where == 'from_generator' else versioned}"
            "give a named function."
        )
    if code is None:
        code = getattr(getattr(type(f), "__call__", None), "__code__", None)  # noqa: B004 - its code, not whether
    if code is None and not hasattr(f, "__qualname__") and not hasattr(f, "__dict__"):  # such as an itemgetter
        return [name, _plain(_made_of(f, where), where, None)]
    return [name, None if code is None else _bytecode(code)]


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


def _constant(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return _bytecode(constant)
    if isinstance(constant, frozenset):  # whose order differs between processes
        return f"frozenset({sorted(map(_constant, constant))})"
    if isinstance(constant, tuple):
        return f"({', '.join(map(_constant, constant))})"
    return repr(constant)


def _name(f: Any) -> str:
    return f"{getattr(f, '__module__', '')}.{f.__qualname__}"


def _bytecode(code: CodeType) -> str:
    parts = [code.co_code.hex(), repr(code.co_names)]
    parts += [_constant(c) for c in code.co_consts]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
