"""What tells values, functions and networks from others: plain data for JSON, equal in every process.

Nothing in it is an address, a hash of Python's or the order of a set. A function is told by its bytecode with
constants, its defaults, what it closes over, and what it names in its module: plain values, functions and classes; a
class by its methods and plain attributes; an object by its attributes. What is Python's, numpy's or torch's has a name
alone. Not seen: values of other modules (``constants.scale``) and containers that can change in the own one, for they
may be caches; devices, which change no answer.
"""

import argparse
import functools
import hashlib
import inspect
import json
import operator
import re
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LIBRARIES = sys.stdlib_module_names | {"numpy", "torch"}
_SCALARS = (bool, int, float, complex, str, bytes, slice, range, types.NoneType, types.EllipsisType)
_BY_TEXT = (Enum, PurePath, torch.dtype, np.dtype)
_GETTERS = (operator.itemgetter, operator.attrgetter, operator.methodcaller)
_BUNDLES = (argparse.Namespace, types.SimpleNamespace)
_METHODS = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def described(value: Any) -> Any:
    """Return what tells a value from others as plain data for JSON."""
    return _Description({}).all(value)


def digest(plain: Any) -> str:
    """Return the SHA-256 of plain data, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def of_tensor(tensor: Tensor) -> str:
    """Return the SHA-256 of the type, the shape and the bytes of a tensor, wherever it is."""
    values = tensor.detach().cpu().contiguous()
    content = values.reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{values.dtype} {tuple(values.shape)} ".encode() + content).hexdigest()


def of_network(net: nn.Module, prefix: str = "") -> dict[str, str]:
    """Return what the answers of a network depend on, by name, a SHA-256 each.

    ``architecture``: its text; ``tensor NAME``: each parameter and buffer; ``attributes NAME``: what else a submodule
    has, hooks included, whether it is in training aside; ``code CLASS``: each class that is not torch's. Names begin
    with ``prefix``.
    """
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    modules = dict(net.named_modules())
    registered = {id(part): f"{name} of the network" for name, part in (*tensors.items(), *modules.items())}
    facts = {f"{prefix}architecture": hashlib.sha256(_ADDRESS.sub("", repr(net)).encode()).hexdigest()}
    facts |= {f"tensor {prefix}{name}": of_tensor(tensor) for name, tensor in tensors.items()}
    for name, module in modules.items():
        facts[f"attributes {prefix}{name}".rstrip(" .")] = digest(_Description(registered).all(attributes(module)))
    classes = {type(module) for module in modules.values() if not _of_library(type(module))}
    for name in {cls.__qualname__ for cls in classes}:
        code = [json.dumps(_Description({}).all(cls)) for cls in classes if cls.__qualname__ == name]
        facts[f"code {prefix}{name}"] = digest(sorted(code))
    return facts


def bytecode(code: types.CodeType) -> str:
    """Return the SHA-256 of the bytecode, names and constants of a function, inner functions included."""
    parts = [code.co_code.hex(), repr(code.co_names)]
    parts += [_constant(c) for c in code.co_consts]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _constant(constant: Any) -> str:
    if isinstance(constant, types.CodeType):
        return bytecode(constant)
    if isinstance(constant, frozenset):  # whose order differs between processes
        return f"frozenset({sorted(map(_constant, constant))})"
    if isinstance(constant, tuple):
        return f"({', '.join(map(_constant, constant))})"
    return repr(constant)


class _Description:
    """Describes a value and all that it refers to: what may refer to others has a number, so that circles end.

    Args:
        registered: names by ``id``, for what is told elsewhere.
    """

    def __init__(self, registered: Mapping[int, str]) -> None:
        self._registered = registered
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []  # the objects themselves: an id lives as long as its object

    def all(self, value: Any) -> Any:
        """Return a value as plain data, then what it refers to, by number."""
        found = [self._of(value)]
        while len(found) <= len(self._met):
            found.append(self._parts(self._met[len(found) - 1]))
        return found

    def _of(self, value: Any) -> Any:
        if id(value) in self._registered:
            return self._registered[id(value)]
        match value:
            case np.generic():
                return [str(value.dtype), repr(value.item())]
            case torch.device():
                return "device"
            case _ if isinstance(value, _BY_TEXT):
                return str(value)
            case _ if isinstance(value, _SCALARS):
                return repr(value)
            case Tensor():
                return _of_any_tensor(value)
            case np.ndarray() if not value.dtype.hasobject:
                return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
            case tuple():
                return ["tuple", *map(self._of, value)]
            case set() | frozenset():  # whose order differs between processes
                return ["set", *sorted(json.dumps(self._of(i)) if _is_plain(i) else _name(type(i)) for i in value)]
            case types.MethodType():
                return [self._of(value.__func__), self._of(value.__self__)]
        number = self._numbers.setdefault(id(value), len(self._met))
        if number == len(self._met):
            self._met.append(value)
        return f"number {number}"

    def _parts(self, value: Any) -> Any:
        match value:
            case np.ndarray():
                return self._each(value.ravel().tolist())
            case Mapping():
                keys = sorted(value) if all(isinstance(key, str) for key in value) else list(value)
                return ["mapping", *([self._of(key), self._of(value[key])] for key in keys)]
            case list() | deque():
                return [type(value).__name__, *self._each(value)]
            case functools.partial():
                return ["partial", *self._each((value.func, value.args, value.keywords))]
            case types.FunctionType():
                return self._function(value)
            case type():
                return self._class(value)
            case nn.Module():
                parts = (type(value), attributes(value), value._parameters, value._buffers, value._modules)
                return self._each(parts)
        return self._object(value)

    def _each(self, values: Iterable[Any]) -> list[Any]:
        return [self._of(value) for value in values]

    def _function(self, function: types.FunctionType) -> Any:
        found = [function.__qualname__, *self._each((function.__defaults__, function.__kwdefaults__))]
        found += self._each(_held(function))
        if _of_library(function):
            return [function.__module__, *found]
        named = ((name, function.__globals__.get(name)) for name in sorted(set(_names(function.__code__))))
        return [bytecode(function.__code__), *found, {name: self._of(v) for name, v in named if _is_followed(v)}]

    def _class(self, cls: type) -> Any:
        if _of_library(cls):
            return _name(cls)
        members: dict[str, Any] = {}
        for base in (b for b in reversed(cls.__mro__) if not _of_library(b)):
            for name, member in vars(base).items():
                if isinstance(member, _METHODS) and name != "__init__":  # its effect is in the attributes
                    members[f"{base.__qualname__}.{name}"] = self._each(_functions(member))
                elif _is_plain(member) and not name.startswith("__"):
                    members[f"{base.__qualname__}.{name}"] = self._of(member)
        return [cls.__qualname__, members]

    def _object(self, value: Any) -> Any:
        inner = inspect.unwrap(value) if callable(value) else value
        if inner is not value:  # such as a cached function
            return self._of(inner)
        name = getattr(value, "__qualname__", None)
        if isinstance(name, str):  # such as a function of torch's
            return f"{getattr(value, '__module__', '')}.{name}"
        if isinstance(value, _GETTERS):
            return repr(value)
        cls = type(value)
        if _of_library(cls) and not isinstance(value, _BUNDLES):
            return _name(cls)
        slots = {slot: getattr(value, slot, None) for base in cls.__mro__ for slot in _slots(base)}
        return [self._of(cls), self._of(slots | getattr(value, "__dict__", {}))]


def attributes(module: nn.Module) -> dict[str, Any]:
    """Return what a module has beside tensors, submodules and its mode; of hooks those that may change its output."""
    own = {name: value for name, value in vars(module).items() if name not in _OF_ANY_MODULE}
    return own | {hooks: list(vars(module)[hooks].values()) for hooks in _HOOKS}


def _of_library(thing: Any) -> bool:
    """Whether a class or function is Python's, numpy's or torch's."""
    return (getattr(thing, "__module__", None) or "").partition(".")[0] in _LIBRARIES


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _names(code: types.CodeType) -> Iterator[str]:
    """What a function may take from its module."""
    yield from (name for name in code.co_names if not name.startswith("__"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _held(function: types.FunctionType) -> Iterator[Any]:
    """What a function closes over."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet filled
            yield None


def _functions(member: Any) -> list[Any]:
    """The functions of an entry of a class."""
    match member:
        case property():
            return [f for f in (member.fget, member.fset, member.fdel) if f is not None]
        case functools.cached_property():
            return [member.func]
        case staticmethod() | classmethod():
            return [member.__func__]
    return [member]


def _is_followed(value: Any) -> bool:
    """Whether what a function names in its module is told; what may change with every call, such as a cache, is not."""
    if isinstance(value, (types.FunctionType, type, functools.partial)):
        return not _of_library(value)
    fixed = not isinstance(value, (Mapping, list, set)) and _is_plain(value)
    return value is not None and (fixed or (is_dataclass(value) and not _of_library(type(value))))


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(map(_is_plain, value))
    return isinstance(value, (*_SCALARS, *_BY_TEXT, np.generic))


def _slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    return [slot for slot in ((slots,) if isinstance(slots, str) else slots) if not slot.startswith("__")]


def _of_any_tensor(tensor: Tensor) -> Any:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return [str(tensor.layout), str(tensor.dtype), tensor.shape]
    return of_tensor(tensor)
