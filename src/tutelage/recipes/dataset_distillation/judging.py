"""How good a set is: after each application, over networks that no outer step saw; and what an attack does."""

import math

import torch
from torch import Tensor

from ...distilled import DistilledSet, accuracies_along, predictions, taught
from ...distilled.free_training import as_examples
from ...distilled.poison import Poison
from ...errors import NotFiniteError
from ...real_sets import best_rate, nearest
from ..pieces import Record
from .networks import Networks, Weights, size, some
from .rows import Domain

_AT_ONCE = 64
"""Networks that answer at a time."""


def along(distilled: DistilledSet, networks: Networks, x: Tensor, y: Tensor) -> Record:
    """Return accuracies before the first application and after each, over the networks that judge."""
    nets, frozen = networks.judges, networks.frozen
    found = accuracies_along(distilled, networks.net, nets, x, y, chunk=_AT_ONCE, freeze_buffers=frozen)
    return {
        "mean": found.mean(1).tolist(),
        "std": _std(found).tolist(),
        "least": found.min(1).values.tolist(),
        "most": found.max(1).values.tolist(),
        "before": found[0].tolist(),
        "after": found[-1].tolist(),
    }


def _std(values: Tensor) -> Tensor:
    """Over the last axis; 0 of one value."""
    return values.std(-1) if values.shape[-1] > 1 else torch.zeros_like(values[..., 0])


def neighbour_accuracy(distilled: DistilledSet, x: Tensor, y: Tensor) -> float:
    """Return the accuracy of the nearest of a set's own images."""
    images, labels = distilled.images.flatten(0, 1), hard_labels(distilled)
    return float((nearest(x, images, labels) == y).double().mean())


def hard_labels(distilled: DistilledSet) -> Tensor:
    """Return class ids (S n,) of all images; of soft labels the likeliest."""
    labels = as_examples(distilled)[1]
    return labels.argmax(-1) if distilled.soft else labels


def at_rate(images: Tensor, labels: Tensor, epochs: int, rate: float) -> DistilledSet:
    """Return images (S, n, ...) as a set with one step size."""
    return DistilledSet(images, labels, images.new_full((len(images) * epochs,), rate), epochs)


def tuned(
    images: Tensor, labels: Tensor, epochs: int, networks: Networks, domain: Domain, attack: Poison | None
) -> tuple[DistilledSet, Record]:
    """Return images at the constant step size that serves best on training rows, and what was found there.

    Args:
        images: (S, n, ...).
        labels: class ids (n,).
        epochs: E.
        networks: those to try with.
        domain: whose training rows count; never its test rows.
        attack: what their labels become; None: what they are.
    """
    x, y = domain.tuning
    y = y if attack is None else attack.labels(y)

    def judge(rate: float) -> float:
        try:
            found = after(at_rate(images, labels, epochs, rate), networks, networks.tried, x)
        except NotFiniteError:
            return math.nan  # counts as the worst
        return float((found == y.unsqueeze(1)).double().mean())

    rate, score = best_rate(judge)
    return at_rate(images, labels, epochs, rate), {"rate": rate, "train_accuracy": score}


def after(distilled: DistilledSet, networks: Networks, weights: Weights, x: Tensor) -> Tensor:
    """Return the classes (N, K) that networks answer with after all applications."""
    return _answers(distilled, networks, weights, x)[1]


def _answers(distilled: DistilledSet, networks: Networks, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """Before the first application, and after the last."""
    ends: list[tuple[Tensor, Tensor]] = []
    for first in range(0, size(weights), _AT_ONCE):
        these = some(weights, first, first + _AT_ONCE)
        students = taught(distilled, networks.net, these, freeze_buffers=networks.frozen)
        before = predictions(next(students), x)
        *_, last = students
        ends.append((before, predictions(last, x)))
    return torch.cat([b for b, _ in ends], dim=1), torch.cat([a for _, a in ends], dim=1)


def attacked(distilled: DistilledSet, networks: Networks, attack: Poison, domain: Domain) -> Record:
    """Return before and after an attack, over the networks that judge: rates, and confusions (C, C) of true by told."""
    x, y = domain.test_x, domain.test_y
    found = {}
    for when, told in zip(("before", "after"), _answers(distilled, networks, networks.judges, x)):
        rates: Record = dict(attack.rates(told, y))
        found[when] = rates | {"confusion": confusion(told, y, domain.classes).tolist()}
    return found


def confusion(told: Tensor, y: Tensor, classes: int) -> Tensor:
    """Return the share of each true class (rows) that is taken for each (columns); 0 for one without rows.

    Args:
        told: classes (N, K) that K networks answer with.
        y: true class ids (N,).
        classes: C.
    """
    pairs = (y.unsqueeze(1) * classes + told).flatten()
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()
    return counts / counts.sum(1, keepdim=True).clamp_min(1.0)
