"""Leaves in place of tensors that a graph made, so that this graph exists, and is gone back through, once."""

import functools
import types
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..lesson import Lesson


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with its tensors changed: in tuples, lists, dicts, partial functions, closures and defaults.

    Other objects are returned as they are; the parameters of a module are leaves already.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (tuple, list)):
        items = [mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) is dict:
        return {key: mapped(item, change) for key, item in value.items()}
    if type(value) is functools.partial:
        return functools.partial(value.func, *mapped(value.args, change), **mapped(value.keywords, change))
    if isinstance(value, types.FunctionType):
        return _mapped_function(value, change)
    return value


def _mapped_function(function: types.FunctionType, change: Callable[[Tensor], Tensor]) -> types.FunctionType:
    cells, defaults = function.__closure__ or (), function.__defaults__ or ()
    held = [*(cell.cell_contents for cell in cells), *defaults]
    # a function in a closure may be this one: it is not gone into
    new = [item if isinstance(item, types.FunctionType) else mapped(item, change) for item in held]
    if not any(isinstance(item, (Tensor, tuple, list, dict)) for item in held):
        return function
    closure = tuple(types.CellType(item) for item in new[: len(cells)])
    code, names = function.__code__, function.__globals__
    made = types.FunctionType(code, names, function.__name__, tuple(new[len(cells) :]) or None, closure)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class CutLesson:
    """A lesson whose non-leaf tensors are leaves.

    Attributes:
        lesson: with leaves for ``x``, ``target``, ``weight`` and what ``loss`` holds.
        originals: the tensors that were replaced.
        leaves: what replaces them, in the same order.
    """

    def __init__(self, lesson: Lesson) -> None:
        self._known: dict[int, Tensor] = {}
        self.originals: list[Tensor] = []
        parts = (lesson.x, lesson.target, lesson.weight, lesson.loss)
        x, target, weight, loss = mapped(parts, self._leaf)
        self.lesson = Lesson(x, target, weight, loss, lesson.notes, lesson.layers)
        self.leaves = list(self._known.values())

    def _leaf(self, tensor: Tensor) -> Tensor:
        if tensor.grad_fn is None:
            return tensor
        if id(tensor) not in self._known:
            self._known[id(tensor)] = tensor.detach().requires_grad_()
            self.originals.append(tensor)
        return self._known[id(tensor)]
