"""In which form logits lie in a file: all of them, or the largest few, in 16 or 32 bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..errors import ConfigError, DataError, unknown
from ..soft_targets import TopLogits, top_logits

Precision: TypeAlias = Literal["float16", "float32", "bfloat16"]

_TYPES = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}
_BITS = {"float16": 11, "float32": 24, "bfloat16": 8}
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class Storage:
    """How logits are stored.

    Args:
        precision: of a logit z, which it rounds by at most 2^-11 |z| (float16), 2^-8 |z| (bfloat16), 2^-24 |z|.
        top: keep the largest so many logits, and the log of the sum over the others; None: keep all.
        temperatures: at which that sum is known, with ``top`` only; a loss at another one is refused.

    Raises:
        ConfigError: for an unknown precision, ``top`` below 1, or temperatures that are not above 0.
    """

    precision: Precision = "float16"
    top: int | None = None
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ConfigError(unknown("precision", str(self.precision), get_args(Precision)))
        if self.top is not None and self.top < 1:
            raise ConfigError(f"storage: top is {self.top}; it must be at least 1, or None for all logits.")
        if not self.temperatures or not all(0 < t < float("inf") for t in self.temperatures):
            raise ConfigError(f"storage: temperatures are {self.temperatures}; at least one is needed, all above 0.")

    @classmethod
    def usual(cls, classes: int) -> "Storage":
        """Return the usual form for so many classes.

        Raises:
            ConfigError: above 1,000 classes, where the user has to choose.
        """
        if classes > _MOST_CLASSES:
            raise ConfigError(
                f"the teacher has {classes:,} classes: choose storage=Storage(top=10), which is good at temperatures "
                f'up to 2, or Storage("float16") for {2 * classes:,} bytes a row.'
            )
        return cls()

    def columns(self, classes: int) -> dict[str, tuple[torch.dtype, int]]:
        """Return what a row is made of in a file: name -> (type, numbers)."""
        kind = _TYPES[self.precision]
        if self.top is None:
            return {"logits": (kind, classes)}
        places = torch.int16 if classes <= 1 << 16 else torch.int32
        return {"logits": (kind, self.top), "places": (places, self.top), "tail": (kind, len(self.temperatures))}

    def packed(self, logits: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Return the columns of logits (N, C) of the examples ``index`` (N,).

        Raises:
            DataError: for a logit that is not finite, or too large for the precision; for such a tail.
            ConfigError: for a ``top`` above the number of classes.
        """
        kind = _TYPES[self.precision]
        _check_size(logits, index, kind)
        if self.top is None:
            return {"logits": logits.to(kind)}
        largest = top_logits(logits, self.top, self.temperatures)
        if self.top < logits.shape[-1]:  # else there is none, log 0
            self._check_tail(largest.tail, index)
        places = self.columns(logits.shape[-1])["places"][0]
        return {
            "logits": largest.values.to(kind),
            "places": largest.indices.to(places),  # in 16 bits; the sign bit counts as 2^15
            "tail": largest.tail.to(kind),
        }

    def _check_tail(self, tail: Tensor, index: Tensor) -> None:
        largest = torch.finfo(_TYPES[self.precision]).max
        wrong = ~(tail.abs() <= largest)
        if bool(wrong.any()):
            row, place = wrong.nonzero()[0].tolist()
            raise DataError(
                f"the logits of example {int(index[row])} outside the top {self.top} come to "
                f"{float(tail[row, place]):.6g} at temperature {self.temperatures[place]:g}, and {self.precision} "
                f'holds at most {largest:.6g}: use storage=Storage("float32"), or leave out low temperatures.'
            )

    def unpacked(self, columns: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor | TopLogits:
        """Return the logits of columns, as ``dtype``."""
        logits = columns["logits"].to(dtype)
        if self.top is None:
            return logits
        places = columns["places"]
        wide = places.long() & 0xFFFF if places.dtype == torch.int16 else places.long()
        return TopLogits(logits, wide, columns["tail"].to(dtype), self.temperatures)

    def bound(self, logits: Tensor) -> Tensor:
        """Return by how much rounding may have changed logits at most, in their shape."""
        return logits.abs() * 2.0 ** -_BITS[self.precision]

    def __str__(self) -> str:
        if self.top is None:
            return self.precision
        return f"top {self.top} in {self.precision}, T {', '.join(f'{t:g}' for t in self.temperatures)}"


def _check_size(logits: Tensor, index: Tensor, kind: torch.dtype) -> None:
    largest = torch.finfo(kind).max
    size = logits.abs().amax(-1)
    wrong = ~(size <= largest)  # NaN is wrong, too
    if not bool(wrong.any()):
        return
    row = int(wrong.nonzero()[0])
    if not bool(logits[row].isfinite().all()):
        raise DataError(f"the teacher's logits of example {int(index[row])} are not finite; mend the teacher.")
    name = str(kind).removeprefix("torch.")
    raise DataError(
        f"the teacher's logits of example {int(index[row])} reach {float(size[row]):.6g}, and {name} holds at most "
        f'{largest:.6g}: use storage=Storage("float32").'
    )
