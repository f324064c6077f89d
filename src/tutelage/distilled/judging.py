"""How a distilled set is judged: by its own lessons, or by training freely on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..student import Student
from .free_training import RATES, as_examples, at_best_rate, train_freely
from .lessons import DistilledSet
from .pools import count_of, part
from .teaching import accuracies, taught


class Verdict(NamedTuple):
    """What K networks reach with a set.

    Attributes:
        accuracies: (K,), in [0, 1].
        note: how, where that was chosen.
    """

    accuracies: Tensor
    note: str = ""


class Judge(Protocol):
    """Teaches networks by a set, and tests them."""

    def __call__(self, distilled: DistilledSet, net: nn.Module, weights: Mapping[str, Tensor]) -> Verdict:
        """Return what networks of an architecture, from these weights, each (K, ...), reach with a set."""


class FreeTraining(Protocol):
    """Trains K networks on images and labels at a rate, such as ``partial(train_freely, epochs=1000)``."""

    def __call__(
        self,
        net: nn.Module,
        weights: Mapping[str, Tensor],
        images: Tensor,
        labels: Tensor,
        *,
        lr: float,
        freeze_buffers: bool = ...,
    ) -> Student:
        """Return the K networks; see :func:`tutelage.distilled.free_training.train_freely`."""


@dataclass(frozen=True)
class ByLessons:
    """Judges a set by its own T lessons.

    Attributes:
        x: test inputs (N, ...).
        y: class ids (N,).
        chunk: networks at a time.
        freeze_buffers: see :class:`tutelage.nets.together.Together`.
    """

    x: Tensor
    y: Tensor
    chunk: int = 64
    freeze_buffers: bool = False

    def __call__(self, distilled: DistilledSet, net: nn.Module, weights: Mapping[str, Tensor]) -> Verdict:
        """Return the accuracies after the last lesson.

        Raises:
            ConfigError: for a set without step sizes.
        """
        if not distilled.applications:
            raise ConfigError("the set has no step sizes, so it makes no lessons: judge it by ByFreeTraining.")
        found = []
        for first in range(0, count_of(weights), self.chunk):
            some = part(weights, first, first + self.chunk)
            *_, student = taught(distilled, net, some, freeze_buffers=self.freeze_buffers)
            found.append(accuracies(student, self.x, self.y))
        return Verdict(torch.cat(found))


@dataclass(frozen=True)
class ByFreeTraining:
    """Judges a set by training freely on it, at the rate that does best on training data.

    Attributes:
        x: test inputs (N, ...).
        y: class ids (N,).
        training_x: real inputs of the training data, for the choice of the rate.
        training_y: their class ids.
        rates: to choose from.
        nets: of those given, train so many; None: all.
        train: how.
        freeze_buffers: have ``train`` keep running statistics, see :class:`tutelage.nets.together.Together`.
    """

    x: Tensor
    y: Tensor
    training_x: Tensor
    training_y: Tensor
    rates: Sequence[float] = RATES
    nets: int | None = 20
    train: FreeTraining = train_freely
    freeze_buffers: bool = False

    def __call__(self, distilled: DistilledSet, net: nn.Module, weights: Mapping[str, Tensor]) -> Verdict:
        """Return the accuracies after training, with the rate that was chosen as a note.

        Raises:
            NotFiniteError: if training diverges at every rate.
        """
        images, labels = as_examples(distilled)
        some = part(weights, 0, self.nets or count_of(weights))

        frozen = {"freeze_buffers": True} if self.freeze_buffers else {}

        def train(lr: float) -> Student:
            return self.train(net, some, images, labels, lr=lr, **frozen)

        chosen = at_best_rate(train, self.rates, self.training_x, self.training_y)
        return Verdict(accuracies(chosen.student, self.x, self.y), f"learning rate {chosen.lr:g}, by training data")
