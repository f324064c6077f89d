"""The fast path: batches of arrays in memory, whose rows are found by arithmetic and read by one gather."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ...lesson import Batch as Examples
from ...lesson import Mixed
from ..augment import Augmentation
from ..elements import Array, IntArray, readable
from ..geometry import Crop
from ..rows import HostRows, ResidentRows, Rows, fits_on
from .augmented import Augment, Looks, inputs
from .grouping import Batch
from .leaves import ArrayReader, Read
from .nodes import Node, walk
from .planned import Planned
from .rearrange import Rearranging, Subset

_STEPS_A_BLOCK = 16


@dataclass(frozen=True)
class Layout:
    """A chain that only rearranges, batches and augments the rows of arrays in memory.

    Attributes:
        above: the operators above the batch, the topmost first.
        batch: the operator that makes batches.
        augment: the augmentation, above or below it.
        x: inputs of all rows of the source.
        y: labels of all rows.
        used: rows of the source that can occur; None: all.
    """

    above: tuple[Node, ...]
    batch: Batch
    augment: Augment | None
    x: Array
    y: Array
    used: IntArray | None
    kept: dict[tuple[torch.device, bool], Rows] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Node) -> Self | None:
        """Return the layout of a chain, found once; None if it has another form."""
        kept = node.__dict__
        if "_layout" not in kept:
            kept["_layout"] = cls._found(node)
        return kept["_layout"]  # type: ignore[no-any-return]

    @classmethod
    def _found(cls, node: Node) -> Self | None:
        above: list[Node] = []
        while not isinstance(node, Batch):
            if not _passes(node):
                return None
            above.append(node)
            node = node.children[0]
        batch = node
        below = list(_down(batch.child))
        leaf = below[-1]
        if not all(map(_passes, below[:-1])) or not isinstance(leaf, Read) or not isinstance(leaf.reader, ArrayReader):
            return None
        augments = [n for n in (*above, *below) if isinstance(n, Augment)]
        if len(augments) > 1 or any(a in below and a.augmentation.mixing is not None for a in augments):
            return None
        x, y = (readable(a, "batches") for a in inputs(leaf.reader.nest, "batches")[:2])
        used = next((n.index for n in below if isinstance(n, Subset) and n.child is leaf), None)
        return cls(tuple(above), batch, augments[0] if augments else None, x, y, used)

    def rows(self, device: torch.device, resident: bool, crop: Crop | None) -> Rows:
        """Return where the rows lie, made once: padding and uploading take time and memory."""
        key = (device if resident else torch.device("cpu"), resident)
        if key not in self.kept:
            make = partial(ResidentRows, device=device) if resident else HostRows
            self.kept[key] = make(self.x, self.used, crop)
        return self.kept[key]

    def resolve(self, positions: IntArray, number: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """Return index and epoch of the rows of some batches, one after another, and size and place of each batch
        in the whole stream.
        """
        passes = np.full(len(positions), number)
        places = positions
        for node in self.above:
            if isinstance(node, Rearranging):
                positions, passes = node.locate(positions, passes)
            else:
                assert isinstance(node, Augment)
                places = node.steps(positions, passes)
        at, when, sizes = self.batch.members(positions, passes)
        return *self.batch.child.ids(at, when), sizes, places


def _passes(node: Node) -> bool:
    return isinstance(node, Augment) or (isinstance(node, Rearranging) and node.moves_only)


def _down(node: Node) -> Iterator[Node]:
    yield node
    while _passes(node):
        node = node.children[0]
        yield node


@dataclass(frozen=True, eq=False)
class _Block:
    """What some consecutive steps need; drawing for many rows at once costs a fraction per row."""

    ends: list[int]
    index: Tensor
    rows: Tensor
    view: Tensor | None
    y: Tensor
    shift: Tensor | None
    params: tuple[Tensor, ...]
    places: list[int]


class Gathering:
    """Makes the batch of a step. A pure function of the step, called by one thread at a time.

    Args:
        layout: of the chain.
        number: the pass.
        share: which rows of a global batch of so many are wanted, and whether short ones are filled up.
        looks: how rows look.
        device: where batches live.
        resident: keep the rows on the device; None: on CUDA, if they take at most half of the free memory.
    """

    def __init__(
        self,
        layout: Layout,
        number: int,
        share: "Share",
        looks: Looks,
        device: torch.device,
        resident: bool | None,
    ) -> None:
        self._layout, self._number, self._share, self._looks = layout, number, share, looks
        self._device = device
        augment = layout.augment
        self._seed = 0 if augment is None else augment.site.seed
        self._scale = 1.0 if augment is None else augment.divisor
        self._augments = augment is not None
        augmentation = Augmentation() if augment is None else augment.augmentation
        self._crop, self._after = augmentation.to(device).without_crop()
        if resident is None:
            resident = fits_on(device, layout.x, layout.used, self._crop)
        self._at = device if resident else torch.device("cpu")
        self._rows = layout.rows(device, resident, self._crop)
        self._labels = as_labels(torch.tensor(layout.y)).to(self._at)
        planned = any(isinstance(n, Planned) for top in (*layout.above, layout.batch) for n in walk(top))
        self._steps = 1 if planned else _STEPS_A_BLOCK  # a plan may not be there yet for a later step
        length = layout.above[0].length if layout.above else layout.batch.length
        assert length is not None
        self._length = length
        self._kept: tuple[int, _Block | None] = (-1, None)

    def batch(self, step: int, progress: float) -> Examples:
        """Return the batch of a step."""
        number, row = divmod(step, self._steps)
        kept, block = self._kept
        if block is None or kept != number:
            block = self._drawn(number)
            self._kept = (number, block)
        here = slice(block.ends[row], block.ends[row + 1])
        x = self._rows.take(block.rows[here], None if block.shift is None else block.shift[:, here]).to(self._device)
        y, index = block.y[here].clone(), block.index[here].clone()
        view = None if block.view is None else block.view[here].clone()
        mixed: Mixed | None = None
        if self._augments:
            x = self._after.apply(x, tuple(p[..., here] for p in block.params), self._scale)
            x, y, mixed = self._after.mix(x, y, self._seed, block.places[row], index, view)
        return Examples(x, y, index, progress, view=view, mixed=mixed)

    def _drawn(self, number: int) -> _Block:
        first = number * self._steps
        positions = np.arange(first, int(min(first + self._steps, self._length)))
        index, epoch, sizes, places = self._layout.resolve(positions, self._number)
        if self._layout.augment is not None:
            epoch = self._layout.augment.drawn_in(epoch)
        index, epoch, real, ends = self._share.cut(index, epoch, sizes)
        rows = torch.from_numpy(index).to(self._at)
        passes: int | Tensor = torch.from_numpy(epoch).to(self._at)
        if len(epoch) and (epoch == epoch[0]).all():
            passes = int(epoch[0])
        shift = None if self._crop is None else self._crop.draw(self._seed, passes, rows)
        y = self._labels.index_select(0, rows).to(self._device)
        named = rows if real is None else torch.where(torch.from_numpy(real).to(self._at), rows, -1)
        view = self._looks.view(epoch)
        view = None if view is None else view.to(self._device)
        params = self._after.draw(self._seed, passes, rows)
        if self._at != self._device:
            params = tuple(p.to(self._device) for p in params)
        return _Block(ends, named.to(self._device), rows, view, y, shift, params, places.tolist())


@dataclass(frozen=True)
class Share:
    """The rows ``rank B / world .. (rank + 1) B / world`` of each global batch of B rows.

    Attributes:
        size: B.
        rank: of this process.
        world: number of processes; divides B.
        pad: fill short batches up with copies of their first row, whose index becomes -1.
    """

    size: int
    rank: int = 0
    world: int = 1
    pad: bool = False

    @property
    def whole(self) -> bool:
        """Whether batches stay as they are."""
        return self.world == 1 and not self.pad

    @property
    def span(self) -> tuple[int, int]:
        """First row and the row behind the last."""
        each = self.size // self.world
        return self.rank * each, (self.rank + 1) * each

    def places(self, size: int) -> tuple[IntArray, Array]:
        """Return the rows to take of a batch of ``size`` rows, and which of them are real."""
        rows = np.arange(*self.span)
        real = rows < size
        return np.where(real, rows, 0), real

    def cut(
        self, index: IntArray, epoch: IntArray, sizes: IntArray
    ) -> tuple[IntArray, IntArray, Array | None, list[int]]:
        """Return index and epoch of the rows wanted, which are real (None: all), and where each batch ends."""
        starts = np.concatenate([[0], np.cumsum(sizes)])
        if self.whole:
            return index, epoch, None, starts.tolist()
        chosen = [self.places(size) for size in sizes.tolist()]
        rows = np.concatenate([start + places for start, (places, _) in zip(starts.tolist(), chosen)])
        ends = np.arange(len(sizes) + 1) * (self.size // self.world)
        return index[rows], epoch[rows], np.concatenate([real for _, real in chosen]), ends.tolist()


def as_labels(y: Tensor) -> Tensor:
    """Return class ids as int64, soft labels as float32."""
    return y.to(torch.float32 if y.is_floating_point() else torch.int64)
