"""Training freely: many epochs over a set in shuffled batches, K networks at once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import ConfigError, NotFiniteError, ShapeError
from ..lesson import Lesson
from ..losses import cross_entropy
from ..nets.together import Each
from ..randomness import counter, permutation, stream
from ..rules import SGD, Rate, Rule
from ..schedules import StepDecay
from ..student import Student
from .lessons import DistilledSet
from .teaching import accuracies, crowd

Augment: TypeAlias = Callable[[Tensor, int], Tensor]
"""(x (n, ...), key) -> x (n, ...), a function of both alone."""
MakeRule: TypeAlias = Callable[[Rate], Rule]
"""A rule by its rate, such as :func:`published_rule` or ``Adam``."""

RATES = (0.01, 0.05)
"""Of which the better on training data is taken."""


def published_rule(lr: Rate) -> Rule:
    """Return SGD with momentum 0.9 and weight decay 5e-4, as distilled sets are judged by."""
    return SGD(lr, momentum=0.9, weight_decay=5e-4)


def train_freely(
    net: nn.Module,
    weights: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    lr: float = RATES[0],
    epochs: int = 300,
    batch_size: int = 256,
    rule: MakeRule = published_rule,
    augment: Augment | None = None,
    freeze_buffers: bool = False,
    seed: int = 0,
) -> Student:
    """Return K networks, as one student, trained on a set in shuffled batches; the rate falls to a tenth at half time.

    The rate is ``lr`` in the first ``ceil(epochs / 2)`` epochs and ``lr / 10`` in the others; momentum goes on. All K
    networks see the same batches.

    Args:
        net: the architecture.
        weights: where they start, by name, each (K, ...).
        images: (N, ...).
        labels: class ids (N,), or probabilities (N, C).
        lr: > 0.
        epochs: at least 1.
        batch_size: rows a step, all of a smaller set; the last batch of an epoch may be smaller.
        rule: by its rate.
        augment: what a batch becomes, by a key of its step.
        freeze_buffers: see :class:`tutelage.nets.together.Together`.
        seed: of batches, augmentation and dropout.

    Raises:
        ConfigError: for an option outside its range.
        ShapeError: for labels that do not fit the images.
        NotFiniteError: if it diverges, naming epoch and rate.

    Source: Zhao, Mopuri and Bilen, "Dataset condensation with gradient matching", ICLR 2021; its code makes a new
    optimiser when the rate falls, which forgets momentum, and runs an epoch more.
    """
    schedule = StepDecay(lr, at=(math.ceil(epochs / 2) * steps_an_epoch(len(images), batch_size),))
    student = crowd(net, weights, rule(schedule), freeze_buffers=freeze_buffers).seeded(seed)
    for _ in study_epochs(student, images, labels, epochs=epochs, batch_size=batch_size, augment=augment, seed=seed):
        pass
    return student


def steps_an_epoch(rows: int, batch_size: int) -> int:
    """Return how many batches an epoch has, the last perhaps a smaller one."""
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
    return math.ceil(rows / batch_size)


def study_epochs(
    student: Student,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    augment: Augment | None = None,
    seed: int = 0,
) -> Iterator[Student]:
    """Have K networks study a set; yield them, as the one student they are, after each epoch.

    Args:
        student: as :func:`tutelage.distilled.crowd` makes it.
        images, labels, epochs, batch_size, augment, seed: see :func:`train_freely`.

    Raises:
        ConfigError, ShapeError, NotFiniteError: as :func:`train_freely`.
    """
    if epochs < 1:
        raise ConfigError(f"epochs is {epochs}; it must be at least 1.")
    if len(labels) != len(images) or not len(images):
        raise ShapeError(
            f"free training: {len(images)} images, but {len(labels)} labels; it needs one label an image, and an image."
        )
    key, loss = stream(seed, "augmentation of free training"), Each(cross_entropy)
    for epoch in range(epochs):
        for rows in _batches(len(images), batch_size, seed, epoch):
            x, target = (images, labels) if rows is None else (images[rows], labels[rows])
            if augment is not None:
                x = augment(x, counter(key, student.step))
            metrics = student.study(Lesson(x, target, x.new_ones(len(x)), loss))
        if not all(bool(value.isfinite().all()) for value in (metrics["loss"], *student.params.values())):
            raise NotFiniteError(
                f"free training diverges in epoch {epoch} at learning rate {float(student.rule.rate(0)):g}: the loss "
                f"of its last batch is {float(metrics['loss']):g}; lower the rate."
            )
        yield student


def _batches(rows: int, size: int, seed: int, epoch: int) -> Sequence[Tensor | None]:
    """The rows of each batch of an epoch; None: all of them in one."""
    if rows <= size:
        return [None]
    order = torch.from_numpy(permutation(counter(stream(seed, "batches of free training"), epoch), rows))
    return torch.split(order, size)


class Chosen(NamedTuple):
    """Networks trained at the best of several rates.

    Attributes:
        student: the K networks.
        lr: the rate.
        tried: by rate, the mean accuracy of the K networks on training data; None where training diverged.
    """

    student: Student
    lr: float
    tried: Mapping[float, float | None]


def at_best_rate(train: Callable[[float], Student], rates: Sequence[float], x: Tensor, y: Tensor) -> Chosen:
    """Return the networks of the rate that does best on training data; of equals, those of the rate named first.

    Args:
        train: trains K networks at a rate.
        rates: to try.
        x: real training inputs (N, ...); never those of a test.
        y: their class ids (N,).

    Raises:
        ConfigError: without a rate.
        NotFiniteError: if training diverges at every rate.
    """
    tried: dict[float, float | None] = {}
    best: tuple[float, float, Student] | None = None
    for lr in rates:
        try:
            student = train(lr)
        except NotFiniteError:
            tried[lr] = None
            continue
        tried[lr] = mean = float(accuracies(student, x, y).mean())
        if best is None or mean > best[0]:
            best = mean, lr, student
    if not tried:
        raise ConfigError("free training needs at least one rate, such as 0.01.")
    if best is None:
        raise NotFiniteError(f"free training diverges at every rate of {', '.join(map(str, rates))}: add a lower one.")
    return Chosen(best[2], best[1], tried)


def as_examples(distilled: DistilledSet) -> tuple[Tensor, Tensor]:
    """Return a set without its order: images (S n, ...), and class ids (S n,) or probabilities (S n, C)."""
    images = distilled.images.detach().flatten(0, 1)
    return images, torch.cat([distilled.targets(batch).detach() for batch in range(len(distilled.images))])
