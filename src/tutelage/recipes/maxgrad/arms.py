"""What is compared: teachers by name, each with each filter of the pool."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ...lesson import Batch, Loss
from ...pools import Filter, LinearReference
from ...selecting import Selecting
from ...stale_scores import StaleScores
from ...teacher import Teacher
from ...teachers.select.alignment import Alignment
from ...teachers.select.at_random import AtRandom
from ...teachers.select.el2n import EL2N
from ...teachers.select.first_then import FirstThen
from ...teachers.select.iterative import IterativeTeaching
from ...teachers.select.k_center import KCenter
from ...teachers.select.maxgrad import MaxGrad
from ...teachers.select.prototypes import Prototypes

_ETA = 0.05
"""Rate of the step that iterative teachers have in mind."""
RECOMMENDED = "prototypes-then-maxgrad (cross-fitted)"


@dataclass(frozen=True, eq=False)
class Setting:
    """What teachers are made of, for one seed and one rate of noise.

    Attributes:
        options: with nothing left to choose.
        keep: the filter.
        pool: what they choose from.
        seed: of their draws.
        classes: K.
        loss: what students study by.
    """

    options: Any
    keep: Filter
    pool: Batch
    seed: int
    classes: int
    loss: Loss

    @cached_property
    def target(self) -> Tensor:
        """Codewords (K, d) of a linear model of the rows that the filter keeps, where iterative teachers lead to."""
        kept = self.keep(self.pool, self.classes)
        x, y = self.pool.x[kept], self.pool.y[kept]
        return LinearReference().fit(x[None], y[None], x.new_zeros(1, self.classes, x.shape[1]))[0]

    def maxgrad(self) -> MaxGrad:
        """Return the teacher as the options have it."""
        options = self.options
        stale = None if options.stale is None else StaleScores(every=options.stale)
        shared = {"rows": options.rows, "loss": self.loss, "seed": self.seed}
        return MaxGrad(self.keep, space=options.space, pairs=options.pairs, stale=stale, **shared)

    def prototypes(self, *, herding: bool = False) -> Prototypes:
        """Return rows that stand for their class."""
        return Prototypes(self.keep, herding=herding, rows=self.options.rows, seed=self.seed)

    def alignment(self, *, cosine: bool) -> Alignment:
        """Return rows whose gradient points where the pool's does."""
        return Alignment(self.keep, cosine=cosine, rows=self.options.rows, loss=self.loss, seed=self.seed)

    def iterative(self, *, surrogate: bool) -> IterativeTeaching:
        """Return rows whose step brings a linear student nearest to the target."""
        return IterativeTeaching(self.target, eta=_ETA, surrogate=surrogate, again=False, keep=self.keep)

    def prototypes_then(self, then: Selecting) -> FirstThen:
        """Return one prototype of each class, then another teacher's rows."""
        return FirstThen(self.prototypes(), then, self.classes)


@dataclass(frozen=True)
class Entry:
    """A teacher of the recipe.

    Attributes:
        make: makes one.
        about: a line on it.
    """

    make: Callable[[Setting], Teacher]
    about: str


TEACHERS: Mapping[str, Entry] = {
    "random": Entry(
        lambda s: AtRandom(rows=s.options.rows, seed=s.seed), "Rows at random, from the whole pool; the baseline."
    ),
    "balanced": Entry(
        lambda s: AtRandom(s.keep, balanced=True, rows=s.options.rows, seed=s.seed), "Rows at random, classes in turn."
    ),
    "maxgrad": Entry(Setting.maxgrad, "The row that pulls hardest at what the student has learned so far."),
    "prototypes": Entry(Setting.prototypes, "Rows nearest to the mean of their class, classes in turn."),
    "herding": Entry(lambda s: s.prototypes(herding=True), "Rows whose mean follows that of their class."),
    "k-center": Entry(
        lambda s: KCenter(s.keep, rows=s.options.rows, seed=s.seed), "The row farthest from all that was shown."
    ),
    "el2n": Entry(
        lambda s: EL2N(s.keep, rows=s.options.rows, seed=s.seed), "The row that the student gets most wrong."
    ),
    "alignment": Entry(
        lambda s: s.alignment(cosine=False), "The row whose gradient has the largest product with the pool's."
    ),
    "cosine": Entry(lambda s: s.alignment(cosine=True), "The row whose gradient points most where the pool's does."),
    "prototypes-then-maxgrad": Entry(
        lambda s: s.prototypes_then(s.maxgrad()), "One prototype of each class, then MaxGrad; what we recommend."
    ),
    "prototypes-then-cosine": Entry(
        lambda s: s.prototypes_then(s.alignment(cosine=True)), "One prototype of each class, then cosine."
    ),
    "iterative": Entry(
        lambda s: s.iterative(surrogate=False),
        "The row whose step brings the student nearest to a model of the pool.",
    ),
    "iterative-surrogate": Entry(
        lambda s: s.iterative(surrogate=True), "The same, from the student's losses instead of its codewords."
    ),
}
"""Teachers by name. All but random choose from what a filter leaves."""
ITERATIVE = ("iterative", "iterative-surrogate")
"""Teachers that know a target for codewords on rows that stay as they are, and show one row at a time."""
FINE_TUNED = ("random", "maxgrad", "herding", "prototypes-then-maxgrad")
"""Teachers of a fine-tuned network if none are named: its courses take long."""


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        teacher: its name.
        keep: name of its filter; None: it takes none.
    """

    teacher: str
    keep: str | None

    @property
    def name(self) -> str:
        """Both, as tables show it."""
        if self.keep is None:
            return self.teacher
        return f"{self.teacher} ({'no filter' if self.keep == 'none' else self.keep})"


def arms_of(teachers: Sequence[str], filters: Sequence[str]) -> list[Arm]:
    """Return all arms, random first, filter by filter."""
    found = [Arm("random", None)]
    return found + [Arm(name, keep) for keep in filters for name in teachers if name != "random"]
