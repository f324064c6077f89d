"""Batches for training and evaluation, made from the elements of a pipeline."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ...errors import CannotResume, ConfigError, DataError, ShapeError
from ...lesson import Batch, Mixed
from ..checks import device_for, whole_number
from ..elements import as_tensors, readable
from ..prefetch import ahead
from .augmented import Looks, inputs
from .gathering import Gathering, Layout, Share, as_labels
from .grained import through_grain
from .grouping import Grouping
from .identity import form
from .iterators import Run, Steps, trimmed
from .nodes import ENDLESS, Node, Record, finite, walk
from .planned import Planned
from .prefetched import Prefetched
from .states import as_state, check, resume_stream, snapshot
from .streams import Stream


class BatchIterator:
    """The batches of the steps ``start .. steps - 1``; ``progress`` of a batch is ``step / steps``.

    Args:
        node: its elements are batches of (x, y) or {x, y}.
        steps: length of the whole training; None: that of the pass.
        start: the step to begin with.
        epoch: the pass.
        device: where batches live.
        resident: keep the rows on the device; None: on CUDA, if they take at most half of the free memory; for
            chains that only rearrange, batch and augment arrays in memory.
        prefetch: batches made ahead.
        threads: that make batches ahead.
        workers: processes that make batches ahead, spawned by grain; 0: none.
        rank: of this process, which gets its share of each batch.
        world: number of processes.
        pad: fill short batches up with copies of their first row, whose index becomes -1.

    Raises:
        ConfigError: if the elements are no batches, or an argument is not valid.
    """

    def __init__(
        self,
        node: Node,
        *,
        steps: int | None,
        start: int,
        epoch: int,
        device: torch.device | str,
        resident: bool | None,
        prefetch: int,
        threads: int,
        workers: int,
        rank: int,
        world: int,
        pad: bool,
    ) -> None:
        top, depth = trimmed(node)
        if top.depth != 1:
            raise ConfigError("batches: elements are no batches; end the chain with batch(n).")
        prefetch = whole_number("batches", prefetch, 0, "prefetch")
        threads = whole_number("batches", threads, 1, "threads")
        workers = whole_number("batches", workers, 0, "workers")
        start = whole_number("batches", start, None, "start")
        if (threads > 1 or workers) and not top.indexed:
            raise ConfigError("batches: threads and workers need a stream with positions, without filter or generator.")
        if workers and any(isinstance(n, Planned) for n in walk(top)):
            raise ConfigError("batches: plans do not reach other processes; use threads or prefetch.")
        self._node, self._top, self._epoch = node, top, epoch
        self._looks = Looks.of(top)
        self._depth = max(depth, prefetch)
        self.steps = _checked_steps(top, steps)
        if not 0 <= start <= self.steps:
            raise ConfigError(f"batches: cannot go on at step {start} of {self.steps}.")
        self._share = _checked_share(top, rank, world, pad)
        self._device = device_for("batches", device)
        self._stream: Stream | None = None
        self._ahead: Steps[Any] | None = None
        self._done = False
        if top.indexed:
            run: Run = partial(ahead, depth=self._depth)
            make = self._maker(False if workers else resident, torch.device("cpu") if workers else self._device)
            if threads > 1 or workers:
                run = partial(through_grain, threads=threads, workers=workers, depth=self._depth)
            self._ahead = Steps(partial(_arrays, make) if workers else make, self.steps, run)
            self._ahead.seek(start)
        else:
            self._stream = self._opened()
            self._at = 0
            for _ in range(start):
                self._next_record().release()
                self._at += 1

    def _maker(self, resident: bool | None, device: torch.device) -> Callable[[int], Batch]:
        layout = Layout.of(self._top)
        if layout is not None:
            gathering = Gathering(layout, self._epoch, self._share, self._looks, device, resident)
            return partial(_gathered, gathering, self.steps)
        return partial(_made, self._top, self._epoch, self._share, self._looks, device, self.steps)

    def _opened(self) -> Stream:
        return Prefetched(partial(self._top.stream, self._epoch), self._depth)

    def __len__(self) -> int:
        """Return the number of batches left."""
        return self.steps - self.step

    @property
    def step(self) -> int:
        """The step of the next batch."""
        return self._at if self._ahead is None else self._ahead.at

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        if self._done or self.step >= self.steps:
            self.close()
            raise StopIteration
        if self._ahead is not None:
            made = next(self._ahead)
            return made if isinstance(made, Batch) else self._received(made)
        record = self._next_record().record()
        self._at += 1
        return to_batch(record, self._share, self._looks, self._device, (self._at - 1) / self.steps)

    def _received(self, arrays: Any) -> Batch:
        """Return a batch from another process."""
        progress, linear, x, y, index, *others = arrays
        x, y, index = (torch.from_numpy(a).to(self._device) for a in (x, y, index))
        view, *mixed = (None if a is None else torch.from_numpy(a).to(self._device) for a in others)
        return Batch(x, y, index, progress, view=view, mixed=_mixed(linear, *mixed))

    def _next_record(self) -> Any:
        assert self._stream is not None
        handle = next(self._stream, None)
        if handle is None:
            raise DataError(f"batches: the stream ended after {self._at} of {self.steps} steps; add repeat().")
        return handle

    def state_dict(self) -> dict[str, Any]:
        """Return where the iterator stands, plain data for JSON; it counts the batches that were had.

        Raises:
            CannotResume: if a function of the chain cannot be recognised, or a generator cannot be made again.
        """
        place: dict[str, Any] = {"epoch": self._epoch, "step": self.step}
        if self._stream is not None:
            place |= {"stream": self._stream.state(), "form": form(self._top)}
        return self._snapshot(**place)

    def _snapshot(self, **place: Any) -> dict[str, Any]:
        batch = {"global": self._share.size, "world": self._share.world}
        return snapshot(self._node, kind="batches", batch=batch, **place)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same pipeline, perhaps with another number of processes.

        Raises:
            CannotResume: if the pipeline, its source, its seed, its plan or the global batch is another one.
        """
        present = self._snapshot()
        stored = dict(as_state(state))
        if isinstance(stored.get("batch"), Mapping):
            stored["batch"] = {**stored["batch"], "world": self._share.world}
        check(stored, present)
        step = int(state["step"])
        if state["epoch"] != self._epoch or step > self.steps:
            raise CannotResume(
                f"cannot resume: epoch {state['epoch']} and step {step} of the state do not fit epoch {self._epoch} "
                f"and {self.steps} steps."
            )
        self._done = False
        if self._ahead is not None:
            self._ahead.seek(step)
            return
        if self._stream is not None:
            self._stream.close()
        self._stream = self._opened()
        resume_stream(self._stream, state, form(self._top))
        self._at = step

    def close(self) -> None:
        """End threads and files; the iterator has no more batches."""
        self._done = True
        if self._ahead is not None:
            self._ahead.close()
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _arrays(make: Callable[[int], Batch], step: int) -> Any:
    batch = make(step)
    mixed = batch.mixed
    others = (None,) * 3 if mixed is None else (mixed.partner, mixed.share, mixed.view)
    rows = (None if t is None else t.numpy() for t in (batch.x, batch.y, batch.index, batch.view, *others))
    return batch.progress, mixed is not None and mixed.linear, *rows


def _mixed(linear: bool, partner: Tensor | None, share: Tensor | None, view: Tensor | None) -> Mixed | None:
    return None if partner is None or share is None else Mixed(partner, share, linear, view)


def _gathered(gathering: Gathering, steps: int, step: int) -> Batch:
    return gathering.batch(step, step / steps)


def _made(node: Node, epoch: int, share: Share, looks: Looks, device: torch.device, steps: int, step: int) -> Batch:
    record = node.records(np.array([step]), np.array([epoch]))[0]
    return to_batch(record, share, looks, device, step / steps)


def to_batch(record: Record, share: Share, looks: Looks, device: torch.device, progress: float) -> Batch:
    """Return a record as a batch, or the share of it.

    Raises:
        ShapeError: if it is not (x, y) or {x, y}, or not of numbers, or its rows are not those of the batch.
        DataError: if a batch is short where all must be whole.
    """
    x, y, _ = inputs(record.value, "batches")
    x, y = (as_tensors(readable(a, "batches")) for a in (x, y))
    index, view, mixed = torch.from_numpy(record.index), looks.view(record.epoch), looks.mixed(record)
    if not len(x) == len(y) == len(index):
        raise ShapeError(f"batches: a batch of {len(index)} rows has {len(x)} x and {len(y)} y; keep its rows.")
    if not share.whole:
        if len(index) < share.size and not share.pad:
            raise DataError(f"batches: a batch has {len(index)} of {share.size} rows; drop the remainder or pad.")
        places, real = (torch.from_numpy(a) for a in share.places(len(index)))
        x, y, index = x[places], y[places], torch.where(real, index[places], -1)
        view, mixed = None if view is None else view[places], None if mixed is None else mixed.rows(places)
    view, mixed = None if view is None else view.to(device), None if mixed is None else mixed.to(device)
    return Batch(x.to(device), as_labels(y).to(device), index.to(device), progress, view=view, mixed=mixed)


def _checked_steps(node: Node, steps: int | None) -> int:
    length = node.length
    if steps is None:
        if not finite(length):
            how = "endless" if length == ENDLESS else "of unknown length"
            raise ConfigError(f"batches: the stream is {how}; pass steps=S.")
        return length
    steps = whole_number("batches", steps, what="steps")
    if finite(length) and steps > length:
        raise ConfigError(f"batches: {steps} steps asked for, the stream has {length}; add repeat().")
    return steps


def _checked_share(node: Node, rank: int, world: int, pad: bool) -> Share:
    grouping: Node | None = node
    while grouping is not None and not isinstance(grouping, Grouping):
        below = grouping.children
        grouping = below[0] if len(below) == 1 else None
    rank, world = whole_number("batches", rank, None, "rank"), whole_number("batches", world, None, "world")
    if world < 1 or not 0 <= rank < world:
        raise ConfigError(f"batches: rank {rank} of {world}; valid are 0..{max(world - 1, 0)}.")
    if grouping is None:
        if world > 1 or pad:
            raise ConfigError("batches: with branches of batches there is no global batch to share or pad; batch last.")
        return Share(0)
    size = grouping.size
    if size % world:
        raise ConfigError(f"batches: a batch of {size} rows cannot be shared by {world} processes; take a multiple.")
    if world > 1 and not pad and grouping.short:
        raise ConfigError(
            f"batches: the last batch may be short, and {world} processes need equal shares; use "
            "batch(n, drop_remainder=True), or pad=True for evaluation."
        )
    return Share(size, rank, world, pad)
