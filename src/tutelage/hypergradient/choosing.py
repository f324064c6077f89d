"""Which strategy to choose."""

from typing import NamedTuple

from torch import Tensor

from ..memory import Kept
from ..rules import SGD, Rule
from ..student import Student
from .base import Hypergradient
from .one_step import OneStep
from .recompute import Recompute
from .unrolled import Unrolled


class Sizes(NamedTuple):
    """Bytes that the choice depends on.

    Attributes:
        weights: of the parameters.
        activations: that one pass keeps for its gradient.
        budget: for the look-ahead.
    """

    weights: int
    activations: int
    budget: int = 1 << 30


def sizes_of(student: Student, x: Tensor, budget: int = 1 << 30) -> Sizes:
    """Return the sizes of a student on a batch, by one pass.

    Args:
        student: any.
        x: inputs (N, ...) of a batch as in training.
        budget: bytes for the look-ahead.
    """
    kept = Kept(besides=student.params.values())
    with kept.watched():
        student.at({}).logits(x)
    return Sizes(sum(p.nbytes for p in student.params.values()), kept.bytes, budget)


def auto(steps: int, sizes: Sizes, rule: Rule) -> Hypergradient:
    """Return an exact strategy for K steps: the fastest whose memory fits.

    One step: ``OneStep("jvp")`` where activations outweigh the parameters, else ``Unrolled``. Up to ten steps:
    ``Unrolled`` while the graphs fit. Beyond: ``Recompute(1)`` where K students are smaller than the graph of a step,
    else ``Recompute("sqrt")``.

    Args:
        steps: K.
        sizes: see :func:`sizes_of`.
        rule: the student's; Adam's students are three times as large as their parameters.
    """
    # a graph that can be differentiated again keeps the activations of the pass and of its gradient
    graph = 3 * sizes.activations + 2 * sizes.weights
    state = sizes.weights if type(rule) is SGD else 3 * sizes.weights
    if steps == 1:
        return OneStep("jvp") if sizes.activations > sizes.weights else Unrolled()
    if steps <= 10 and steps * graph <= sizes.budget:
        return Unrolled()
    return Recompute(1) if steps * state <= graph else Recompute("sqrt")
