"""Rows: what a mentor is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..curricula import CurriculumFunction, uniform
from ..errors import DataError, ShapeError


@dataclass(frozen=True, eq=False)
class Rows:
    """Features of examples at moments of a training, and the weights that they should have.

    Tensors are brought to the CPU, as float32 and int64.

    Attributes:
        loss: l >= 0, shape (N,).
        difference: d = l - threshold of that moment, shape (N,).
        percent: e in 0..99, shape (N,).
        target: v* in [0, 1], shape (N,).
        group: which example a row belongs to, int64, shape (N,); None: each row is one of its own.

    Raises:
        ShapeError: if the tensors are not all of one shape (N,).
        DataError: for a number that is not finite or outside its range.
    """

    loss: Tensor
    difference: Tensor
    percent: Tensor
    target: Tensor
    group: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None:
                continue
            if value.shape != self.loss.shape or value.ndim != 1:
                given, needed = tuple(value.shape), f"(N,) as loss, {tuple(self.loss.shape)}"
                raise ShapeError(f"Rows.{name} has shape {given}, but needs {needed}.")
            dtype = torch.int64 if name in ("percent", "group") else torch.float32
            object.__setattr__(self, name, value.detach().to("cpu", dtype))
        _check("loss", self.loss, 0.0, torch.inf)
        _check("difference", self.difference, -torch.inf, torch.inf)
        _check("percent", self.percent, 0, 99)
        _check("target", self.target, 0.0, 1.0)

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, index: Tensor) -> "Rows":
        """Return the rows at ``index``, int64, shape (n,)."""
        group = None if self.group is None else self.group[index]
        return Rows(self.loss[index], self.difference[index], self.percent[index], self.target[index], group)

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return all rows of several moments, in their order; without groups, unless all parts have them."""
        columns = {name: [vars(part)[name] for part in parts] for name in vars(parts[0])}
        return cls(**{name: torch.cat(c) for name, c in columns.items() if all(x is not None for x in c)})


def _check(name: str, values: Tensor, low: float, high: float) -> None:
    wrong = ((values < low) | (values > high) | ~values.isfinite()).nonzero()
    if len(wrong):
        row = int(wrong[0])
        bounds = "finite" if high == torch.inf else f"at most {high:g}"
        bounds += "" if low == -torch.inf else f" and at least {low:g}"
        raise DataError(f"row {row}: {name} is {values[row].item():g}; it must be {bounds}.")


def grid(v: CurriculumFunction = uniform, *, drop_impossible: bool = False) -> Rows:
    """Return a curriculum on the published grid: 120 losses x 100 differences x 100 percents, 1,200,000 rows.

    ``l`` in {0, .1, ..., 9.9, 10, 11, ..., 29}, ``d`` in {-5, -4.9, ..., 4.9}, ``e`` in 0..99, the last one varying
    fastest; all are integers divided by ten, so that ``d = 0`` is 0.

    Args:
        v: what gives the targets, called once a percent with float64 losses and thresholds of shape (12000,).
        drop_impossible: leave out rows with d > l, which a threshold >= 0 never gives.

    Raises:
        ShapeError: if ``v`` does not return one weight a loss.
        DataError: if it returns a weight outside [0, 1], or none.

    Source: the published code of MentorNet, ``data_generator.py``.
    """
    tenths = torch.cat((torch.arange(100), torch.arange(100, 300, 10))).double()
    loss = (tenths / 10).repeat_interleave(100)
    difference = (torch.arange(-50, 50).double() / 10).repeat(120)
    if drop_impossible:
        loss, difference = loss[difference <= loss], difference[difference <= loss]
    targets = [_targets(v, loss, loss - difference, e) for e in range(100)]
    percents = torch.arange(100).repeat(len(loss))
    each = (loss.repeat_interleave(100), difference.repeat_interleave(100))
    return Rows(*each, percents, torch.stack(targets, 1).flatten())


def _targets(v: CurriculumFunction, loss: Tensor, threshold: Tensor, e: int) -> Tensor:
    target = v(loss, threshold, e / 100)
    if target.shape != loss.shape:
        given, needed = tuple(target.shape), tuple(loss.shape)
        raise ShapeError(f"the curriculum returned shape {given}, but needs {needed}, one weight a loss.")
    target = target.detach().float()
    outside = ~((target >= 0) & (target <= 1))
    if outside.any():
        raise DataError(
            f"the curriculum returned the weight {target[outside][0].item():g} at percent {e}; "
            "it must stay in [0, 1]: use .clamp(0, 1)."
        )
    return target
