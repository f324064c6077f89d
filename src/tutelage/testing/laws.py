"""What every check needs: the error that names a broken law, equality of states, and a watch over them."""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import TutelageError
from ..student import Student
from ..teacher import Teacher


class ContractError(TutelageError, AssertionError):
    """A teacher, rule, student or hypergradient breaks one of the laws."""


def need(holds: bool, law: str) -> None:
    """Raise :class:`ContractError` with the law, unless it holds."""
    if not holds:
        raise ContractError(law)


def copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state of copies, which later changes do not reach."""
    return {n: v.detach().clone() if isinstance(v, Tensor) else copy.deepcopy(v) for n, v in state.items()}


def identical(a: Any, b: Any) -> bool:
    """Return whether two states are equal in type, shape and value; NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and (torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all()))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(identical(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(identical(x, y) for x, y in zip(a, b))
    return bool(a == b)


class Watch:
    """Compares the bytes of students, their modules, a teacher and the random state before and after a block."""

    def __init__(self, law: str, student: Student, teacher: Teacher | None = None) -> None:
        self._law, self._student, self._teacher = law, student, teacher

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {f"student {n}": v for n, v in self._student.state_dict().items()}
        module = self._student.architecture
        state |= {f"network {n}": v for n, v in module.state_dict().items()}
        state |= {f"mode of {n}": m.training for n, m in module.named_modules()}
        if self._teacher is not None:
            state |= {f"teacher {n}": v for n, v in self._teacher.state_dict().items()}
            tables = vars(nn.Module())
            plain = {k: v for k, v in vars(self._teacher).items() if k not in tables and _is_plain(v)}
            state |= {f"teacher attribute {n}": v for n, v in plain.items()}
        state["global random state of torch"] = torch.get_rng_state()
        state["global random state of numpy"] = np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
        state["global random state of python"] = str(random.getstate())
        return copied(state)

    def __enter__(self) -> None:
        self._global = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        # moved on, so that seeding once more is seen
        torch.rand(()), np.random.random(), random.random()  # noqa: NPY002
        self._before = self._state()

    def __exit__(self, kind: Any, *_: object) -> None:
        after = self._state()
        torch.set_rng_state(self._global[0])
        np.random.set_state(self._global[1])  # noqa: NPY002
        random.setstate(self._global[2])
        if kind is not None:
            return
        for name in sorted(self._before.keys() | after.keys()):
            need(identical(self._before.get(name), after.get(name)), f"{self._law}: it changed {name}.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, (int, float, str, bool, Tensor, type(None)))
