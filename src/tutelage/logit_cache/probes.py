"""Tests that find out whether logits on disk are what the teacher would say.

Of every input that the teacher saw, flattened, the file keeps the products with four fixed vectors of normal draws,
and the norm. A change of the input by e changes each product by a normal draw times the norm of e: what is seen in
none of the four is as good as nothing.
"""

import functools
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.elements import IntArray
from ..errors import CheckpointError, StaleTarget
from ..randomness import counter, hashed, integer, seeded, stream
from ..soft_targets import TopLogits
from .file import LogitFile
from .inputs import Inputs, NotCacheable
from .layout import VECTORS, Floats

TOLERANCE = 1e-4
"""Largest change of a probe, as a share of the norm of the input: other sizes of batches change 8e-7 of it."""

_FETCHED = 32
_RECOMPUTED = 8
_BATCHING = 2.0**-5


class Answering(Protocol):
    """A teacher whose answers can be kept, such as :class:`tutelage.frozen.Frozen`."""

    @property
    def identity(self) -> str:
        """A short digest of the fingerprint."""

    def answers(self, x: Tensor) -> Tensor:
        """Return the logits (N, C) of inputs (N, ...), without gradient."""

    def fingerprint(self) -> dict[str, str]:
        """Return what the answers depend on, by name."""


@functools.lru_cache(maxsize=8)
def _vectors(size: int) -> Floats:
    """Four vectors of ``size`` normal draws, (size, 4), by the polar form of Box and Muller; a draw a counter."""
    key = stream(0, "input probes")
    bits = [hashed(counter(key, k), np.arange(VECTORS * size)) >> np.uint64(11) for k in (0, 1)]
    first, second = ((b.astype(np.float64) + 0.5) / (1 << 53) for b in bits)
    draws = np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second)
    vectors: Floats = draws.astype(np.float32).reshape(VECTORS, size).T
    return vectors


@functools.lru_cache(maxsize=8)
def _vectors_on(size: int, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(_vectors(size).T)).to(device)


def probes(x: Tensor) -> Floats:
    """Return the products of inputs (N, ...) with four fixed vectors, (N, 4).

    In float32 whatever autocast and the precision of torch's products are set to.
    """
    flat = x.detach().reshape(len(x), -1).float()
    if flat.device.type == "cpu":
        products: Floats = flat.numpy() @ _vectors(flat.shape[1])
        return products
    return _products(flat).cpu().numpy()


def _products(flat: Tensor) -> Tensor:
    """The same by sums, which neither TF32 nor autocast touches."""
    return torch.stack([(flat * v).sum(1) for v in _vectors_on(flat.shape[1], flat.device)], 1)


def norms(x: Tensor) -> Tensor:
    """Return the norms of inputs (N, ...), float32 (N,), on the CPU."""
    lengths: Tensor = x.detach().reshape(len(x), -1).float().norm(dim=1)
    return lengths.cpu()


def check_fresh(x: Tensor, stored: Floats, norm: Floats, index: Tensor, view: Tensor | None) -> None:
    """Make sure that inputs are those that the teacher saw.

    Args:
        x: inputs (N, ...).
        stored: probes of what the teacher saw, (N, 4).
        norm: of what it saw, (N,).
        index: ids (N,), for the message.
        view: (N,), for the message.

    Raises:
        StaleTarget: at the first row of which a probe differs by more than ``1e-4`` of the norm.
    """
    moved = np.abs(probes(x) - stored).max(1)
    fresh = moved <= TOLERANCE * norm  # not so for NaN
    if fresh.all():
        return
    row = int(np.flatnonzero(~fresh)[0])
    named = f"example {int(index[row])}" + ("" if view is None else f" (view {int(view[row])})")
    raise StaleTarget(
        f"the input of {named} is not the one whose logits are stored: it has moved by "
        f"{moved[row] / max(norm[row], 1e-30):.2g} of its norm, and so have {int((~fresh).sum())} of {len(x)} rows. "
        'Random augmentation needs augment(..., views=V) for the cache and for the batches, or mode="off".'
    )


@contextmanager
def own_randomness(key: int) -> Iterator[None]:
    """Run a block with the global generators of torch, numpy and Python seeded by ``key``, then put them back.

    For the transforms of other people's data sets, which draw from these.
    """
    states = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        np.random.seed(key % (1 << 32))  # noqa: NPY002
        random.seed(key)
        with seeded(key):
            yield
    finally:
        np.random.set_state(states[0])  # noqa: NPY002
        random.setstate(states[1])


def check_inputs(inputs: Inputs) -> None:
    """Fetch a few rows twice, in two passes and with other global random states.

    Raises:
        NotCacheable: if they are not equal to the bit.
    """
    rows = _drawn(len(inputs), _FETCHED, stream(0, "randomness probe"))
    fetched = []
    for turn in (0, 1):
        with own_randomness(counter(stream(0, "randomness probe"), turn)):
            fetched.append(inputs.at(rows, turn * inputs.views))
    differs = (fetched[0] != fetched[1]).reshape(len(rows), -1).any(1)
    if bool(differs.any()):
        name = int(inputs.index[rows[int(differs.nonzero()[0])]])
        raise NotCacheable(
            f"the inputs are random: example {name} looks different in two passes. Declare the randomness as a bank of "
            "views, augment(..., views=V)."
        )


def check_teacher(teacher: Answering, inputs: Inputs, device: torch.device) -> tuple[int, float]:
    """Ask a teacher twice for a few rows, with other global random states, and once for half of them.

    Returns:
        The number of classes, and how far answers depend on the size of the batch, as a share of ``max(1, |z|)``:
        about 1e-6 in 32 bits, more in 16.

    Raises:
        NotCacheable: if the answers differ: it is random, or a row's answer depends on the other rows.
    """
    x = inputs.at(_drawn(len(inputs), _FETCHED, stream(0, "teacher probe")), 0).to(device)
    answers = []
    for turn in (0, 1):
        with own_randomness(counter(stream(0, "teacher probe"), turn)):
            answers.append(teacher.answers(x).detach())
    if answers[0].ndim != 2 or len(answers[0]) != len(x):
        raise NotCacheable(
            f"the teacher's answers have shape {tuple(answers[0].shape)}; only logits (N, C) can be kept."
        )
    if not torch.equal(*(a.nan_to_num() for a in answers)):
        raise NotCacheable("the teacher is random: it answers differently to the same rows, as with dropout.")
    half = answers[0][: -(-len(x) // 2)]
    alone = teacher.answers(x[: len(half)]).detach()
    off = (alone - half).abs()
    if bool((off > _BATCHING * half.abs().amax().clamp_min(1.0)).any()):
        raise NotCacheable(
            "the teacher's answer to a row depends on the other rows of the batch, as with batch norm in training mode."
        )
    return half.shape[1], float((off / half.abs().clamp_min(1.0)).nan_to_num().max())


def check_rows(file: LogitFile, teacher: Answering, inputs: Inputs, device: torch.device, tolerance: float) -> None:
    """Ask the teacher for a few rows again, and compare with what is stored.

    Args:
        file: of logits.
        teacher: whose they are said to be.
        inputs: what it saw.
        device: of the teacher.
        tolerance: largest difference beyond rounding, as a share of ``max(1, |z|)``.

    Raises:
        CheckpointError: if a logit differs by more.
        StaleTarget: if an input is not the one that the teacher saw.
    """
    layout = file.layout
    drawn = _drawn(layout.entries, _RECOMPUTED, stream(0, f"rows of {file.path.name}"))
    places, views = np.divmod(drawn, layout.views)
    for view in np.unique(views).tolist():
        rows = places[views == view]
        x, index = inputs.at(rows, view), torch.from_numpy(inputs.index[rows])
        entries = file.entries(index, torch.full_like(index, view))
        check_fresh(x, *file.probes(entries), index, torch.full_like(index, view))
        given = file.logits(entries, torch.float32)
        z = teacher.answers(x.to(device)).detach().cpu().float()
        z, stored = (z.gather(1, given.indices), given.values) if isinstance(given, TopLogits) else (z, given)
        wrong = (stored - z).abs() > layout.storage.bound(z) + tolerance * z.abs().clamp_min(1.0)
        if bool(wrong.any()):
            row = int(wrong.any(1).nonzero()[0])
            raise CheckpointError(
                f"{file.path}: the logits of example {int(index[row])} (view {view}) differ from the teacher's by "
                f"{float((stored - z)[row].abs().max()):.2g}; remove the file, or allow for it by tolerance=... if the "
                "teacher runs in less than 32 bits."
            )


def _drawn(n: int, k: int, key: int) -> IntArray:
    """k of n places, ascending, one of each k-th part; all if there are fewer."""
    if n <= k:
        return np.arange(n)
    ends = np.arange(k + 1) * n // k
    return ends[:-1] + integer(hashed(key, np.arange(k)), np.diff(ends))
