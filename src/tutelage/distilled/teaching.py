"""Teaching many networks at once by a distilled set, and how well they then answer."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..errors import NotFiniteError
from ..losses import cross_entropy
from ..nets.together import Each, How, Together, perceptron
from ..rules import SGD, Rule
from ..student import Student
from .lessons import DistilledSet

_ANSWERS = 1 << 24
"""Most numbers that a layer of all networks together may have, about, when they only answer."""


def crowd(net: nn.Module, weights: Mapping[str, Tensor], rule: Rule, *, freeze_buffers: bool = False) -> Student:
    """Return K networks as one student, whose logits are (N, K, C).

    Args:
        net: the architecture.
        weights: by name, each (K, ...).
        rule: of their updates.
        freeze_buffers: see :class:`tutelage.nets.together.Together`.
    """
    how: How = "hand" if perceptron(net) is not None else "vmap"
    return Student(Together(net, weights, how=how, freeze_buffers=freeze_buffers), rule)


def taught(
    distilled: DistilledSet, net: nn.Module, weights: Mapping[str, Tensor], *, freeze_buffers: bool = False
) -> Iterator[Student]:
    """Teach K networks the T lessons of a set; yield them as one student before the first, and after each.

    Args:
        distilled: with step sizes.
        net: the architecture.
        weights: where they start, by name, each (K, ...).
        freeze_buffers: see :class:`tutelage.nets.together.Together`.

    Raises:
        NotFiniteError: if a network diverges, naming lesson and step size.
    """
    plain = DistilledSet(
        distilled.images.detach(), distilled.labels.detach(), distilled.step_sizes.detach(), distilled.epochs
    )
    student = crowd(net, weights, SGD(lr=plain.step_sizes), freeze_buffers=freeze_buffers)
    yield student
    for t, lesson in enumerate(plain.lessons(Each(cross_entropy))):
        student.study(lesson)
        if not all(bool(p.isfinite().all()) for p in student.params.values()):
            size, largest = float(plain.step_sizes[t]), float(plain.step_sizes[: t + 1].max())
            raise NotFiniteError(
                f"lesson {t + 1} of {plain.applications} diverges: a weight of a network is not finite after it, at "
                f"step size {size:.3g}, the largest so far {largest:.3g}: lower them, or start from other weights."
            )
        yield student


def predictions(student: Student, x: Tensor) -> Tensor:
    """Return the classes (N, K) that K networks answer with, in evaluation mode.

    Raises:
        NotFiniteError: for an answer that is NaN or infinite, of which the largest would be any class.
    """
    networks = len(next(iter(student.params.values())))
    rows = max(1, _ANSWERS // max(1, networks * x[0].numel()))
    logits = student.predict(x, batch_size=rows)
    if not bool((logits < torch.inf).all()):
        raise NotFiniteError("a network answers with NaN or infinity, so it has no accuracy: did it diverge?")
    return logits.argmax(-1)


def accuracies(student: Student, x: Tensor, y: Tensor) -> Tensor:
    """Return the accuracies (K,) of K networks, in [0, 1], float64."""
    return (predictions(student, x) == y.unsqueeze(1)).double().mean(0)


def accuracies_along(
    distilled: DistilledSet,
    net: nn.Module,
    weights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    chunk: int = 64,
    freeze_buffers: bool = False,
) -> Tensor:
    """Return the accuracies (T + 1, K) of K networks before the first application, and after each.

    Args:
        distilled: with step sizes.
        net: the architecture.
        weights: where they start, by name, each (K, ...).
        x: inputs (N, ...).
        y: class ids (N,).
        chunk: networks at a time.
        freeze_buffers: see :class:`tutelage.nets.together.Together`.
    """
    count = len(next(iter(weights.values())))
    found = []
    for first in range(0, count, chunk):
        some = {name: value[first : first + chunk] for name, value in weights.items()}
        students = taught(distilled, net, some, freeze_buffers=freeze_buffers)
        found.append(torch.stack([accuracies(student, x, y) for student in students]))
    return torch.cat(found, dim=1)
