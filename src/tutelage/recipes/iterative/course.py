"""What one teacher makes of one learner: how far it is from its target after each step, and what it was shown first."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...errors import NotFiniteError
from ...evaluation import accuracy
from ...lesson import Lesson
from ...student import Student
from .arms import TEACHERS, Setting
from .problems import Problem

Record = dict[str, Any]
FIRST = 8
"""Lessons of which it is kept what was shown."""


def taught(name: str, setting: Setting, advance: Callable[[], None]) -> Record:
    """Teach the learner of a seed.

    Args:
        name: of the teacher.
        setting: the problem and the options.
        advance: called after each step.

    Returns:
        ``distance``, the squared one to the target, before the first step and after each; ``accuracy`` on test rows at
        the same times if there are some; ``shown``, the first lessons.

    Raises:
        NotFiniteError: if the learner diverges.
    """
    problem = setting.problem
    teacher, pool, learner = TEACHERS[name].make(setting), TEACHERS[name].pool(setting), problem.learner()
    distance, right, shown = [_distance(learner, problem)], [_accuracy(learner, problem)], []
    for step in range(1, setting.options.steps + 1):
        try:
            lesson = teacher.teach(pool, learner)
        except NotFiniteError as error:
            raise NotFiniteError(f"{name}: {error}") from error
        teacher.learn(lesson, learner, None)
        learner.study(lesson)
        distance.append(_distance(learner, problem))
        right.append(_accuracy(learner, problem))
        if not math.isfinite(distance[-1]):
            raise NotFiniteError(
                f"{name}: after step {step} the distance to the target is {distance[-1]}, the learner diverged: use a "
                f"smaller --eta than {problem.eta:g}."
            )
        if step <= FIRST:
            shown.append(_told(lesson, problem, distance[-2] - distance[-1]))
        advance()
    return {"distance": distance, "shown": shown} | ({} if problem.test is None else {"accuracy": right})


def target_accuracy(problem: Problem) -> float | None:
    """Return the test accuracy of the target; None: there are no test rows."""
    return None if problem.test is None else accuracy(problem.test[0] @ problem.target.T, problem.test[1])


def _distance(learner: Student, problem: Problem) -> float:
    return float((learner.head[1].detach() - problem.target).square().sum())


def _accuracy(learner: Student, problem: Problem) -> float | None:
    return None if problem.test is None else accuracy(learner.predict(problem.test[0]), problem.test[1])


def _told(lesson: Lesson, problem: Problem, fall: float) -> Record:
    """What was shown: where, how large, with which label, and how far the distance fell."""
    row = int(lesson.notes["row"]) % len(problem.pool)
    promised: Tensor | None = lesson.notes.get("score")
    return {
        "index": int(lesson.notes["index"]),
        "size": float(lesson.x.norm()),
        "given": problem.pool.y[row].item(),
        "true": (problem.pool.y if problem.true is None else problem.true)[row].item(),
        "told": lesson.target[0].tolist(),
        "promised": None if promised is None else float(promised),
        "fall": fall,
    }
