"""The smallest sets for the target of a run, and whether learners that study them all at once end there."""

from collections.abc import Callable, Mapping
from typing import TypedDict

from torch import Tensor

from ...teaching_dimension import TeachingSet, logistic_set, ridge_set, svm_set
from .minimising import logistic, ridge, svm


class Smallest(TypedDict):
    """The sets of one learner for each output of a target.

    Attributes:
        sizes: of the sets.
        error: the largest of ``||w - w*|| / ||w*||`` after training on them.
    """

    sizes: list[int]
    error: float


_LEARNERS: Mapping[str, tuple[Callable[[Tensor, float], TeachingSet], Callable[[Tensor, Tensor, float], Tensor]]] = {
    "ridge regression": (ridge_set, ridge),
    "logistic regression": (logistic_set, logistic),
    "support vector machine": (svm_set, svm),
}


def smallest_sets(target: Tensor, decay: float) -> dict[str, Smallest]:
    """Return by learner the sets that teach each row of a target (K, d), after training on them.

    Args:
        target: of several outputs each is a learner of its own, which answers yes or no.
        decay: weight decay of the learners, > 0.
    """
    found = {}
    for name, (made, trained) in _LEARNERS.items():
        sets = [made(row, decay) for row in target]
        errors = [_relative(trained(items.x, items.y, decay), row) for items, row in zip(sets, target)]
        found[name] = Smallest(sizes=[items.size for items in sets], error=max(errors))
    return found


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())
