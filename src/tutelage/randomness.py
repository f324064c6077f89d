"""Counter-based randomness: every draw is a pure function of a seed, a name and counters.

Global random state of torch, numpy and python is neither read nor written. ``h(k, i) = mix(k + (i + 1) G)``
modulo 2^64 is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
figure 16); counters nest: ``h(k, a, b) = h(h(k, a), b)``. The numpy and the torch forms give equal bits on every
device: torch has no arithmetic on uint64, so its form works on int64 and masks the sign after each shift.
"""

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

UInt64Array: TypeAlias = npt.NDArray[np.uint64]

_G = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


@functools.lru_cache(maxsize=4096)
def stream(seed: int, name: str) -> int:
    """Return the 64-bit key of a named stream: the first 8 bytes, little-endian, of SHA-256 of ``"seed/name"``."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little")


def counter(key: int, *counters: int) -> int:
    """Return ``h(key, *counters)`` for plain integers, in [0, 2^64)."""
    for c in counters:
        z = (key + (c + 1) * _G) & _MASK
        z = ((z ^ (z >> 30)) * _M1) & _MASK
        z = ((z ^ (z >> 27)) * _M2) & _MASK
        key = z ^ (z >> 31)
    return key


def hashed(key: int | UInt64Array, index: npt.ArrayLike) -> UInt64Array:
    """Return ``h(key, index)`` elementwise as uint64; ``key`` and ``index`` broadcast."""
    with np.errstate(over="ignore"):
        z = np.asarray(key, dtype=np.uint64) + (np.asarray(index).astype(np.uint64) + np.uint64(1)) * np.uint64(_G)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_M1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_M2)
        out: UInt64Array = z ^ (z >> np.uint64(31))
    return out


def real(v: UInt64Array) -> npt.NDArray[np.float64]:
    """Map hashes to float64 in [0, 1): the upper 24 bits over 2^24."""
    return (v >> np.uint64(40)).astype(np.float64) / float(1 << 24)


def integer(v: UInt64Array, n: int | npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Map hashes to int64 in [0, n), n < 2^32."""
    return (((v >> np.uint64(32)) * np.asarray(n).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def hashed_tensor(key: int | Tensor, index: Tensor) -> Tensor:
    """Return the bits of :func:`hashed` as an int64 tensor on the device of ``index`` (two's complement)."""
    if isinstance(key, int) and index.device.type == "cpu":  # numpy's kernels start three times faster
        return torch.from_numpy(hashed(key, index.numpy()).view(np.int64))
    return _hashed_by_torch(key, index)


def _hashed_by_torch(key: int | Tensor, index: Tensor) -> Tensor:
    z = (index + 1) * _signed(_G) + (_signed(key) if isinstance(key, int) else key)
    z = (z ^ _shifted(z, 30)) * _signed(_M1)
    z = (z ^ _shifted(z, 27)) * _signed(_M2)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def real_tensor(v: Tensor) -> Tensor:
    """Torch form of :func:`real`: float64 in [0, 1)."""
    return _shifted(v, 40).to(torch.float64) / float(1 << 24)


def integer_tensor(v: Tensor, n: int) -> Tensor:
    """Torch form of :func:`integer`: int64 in [0, n), n < 2^32."""
    return _shifted(_shifted(v, 32) * n, 32)


def smallest(key: int, index: Tensor, k: int) -> Tensor:
    """Return the mask of the k rows with the smallest ``h(key, index)``; equal indices by position.

    Args:
        key: of the draw.
        index: int64, shape (N,).
        k: in 0..N.

    Returns:
        bool, shape (N,), on the device of ``index``.
    """
    if index.device.type == "cpu":
        mask = np.zeros(len(index), dtype=np.bool_)
        mask[np.argsort(hashed(key, index.numpy()), kind="stable")[:k]] = True
        return torch.from_numpy(mask)
    return _smallest_by_torch(key, index, k)


def _smallest_by_torch(key: int, index: Tensor, k: int) -> Tensor:
    # the unsigned order of 64 bits: signed order of all bits with the first one turned over
    order = (_hashed_by_torch(key, index) ^ _signed(1 << 63)).argsort(stable=True)
    return torch.zeros_like(index, dtype=torch.bool).index_fill_(0, order[:k], True)


def permutation(key: int, n: int) -> npt.NDArray[np.int64]:
    """Return the indices 0..n-1 in ascending order of ``h(key, i)``; the hash is injective, so there are no ties."""
    return np.argsort(hashed(key, np.arange(n)), kind="stable").astype(np.int64)


@contextmanager
def seeded(key: int, *devices: torch.device) -> Iterator[None]:
    """Run a block with torch's global generators seeded by ``key``, then put their states back.

    For code that can only draw from the global generator: dropout layers and parameter initialisation.

    Args:
        key: any integer; its lower 64 bits are used.
        devices: CUDA devices whose generators are seeded as well; others are ignored.
    """
    generators: list[Any] = [torch.default_generator]
    generators += [torch.cuda.default_generators[d.index or 0] for d in devices if d.type == "cuda"]
    states = [g.get_state() for g in generators]
    try:
        for g in generators:
            g.manual_seed(_signed(key & _MASK))
        yield
    finally:
        for g, state in zip(generators, states):
            g.set_state(state)
