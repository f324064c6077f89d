"""Table: what is known about each example, read and written by index."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError, unknown
from .checks import device_for, whole_number
from .elements import IntArray

Reduction: TypeAlias = Literal["last", "mean", "sum", "max"]


class ExampleTable:
    """One row of values for each of the n examples of a data set, on the device of the training.

    Use it where batches are consumed, never in a ``map``: what is read before a prefetch is stale when it is used.

        table = ExampleTable(1797, weight=1.0, loss=float("nan"))
        for batch in pipe.batches(steps=100):
            weight = table.get(batch.index, "weight")
            ...
            table.put(batch.index, loss=losses)

    An index is int64, shape (B,), with values in 0..n - 1, or -1 for padding: padding reads as 0 and is not written.
    It may lie on the CPU or on the table's device; one on a GPU is read back once a call to be checked.

    Args:
        n: number of examples, at least 1.
        device: where the table lives.
        columns: name -> first value: a number (bool makes a bool column, int int64, float float32), or a tensor
            of shape (n, ...), which is copied and keeps its dtype.

    Raises:
        ConfigError: without a column, for n below 1, or for a column called ``reduce``.
        ShapeError: if a tensor has not one row an example.
    """

    def __init__(self, n: int, /, device: torch.device | str = "cpu", **columns: float | Tensor) -> None:
        n = whole_number("ExampleTable", n, what="n")
        device = device_for("ExampleTable", device)
        if not columns or "reduce" in columns:
            wrong = 'a column cannot be called "reduce"' if columns else "no column"
            raise ConfigError(f"ExampleTable({n}): {wrong}; name columns with first values, such as weight=1.0.")
        self.n = n
        self._columns = {name: self._initial(name, value).to(device) for name, value in columns.items()}

    def __len__(self) -> int:
        """Return n."""
        return self.n

    def __repr__(self) -> str:
        return f"ExampleTable({self.n}, {', '.join(self._columns)})"

    def __getitem__(self, name: str) -> Tensor:
        """Return a whole column, shape (n, ...): the table's own storage, not a copy.

        Raises:
            ConfigError: for an unknown name.
        """
        if name not in self._columns:
            raise ConfigError(f"ExampleTable({self.n}): {unknown('column', name, self._columns)}")
        return self._columns[name]

    @property
    def device(self) -> torch.device:
        """Where the columns live."""
        return next(iter(self._columns.values())).device

    def get(self, index: Tensor | IntArray, name: str) -> Tensor:
        """Return a column's rows at ``index``, shape (B, ...); padding reads as 0.

        Raises:
            DataError: for an index outside -1..n - 1.
            ShapeError: if ``index`` does not hold integers of shape (B,).
            ConfigError: for an unknown name.
        """
        column = self[name]
        rows, host = self._rows(index)
        if not (host < 0).any():
            return column.index_select(0, rows)
        found = column.index_select(0, rows.clamp_min(0))
        found[rows < 0] = 0
        return found

    def put(self, index: Tensor | IntArray, /, reduce: Reduction = "last", **values: float | Tensor) -> None:
        """Write rows; an example that comes several times in ``index`` gets one value.

        What is reduced are the rows that this call gives for an example; the stored value is replaced, whatever it
        was. The result is the same on every device and in every run: a sum is added in pairs, in an order that depends
        on nothing but the number of rows. A NaN among the rows makes sum, mean and max NaN.

        Args:
            index: shape (B,); -1 is skipped.
            reduce: ``"last"``: the last row wins; ``"mean"``, ``"sum"``, ``"max"``: of all rows of the example.
            values: name -> a tensor of shape (B, ...) on the table's device, or one number for all rows. Gradients
                are not kept. A narrower float column rounds; a float does not fit into an integer column.

        Raises:
            DataError: for an index outside -1..n - 1. Nothing is written then, nor after the errors below.
            ShapeError: for a value of another shape, dtype or device, or an index that does not hold integers of
                shape (B,).
            ConfigError: for an unknown name or reduction, or one that a column's dtype does not have.
        """
        if reduce not in get_args(Reduction):
            raise ConfigError(f"ExampleTable({self.n}): {unknown('reduction', str(reduce), get_args(Reduction))}")
        rows, host = self._rows(index)
        given = {name: self._fitting(name, value, len(rows), reduce) for name, value in values.items()}
        groups = None if _distinct(host) else _Groups.of(host)
        if groups is not None:
            rows = torch.from_numpy(groups.examples).to(rows.device)
        for name, value in given.items():
            column = self[name]
            if groups is not None:
                value = groups.reduced(value.to(torch.promote_types(value.dtype, column.dtype)), reduce)
            column.index_copy_(0, rows, value.to(column.dtype))

    def to(self, device: torch.device | str) -> "ExampleTable":
        """Move the columns to a device, and return the table itself."""
        self._columns = {name: column.to(device) for name, column in self._columns.items()}
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of each column."""
        return {name: column.clone() for name, column in self._columns.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Fill the columns, in place, on the device where they are.

        Raises:
            ConfigError: if it is no state, or has other columns.
            ShapeError: if one has another shape or dtype, as from a table of another n.
        """
        if not isinstance(state, Mapping) or not all(isinstance(column, Tensor) for column in state.values()):
            raise ConfigError(f"ExampleTable({self.n}): this is no state of a table; pass one of state_dict().")
        if state.keys() != self._columns.keys():
            theirs, ours = ", ".join(sorted(state)), ", ".join(sorted(self._columns))
            raise ConfigError(f"ExampleTable({self.n}): the state has the columns {theirs}; needed are {ours}.")
        for name, column in self._columns.items():
            if state[name].shape != column.shape or state[name].dtype != column.dtype:
                raise ShapeError(
                    f'ExampleTable({self.n}): "{name}" is {_outline(state[name])} in the state, {_outline(column)} '
                    "here."
                )
        for name, column in self._columns.items():
            column.copy_(state[name].detach())

    def _initial(self, name: str, value: float | Tensor) -> Tensor:
        value = self._value(name, value)
        if not isinstance(value, Tensor):
            dtype = torch.float32 if isinstance(value, float) else None  # bool and int choose theirs
            return torch.full((self.n,), value, dtype=dtype)
        if value.ndim == 0 or len(value) != self.n:
            raise ShapeError(
                f'ExampleTable({self.n}): "{name}" has shape {tuple(value.shape)}; it needs ({self.n}, ...), one row '
                "an example."
            )
        return value.detach().clone()

    def _value(self, name: str, value: Any) -> bool | float | Tensor:
        """Return a number or a tensor."""
        if isinstance(value, bool | int | float | Tensor):
            return value
        try:
            return torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise ShapeError(
                f'ExampleTable({self.n}): "{name}" got a {type(value).__name__}; needed is a number or a tensor.'
            ) from None

    def _rows(self, index: Tensor | IntArray) -> tuple[Tensor, IntArray]:
        """Return a checked index on the table's device and on the host."""
        rows = torch.as_tensor(index)
        if rows.ndim != 1 or rows.dtype != torch.int64:
            raise ShapeError(f"ExampleTable({self.n}): index is {_outline(rows)}; it must be int64 (B,).")
        host: IntArray = rows.cpu().numpy()
        if len(host) and (host.max() >= self.n or host.min() < -1):
            raise DataError(f"ExampleTable({self.n}) got index {host.max() if host.max() >= self.n else host.min()}.")
        return rows.to(self.device), host

    def _fitting(self, name: str, value: float | Tensor, rows: int, reduce: Reduction) -> Tensor:
        """Return a value as a tensor with one row an index, of a dtype and device that the column takes."""
        column = self[name]
        if (reduce == "mean" and not column.is_floating_point()) or (reduce == "sum" and column.dtype == torch.bool):
            raise ConfigError(f'ExampleTable({self.n}): "{name}" is {_dtype(column)}, which has no {reduce}.')
        needed = (rows, *column.shape[1:])
        value = self._value(name, value)
        if not isinstance(value, Tensor):
            dtype = torch.float64 if isinstance(value, float) else None
            self._check_dtype(name, torch.empty(0, dtype=dtype) if dtype else torch.tensor(value))
            return torch.full(needed, value, dtype=column.dtype, device=column.device)
        if value.shape != needed:
            raise ShapeError(
                f'ExampleTable({self.n}): "{name}" got shape {tuple(value.shape)}, but needs {needed}, one row an '
                "index."
            )
        if value.device != column.device:
            raise ShapeError(
                f'ExampleTable({self.n}): "{name}" got a tensor on {value.device}, but lives on {column.device}; '
                "move one with .to(...)."
            )
        self._check_dtype(name, value)
        return value.detach()

    def _check_dtype(self, name: str, value: Tensor) -> None:
        column = self[name]
        if not torch.can_cast(value.dtype, column.dtype):
            raise ShapeError(f'ExampleTable({self.n}): "{name}" is {_dtype(column)} and cannot hold {_dtype(value)}.')


def _distinct(index: IntArray) -> bool:
    """Return whether there is no padding and no example comes twice."""
    ordered = np.sort(index)
    return not len(index) or bool(ordered[0] >= 0 and (ordered[1:] > ordered[:-1]).all())


@dataclass(frozen=True, eq=False)
class _Groups:
    """The rows of a call by example. There is no scatter: on a GPU that adds in an order that changes.

    Attributes:
        order: the rows that are no padding, sorted by example, each example's in the order given, shape (M,).
        rank: how many rows of the same example come before, shape (M,).
        last: where in ``order`` the last row of each example is, shape (K,).
        examples: their indices, shape (K,).
    """

    order: IntArray
    rank: IntArray
    last: IntArray
    examples: IntArray

    @classmethod
    def of(cls, index: IntArray) -> "_Groups":
        order = index.argsort(kind="stable")
        order = order[np.count_nonzero(index < 0) :]  # padding sorts first
        ordered = index[order]
        begins = np.flatnonzero(np.diff(ordered, prepend=-1))
        sizes = np.diff(begins, append=len(order))
        rank = np.arange(len(order)) - begins.repeat(sizes)
        return cls(order, rank, begins + sizes - 1, ordered[begins])

    def reduced(self, value: Tensor, reduce: Reduction) -> Tensor:
        """Return one value an example, shape (K, ...), from one a row, (B, ...)."""
        if reduce == "last":
            return value.index_select(0, _beside(self.order[self.last], value))
        value = value.index_select(0, _beside(self.order, value))
        value = self._accumulated(value, torch.maximum if reduce == "max" else torch.add)
        value = value.index_select(0, _beside(self.last, value))
        if reduce == "mean":
            value = value / _beside(self.rank[self.last] + 1, value, value.ndim)
        return value

    def _accumulated(self, value: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Join each row with all rows of its example before it, in a number of rounds that is logarithmic."""
        step, longest = 1, self.rank.max(initial=0)
        while step <= longest:  # before each round a row stands for itself and the step - 1 before it
            far = _beside(self.rank[step:] >= step, value, value.ndim)
            value = torch.cat((value[:step], torch.where(far, join(value[:-step], value[step:]), value[step:])))
            step *= 2
        return value


def _beside(numbers: npt.NDArray[Any], value: Tensor, axes: int = 1) -> Tensor:
    """Return one number a row on the device of ``value``, with as many axes as asked for."""
    return torch.from_numpy(numbers).view(-1, *[1] * (axes - 1)).to(value.device)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _outline(tensor: Tensor) -> str:
    return f"{_dtype(tensor)} {tuple(tensor.shape)}"
