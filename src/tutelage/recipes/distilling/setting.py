"""One seed of a staged experiment: who is in which role, how rows look, what comes in a step, fresh networks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ...data import Augmentation, Normalise, Pipeline
from ...data.sources import IntArray
from ...lesson import Batch
from ...randomness import stream
from ..draws import Draws
from ..one_seed import OneSeed

Stream: TypeAlias = Callable[[int], Batch]
"""The batch of a step, counted from 0: a function of the seed and the step alone."""

_AT_ONCE = 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting(OneSeed):
    """One seed: roles, streams and networks.

    Attributes:
        roles: ``train``, ``validation`` (may be empty) and ``test`` rows; beside what every seed has.
        order: the training rows as they were drawn: ``order[:n]`` are the first n.
        scaling: what brings rows to the range that networks work in; None: ``x / scale``.
        moving: crop and flip in training, or nothing.
        views: how many fixed views a row has, which passes go through in turn; None: a new one each pass.
        rehearsing: whether stages only take a step to see that they can, with networks that nobody trained.
    """

    order: IntArray
    scaling: Normalise | None
    moving: Augmentation
    views: int | None = None
    rehearsing: bool = False

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.source.num_classes

    @property
    def moves(self) -> bool:
        """Whether rows look another way in training, at random."""
        return bool(self.moving.transforms)

    def clean(self, index: IntArray) -> tuple[Tensor, Tensor]:
        """Return rows of the training source as networks see them in evaluation, and their labels."""
        return self.look(self._x[torch.from_numpy(index).to(self.device)]), self._y[torch.from_numpy(index)]

    def look(self, x: Tensor) -> Tensor:
        """Return rows, as they are in a source, as networks see them: scaled, nothing random."""
        x = x if x.is_floating_point() else x.to(torch.float32)
        x = x / self.source.scale
        return x if self.scaling is None else self.scaling.apply(x)

    def stream(
        self,
        name: str,
        rows: IntArray,
        size: int,
        steps: int,
        *,
        replacement: bool,
        moved: bool = True,
        banked: bool = True,
    ) -> Stream:
        """Return the batches of a stage.

        Args:
            name: of the stream; the same name, rows and size give the same batches in every stage of a seed.
            rows: to draw from, (n,).
            size: rows a step.
            steps: in all.
            replacement: draw each by itself; else pass by pass.
            moved: crop and flip, if the setting does.
            banked: look as one of the fixed views, if there are any; False: always new.
        """
        views = self.views if banked else None
        draws = Draws(stream(self.seed, name), rows, size, replacement)

        def batch(step: int) -> Batch:
            index = torch.from_numpy(draws.at(step)).to(self.device)
            if not (moved and self.moves):
                return Batch(self.look(self._x[index]), self._y[index], index, step / steps)
            passes = np.full(size, step) if replacement else draws.passes(step)
            epoch = torch.from_numpy(passes if views is None else passes % views).to(self.device)
            x = self.moving.apply(self._x[index], self.moving.draw(self.seed, epoch, index), self.source.scale)
            x = x if self.scaling is None else self.scaling.apply(x)
            return Batch(x, self._y[index], index, step / steps, view=None if views is None else epoch)

        return batch

    def rows(self, index: IntArray) -> Pipeline:
        """Return rows as they look in training, one by one: what a teacher's answers are kept for."""
        scaling = () if self.scaling is None else (self.scaling,)
        looks = Augmentation(*self.moving.transforms, *scaling)
        return Pipeline.from_source(self.source, index=np.sort(index), seed=self.seed).augment(looks, views=self.views)

    @cached_property
    def _validated(self) -> tuple[Tensor, Tensor]:
        rows = self.roles.validation
        return torch.from_numpy(self.source.x[rows]), torch.from_numpy(self.source.y[rows])

    def held_out(self, role: Literal["test", "validation"]) -> tuple[list[Tensor], Tensor]:
        """Return the rows of a role as networks see them, in pieces, and their labels (N,)."""
        x, y = self._tested if role == "test" else self._validated
        return [self.look(piece.to(self.device)) for piece in torch.split(x, _AT_ONCE)], y.to(self.device)

    @cached_property
    def split_fingerprint(self) -> str:
        """What the roles are: the same for runs that may be compared seed by seed."""
        digest = hashlib.sha256()
        for rows in (self.order, self.roles.validation, self.roles.test):
            digest.update(rows.tobytes() + b"/")
        return digest.hexdigest()
