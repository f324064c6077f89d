"""The rows of a pipeline as the teacher sees them: by example and pass."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..data import Pipeline
from ..data.elements import IntArray
from ..data.pipeline.augmented import Looks
from ..data.pipeline.batches import to_batch
from ..data.pipeline.gathering import Share
from ..data.pipeline.identity import described
from ..data.pipeline.leaves import Read
from ..data.pipeline.nodes import Node, Site, finite, walk
from ..data.pipeline.rearrange import Rearranging
from ..data.pipeline.states import sources
from ..errors import CannotResume, ConfigError

_SAMPLED = 64


class NotCacheable(ConfigError):
    """A teacher's answers cannot be kept: they, or its inputs, are not always the same."""


class Inputs:
    """The rows of a pipeline, each once, by their index in the source and the pass.

    Shuffles and repeats are passed over: what counts is how a row looks.

    Args:
        rows: elements (x, y) or {x, y}, as they are before they are put in batches.
        version: of the data, told by the user; counts where they are too large to be read as a whole.

    Raises:
        NotCacheable: if rows cannot be had by position, or one index names several rows.
        ConfigError: if the elements are batches.

    Attributes:
        index: int64 (N,), ascending.
        views: number of views of each row, at least 1.
    """

    def __init__(self, rows: Pipeline, version: str = "") -> None:
        node = rows.node.bare.once.at(Site(rows.seed or 0))
        if node.depth:
            raise ConfigError("logit cache: the elements are batches; give the pipeline as it is before batch(n).")
        if not node.indexed or not finite(node.length) or not node.fixed:
            raise NotCacheable(
                "rows cannot be had by position, in the same order in every pass; leave out what draws or drops rows, "
                "or use filter(..., materialise=True)."
            )
        self._node, self._version = node, version
        self._looks = Looks.of(node)
        self.views = self._looks.views or 1
        zeros = np.zeros(node.length, dtype=np.int64)
        index, _ = node.ids(np.arange(node.length), zeros)
        self._places = np.argsort(index, kind="stable")
        self.index: IntArray = index[self._places]
        if len(self.index) > 1 and int(np.diff(self.index).min()) == 0:
            raise NotCacheable("one index names several rows; give each row once.")

    def __len__(self) -> int:
        return len(self.index)

    def at(self, rows: IntArray, epoch: int) -> Tensor:
        """Return the inputs (n, ...) at the places ``rows`` (n,) of :attr:`index`, as they look in a pass."""
        places = self._places[rows]
        record = self._node.stacked(places, np.full(len(places), epoch))
        return to_batch(record, Share(0), self._looks, torch.device("cpu"), 0.0).x

    def facts(self) -> dict[str, str]:
        """Return what the inputs are made of, by name: the data, and what is done to them.

        Raises:
            NotCacheable: if a function cannot be told from another one.
        """
        facts = {"data.rows": str(len(self)), "data.ids": _sha(self.index.astype("<i8").tobytes())}
        for k, source in enumerate(sources(self._node)):
            facts[f"data.source {k}"] = f"{source['kind']} of {source['length']}, {source['fingerprint']}"
        if any("sampled-" in fact for fact in facts.values()):
            facts["data.sample"] = f"weak, {self._sample()}"
            facts["data.version"] = self._version
        changing = [n for n in walk(self._node) if not isinstance(n, Rearranging | Read)]
        try:
            for k, node in enumerate(changing):
                facts |= dict(_flat(_own(node), f"transform.{len(changing) - k}"))
        except CannotResume as error:
            raise NotCacheable(str(error)) from error
        if any(n.draws for n in changing):
            facts["views"] = f"{self.views} of seed {self._node.site.seed}"
        x = self.at(np.zeros(1, dtype=np.int64), 0)
        facts["input"] = f"{x.dtype} {tuple(x.shape[1:])}"
        facts["versions"] = f"tutelage {__version__}, torch {torch.__version__}, numpy {np.__version__}"
        return facts

    def _sample(self) -> str:
        """A digest of a few inputs, of data that are too large to be read for one."""
        rows = np.unique(np.linspace(0, len(self) - 1, _SAMPLED).astype(np.int64))
        return _sha(self.at(rows, 0).contiguous().numpy().tobytes())


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _own(node: Node) -> Any:
    """A node as plain data, without what is below it."""
    name, arguments = described(node, contents=True)
    below = ("child", "branches", "choices")
    return [name, {key: value for key, value in arguments.items() if key not in below}]


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The parts of plain data, each with a name that says where it stands."""
    match value:
        case [str() as kind, dict() as parts]:
            kind = kind.rpartition(".")[2].lower()
            name = name if name.endswith(kind) else f"{name}.{kind}"
            yield name, kind
            for key, part in parts.items():
                yield from _flat(part, f"{name}.{key}")
        case dict():
            for key, part in value.items():
                yield from _flat(part, f"{name}.{key}")
        case list():
            for k, part in enumerate(value):
                yield from _flat(part, f"{name}.{k}")
        case _:
            yield name, str(value)
