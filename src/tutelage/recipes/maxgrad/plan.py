"""What follows from the options, before anything is taught or written."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...data import DataSet
from ..distilling.using import refuse_unread
from ..options import names_of, noise_rates
from ..selection.filters import FILTERS, emptied_in_words
from ..selection.nets import check_trunk, made
from ..selection.plan import PoolPlan
from ..selection.rows import others, read
from ..used import check_used
from .arms import TEACHERS, Arm, arms_of
from .course import open_courses
from .options import LINEAR, filled
from .students import taught
from .used import REMEDY, USED, check, check_teachers, unused_names


@dataclass(frozen=True, eq=False)
class Plan(PoolPlan):
    """A run before it starts.

    Attributes:
        arms: what is compared.
    """

    arms: tuple[Arm, ...]

    @cached_property
    def others(self) -> tuple[Tensor, Tensor]:
        """Rows and labels of the classes that are not used."""
        return others(self.material, torch.device(self.options.device))

    def trunk(self) -> nn.Module | None:
        """Return the network before it is trained on other classes; None: the student is linear."""
        options = self.options
        if options.student == LINEAR:
            return None
        classes = int(self.others[1].max()) + 1 if options.before else self.classes
        net = made(options.student, self.material.shape, max(2, classes), options.first_seed)
        return net.to(options.device)

    def rehearse(self) -> None:
        """Have each teacher of the first seed choose once, so that what cannot work is refused before a folder is made.

        Raises:
            TutelageError: for what cannot work.
        """
        drawn = self.draw(self.seeds[0], max(self.levels))
        found = taught(drawn, self.options, self.classes, self.trunk())
        with emptied_in_words(self.material.classes, REMEDY):
            for course in open_courses(found, self.arms, self.options).values():
                course.teacher.teach(course.pool, course.student)


def prepare(given: Any, *, fresh: bool) -> Plan:
    """Return the plan of some options; ``fresh``: as a user gave them, not as a run folder keeps them.

    Raises:
        TutelageError: for options or data that cannot be used.
    """
    if fresh:
        check(given)
    options = filled(given)
    levels = noise_rates(options.noise)
    teachers = names_of(options.teachers, TEACHERS, "teacher")
    filters = names_of(options.filters, FILTERS, "filter")
    check_teachers(options, teachers)
    if fresh:
        check_used(given, options, USED, unused_names(teachers, filters))
    material = read(options)
    if fresh:
        refuse_unread(given, DataSet(material.source))
    plan = Plan(options, material, levels, tuple(arms_of(teachers, filters)))
    if options.student != LINEAR:
        check_trunk(options.student, options.before, len(plan.others[1]))
    return plan
