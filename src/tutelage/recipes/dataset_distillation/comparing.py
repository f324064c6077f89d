"""What a distilled set has to be better than: real sets taught alike, nearest neighbours, free training, all data."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...distilled import DistilledSet, accuracies, labels_in_turn
from ...distilled.free_training import RATES, Augment, as_examples, at_best_rate, train_freely
from ...distilled.poison import Poison
from ...real_sets import CHOICES, draws
from ...rules import Adam
from ...student import Student
from ..pieces import Left, Record
from .judging import after, along, attacked, neighbour_accuracy, tuned
from .networks import Networks, some
from .options import FLIPPED, Chosen
from .rows import Domain

ABOUT = {
    "random": "Random real examples, the mean of several draws.",
    "class-means": "The mean of each class.",
    "k-means": "Centroids of each class.",
    "k-center": "Real examples that lie farthest apart in each class.",
    "herding": "Real examples whose mean follows that of their class.",
    FLIPPED: "Random real examples; those of the attacked class bear the label of the other.",
}
_FULL_RATE, _FULL_BATCH = 1e-3, 64


def real_sets(name: str, seed: int, domain: Domain, options: Chosen) -> Iterator[Tensor]:
    """Yield the draws (S, n, ...) of a real set of as many images as the distilled one; one of what draws nothing."""
    count = options.draws if name in ("random", FLIPPED) else 1
    choice = CHOICES["random" if name == FLIPPED else name]
    yield from draws(choice, domain.real, options.batches, options.per_class, seed, count)


def labels_of(name: str, domain: Domain, attack: Poison | None, options: Chosen) -> Tensor:
    """Return the class ids (n,) of a real set."""
    labels = labels_in_turn(domain.classes, options.per_class).to(domain.y.device)
    return attack.labels(labels) if name == FLIPPED and attack is not None else labels


def taught_alike(
    name: str, seed: int, domain: Domain, networks: Networks, attack: Poison | None, options: Chosen
) -> Left:
    """Teach each draw of a real set in the same number of steps, at the constant step size best on training rows.

    Returns:
        ``rates``, ``accuracies`` and ``neighbours`` of the draws; ``best``, that of the draw best on training rows;
        or of an attack its rates; and the first draw's images.
    """
    labels = labels_of(name, domain, attack, options)
    found: list[Record] = []
    first: DistilledSet | None = None
    for images in real_sets(name, seed, domain, options):
        if options.method != "unrolled":
            real = DistilledSet(images, labels, images.new_zeros(0))
            found.append({"neighbour_accuracy": neighbour_accuracy(real, domain.test_x, domain.test_y)})
            first = first or real
            continue
        real, facts = tuned(images, labels, options.epochs, networks, domain, attack)
        first = first or real
        if attack is None:
            told = after(real, networks, networks.judges, domain.test_x)
            facts["judges"] = (told == domain.test_y.unsqueeze(1)).double().mean(0).tolist()
            facts["accuracy"] = sum(facts["judges"]) / len(facts["judges"])
            facts["neighbour_accuracy"] = neighbour_accuracy(real, domain.test_x, domain.test_y)
        else:
            facts |= attacked(real, networks, attack, domain)
        found.append(facts)
    assert first is not None
    return {"draws": found}, {"images": first.images, "labels": first.labels, "step_sizes": first.step_sizes}


def judged(distilled: DistilledSet, networks: Networks, domain: Domain, attack: Poison | None) -> Record:
    """Return how the distilled set does on the test rows."""
    facts: Record = {"neighbour_accuracy": neighbour_accuracy(distilled, domain.test_x, domain.test_y)}
    if distilled.applications:
        facts["along"] = along(distilled, networks, domain.test_x, domain.test_y)
    if attack is not None:
        facts["attack"] = attacked(distilled, networks, attack, domain)
    return facts


def trained_freely(
    sets: Mapping[str, tuple[Tensor, Tensor]],
    seed: int,
    networks: Networks,
    domain: Domain,
    options: Chosen,
    *,
    rates: Sequence[float] = RATES,
    augment: Augment | None = None,
) -> Record:
    """Train networks on each set without its order and step sizes, at the rate best on training rows.

    Args:
        sets: images (M, ...), and class ids (M,) or probabilities, by arm.
        seed: of batches.
        networks: the first of those that judge are trained.
        domain: of training and test rows.
        options: with nothing left to choose.
        rates: to choose from.
        augment: of each step.

    Returns:
        by arm ``accuracies`` of the networks, ``rate``, and ``tried``: accuracy on training rows by rate.
    """
    starts = some(networks.judges, 0, options.free_nets)
    found: Record = {}
    how: dict[str, Any] = {
        "epochs": options.free_epochs,
        "augment": augment,
        "freeze_buffers": networks.frozen,
        "seed": seed,
    }

    def at_rate(images: Tensor, labels: Tensor, lr: float) -> Student:
        return train_freely(networks.net, starts, images, labels, lr=lr, **how)

    for name, (images, labels) in sets.items():
        chosen = at_best_rate(partial(at_rate, images, labels), rates, *domain.tuning)
        found[name] = {
            "accuracies": accuracies(chosen.student, domain.test_x, domain.test_y).tolist(),
            "rate": chosen.lr,
            "tried": {f"{lr:g}": value for lr, value in chosen.tried.items()},
        }
    return found


def trained_on_all(seed: int, networks: Networks, domain: Domain, options: Chosen) -> Record:
    """Train networks on all training rows by Adam; return their ``accuracies``."""
    starts = some(networks.judges, 0, options.free_nets)
    student = train_freely(
        networks.net,
        starts,
        domain.x,
        domain.y,
        lr=_FULL_RATE,
        epochs=options.full_epochs,
        batch_size=_FULL_BATCH,
        rule=Adam,
        freeze_buffers=networks.frozen,
        seed=seed,
    )
    return {"accuracies": accuracies(student, domain.test_x, domain.test_y).tolist()}


def examples(sets: Sequence[tuple[str, DistilledSet]]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return sets without their order, by arm."""
    return {name: as_examples(each) for name, each in sets}


def mean(values: Sequence[float]) -> float:
    """Return the mean of some numbers, exactly as given for one."""
    return values[0] if len(values) == 1 else float(torch.tensor(values, dtype=torch.float64).mean())
