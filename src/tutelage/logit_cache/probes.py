"""Tests that find out whether logits on disk are what the teacher would say."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.elements import Array, IntArray
from ..errors import CheckpointError, StaleTarget
from ..randomness import counter, hashed, integer, seeded, stream
from ..soft_targets import TopLogits
from .file import LogitFile
from .inputs import Inputs, NotCacheable
from .measures import Measure

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


def check_fresh(measure: Measure, measured: Array, stored: Sequence[Array], index: Tensor, view: Tensor | None) -> None:
    """Make sure that inputs are those that the teacher saw.

    Args:
        measure: of the file.
        measured: of the inputs, (N, numbers).
        stored: what is kept of what the teacher saw, (N, numbers) each.
        index: ids (N,), for the message.
        view: (N,), for the message.

    Raises:
        StaleTarget: at the first row that is another one.
    """
    fresh = measure.fresh(measured, stored)
    if fresh.all():
        return
    row = int(np.flatnonzero(~fresh)[0])
    named = f"example {int(index[row])}" + ("" if view is None else f" (view {int(view[row])})")
    differs = measure.difference(measured[row : row + 1], [column[row : row + 1] for column in stored])
    raise StaleTarget(
        f"the input of {named} is not the one whose logits are stored: {differs}, and so have "
        f"{int((~fresh).sum())} of {len(fresh)} rows. Random augmentation needs augment(..., views=V) for the cache "
        'and for the batches, or mode="off".'
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


class Checked(NamedTuple):
    """What was found out about a teacher.

    Attributes:
        classes: of its answers.
        off: how far these depend on the size of the batch, as a share of ``max(1, |z|)``: about 1e-6 in 32 bits, more
            in 16.
        fingerprint: after it has answered.
    """

    classes: int
    off: float
    fingerprint: dict[str, str]


def check_teacher(teacher: Answering, inputs: Inputs, device: torch.device) -> Checked:
    """Ask a teacher twice for a few rows, with other global random states, and once for half of them.

    Raises:
        NotCacheable: if the answers differ: it is random, or a row's answer depends on the other rows; if its
            fingerprint changes as it answers.
    """
    x = inputs.at(_drawn(len(inputs), _FETCHED, stream(0, "teacher probe")), 0).to(device)
    answers, prints = [], []
    for turn in (0, 1):
        with own_randomness(counter(stream(0, "teacher probe"), turn)):
            answers.append(teacher.answers(x).detach())
            prints.append(teacher.fingerprint())
    if answers[0].ndim != 2 or len(answers[0]) != len(x):
        raise NotCacheable(
            f"the teacher's answers have shape {tuple(answers[0].shape)}; only logits (N, C) can be kept."
        )
    if not torch.equal(*(a.nan_to_num() for a in answers)):
        raise NotCacheable("the teacher is random: it answers differently to the same rows, as with dropout.")
    changed = sorted(name for name, value in prints[1].items() if prints[0].get(name) != value)
    if changed:  # only what was there after the first pass: others are made once, when they are needed
        raise NotCacheable(f"the teacher changes as it answers: {', '.join(changed[:3])}; a frozen one does not.")
    half = answers[0][: -(-len(x) // 2)]
    alone = teacher.answers(x[: len(half)]).detach()
    off = (alone - half).abs()
    if bool((off > _BATCHING * half.abs().amax().clamp_min(1.0)).any()):
        raise NotCacheable(
            "the teacher's answer to a row depends on the other rows of the batch, as with batch norm in training mode."
        )
    return Checked(half.shape[1], float((off / half.abs().clamp_min(1.0)).nan_to_num().max()), prints[1])


def check_rows(
    file: LogitFile, teacher: Answering, inputs: Inputs, device: torch.device, tolerance: float, start: int = 0
) -> None:
    """Ask the teacher for a few rows again, and compare with what is stored.

    Args:
        file: of logits.
        teacher: whose they are said to be.
        inputs: what it saw.
        device: of the teacher.
        tolerance: largest difference beyond rounding, as a share of ``max(1, |z|)``.
        start: how often the file was started from; which rows are asked for depends on it.

    Raises:
        CheckpointError: if a logit, or the sum of those outside the largest, differs by more.
        StaleTarget: if an input is not the one that the teacher saw.
    """
    layout = file.layout
    drawn = _drawn(layout.entries, _RECOMPUTED, counter(stream(0, f"rows of {file.path.name}"), start))
    places, views = np.divmod(drawn, layout.views)
    for view in np.unique(views).tolist():
        rows = places[views == view]
        x, index = inputs.at(rows, view), torch.from_numpy(inputs.index[rows])
        seen = torch.full_like(index, view)
        entries = file.entries(index, seen)
        check_fresh(layout.measure, layout.measure.measured(x).numpy(), file.seen(entries), index, seen)
        given, z = file.logits(entries, torch.float32), teacher.answers(x.to(device)).detach().cpu().float()
        off, live, size = _compared(given, z)
        wrong = ~(off <= layout.storage.bound(live) + tolerance * size)
        if bool(wrong.any()):
            row = int(wrong.any(1).nonzero()[0])
            raise CheckpointError(
                f"{file.path}: the logits of example {int(index[row])} (view {view}) differ from the teacher's by "
                f"{float(off[row].max()):.2g}; remove the file, or allow for it by tolerance=... if the "
                "teacher runs in less than 32 bits."
            )


def _compared(given: Tensor | TopLogits, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far what is stored is off, of which numbers of the teacher, and what their changes count against, (N, k)."""
    size = z.abs().clamp_min(1.0)
    if not isinstance(given, TopLogits):
        return (given - z).abs(), z, size
    values, rest = z.gather(1, given.indices), z.scatter(1, given.indices, -torch.inf)
    tail = torch.stack([torch.logsumexp(rest / t, 1) for t in given.temperatures], 1)
    none = (tail == -torch.inf) & (given.tail == -torch.inf)  # log 0
    tail, stored = tail.masked_fill(none, 0.0), given.tail.masked_fill(none, 0.0)
    # where logits change by a share of the largest, their sum does so by as much over T
    of_tail = size.amax(1, keepdim=True) / torch.tensor(given.temperatures)
    off = torch.cat([given.values - values, stored - tail], 1).abs()
    return off, torch.cat([values, tail], 1), torch.cat([size.gather(1, given.indices), of_tail], 1)


def _drawn(n: int, k: int, key: int) -> IntArray:
    """k of n places, ascending, one of each k-th part; all if there are fewer."""
    if n <= k:
        return np.arange(n)
    ends = np.arange(k + 1) * n // k
    return ends[:-1] + integer(hashed(key, np.arange(k)), np.diff(ends))
