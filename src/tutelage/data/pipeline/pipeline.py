"""Pipeline: a source and what is done to its elements, in tf.data's words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...errors import ConfigError, DataError
from ..augment import Augmentation
from ..checks import function, instance, numbers, positive, row_index, whole_number
from ..elements import Element, IntArray, as_element
from ..plans import Plans
from ..reader import Reader
from ..sources import Source
from .augmented import Augment
from .batches import BatchIterator
from .cached import Cache
from .change import BatchedMap, Enumerate, Filter, Map, RandomMap
from .drawing import Choose, Sample
from .grained import as_grain
from .grouping import Batch, PaddedBatch, unbatch
from .interleaved import Interleave
from .iterators import ElementIterator, InitialisableIterator, SwitchIterator, plain, tensors
from .leaves import ArrayReader, Bound, Generate, ItemReader, Placeholder, Read
from .merge import Concatenate, Zip
from .nodes import ENDLESS, Node, Record, Site, finite, walk
from .planned import Planned
from .rearrange import Prefetch, Repeat, Shard, Skip, Subset, Take
from .shuffled import Shuffle

Function = Callable[[Any], Any]


class NoLength(ConfigError, TypeError):
    """A length was asked for that is not known; a TypeError too, so that ``list`` does without it."""


class Pipeline:
    """A stream of elements: a source and the operators applied to it. Immutable; each operator returns a new one.

    An element is a nest of dicts and tuples of tensors (or ``str`` or ``bytes``). It keeps its *index*, the position
    in the source, through every operator, and the *epoch*, the pass in which it was read. Shuffles and augmentation
    are drawn from (seed, operator, epoch, index): the stream is a function of the pipeline, and every iterator can be
    saved and resumed in the middle.

    Make one with a ``from_...`` method, and go through it with ``for``, :meth:`records` or :meth:`batches`.

    Operators that need a name of their own in the random streams number themselves (``shuffle``, ``shuffle.2``).
    """

    def __init__(self, node: Node, seed: int | None = None) -> None:
        self.node = node
        self.seed = None if seed is None else whole_number("pipeline", seed, None, "seed")

    # Sources ---------------------------------------------------------------------------------------------------------

    @classmethod
    def from_tensor_slices(cls, nest: Element, *, seed: int | None = None, check: bool = True) -> "Pipeline":
        """Cut arrays along their leading axis: shape (3, 4, 5) makes three elements of shape (4, 5).

        Args:
            nest: dicts and tuples of tensors, arrays or lists, of equal leading size; arrays are not copied.
            seed: of everything random in the pipeline; None: 0, or that of the pipelines it is joined with.
            check: look for NaN and infinity.

        Raises:
            DataError: if leading sizes differ, a leaf is a scalar, there is no row, or a value is not finite.
        """
        return cls(Read(ArrayReader(nest, check=check)), seed)

    from_slices = from_tensor_slices

    @classmethod
    def range(cls, n: int, *, seed: int | None = None) -> "Pipeline":
        """Return the numbers 0..n-1, int64."""
        return cls.from_tensor_slices(np.arange(whole_number("range", n)), seed=seed)

    @classmethod
    def from_source(
        cls, source: Source, labels: Any = None, index: IntArray | None = None, *, seed: int | None = None
    ) -> "Pipeline":
        """Return the rows of a source as pairs (x, y).

        Args:
            source: labelled rows in memory.
            labels: to use instead of ``source.y``, such as noisy labels, for all N rows: (N,) or soft (N, K).
            index: the rows to use, int64, in this order; None: all. They keep their index in the source.
            seed: of everything random.

        Raises:
            DataError: if labels are not one a row, or ``index`` is empty, names a row twice or leaves the source.
        """
        y = as_element(source.y if labels is None else labels, source.name)
        if np.ndim(y) == 0 or len(y) != len(source):
            raise DataError(
                f"{source.name}: labels have shape {np.shape(y)}, x has {len(source)} rows; one label a row is needed."
            )
        node: Node = Read(ArrayReader((source.x, y), scale=source.scale, where=source.name))
        if index is not None:
            node = Subset(node, row_index(source.name, len(source), index))
        return cls(node, seed)

    @classmethod
    def from_reader(cls, reader: Reader, *, seed: int | None = None) -> "Pipeline":
        """Return the elements of a reader, such as those of :mod:`tutelage.data.records`."""
        instance("from_reader", reader, Reader, "a Reader, such as TFRecordReader(files)")
        return cls(Read(reader), seed)

    @classmethod
    def from_dataset(cls, dataset: Any, *, materialise: bool = False, seed: int | None = None) -> "Pipeline":
        """Return the elements of a map-style data set: a length and ``dataset[i]``.

        Args:
            dataset: such as a torch ``Dataset``; read in this process, through ``__getitems__`` if there is one.
            materialise: copy it to memory once.
            seed: of everything random.
        """
        reader: Reader = ItemReader(dataset)
        if materialise:
            reader = ArrayReader(reader.gather(np.arange(len(reader))), where="from_dataset")
        return cls(Read(reader), seed)

    @classmethod
    def from_generator(
        cls, factory: Callable[[], Iterable[Any]], *, restartable: bool = False, seed: int | None = None
    ) -> "Pipeline":
        """Return the elements of ``factory()``, called once a pass; the index counts them.

        Args:
            factory: returns an iterable of elements.
            restartable: each call gives the same elements; then a state can be resumed, by making them again.
            seed: of everything random.
        """
        return cls(Generate(function("from_generator", factory, "factory"), restartable), seed)

    @classmethod
    def from_iterable(cls, dataset: Any, *, restartable: bool = False, seed: int | None = None) -> "Pipeline":
        """Return the elements of an iterable data set, such as a torch ``IterableDataset``; see
        :meth:`from_generator`.
        """
        instance("from_iterable", dataset, Iterable, "something to iterate over")
        return cls.from_generator(dataset.__iter__, restartable=restartable, seed=seed)

    @classmethod
    def placeholder(cls, **arrays: tuple[tuple[int | None, ...], Any]) -> "Pipeline":
        """Return slices of arrays that are given later, by :meth:`bind` or ``initialize``.

        Elements are dicts of the names.

        Args:
            **arrays: name -> (shape, dtype), None for sizes that are free: ``x=((None, 4, 5), torch.float32)``.
        """
        return cls(Placeholder.of(arrays))

    # Elements changed ------------------------------------------------------------------------------------------------

    def map(self, f: Function, *, batched: bool = False, version: str | None = None) -> "Pipeline":
        """Replace each element by ``f(element)``.

        Args:
            f: element with torch tensors -> element; a pair (x, y) is one argument.
            batched: f gets any number of elements at once, stacked along a leading axis, and keeps that axis.
            version: recognises f when a state is resumed, instead of its name and code; needed for a lambda then.
        """
        kind = BatchedMap if batched else Map
        return self._then(kind(self.node, function("map", f), version))

    def random_map(self, f: Callable[..., Any], *, name: str | None = None, version: str | None = None) -> "Pipeline":
        """Replace each element by ``f(element, generator)``.

        The numpy generator is seeded by (seed, epoch, index), so the draw belongs to the element.

        Args:
            f: element, numpy Generator -> element.
            name: of the random stream.
            version: see :meth:`map`.
        """
        function("random_map", f)
        return self._then(RandomMap(self.node, f, self._named("random_map", RandomMap, name), version))

    def augment(
        self, augmentation: Augmentation | None = None, *, scale: float | None = None, views: int | None = None
    ) -> "Pipeline":
        """Augment x of (x, y) or {x, y}, drawn per epoch and index; integers become float in [0, 1] on the way.

        Before or after ``batch``; mixup and cutmix after it.

        Args:
            augmentation: None: only the division.
            scale: what integer inputs are divided by; None: the maximum that the source names, or 255.
            views: draw for epoch modulo so many: a bank of that many views of each row; None: always new ones.

        Raises:
            ConfigError: if mixing is to be done before ``batch``.
        """
        chosen = Augmentation() if augmentation is None else augmentation
        instance("augment", chosen, Augmentation, "an Augmentation, such as Augmentation(Crop(4))")
        if chosen.mixing is not None and self.node.depth == 0:
            raise ConfigError("augment: mixup and cutmix mix the rows of a batch; put augment after batch(n).")
        if views is not None:
            views = whole_number("augment", views, what="views")
        usual = 255.0 if self.node.scale is None else self.node.scale
        divisor = usual if scale is None else positive("augment", scale, "scale")
        return self._then(Augment(self.node, chosen, divisor, views))

    def enumerate(self, start: int = 0) -> "Pipeline":
        """Make (number, element) of each element, the numbers counting from ``start`` in each pass."""
        return self._then(Enumerate(self.node, whole_number("enumerate", start, None, "start")))

    # Elements chosen -------------------------------------------------------------------------------------------------

    def filter(self, f: Function, *, materialise: bool = False, version: str | None = None) -> "Pipeline":
        """Keep the elements for which ``f(element)`` is true, in order.

        Args:
            f: element -> one truth value.
            materialise: evaluate f now, once, and keep positions; the pipeline then has a length.
            version: see :meth:`map`.

        Raises:
            ConfigError: if ``materialise`` is asked for after an operator whose elements differ between passes.
        """
        node = Filter(self.node, function("filter", f), version)
        return self._then(node.materialised() if materialise else node)

    def take(self, n: int) -> "Pipeline":
        """Keep the first n elements of a pass; -1: all."""
        return self._then(Take(self.node, whole_number("take", n, -1)))

    def skip(self, n: int) -> "Pipeline":
        """Leave out the first n elements of a pass; -1: all."""
        return self._then(Skip(self.node, whole_number("skip", n, -1)))

    def shard(self, n: int, k: int) -> "Pipeline":
        """Keep the elements k, k + n, ... of the stream here.

        Before ``shuffle`` a worker has a fixed part of the data, after it a slice of one global order.
        """
        count, rank = whole_number("shard", n), whole_number("shard", k, None, "index")
        if not 0 <= rank < count:
            raise ConfigError(f"shard: index {k} of {n}; valid are 0..{n - 1}.")
        return self._then(Shard(self.node, count, rank))

    def planned(self, plans: Plans, *, name: str | None = None) -> "Pipeline":
        """Draw elements as a teacher plans; endless. See :class:`Plans`.

        Raises:
            ConfigError: if the plans are for another number of elements.
        """
        instance("planned", plans, Plans, "Plans")
        return self._then(Planned(self.node, plans, self._named("planned", Planned, name)))

    # Order -----------------------------------------------------------------------------------------------------------

    def shuffle(
        self, size: int | Literal["all"] = "all", *, reshuffle: bool = True, name: str | None = None
    ) -> "Pipeline":
        """Shuffle through a buffer of so many elements, as positions, not data.

        No element comes more than ``size - 1`` places early; "all", or a buffer that holds all of them, is a full
        shuffle. ``shuffle().repeat()`` keeps passes apart, ``repeat().shuffle(size)`` mixes them.

        Args:
            size: of the buffer.
            reshuffle: another order in each pass.
            name: of the random stream.

        Raises:
            ConfigError: for a size below 1, or "all" of an endless stream.
        """
        if size == "all" and self.node.length == ENDLESS:
            raise ConfigError('shuffle: "all" needs a finite stream; put shuffle before repeat.')
        held = None if size == "all" else whole_number("shuffle", size)
        return self._then(Shuffle(self.node, held, reshuffle, self._named("shuffle", Shuffle, name)))

    def repeat(self, n: int | None = None) -> "Pipeline":
        """Go through the elements n times; None or -1: without end."""
        count = -1 if n is None else whole_number("repeat", n, -1)
        return self._then(Repeat(self.node, None if count == -1 else count))

    def shuffle_and_repeat(self, size: int | Literal["all"] = "all", n: int | None = None) -> "Pipeline":
        """Shuffle, then repeat: every pass in an order of its own, passes apart."""
        return self.shuffle(size).repeat(n)

    # Groups ----------------------------------------------------------------------------------------------------------

    def batch(self, n: int, drop_remainder: bool = False) -> "Pipeline":
        """Stack n consecutive elements; after ``repeat``, batches straddle passes.

        Args:
            n: rows a batch.
            drop_remainder: leave out a short last batch.
        """
        return self._then(Batch(self.node, whole_number("batch", n), drop_remainder))

    def padded_batch(self, n: int, shapes: Any = None, values: Any = 0, drop_remainder: bool = False) -> "Pipeline":
        """Stack n consecutive elements, padded at the end of each axis.

        Args:
            n: rows a batch.
            shapes: to pad to, one for all leaves or in the structure of an element, None for an axis or altogether:
                the longest of the batch.
            values: to pad with, one for all leaves or in the structure of an element.
            drop_remainder: leave out a short last batch.
        """
        size = whole_number("padded_batch", n)
        return self._then(PaddedBatch(self.node, size, drop_remainder, shapes, values))

    def unbatch(self) -> "Pipeline":
        """Take elements apart along their leading axis."""
        return self._then(unbatch(self.node))

    # Branches --------------------------------------------------------------------------------------------------------

    @classmethod
    def zip(cls, *pipelines: "Pipeline") -> "Pipeline":
        """Make tuples of one element of each, up to the end of the shortest; the index is that of the first."""
        branches = _several("zip", pipelines)
        return cls(Zip(tuple(b.node for b in branches)), _common_seed(branches))

    def concatenate(self, other: "Pipeline") -> "Pipeline":
        """Append another pipeline's elements.

        Raises:
            ConfigError: if structure, dtype or shape differ.
        """
        branches = _several("concatenate", (self, other))
        return Pipeline(Concatenate(tuple(b.node for b in branches)), _common_seed(branches))

    @classmethod
    def sample_from(
        cls,
        pipelines: Sequence["Pipeline"],
        weights: Sequence[float] | None = None,
        *,
        stop_on_empty: bool = False,
        name: str | None = None,
    ) -> "Pipeline":
        """Draw each element from one of the pipelines.

        Args:
            pipelines: the branches.
            weights: of each, up to a factor; None: equal.
            stop_on_empty: end when a branch is drawn that has no element left; else it is left out from then on.
            name: of the random stream.

        Raises:
            ConfigError: if weights are negative, all 0 or not one a branch.
        """
        branches = _several("sample_from", pipelines)
        shares = numbers("sample_from", [1.0] * len(branches) if weights is None else weights, "weights")
        node = Sample(tuple(b.node for b in branches), shares, stop_on_empty, name or "sample_from")
        return cls(node, _common_seed(branches))

    @classmethod
    def choose_from(cls, pipelines: Sequence["Pipeline"], ids: Any, *, stop_on_empty: bool = False) -> "Pipeline":
        """Take each element from the pipeline that the next id names.

        Args:
            pipelines: the branches.
            ids: a pipeline of whole numbers, or an array of them.
            stop_on_empty: end when a branch is named that has no element left; else the id is passed over.
        """
        branches = _several("choose_from", pipelines)
        choices = ids if isinstance(ids, Pipeline) else cls(Read(ArrayReader(ids, where="choose_from")))
        node = Choose(tuple(b.node for b in branches), choices.node, stop_on_empty)
        return cls(node, _common_seed((*branches, choices)))

    def interleave(
        self, f: Callable[[Any], "Pipeline"], cycle: int, block: int = 1, *, version: str | None = None
    ) -> "Pipeline":
        """Make a pipeline of each element, and take elements of ``cycle`` of them in turn, ``block`` at a time.

        Args:
            f: element -> Pipeline.
            cycle: pipelines open at a time.
            block: elements a turn.
            version: see :meth:`map`.
        """
        slots, turn = whole_number("interleave", cycle, what="cycle"), whole_number("interleave", block, what="block")
        return self._then(Interleave(self.node, function("interleave", f), slots, turn, version))

    def flat_map(self, f: Callable[[Any], "Pipeline"], *, version: str | None = None) -> "Pipeline":
        """Make a pipeline of each element, and take their elements one pipeline after the other."""
        return self.interleave(f, 1, version=version)

    # Running ahead ---------------------------------------------------------------------------------------------------

    def cache(self, path: str | Path | None = None) -> "Pipeline":
        """Keep the elements of the first pass: what is random below is drawn once, what is above stays fresh.

        Args:
            path: a file to keep them in, written when the last element was made; None: memory.
        """
        instance("cache", path, str | PathLike | None, "the path of a file")
        return self._then(Cache(self.node, None if path is None else Path(path)))

    def prefetch(self, n: int) -> "Pipeline":
        """Let a thread make up to n elements of this point ahead; 0: none."""
        depth = whole_number("prefetch", n, 0)
        return self._then(Prefetch(self.node, depth)) if depth else self

    # Settings --------------------------------------------------------------------------------------------------------

    def with_seed(self, seed: int) -> "Pipeline":
        """Return the pipeline with another seed."""
        return Pipeline(self.node, seed)

    def bind(self, **arrays: Any) -> "Pipeline":
        """Return the pipeline with arrays in the place of its placeholder.

        Raises:
            ConfigError: if an array is missing, not known or does not fit.
        """
        return Pipeline(_bound(self.node, arrays), self.seed)

    # Running ---------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return the number of elements of a pass.

        Raises:
            ConfigError: if the stream is endless.
            NoLength: if its length is not known.
        """
        length = self.node.length
        if length == ENDLESS:
            raise ConfigError("len: the stream is endless; put take(n) behind repeat().")
        if not finite(length):
            raise NoLength("len: the length is not known before all elements were seen; count them in a loop.")
        return length

    def __iter__(self) -> ElementIterator[Any]:
        return self.epoch(0)

    def __bool__(self) -> bool:
        return True  # without asking for a length

    def epoch(self, epoch: int) -> ElementIterator[Any]:
        """Return the elements of a pass with torch tensors; passes differ in shuffles and augmentation."""
        return ElementIterator(self._placed, whole_number("epoch", epoch, 0, "epoch"), plain, "elements")

    def records(self, epoch: int = 0) -> ElementIterator[Record]:
        """Return the elements of a pass with their index and epoch."""
        return ElementIterator(self._placed, whole_number("epoch", epoch, 0, "epoch"), tensors, "records")

    def batches(
        self,
        steps: int | None = None,
        start: int = 0,
        *,
        epoch: int = 0,
        device: Any = "cpu",
        resident: bool | None = None,
        prefetch: int = 0,
        threads: int = 1,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        pad: bool = False,
    ) -> BatchIterator:
        """Return ``Batch(x, y, index, progress)`` of a pipeline whose elements are batches of (x, y) or {x, y}.

        Args:
            steps: length of the whole training, for ``progress = step / steps``; None: that of the pass.
            start: the step to begin with; the batches are those of an uninterrupted run.
            epoch: the pass.
            device: where batches live.
            resident: keep the rows on the device, uploaded once as they are stored; None: on CUDA, if they take at
                most half of the free memory. For chains that rearrange, batch and augment arrays in memory. Batches
                are the same either way.
            prefetch: batches made ahead by a thread; 0: none.
            threads: that make batches ahead; more than one pays where a map waits for files or the like.
            workers: processes that make batches ahead, spawned by grain, each with a copy of the data; 0: none.
                They take seconds to start, and need the script's ``if __name__ == "__main__"``.
            rank: of this process, which gets rows ``rank B / world ..`` of each batch of B.
            world: number of processes; all compute one global order.
            pad: fill a short batch up with copies of its first row, whose index becomes -1; for evaluation.

        Raises:
            ConfigError: if the elements are no batches, the stream is endless and ``steps`` is missing, or an
                argument is not valid.
        """
        return BatchIterator(
            self._placed,
            steps=steps,
            start=start,
            epoch=whole_number("batches", epoch, 0, "epoch"),
            device=device,
            resident=resident,
            prefetch=prefetch,
            threads=threads,
            workers=workers,
            rank=rank,
            world=world,
            pad=pad,
        )

    def to_grain(self) -> Any:
        """Return the elements of pass 0, as numpy arrays, as a ``grain.MapDataset``.

        The other way: ``Pipeline.from_dataset(map_dataset)``.

        Raises:
            ConfigError: if elements cannot be had by position, or are endless.
        """
        return as_grain(self._placed)

    def iterator(self) -> InitialisableIterator:
        """Return an iterator that is started, and started again, by ``initialize``, perhaps with new arrays."""
        needs = tuple(name for n in walk(self.node) if isinstance(n, Placeholder) for name, _, _ in n.arrays)
        return InitialisableIterator(self._initialised, needs)

    @staticmethod
    def switch(pipelines: Mapping[str, "Pipeline"]) -> SwitchIterator:
        """Return one iterator for several pipelines of equal structure; ``use(name)`` says which comes next."""
        instance("switch", pipelines, Mapping, 'a dict such as {"train": a, "valid": b}')
        _several("switch", pipelines.values())
        return SwitchIterator({name: p._placed for name, p in pipelines.items()})

    # Inside ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _placed(self) -> Node:
        return self.node.at(Site(self.seed or 0))

    def _initialised(self, arrays: dict[str, Any]) -> Node:
        return (self.bind(**arrays) if arrays else self)._placed

    def _then(self, node: Node) -> "Pipeline":
        return Pipeline(node, self.seed)

    def _named(self, usual: str, kind: type[Node], given: str | None) -> str:
        if given is not None:
            return given
        before = 0
        node: Node | None = self.node
        while node is not None:
            before += isinstance(node, kind)
            node = node.children[0] if len(node.children) == 1 else None
        return f"{usual}.{before + 1}" if before else usual

    def __repr__(self) -> str:
        length = self.node.length
        shown = "endless" if length == ENDLESS else "unknown length" if length is None else f"{length} elements"
        return f"Pipeline({type(self.node).__name__}, {shown})"

    def __getstate__(self) -> dict[str, Any]:
        return {"node": self.node, "seed": self.seed}


def _bound(node: Node, arrays: dict[str, Any]) -> Node:
    if not any(isinstance(n, Placeholder | Bound) for n in walk(node)):
        raise ConfigError(f"bind: the pipeline has no placeholder for {', '.join(arrays) or 'anything'}.")
    return node.replaced(lambda n: n.bound(arrays) if isinstance(n, Placeholder | Bound) else None)


def _common_seed(pipelines: Sequence[Pipeline]) -> int | None:
    seeds = {p.seed for p in pipelines} - {None}
    if len(seeds) > 1:
        raise ConfigError(f"pipelines with seeds {sorted(seeds)} are joined; give one, by with_seed at the end.")  # type: ignore[type-var]
    return next(iter(seeds), None)


def _several(who: str, pipelines: Any) -> tuple[Pipeline, ...]:
    if isinstance(pipelines, Pipeline) or not isinstance(pipelines, Iterable):
        raise ConfigError(f"{who}: needed is a list of pipelines, [a, b].")
    branches = tuple(pipelines)
    if not branches:
        raise ConfigError(f"{who}: name at least one pipeline.")
    for branch in branches:
        instance(who, branch, Pipeline, "a Pipeline")
    return branches
