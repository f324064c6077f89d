"""What is compared: teachers by name, what they know of the learner, and what they choose from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...lesson import Batch
from ...linear_sgd import SQUARED
from ...teacher import Teacher
from ...teachers.label.label_synthesis import LabelSynthesis
from ...teachers.select.iterative import ImitationTeaching, IterativeTeaching, rescaled
from .at_random import RandomSteps
from .options import Chosen, sizes_of
from .problems import Problem


@dataclass(frozen=True, eq=False)
class Setting:
    """What teachers are made of.

    Attributes:
        problem: of one seed.
        options: with nothing left to choose.
    """

    problem: Problem
    options: Chosen

    def knowing(self, *, surrogate: bool = False) -> IterativeTeaching:
        """Return a teacher who knows the weights, or the losses."""
        return IterativeTeaching(self.problem.target, loss=self.problem.loss, surrogate=surrogate)

    def imitation(self, queries: int) -> ImitationTeaching:
        """Return a teacher who knows answers alone."""
        own, spread = self.problem, self.options.spread
        return ImitationTeaching(own.target, loss=own.loss, queries=queries, spread=spread, seed=own.seed)

    def labels(self) -> LabelSynthesis:
        """Return a teacher who makes labels."""
        own, options = self.problem, self.options
        bound = options.bound if own.loss == SQUARED else None
        return LabelSynthesis(own.target, loss=own.loss, bound=bound, hard=options.hard, seed=own.seed)

    def pool(self) -> Batch:
        """Return the rows as they are."""
        return self.problem.pool

    def rescaled(self) -> Batch:
        """Return the rows at several sizes."""
        return rescaled(self.problem.pool, sizes_of(self.options.scales), self.problem.loss)


@dataclass(frozen=True)
class Entry:
    """A teacher of the recipe.

    Attributes:
        make: makes one.
        about: a line on it.
        pool: what it chooses from.
    """

    make: Callable[[Setting], Teacher]
    about: str
    pool: Callable[[Setting], Batch] = Setting.pool


TEACHERS: Mapping[str, Entry] = {
    "random": Entry(
        lambda s: RandomSteps(s.problem.loss, seed=s.problem.seed), "Rows at random with their labels; the baseline."
    ),
    "omniscient": Entry(
        Setting.knowing, "Knows the learner's weights: shows the row whose step brings it nearest to the target."
    ),
    "surrogate": Entry(
        lambda s: s.knowing(surrogate=True), "Knows the losses of the learner and of the target alone, not the weights."
    ),
    "imitation": Entry(
        lambda s: s.imitation(s.options.queries), "Asks questions, and chooses for a copy that it learns from answers."
    ),
    "imitation-blind": Entry(
        lambda s: s.imitation(0), "The same without questions: it sees the answers to what it shows alone."
    ),
    "label-synthesis": Entry(Setting.labels, "The rows of random, each with a label made for the learner as it is."),
    "rescalable": Entry(
        Setting.knowing, "Omniscient, of a pool that has each row at several sizes.", pool=Setting.rescaled
    ),
}
"""Teachers by name."""
USUAL = tuple(name for name in TEACHERS if name != "rescalable")
"""Those of a run whose options name none: all that choose from the rows as they are."""


def arms_of(teachers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of all arms, random first."""
    return ("random", *(name for name in teachers if name != "random"))
