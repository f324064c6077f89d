"""The courses of one seed at one rate of noise: every arm chooses for learners with the same hypotheses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...hypotheses import Hypotheses
from ...hypothesis_space import HypothesisSpace
from ...lesson import Batch
from ...pools import Filter, everything
from ...rules import SGD
from ...sequences import Course, Refitted, teach_together
from ...student import Student
from ...version_space import OneVsAll
from ..selection.embedding import embedded
from ..selection.rows import Drawn
from .arms import REFITTED, TEACHERS, Setting
from .judging import Judge, Record
from .options import Chosen

_START = 0.1
"""The linear student starts from this times the first rows of the unit matrix."""


@dataclass(frozen=True, eq=False)
class Opened:
    """What all arms of a seed share.

    Attributes:
        drawn: rows as hypotheses see them, (N, d).
        hypotheses: of the pool.
        space: gives them again.
        kept: bool (N,), rows that may be shown.
        classes: K.
    """

    drawn: Drawn
    hypotheses: Hypotheses
    space: HypothesisSpace
    kept: Tensor
    classes: int

    def check_size(self, size: int) -> None:
        """Refuse a teaching set that is larger than what the filter leaves.

        Raises:
            ConfigError: naming both.
        """
        if (left := int(self.kept.sum())) < size:
            raise ConfigError(
                f"--size {size} is more than the {left} of {len(self.kept)} rows that may be shown; ask for fewer, or "
                "give --filter none."
            )


def opened(drawn: Drawn, features: Callable[[Tensor], Tensor] | None, options: Chosen, classes: int) -> Opened:
    """Return what arms share.

    Args:
        drawn: rows as the data has them.
        features: what hypotheses see of them, (N, ...) -> (N, d); None: pixels.
        options: with nothing left to choose.
        classes: K.
    """
    x, test_x = (rows.flatten(1) if features is None else features(rows) for rows in (drawn.pool.x, drawn.test_x))
    seen = replace(drawn, pool=Batch(x, drawn.pool.y, drawn.pool.index), test_x=test_x)
    space = HypothesisSpace(options.hypotheses, options.number, alpha=options.alpha, seed=drawn.seed)
    hypotheses = space(seen.pool, classes)
    keep: Filter = OneVsAll(space) if options.filter == "one-vs-all" else everything
    return Opened(seen, hypotheses, space, keep(seen.pool, classes), classes)


def taught(
    found: Opened, difficulty: Tensor | None, arms: Sequence[str], options: Chosen, advance: Callable[[], None]
) -> dict[str, Record]:
    """Have every arm choose its teaching set, and judge what learners make of it.

    Args:
        found: what arms share.
        difficulty: of the explanation of each row of the data, by index; None: there are no explanations.
        arms: who teaches.
        options: with nothing left to choose.
        advance: called after each lesson of each arm.

    Returns:
        For each arm, in the order shown: ``index`` in the source, ``score``, ``given`` and ``true`` labels,
        ``plainness`` (the difficulty of the explanation, None without) and what :class:`Judge` says.
    """
    pool = found.drawn.pool
    setting = Setting(options, found.drawn.seed, found.space, lambda _, __: found.kept, difficulty)
    centred = Batch(embedded(pool.x, found.drawn.test_x)[0], pool.y, pool.index)
    student = _linear(pool.x, found.classes)
    courses = {
        name: Course(TEACHERS[name].make(setting), pool if _knows_hypotheses(name) else centred, student)
        for name in arms
    }
    for refitted in (False, True):
        own = [course for name, course in courses.items() if (name in REFITTED) == refitted]
        if own:
            teach_together(own, options.size, Refitted() if refitted else _as_they_are, lambda _: advance())
    judge = Judge(found, options.learners)
    return {name: _record(course, found, difficulty, judge, options.rows) for name, course in courses.items()}


def _knows_hypotheses(name: str) -> bool:
    return name not in (*REFITTED, "prototypes")


def _as_they_are(courses: Sequence[Course]) -> list[Student]:
    """Students at whom no teacher looks."""
    return [course.student for course in courses]


def _linear(x: Tensor, classes: int) -> Student:
    """The linear student that MaxGrad looks at."""
    layer = nn.Linear(x.shape[1], classes, bias=False).to(x)
    nn.init.eye_(layer.weight).data.mul_(_START)
    return Student(layer, SGD(1.0))


def _record(course: Course, found: Opened, difficulty: Tensor | None, judge: Judge, rows: int) -> Record:
    shown = torch.cat([lesson.notes["row"] for lesson in course.lessons])
    return {
        "index": course.index.tolist(),
        "score": course.scores.tolist(),
        "given": course.pool.y[shown].tolist(),
        "true": found.drawn.true[shown].tolist(),
        "plainness": None if difficulty is None else difficulty[course.index.long()].tolist(),
        **judge(shown, rows),
    }
