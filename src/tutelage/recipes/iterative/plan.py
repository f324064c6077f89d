"""What follows from the options, before anything is taught or written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...data import DataSet
from ..distilling.using import refuse_unread
from ..options import names_of, noise_rates
from ..selection.filters import emptied_in_words
from ..selection.options import settled
from ..selection.rows import Material, draw, read
from ..used import check_used
from .arms import TEACHERS, USUAL, Setting, arms_of
from .options import READ, Chosen, Config
from .problems import Problem, from_rows, made
from .used import USED, check

_ETA = {"regression": 0.05, "logistic": 0.2, READ: 0.05}
_STEPS = {"regression": 100, "logistic": 150, READ: 100}
_NEAR = {"regression": 0.01, "logistic": 0.01, READ: None}


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before it starts.

    Attributes:
        options: with nothing left to choose.
        material: rows that were read; None: each seed draws its own.
        arms: what is compared, random first.
    """

    options: Chosen
    material: Material | None
    arms: tuple[str, ...]

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Of the data by role."""
        return {} if self.material is None else self.material.fingerprints

    @property
    def seeds(self) -> range:
        """Of the run."""
        return range(self.options.first_seed, self.options.first_seed + self.options.seeds)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none of made problems."""
        return () if self.material is None else self.material.classes

    def problem(self, seed: int) -> Problem:
        """Return the problem of a seed.

        Raises:
            DataError: if a class has too few rows, or the filter leaves none of it.
        """
        if self.material is None:
            return made(self.options, seed)
        drawn = draw(self.material, self.options, seed, noise_rates(self.options.noise)[0])
        with emptied_in_words(self.classes, "--filter none"):
            return from_rows(drawn, self.options, len(self.classes))

    def rehearse(self) -> None:
        """Have each teacher of the first seed choose once, so that what cannot work is refused before a folder is made.

        Raises:
            TutelageError: for what cannot work.
        """
        setting = Setting(self.problem(self.seeds[0]), self.options)
        for name in self.arms:
            TEACHERS[name].make(setting).teach(TEACHERS[name].pool(setting), setting.problem.learner())


def prepare(given: Any, *, fresh: bool) -> Plan:
    """Return the plan of some options; ``fresh``: as a user gave them, not as a run folder keeps them.

    Raises:
        TutelageError: for options or data that cannot be used.
    """
    if fresh:
        check(given)
    options = filled(given) if fresh else given
    arms = arms_of(names_of(options.teachers, TEACHERS, "teacher"))
    if fresh:
        check_used(given, options, USED, arms)
    material = read(options) if options.problem == READ else None
    if fresh and material is not None:
        refuse_unread(given, DataSet(material.source))
    return Plan(options, material, arms)


def filled(given: Config) -> Chosen:
    """Return the options with nothing left to choose."""
    problem = given.problem
    return replace(
        given,
        **settled(given),
        scales=str(given.scales),
        teachers=",".join(USUAL) if given.teachers is None else given.teachers,
        eta=_ETA[problem] if given.eta is None else given.eta,
        steps=_STEPS[problem] if given.steps is None else given.steps,
        near=_NEAR[problem] if given.near is None else given.near,
        hard=given.hard or (problem == READ and given.loss == "mcboost"),
    )
