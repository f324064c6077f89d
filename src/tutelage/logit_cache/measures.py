"""What a file keeps of the inputs that the teacher saw, so that others are known for what they are.

Of numbers with a point: products with four fixed vectors of normal draws, and the norm. A change of the input by e
changes each product by a normal draw times the norm of e: what is seen in none of the four is as good as nothing.
Features are brought to one scale first, so that none drowns the others; and where rows are nearly alike, their mean is
taken off. Of whole numbers, such as the ids of tokens: a hash.
"""

import functools
import json
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data.elements import Array, IntArray
from ..errors import StaleTarget
from ..randomness import UInt64Array, counter, hashed, stream
from .inputs import Inputs

Floats: TypeAlias = npt.NDArray[np.float32]
Columns: TypeAlias = Mapping[str, tuple[torch.dtype, int]]

VECTORS = 4
TOLERANCE = 1e-4
"""Largest change of a product, as a share of the norm of the input: other sizes of batches change 8e-7 of it."""

_ROUNDING = 2.0**-21 / TOLERANCE
_SAMPLED, _AT_ONCE = 256, 32
_ALIKE, _FINEST = 2.0**-4, 2.0**-10
_HALF, _LOWER = np.uint64(32), 0xFFFFFFFF


class Measure(ABC):
    """What is kept of an input, and when another one is too far from it."""

    @property
    @abstractmethod
    def columns(self) -> Columns:
        """What is kept of a row: name -> (type, numbers)."""

    @property
    @abstractmethod
    def linear(self) -> bool:
        """Whether what is kept of a mixed row follows from what is kept of its parts."""

    @abstractmethod
    def measured(self, x: Tensor) -> Tensor:
        """Return what is compared of inputs (N, ...): (N, numbers), on their device."""

    @abstractmethod
    def kept(self, x: Tensor) -> dict[str, Tensor]:
        """Return the columns of inputs (N, ...)."""

    @abstractmethod
    def fresh(self, measured: Array, stored: Sequence[Array]) -> npt.NDArray[np.bool_]:
        """Return which rows are those that were stored, (N,), from what was measured and the columns of each."""

    @abstractmethod
    def difference(self, measured: Array, stored: Sequence[Array]) -> str:
        """Say how a row (1, ...) differs from what was stored."""

    @property
    @abstractmethod
    def packed(self) -> bytes:
        """What :func:`unpacked` makes the measure of."""


def measure_of(inputs: Inputs) -> Measure:
    """Return the measure for some inputs; its scale is found from 256 of them."""
    rows = np.unique(np.linspace(0, len(inputs) - 1, _SAMPLED).astype(np.int64))
    x = inputs.at(rows[:1], 0)
    if not x.is_floating_point():
        return Hashes(x.dtype)
    return _Spread(x).over(inputs, rows).measure()


def unpacked(content: bytes) -> Measure:
    """Return a measure from :attr:`Measure.packed`."""
    head, _, rest = zlib.decompress(content).partition(b"\n")
    kind, size = json.loads(head)
    if kind != "products":
        return Hashes(getattr(torch, kind))
    exponent, offset = np.frombuffer(rest[:size], dtype=np.int8), np.frombuffer(rest[size:], dtype="<f4")
    return Products(exponent.copy(), offset.astype(np.float32) if len(offset) else None)


@dataclass(frozen=True, eq=False)
class Products(Measure):
    """Products ``v . (x - offset) / 2^exponent`` with four vectors v, in float32, and the norm of the other factor.

    Attributes:
        exponent: int8 (D,), of each feature.
        offset: float32 (D,), what is taken off; None: nothing.
    """

    exponent: npt.NDArray[np.int8]
    offset: Floats | None = None
    _elsewhere: dict[torch.device, tuple[Tensor, Tensor | None]] = field(default_factory=dict, repr=False)

    @property
    def columns(self) -> Columns:
        """Four products, and the norm: 18 bytes a row."""
        return {"probes": (torch.float32, VECTORS), "norm": (torch.bfloat16, 1)}

    @property
    def linear(self) -> bool:
        """Products are."""
        return True

    def measured(self, x: Tensor) -> Tensor:
        """Return the products (N, 4), whatever autocast and the precision of torch's products are set to.

        Raises:
            StaleTarget: if the inputs have other sizes than those that the teacher saw.
        """
        flat = x.detach().reshape(len(x), -1).float()
        if flat.shape[1] != len(self.exponent):
            raise StaleTarget(
                f"the inputs have {flat.shape[1]:,} numbers each, those of the file {len(self.exponent):,}."
            )
        if flat.device.type != "cpu":
            return self._by_sums(flat)
        values: Floats = flat.numpy() if self.offset is None else flat.numpy() - self.offset
        return torch.from_numpy(values @ self._vectors)

    def kept(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``probes`` (N, 4), and ``norm`` (N, 1) with what rounding of the inputs alone may change."""
        flat = x.detach().reshape(len(x), -1).float().cpu().numpy()
        scaled = (flat if self.offset is None else flat - self.offset) * self._scale
        norm = np.linalg.norm(scaled, axis=1, keepdims=True)
        if self.offset is not None:
            norm += _ROUNDING * float(np.linalg.norm(self.offset * self._scale))
        return {"probes": self.measured(x).cpu(), "norm": torch.from_numpy(norm).to(torch.bfloat16)}

    def fresh(self, measured: Array, stored: Sequence[Array]) -> npt.NDArray[np.bool_]:
        """Return which rows have no product that differs by more than ``1e-4`` of the norm; none with NaN."""
        probes, norm = stored
        within: npt.NDArray[np.bool_] = np.abs(measured - probes).max(1) <= TOLERANCE * norm[:, 0]
        return within

    def difference(self, measured: Array, stored: Sequence[Array]) -> str:
        """Say by how much of its norm a row has moved."""
        probes, norm = stored
        return f"it has moved by {np.abs(measured - probes).max() / max(float(norm[0, 0]), 1e-30):.2g} of its norm"

    @property
    def packed(self) -> bytes:
        """A line of JSON, the exponents, and the offset if there is one; compressed, for they repeat."""
        offset = b"" if self.offset is None else self.offset.astype("<f4").tobytes()
        head = json.dumps(["products", len(self.exponent)]).encode()
        return zlib.compress(head + b"\n" + self.exponent.tobytes() + offset)

    @functools.cached_property
    def _scale(self) -> Floats:
        return np.ldexp(np.float32(1), -self.exponent.astype(np.int32))

    @functools.cached_property
    def _vectors(self) -> Floats:
        """(D, 4), with the scale in them."""
        return (normal_vectors(len(self.exponent)) * self._scale).T

    def _by_sums(self, flat: Tensor) -> Tensor:
        """The same by sums, which neither TF32 nor autocast touches."""
        if flat.device not in self._elsewhere:
            vectors = torch.from_numpy(np.ascontiguousarray(self._vectors.T)).to(flat.device)
            offset = None if self.offset is None else torch.from_numpy(self.offset).to(flat.device)
            self._elsewhere[flat.device] = vectors, offset
        vectors, offset = self._elsewhere[flat.device]
        values = flat if offset is None else flat - offset
        return torch.stack([(values * v).sum(1) for v in vectors], 1)


@dataclass(frozen=True)
class Hashes(Measure):
    """A hash of 64 bits of the bytes of whole numbers.

    Attributes:
        kind: their type, such as ``torch.int64``.
    """

    kind: torch.dtype

    @property
    def columns(self) -> Columns:
        """The hash: 8 bytes a row."""
        return {"hash": (torch.int64, 1)}

    @property
    def linear(self) -> bool:
        """Hashes are not."""
        return False

    def measured(self, x: Tensor) -> Tensor:
        """Return the hashes, int64 (N, 1).

        Raises:
            StaleTarget: if the inputs have another type than those that the teacher saw.
        """
        if x.dtype != self.kind:
            raise StaleTarget(f"the inputs are {x.dtype}, those of the file {self.kind}; give the same to both.")
        return row_hashes(x)[:, None]

    def kept(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``hash``, int64 (N, 1)."""
        return {"hash": self.measured(x).cpu()}

    def fresh(self, measured: Array, stored: Sequence[Array]) -> npt.NDArray[np.bool_]:
        """Return which rows have the stored hash."""
        same: npt.NDArray[np.bool_] = (measured == stored[0])[:, 0]
        return same

    def difference(self, measured: Array, stored: Sequence[Array]) -> str:
        """Say that a row differs."""
        return "some of its numbers have changed"

    @property
    def packed(self) -> bytes:
        """A line of JSON, compressed."""
        return zlib.compress(json.dumps([str(self.kind).removeprefix("torch."), 0]).encode())


def row_hashes(x: Tensor) -> Tensor:
    """Return ``sum_w fold(a_w fold(word_w xor b_w))`` modulo 2^64 of the bytes of rows (N, ...), int64 (N,).

    A word is 8 bytes, the last one filled up with zeros; ``a_w``, odd, and ``b_w`` are fixed draws; ``fold(z)`` is
    ``z xor (z >> 32)``, by which every bit of a word counts. Equal bits on every device.
    """
    if x.device.type == "cpu":  # numpy's kernels start three times faster
        content = np.ascontiguousarray(x.detach().numpy().reshape(len(x), -1)).view(np.uint8)
        if left := -content.shape[1] % 8:
            content = np.pad(content, ((0, 0), (0, left)))
        factor, key = _draws(content.shape[1] // 8)
        z = content.view(np.uint64) ^ key
        z ^= z >> _HALF
        z *= factor
        z ^= z >> _HALF
        return torch.from_numpy(np.add.reduce(z, 1).view(np.int64))
    return _hashes_by_torch(x.detach().reshape(len(x), -1).contiguous().view(torch.uint8))


def _hashes_by_torch(content: Tensor) -> Tensor:
    words = -(-content.shape[1] // 8)
    padded = content.new_zeros(len(content), 8 * words)
    padded[:, : content.shape[1]] = content
    factor, key = _draws_on(words, content.device)
    z = padded.view(torch.int64) ^ key
    z = (z ^ ((z >> 32) & _LOWER)) * factor
    return (z ^ ((z >> 32) & _LOWER)).sum(1)


@functools.lru_cache(maxsize=8)
def _draws(words: int) -> tuple[UInt64Array, UInt64Array]:
    factor, key = (hashed(counter(stream(0, "input hashes"), k), np.arange(words)) for k in (0, 1))
    return factor | np.uint64(1), key


@functools.lru_cache(maxsize=8)
def _draws_on(words: int, device: torch.device) -> tuple[Tensor, Tensor]:
    factor, key = (torch.from_numpy(draws.view(np.int64)).to(device) for draws in _draws(words))
    return factor, key


def normal_vectors(size: int) -> Floats:
    """Return four vectors of ``size`` normal draws, (4, size), by the form of Box and Muller; a draw a counter."""
    key = stream(0, "input probes")
    bits = [hashed(counter(key, k), np.arange(VECTORS * size)) >> np.uint64(11) for k in (0, 1)]
    first, second = ((b.astype(np.float64) + 0.5) / (1 << 53) for b in bits)
    draws = np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second)
    vectors: Floats = draws.astype(np.float32).reshape(VECTORS, size)
    return vectors


class _Spread:
    """How the features of some inputs are spread, counted from the first one.

    Args:
        x: the first input, (1, ...).
    """

    def __init__(self, x: Tensor) -> None:
        self._first = _finite(x)[0]
        zeros = np.zeros_like(self._first)
        self._n, self._sum, self._squares = 0, zeros, zeros
        self._largest, self._low, self._high = zeros, zeros, zeros

    def over(self, inputs: Inputs, rows: IntArray) -> "_Spread":
        """Count some rows."""
        for start in range(0, len(rows), _AT_ONCE):
            x = _finite(inputs.at(rows[start : start + _AT_ONCE], 0))
            away = x - self._first
            self._n += len(x)
            self._sum, self._squares = self._sum + away.sum(0), self._squares + (away**2).sum(0)
            self._largest = np.maximum(self._largest, np.abs(x).max(0))
            self._low, self._high = np.minimum(self._low, away.min(0)), np.maximum(self._high, away.max(0))
        return self

    def measure(self) -> Products:
        """Scale by the largest value of each feature; where rows are alike, by how far they lie from each other."""
        away = self._sum / self._n
        mean, variance = self._first + away, np.maximum(self._squares / self._n - away**2, 0)
        exponent = _exponents(self._largest)
        scale = np.ldexp(1.0, -exponent)
        power = float(((mean**2 + variance) * scale**2).sum())
        if not float((variance * scale**2).sum()) < _ALIKE**2 * power:
            return Products(exponent.astype(np.int8))
        spread = np.maximum(self._high - self._low, _FINEST * self._largest)
        return Products(_exponents(spread).astype(np.int8), mean.astype(np.float32))


def _finite(x: Tensor) -> npt.NDArray[np.float64]:
    flat: npt.NDArray[np.float64] = x.detach().reshape(len(x), -1).cpu().float().double().numpy()
    return np.where(np.isfinite(flat), flat, 0.0)


def _exponents(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The powers of two of sizes (D,); a feature that is always 0 gets the middle one."""
    seen = sizes > 0
    found = np.round(np.log2(np.where(seen, sizes, 1.0)))
    usual = float(np.median(found[seen])) if seen.any() else 0.0
    return np.clip(np.where(seen, found, usual), -100, 100).astype(np.int32)
