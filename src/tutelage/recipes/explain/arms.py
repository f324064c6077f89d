"""What is compared: teachers by name. All choose from the same rows, for learners with the same hypotheses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...hypothesis_space import Space
from ...pools import Filter
from ...selecting import Selecting
from ...teachers.select.at_random import AtRandom
from ...teachers.select.explain import Explain
from ...teachers.select.maxgrad import MaxGrad
from ...teachers.select.prototypes import Prototypes
from ...teachers.select.strict import Strict


@dataclass(frozen=True, eq=False)
class Setting:
    """What teachers are made of, for one seed and one rate of noise.

    Attributes:
        options: with nothing left to choose.
        seed: of their draws.
        space: finds the hypotheses.
        keep: the filter.
        difficulty: of the explanation of each row of the data, by index; None: there are no explanations.
    """

    options: Any
    seed: int
    space: Space
    keep: Filter
    difficulty: Tensor | None

    def at_random(self, *, balanced: bool) -> AtRandom:
        """Return random rows."""
        return AtRandom(self.keep, balanced=balanced, rows=self.options.rows, seed=self.seed)

    def strict(self) -> Strict:
        """Return the teacher that looks at hypotheses alone."""
        return Strict(self.keep, space=self.space, rows=self.options.rows, seed=self.seed)

    def explain(self, difficulty: Tensor | None) -> Explain:
        """Return the teacher that prefers typical rows, and such as are easy to explain if difficulties are given."""
        options = self.options
        return Explain(
            self.keep,
            difficulty=difficulty,
            sigma_e=options.sigma_e,
            sigma_d=options.sigma_d,
            dist_scale=options.dist_scale,
            space=self.space,
            rows=options.rows,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Entry:
    """A teacher of the recipe.

    Attributes:
        make: makes one.
        about: a line on it.
    """

    make: Callable[[Setting], Selecting]
    about: str


TEACHERS: Mapping[str, Entry] = {
    "random": Entry(lambda s: s.at_random(balanced=False), "Rows at random; the baseline."),
    "balanced": Entry(lambda s: s.at_random(balanced=True), "Rows at random, classes in turn."),
    "strict": Entry(Setting.strict, "The row that leaves least of the wrong hypotheses."),
    "explain-dense": Entry(
        lambda s: s.explain(None), "As strict, of rows that are near the others of their class; without explanations."
    ),
    "explain": Entry(
        lambda s: s.explain(s.difficulty), "As explain-dense, of images whose explanation is compact as well."
    ),
    "prototypes": Entry(
        lambda s: Prototypes(s.keep, rows=s.options.rows, seed=s.seed),
        "Rows nearest to the mean of their class, classes in turn.",
    ),
    "maxgrad": Entry(
        lambda s: MaxGrad(s.keep, rows=s.options.rows, seed=s.seed),
        "The row that pulls hardest at what a linear student has learned so far; chosen for another kind of learner.",
    ),
}
"""Teachers by name."""
EXPLAINED = ("explain",)
"""Teachers that need explanations."""
REFITTED = ("maxgrad",)
"""Teachers who look at a student that studies what was shown."""
PREFERRING = ("explain-dense", "explain")
"""Teachers who have preferences beside the hypotheses."""


def arms_of(teachers: Sequence[str]) -> tuple[str, ...]:
    """Return the teachers in the order of tables, random first."""
    return tuple(name for name in TEACHERS if name == "random" or name in teachers)
