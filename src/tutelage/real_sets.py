"""Real examples, or simple statistics of them, in place of a distilled set: what it has to be better than.

Every choice is made of training rows as they are, without augmentation, and returned as (S, C m, ...): S batches of m
examples a class, in the order of their labels (0 m times, 1 m times, ...).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import ConfigError, DataError, NotFiniteError
from .randomness import counter, permutation, stream

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Constant step sizes that a real set is tried with."""


class Real(NamedTuple):
    """Training rows.

    Attributes:
        x: (N, ...), un-augmented.
        y: class ids int64 (N,).
        classes: C.
    """

    x: Tensor
    y: Tensor
    classes: int


Choice: TypeAlias = Callable[[Real, int, int, int], Tensor]
"""(rows, batches S, examples m a class and batch, seed) -> (S, C m, ...)."""


def of_classes(real: Real, needed: int = 1) -> list[Tensor]:
    """Return the rows of each class, int64.

    Raises:
        DataError: naming the class that has fewer than are needed, or a row's that is none of the C.
    """
    strange = torch.nonzero((real.y < 0) | (real.y >= real.classes)).flatten()
    if len(strange):
        raise DataError(
            f"row {int(strange[0])} of the real examples has class {int(real.y[strange[0]])}, but the classes are "
            f"0..{real.classes - 1}: leave it out, or give its class images."
        )
    found = [torch.nonzero(real.y == c).flatten() for c in range(real.classes)]
    for c, rows in enumerate(found):
        if len(rows) < needed:
            have = "no real example" if not len(rows) else f"{len(rows)} real examples"
            raise DataError(f"class {c} has {have}, but needs at least {needed}: ask for fewer images, or add some.")
    return found


def check_classes(y: Tensor, labels: Tensor) -> None:
    """Make sure that real examples and synthetic ones are of the same classes.

    Args:
        y: class ids of real rows, (N,).
        labels: class ids of synthetic ones, in any shape; those of soft labels are all of 0..C-1.

    Raises:
        DataError: naming a class that only one side has.
    """
    if y.is_floating_point():
        raise DataError("the real examples have soft labels, but need class ids.")
    if bool((y < 0).any()):
        raise DataError(f"the real examples have class {int(y.min())}: leave out rows without a class.")
    size = 1 + max(int(y.max()), int(labels.max()))
    real, made = (torch.bincount(ids.flatten().cpu(), minlength=size) > 0 for ids in (y, labels))
    alone = torch.nonzero(real != made).flatten().tolist()
    if not alone:
        return
    if made[alone[0]]:
        raise DataError(f"class {alone[0]} has no real example, but synthetic ones: add some, or leave out the class.")
    raise DataError(f"class {alone[0]} has no synthetic example, but real ones: give it one, or leave out its rows.")


def _wanted(batches: int, each: int) -> int:
    """How many images a class gets."""
    if batches < 1 or each < 1:
        raise ConfigError(f"{batches} batches of {each} images a class are asked for; both must be at least 1.")
    return batches * each


def random(real: Real, batches: int, each: int, seed: int) -> Tensor:
    """Return real examples drawn without replacement from each class."""
    key, count = stream(seed, "random real examples"), _wanted(batches, each)
    chosen = []
    for c, rows in enumerate(of_classes(real, count)):
        order = torch.from_numpy(permutation(counter(key, c), len(rows))[:count])
        chosen.append(real.x[rows[order.to(rows.device)]])
    return _in_batches(chosen, batches, each)


def class_means(real: Real, batches: int, each: int, seed: int) -> Tensor:
    """Return the mean of each class, as often as images are asked for."""
    count = _wanted(batches, each)
    means = [real.x[rows].double().mean(0).to(real.x.dtype) for rows in of_classes(real)]
    return _in_batches([mean.expand(count, *mean.shape) for mean in means], batches, each)


def kmeans(real: Real, batches: int, each: int, seed: int) -> Tensor:
    """Return k-means centroids of each class, k = S m, from k-means++; for k = 1 its mean.

    Of a class with fewer different rows than k, these rows in turn.
    """
    count = _wanted(batches, each)
    if count == 1:
        return class_means(real, batches, each, seed)
    key = stream(seed, "k-means")
    found = []
    for c, rows in enumerate(of_classes(real, count)):
        flat = real.x[rows].flatten(1).double().cpu().numpy()
        order = permutation(counter(key, c, 1), count)  # batches alike: centroids come in no order
        centers = torch.from_numpy(_centroids(flat, count, counter(key, c) % 2**32)[order]).to(real.x)
        found.append(centers.view(-1, *real.x.shape[1:]))
    return _in_batches(found, batches, each)


def _centroids(rows: npt.NDArray[np.float64], count: int, seed: int) -> npt.NDArray[np.float64]:
    from sklearn.cluster import KMeans

    different = np.unique(rows, axis=0)
    if len(different) < count:
        return different[np.arange(count) % len(different)]
    found: npt.NDArray[np.float64] = KMeans(count, n_init=4, random_state=seed).fit(rows).cluster_centers_
    return found


def k_center(real: Real, batches: int, each: int, seed: int) -> Tensor:
    """Return the examples of each class that lie farthest apart, greedily, from the one nearest to its mean.

    Source: Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical Computer Science 1985.
    """
    count = _wanted(batches, each)
    found = [real.x[rows[farthest_first(real.x[rows], count)]] for rows in of_classes(real, count)]
    return _in_batches(found, batches, each)


def farthest_first(x: Tensor, count: int) -> Tensor:
    """Return places (count,) of rows of x (N, ...): the one nearest to the mean, then always the farthest from all."""
    flat = x.flatten(1).double()
    first = int((flat - flat.mean(0)).square().sum(1).argmin())
    chosen, distance = [first], (flat - flat[first]).square().sum(1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (flat - flat[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen, device=x.device)


def herding(real: Real, batches: int, each: int, seed: int) -> Tensor:
    """Return the examples of each class whose running mean follows the class mean, greedily.

    Source: Welling, "Herding dynamical weights to learn", ICML 2009.
    """
    count = _wanted(batches, each)
    found = [real.x[rows[herded(real.x[rows], count)]] for rows in of_classes(real, count)]
    return _in_batches(found, batches, each)


def herded(x: Tensor, count: int) -> Tensor:
    """Return places (count,) of rows of x (N, ...), each with the mean of all so far nearest to that of x."""
    flat = x.flatten(1).double()
    mean, total = flat.mean(0), torch.zeros_like(flat[0])
    free = torch.ones(len(flat), dtype=torch.bool, device=x.device)
    chosen: list[int] = []
    for k in range(1, count + 1):
        distance = (mean - (total + flat) / k).square().sum(1)
        chosen.append(int(distance.masked_fill(~free, torch.inf).argmin()))
        free[chosen[-1]] = False
        total = total + flat[chosen[-1]]
    return torch.tensor(chosen, device=x.device)


CHOICES: dict[str, Choice] = {
    "random": random,
    "class-means": class_means,
    "k-means": kmeans,
    "k-center": k_center,
    "herding": herding,
}
"""By name; all but ``random`` and ``k-means`` depend on no seed."""


def _in_batches(by_class: Sequence[Tensor], batches: int, each: int) -> Tensor:
    """(S m, ...) of each class -> (S, C m, ...)."""
    stacked = torch.stack([x.reshape(batches, each, *x.shape[1:]) for x in by_class], dim=1)
    return stacked.flatten(1, 2).contiguous()


def best_rate(judge: Callable[[float], float], rates: Sequence[float] = RATES) -> tuple[float, float]:
    """Return the rate of the highest score, the lowest of equals, and its score.

    Args:
        judge: score of a rate, on training rows; one that is not finite counts as the worst.
        rates: to try.

    Raises:
        ConfigError: without rates.
        NotFiniteError: if no score is finite.
    """
    if not rates:
        raise ConfigError("no step size to try: give at least one, such as 0.1.")
    scores = [(score if np.isfinite(score := judge(rate)) else -np.inf, -rate) for rate in rates]
    best, rate = max(scores)
    if not np.isfinite(best):
        raise NotFiniteError(f"no step size of {', '.join(map(str, rates))} gives a finite score: try a lower one.")
    return -rate, best


def nearest(x: Tensor, references: Tensor, labels: Tensor, *, k: int = 1, rows: int = 4096) -> Tensor:
    """Return the classes (N,) of the k nearest references, by vote; of a tied vote the nearer class.

    Args:
        x: inputs (N, ...).
        references: (M, ...).
        labels: class ids (M,).
        k: in 1..M.
        rows: of x at a time.

    Raises:
        ConfigError: for a k that the references do not have.
    """
    if not 1 <= k <= len(references):
        raise ConfigError(f"k is {k}, but there are {len(references)} references; it must be in 1..{len(references)}.")
    known = references.flatten(1).double()
    return torch.cat([_voted(piece, known, labels, k) for piece in torch.split(x.flatten(1).double(), rows)])


def _voted(x: Tensor, known: Tensor, labels: Tensor, k: int) -> Tensor:
    distances = known.square().sum(1) - 2.0 * x @ known.T  # but for a constant of the row
    near = labels[distances.topk(k, largest=False).indices]
    votes = (near.unsqueeze(2) == near.unsqueeze(1)).sum(2)
    order = votes * k - torch.arange(k, device=x.device)  # of equal votes the nearest
    return near.gather(1, order.argmax(1, keepdim=True)).squeeze(1)


def draws(choice: Choice, real: Real, batches: int, each: int, seed: int, count: int) -> Iterator[Tensor]:
    """Yield so many sets of a choice, from seeds of their own."""
    key = stream(seed, "draws of real sets")
    for k in range(count):
        yield choice(real, batches, each, counter(key, k) >> 1)
